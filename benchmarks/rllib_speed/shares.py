"""Where an iteration's time goes: the same 2,048 steps of a trained agent are timed through more and more of the layers
around the simulator. What a layer adds is the difference to the one before."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import mujoco

from benchmarks.rllib_speed.contenders import our_config
from benchmarks.rllib_speed.records import FRAME, GYMNASIUM, MADE, OUR_DOOR, ROLLOUT, SIMULATOR, UPDATE, Sample
from benchmarks.rllib_speed.sections import HOPPER, STEPS, rounds_of, start_ray
from robustray.tasks.lab.jobs import numerics
from robustray.tasks.policy_gradients.environments import open_environment
from robustray.tasks.policy_gradients.loop import collect
from robustray.tasks.policy_gradients.update import update

TRAINED = 30
"""Updates before it is looked at: falls are rarer then, as in the benchmark of speed."""
SEED = 0


def shares(rounds: int) -> Iterator[list[Sample]]:
    """Microseconds of CPU time per step: the simulator alone, with what is around it, and a whole iteration."""
    import ray

    start_ray(2)
    algorithm = our_config(HOPPER, "ppo").build_algo()
    for _ in range(TRAINED):
        algorithm.train()
    state = copy.deepcopy(algorithm.agent)
    environment = open_environment(HOPPER, clip_actions=False)
    with numerics(1):
        rollout = collect(environment, state, 0)
    ends = set(rollout.episode_ends.tolist())
    made: Any = gymnasium.make(HOPPER)
    inner = made.unwrapped

    def replay(reset: Callable[[int | None], Any], step: Callable[[Any], Any]) -> None:
        """The rollout's actions, with resets where its episodes ended: the same states, but for those of resets."""
        reset(SEED)
        for t, action in enumerate(rollout.actions):
            step(action)
            if t in ends:
                reset(None)

    def simulate(action: Any) -> None:
        inner.data.ctrl[:] = action
        mujoco.mj_step(inner.model, inner.data, nstep=inner.frame_skip)

    def learn() -> None:
        replica = copy.deepcopy(state)
        with numerics(1):
            update(replica, [rollout])

    def reset_inner(seed: int | None) -> Any:
        return inner.reset(seed=seed)

    def reset_made(seed: int | None) -> Any:
        return made.reset(seed=seed)

    layers: dict[str, Callable[[], Any]] = {
        SIMULATOR: lambda: replay(reset_inner, simulate),
        GYMNASIUM: lambda: replay(reset_inner, inner.step),
        MADE: lambda: replay(reset_made, made.step),
        OUR_DOOR: lambda: replay(environment.reset, environment.step),
        ROLLOUT: lambda: collect(environment, state, 0),
        UPDATE: learn,
        FRAME: algorithm.train,
    }

    def timed(layer: Callable[[], Any], repeats: int = 3) -> float:
        began = time.process_time()
        for _ in range(repeats):
            layer()
        return (time.process_time() - began) / (repeats * STEPS) * 1e6

    cases = {name: lambda layer=layer: timed(layer) for name, layer in layers.items()}
    yield from rounds_of("shares", cases, rounds)
    ray.shutdown()
