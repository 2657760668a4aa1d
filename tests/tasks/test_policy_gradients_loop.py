"""The plain loop: it repeats to the bit, goes on to the bit, watches without changing, learns, and says what broke."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import gymnasium
import numpy as np
import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.policy_gradients.environments import (
    Environment,
    EnvironmentFailed,
    is_repeatable,
    open_environment,
)
from robustray.tasks.policy_gradients.loop import (
    LocalCollector,
    Training,
    advance_with,
    begin,
    collect,
    train,
    train_agent,
)
from robustray.tasks.policy_gradients.presets import ALGORITHMS, preset
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from robustray.tasks.policy_gradients.state import AgentDiverged, AgentState
from robustray.tasks.policy_gradients.update import update
from tests.tasks.rl_environments import HERE

SMALL: dict[str, Any] = {"steps_per_stream": 128, "num_minibatches": 4, "hidden": (8,)}
SETTINGS = PolicyGradient(**SMALL, num_streams=3)
SPEC = AgentSpec(environment=f"{HERE}:Target", settings=SETTINGS, iterations=3, seed=7)


def bits(state: AgentState) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in state.arrays().items()} | {
        "record": json.dumps(state.record()).encode()
    }


def with_environment(spec: AgentSpec, training: Training, **options: Any) -> Training:
    environment = open_environment(spec.environment, clip_actions=spec.settings.clip_actions)
    train(training, advance_with(LocalCollector(environment)), **options)
    return training


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"step": "trpo", "kl_schedule": "linear", "max_kl_final": 0.1},
        {"reward_filter": "rewards", "value_clip": 0.2, "gradient_clip": 0.5, "bootstrap": "correct"},
        {"return_restarts": "never", "advantage": "returns", "normalise_observations": False, "activation": "relu"},
    ],
    ids=["ppo", "trpo", "clipped", "returns"],
)
def test_it_repeats_and_goes_on_to_the_bit(changed: dict[str, Any]) -> None:
    """A second training, and one that is written down and read back after each update, end with the same bytes."""
    spec = dataclasses.replace(SPEC, settings=dataclasses.replace(SETTINGS, **changed))
    once = train_agent(spec)
    other = begin(spec)
    for until in (1, 2, 3):
        with_environment(spec, other, until=until)
        arrays, record = other.state.arrays(), json.loads(json.dumps(other.state.record()))
        fresh = begin(spec).state
        assert bits(fresh) != bits(other.state)
        fresh.load({name: array.copy() for name, array in arrays.items()}, record)
        other = dataclasses.replace(other, state=fresh)
    assert bits(once.state) == bits(other.state)
    assert json.dumps(once.curve) == json.dumps(other.curve)
    assert once.episodes == other.episodes and once.state.env_steps == 3 * 3 * 128


def test_another_seed_is_another_agent_from_the_start() -> None:
    mine, other = begin(SPEC).state, begin(dataclasses.replace(SPEC, seed=8)).state
    assert not np.array_equal(mine.policy, other.policy) and not np.array_equal(mine.value, other.value)


def test_watching_changes_no_weight() -> None:
    plain = train_agent(SPEC)
    watched = train_agent(dataclasses.replace(SPEC, heldout_every=2, milestones=(0, 1)))
    assert bits(plain.state) == bits(watched.state)
    held_out = [row["heldout_kl"] for row in watched.curve]
    assert [math.isnan(kl) for kl in held_out] == [False, True, False]
    assert watched.curve[0]["heldout_kl"] != watched.curve[0]["kl"] > 0
    names = [name for name in plain.curve[0] if not name.startswith("heldout_")]
    assert [[row[name] for name in names if row[name] == row[name]] for row in plain.curve] == [
        [row[name] for name in names if row[name] == row[name]] for row in watched.curve
    ]


def test_the_order_in_which_streams_arrive_changes_nothing() -> None:
    found = []
    for order in ((0, 1, 2), (2, 0, 1)):
        training = begin(SPEC)
        environment = open_environment(SPEC.environment, clip_actions=True)
        for _ in range(2):
            update(training.state, [collect(environment, training.state, stream) for stream in order])
        found.append(bits(training.state))
    assert found[0] == found[1]


def test_rollouts_of_another_update_are_refused() -> None:
    state = begin(SPEC).state
    environment = open_environment(SPEC.environment, clip_actions=True)
    rollouts = [collect(environment, state, stream) for stream in (0, 1, 2)]
    for wrong in (rollouts[:2], [*rollouts, rollouts[0]], [dataclasses.replace(each, update=1) for each in rollouts]):
        with pytest.raises(ValueError, match="needs its own rollouts"):
            update(state, wrong)


def test_no_two_rollouts_share_noise_or_resets() -> None:
    training = begin(SPEC)
    environment = open_environment(SPEC.environment, clip_actions=True)
    seen = []
    for _ in range(2):
        for stream in (0, 1, 2):
            for held_out in (False, True):
                seen.append(collect(environment, training.state, stream, held_out=held_out))
        update(training.state, [each for each in seen[-6:] if each.observation_moments.count])
    firsts = {each.raw_rewards[:5].tobytes() for each in seen}
    assert len(firsts) == len(seen)


def test_what_a_rollout_says_of_itself() -> None:
    state = begin(SPEC).state
    found = collect(open_environment(SPEC.environment, clip_actions=True), state, 1)
    done = found.terminated | found.truncated
    np.testing.assert_array_equal(np.flatnonzero(done), found.episode_ends)
    assert found.terminated.any() and found.truncated.any()
    assert found.observation_moments.count == 128 + 1 + done[:-1].sum()
    assert set(found.next_steps) == {*np.flatnonzero(found.truncated & ~found.terminated), *([] if done[-1] else [127])}
    starts = np.concatenate([[0], found.episode_ends[:-1] + 1])
    for start, end, length, total in zip(
        starts, found.episode_ends, found.episode_lengths, found.episode_returns, strict=True
    ):
        assert length == end + 1 - start
        assert total == pytest.approx(found.raw_rewards[start : end + 1].sum())


@pytest.mark.parametrize("step", ["ppo", "trpo"])
def test_it_learns_what_can_be_learned(step: Any) -> None:
    """The best policy has a return of about -0.1 at a small deviation; the first one, of deviation 1, about -14."""
    settings = PolicyGradient(
        step=step, steps_per_stream=1024, num_minibatches=16, policy_lr=3e-3, value_lr=3e-3, hidden=(16,), max_kl=0.1
    )
    curve = train_agent(AgentSpec(environment=f"{HERE}:Target", settings=settings, iterations=15)).curve
    first, last = (row["episode_return"] / row["episode_length"] for row in (curve[0], curve[-1]))
    assert first < -0.9 and last > 0.4 * first


def test_choices_are_learned_too() -> None:
    settings = PolicyGradient(steps_per_stream=512, num_minibatches=8, policy_lr=3e-3, hidden=(16,), gae_lambda=0.0)
    training = train_agent(AgentSpec(environment=f"{HERE}:Choice", settings=settings, iterations=10))
    shares = [row["episode_return"] / 20 for row in training.curve]
    assert shares[0] < 0.5 and shares[-1] > 0.75
    assert math.isnan(training.curve[0]["action_std"]) and training.curve[-1]["entropy"] < math.log(3)


@pytest.mark.parametrize("environment", ["CartPole-v1", "Pendulum-v1", f"{HERE}:Matrix", f"{HERE}:RobustrayTarget-v0"])
@pytest.mark.parametrize("step", ["ppo", "trpo"])
def test_any_environment_with_boxes_or_choices(environment: str, step: Any) -> None:
    spec = AgentSpec(environment=environment, settings=PolicyGradient(**SMALL, step=step), iterations=2)
    training = train_agent(spec)
    assert training.state.updates_done == 2 and math.isfinite(training.curve[-1]["kl"])
    if environment.endswith("Target-v0"):
        assert training.curve[0]["episode_length"] <= 8  # the limit it was registered with


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_presets_run_in_mujoco(algorithm: str) -> None:
    settings = preset(algorithm, "Hopper", **SMALL)
    spec = AgentSpec(environment="Hopper-v5", settings=settings, iterations=2, horizon=488, heldout_every=1)
    (first, last) = train_agent(spec).curve
    for name in ("kl", "kl_max", "ratio_max", "gae_mre", "heldout_kl", "heldout_returns_mre", "entropy", "value_loss"):
        assert math.isfinite(last[name]), name
    assert (first["step_scale"] > 0) if settings.step == "trpo" else math.isnan(first["step_scale"])


def test_mujoco_repeats_whatever_an_environment_did_before() -> None:
    spec = AgentSpec(environment="Hopper-v5", settings=preset("ppo", "Hopper", **SMALL))
    state, used = begin(spec).state, open_environment("Hopper-v5", clip_actions=False)
    collect(used, state, 0, held_out=True)
    found = [collect(each, state, 0) for each in (used, open_environment("Hopper-v5", clip_actions=False))]
    for name in ("observations", "actions", "rewards", "raw_rewards"):
        assert getattr(found[0], name).tobytes() == getattr(found[1], name).tobytes(), name


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ("NaNObservation", r"step 7 after the reset with seed \d+: the observation is not finite"),
        ("NaNReward", r"step 7 after the reset with seed \d+: the reward is nan"),
        ("RaisesInReset", r"step 0 after the reset with seed \d+: reset raised OSError: no such arena"),
        ("RaisesInStep", r"step 7 .*: step raised ZeroDivisionError: a joint came off"),
        ("WrongSize", r"the observation of a reset has 2 numbers, its space says 1"),
    ],
)
def test_what_an_environment_does_wrong_is_said_with_its_place(environment: str, says: str) -> None:
    with pytest.raises(EnvironmentFailed, match=f"environment {HERE}:{environment}, .*{says}"):
        train_agent(dataclasses.replace(SPEC, environment=f"{HERE}:{environment}"))


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ("Hoper-v5", "it cannot be made: NameNotFound"),
        ("no_such_module:Thing-v0", "it cannot be made: ModuleNotFoundError"),
        (f"{HERE}:NoSuch", "has no class NoSuch"),
        (f"{HERE}:np", "has no class np"),
        (f"{HERE}:Words", "only Box is supported"),
        (f"{HERE}:ManyAnswers", "only Box and Discrete"),
        (f"{HERE}:Box", "cannot be made"),
    ],
)
def test_what_is_no_environment_is_refused(environment: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_environment(environment, clip_actions=True)


def test_weights_that_are_not_finite_end_the_training() -> None:
    settings = dataclasses.replace(SETTINGS, value_lr=1e38, policy_lr=1e38)
    with pytest.raises(AgentDiverged, match="after update 1 of 3"), np.errstate(all="ignore"):
        train_agent(dataclasses.replace(SPEC, settings=settings))


def test_repeatability_is_found_out() -> None:
    assert is_repeatable(f"{HERE}:Target") and is_repeatable("CartPole-v1")
    assert not is_repeatable(f"{HERE}:Unrepeatable")


def test_own_environments_are_closed() -> None:
    closed = []

    class Closing(gymnasium.Wrapper[Any, Any, Any, Any]):
        def close(self) -> None:
            closed.append(True)

    Environment("mine", Closing(gymnasium.make("CartPole-v1")), clip_actions=True).close()
    assert closed == [True]
