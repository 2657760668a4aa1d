"""Training an agent in this process: collect, update, keep. The same functions that the RLlib classes call."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from robustray.tasks.lab.jobs import fix_kernels, numerics
from robustray.tasks.policy_gradients.environments import Environment, open_environment
from robustray.tasks.policy_gradients.rollout import HELD_OUT, TRAINING, Rollout, rollout
from robustray.tasks.policy_gradients.settings import AgentSpec
from robustray.tasks.policy_gradients.state import AgentState
from robustray.tasks.policy_gradients.update import Row, update

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, eq=False)
class Training:
    """An agent and what was written down of its training so far."""

    state: AgentState
    curve: list[Row] = field(default_factory=list)
    """One row per update."""
    episodes: list[Row] = field(default_factory=list)
    """One row per finished episode: update, stream, step (of the stream, at its end), length, episode_return."""
    clock: list[Row] = field(default_factory=list)
    """One row per update: seconds that collecting and learning took. Kept apart: everything else repeats to the bit."""

    def note(self, row: Row, rollouts: Sequence[Rollout], *, collect_seconds: float, learn_seconds: float) -> None:
        """Write down an update that was made."""
        self.curve.append(row)
        self.episodes += episode_rows(row["update"], rollouts)
        self.clock.append({"update": row["update"], "collect_seconds": collect_seconds, "learn_seconds": learn_seconds})

    @property
    def step(self) -> int:
        """Updates that are done: the position of a checkpoint."""
        return self.state.updates_done

    def tensors(self) -> dict[str, Tensor]:
        """See `Resumable`."""
        import torch

        return {name: torch.from_numpy(array) for name, array in self.state.arrays().items()}

    def record(self) -> dict[str, Any]:
        """See `Resumable`."""
        return {
            "state": self.state.record(),
            "curve": self.curve,
            "episodes": self.episodes,
            "clock": self.clock,
        }

    def load(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """See `Resumable`."""
        self.state.load({name: tensor.numpy() for name, tensor in tensors.items()}, record["state"])
        self.curve, self.episodes, self.clock = (list(record[name]) for name in ("curve", "episodes", "clock"))


class Collector(Protocol):
    """Where rollouts come from: environments in this process, or runners elsewhere."""

    def __call__(self, state: AgentState, *, held_out: bool) -> tuple[list[Rollout], list[Rollout]]:
        """Training rollouts of all streams for the coming update, and held-out ones if they are requested."""
        ...


class LocalCollector:
    """One environment in this process (one more for each stream that continues); streams are collected one after the
    other."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def __call__(self, state: AgentState, *, held_out: bool) -> tuple[list[Rollout], list[Rollout]]:
        streams = range(state.spec.settings.num_streams)
        trained = [collect(self.environment, state, stream) for stream in streams]
        return trained, [collect(self.environment, state, stream, held_out=True) for stream in streams if held_out]


def collect(environment: Environment, state: AgentState, stream: int, *, held_out: bool = False) -> Rollout:
    """One stream of the coming update."""
    return rollout(
        environment,
        state.spec,
        state.policy,
        state.filters,
        update=state.updates_done,
        stream=stream,
        purpose=HELD_OUT if held_out else TRAINING,
        learn=not held_out,
        episode=None if held_out else state.open_episode(stream),
    )


def begin(spec: AgentSpec) -> Training:
    """The untrained agent. Raises: InputError for an environment that cannot be made or used."""
    environment = open_environment(spec.environment, clip_actions=spec.settings.clip_actions)
    shape = environment.shape
    environment.close()
    return Training(state=AgentState.start(spec, shape))


Advance = Callable[[Training, bool], None]
"""Makes one update of a training; the second argument asks for held-out measures as well."""


def advance_with(collector: Collector) -> Advance:
    """Updates in this process, on rollouts from `collector`."""

    def advance(training: Training, held_out: bool) -> None:
        state, began = training.state, time.perf_counter()
        rollouts, unseen = collector(state, held_out=held_out)
        collected = time.perf_counter()
        row = update(state, rollouts, unseen)
        training.note(row, rollouts, collect_seconds=collected - began, learn_seconds=time.perf_counter() - collected)

    return advance


def train(
    training: Training,
    advance: Advance,
    *,
    until: int | None = None,
    after: Callable[[Training], None] = lambda training: None,
    held_out: Callable[[int], bool] | None = None,
) -> None:
    """Go on until `until` updates are done (None: all of them); `after` is called after each. held_out: which updates
    are also measured on held-out steps; None: those of the spec.

    Raises: EnvironmentFailed, AgentDiverged.
    """
    spec = training.state.spec
    until = spec.iterations if until is None else until
    while training.state.updates_done < until:
        advance(training, (held_out or spec.holds_out)(training.state.updates_done))
        after(training)


def episode_rows(number: int, rollouts: Sequence[Rollout]) -> list[Row]:
    """Rows of the episodes that ended, in the order of streams and steps."""
    return [
        {
            "update": number,
            "stream": each.stream,
            "step": int(end),
            "length": int(length),
            "episode_return": float(total),
        }
        for each in sorted(rollouts, key=lambda one: one.stream)
        for end, length, total in zip(each.episode_ends, each.episode_lengths, each.episode_returns, strict=True)
    ]


def train_agent(spec: AgentSpec) -> Training:
    """Train an agent from the start to the end, in this process and on one thread, as the labs do: with two threads the
    last bits differ."""
    fix_kernels()
    training = begin(spec)
    environment = open_environment(spec.environment, clip_actions=spec.settings.clip_actions)
    try:
        with numerics(1):
            train(training, advance_with(LocalCollector(environment)))
    finally:
        environment.close()
    return training
