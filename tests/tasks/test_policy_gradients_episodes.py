"""Streams that go on over updates: whole episodes, the same bits wherever and however often they are taken up."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.policy_gradients import episodes, files
from robustray.tasks.policy_gradients.environments import EnvironmentFailed, open_environment
from robustray.tasks.policy_gradients.loop import Training, begin, collect, train_agent
from robustray.tasks.policy_gradients.presets import preset
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from robustray.tasks.policy_gradients.update import update
from tests.tasks.rl_environments import HERE

SETTINGS = PolicyGradient(
    continue_streams=True, bootstrap="correct", steps_per_stream=33, num_streams=2, num_minibatches=4, hidden=(8,)
)
SPEC = AgentSpec(environment=f"{HERE}:Target", settings=SETTINGS, iterations=5, seed=3)


def with_fresh_environments(spec: AgentSpec) -> Training:
    """Every rollout in an environment that was never used, from a state that was written down and read back."""
    training = begin(spec)
    for number in range(spec.iterations):
        rollouts = [
            collect(open_environment(spec.environment, clip_actions=spec.settings.clip_actions), training.state, stream)
            for stream in range(spec.settings.num_streams)
        ]
        row = update(training.state, rollouts)
        training.note(row, rollouts, collect_seconds=0, learn_seconds=0)
        state = files.state_of(files.state_bytes(training.state))
        assert state.updates_done == number + 1
        training = dataclasses.replace(training, state=state)
    return training


@pytest.mark.parametrize(
    ("environment", "changed"),
    [
        (f"{HERE}:Target", {}),
        (f"{HERE}:Target", {"num_streams": 1, "step": "trpo", "return_restarts": "never"}),
        (f"{HERE}:Choice", {"reward_filter": "rewards"}),
        ("Pendulum-v1", {"bootstrap": "reference"}),
        (f"{HERE}:RobustrayTarget-v0", {"normalise_observations": False}),
        ("Hopper-v5", {"num_streams": 1, "steps_per_stream": 150, "clip_actions": False}),
    ],
    ids=["boxes", "trpo", "choices", "pendulum", "time limit", "hopper"],
)
def test_taking_up_is_going_on(environment: str, changed: dict[str, Any]) -> None:
    """State, curve and episodes of a loop that goes on in place, and of one that plays every open episode again."""
    spec = dataclasses.replace(SPEC, environment=environment, settings=dataclasses.replace(SETTINGS, **changed))
    once, again = train_agent(spec), with_fresh_environments(spec)
    assert any(once.state.open_episodes)
    assert files.state_bytes(once.state) == files.state_bytes(again.state)
    assert json.dumps(once.curve) == json.dumps(again.curve) and once.episodes == again.episodes


def test_episodes_are_whole_over_updates() -> None:
    """Twenty steps an episode: 33 steps a rollout cut the second one, and the next rollout ends it."""
    spec = dataclasses.replace(SPEC, environment=f"{HERE}:Choice")
    found = train_agent(spec)
    assert {row["length"] for row in found.episodes} == {20}
    ends = [(row["update"], row["step"]) for row in found.episodes if row["stream"] == 0]
    assert [update * 33 + step for update, step in ends] == list(range(19, 5 * 33, 20))
    (open_one, _) = found.state.open_episodes
    assert open_one is not None and len(open_one.actions) == 5 * 33 % 20
    reset = train_agent(dataclasses.replace(spec, settings=dataclasses.replace(SETTINGS, continue_streams=False)))
    assert [(row["update"], row["step"]) for row in reset.episodes if row["stream"] == 0] == [(k, 19) for k in range(5)]


def test_every_observation_counts_once() -> None:
    """165 steps and the first observations of 9 episodes per stream."""
    found = train_agent(dataclasses.replace(SPEC, environment=f"{HERE}:Choice")).state
    assert found.filters.observations.count == 2 * (165 + 9)
    assert found.filters.rewards.count == 2 * 165


def test_the_first_update_is_that_of_streams_with_resets() -> None:
    """As long as no episode has ended: later resets have seeds of their own."""
    short = dataclasses.replace(SETTINGS, steps_per_stream=20, num_streams=1)
    spec = AgentSpec(environment="Pendulum-v1", settings=short, iterations=1)
    other = dataclasses.replace(spec, settings=dataclasses.replace(short, continue_streams=False))
    on, off = train_agent(spec), train_agent(other)
    assert on.state.policy.tobytes() == off.state.policy.tobytes()
    assert "open_episodes" not in off.state.record()


def test_it_is_kept_with_its_milestones_and_resumed_to_the_bit(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, milestones=(0, 2), heldout_every=2)
    kept: list[dict[str, bytes]] = []
    found = None
    for name, asked in (("at once", [spec]), ("one by one", [dataclasses.replace(spec, milestones=(2,)), spec])):
        store = Store(str(tmp_path / name))
        store.create()
        found = [SerialLab(store=store).learn([each]).result()[0] for each in asked][-1]
        kept.append({f.name: store.read(f.name) for f in files.list_files(store, found.key) if f.kind != "clock"})
    assert found is not None
    assert kept[0] == kept[1] and len(kept[0]) == 3 + 2
    plain = train_agent(dataclasses.replace(spec, heldout_every=None))
    assert found.final.fetch() == files.state_bytes(plain.state), "held-out steps leave the streams where they are"
    found.states[2].build(found.states[2].fetch(), "cpu").evaluate(episodes=1)


def test_an_episode_that_comes_elsewhere_is_refused() -> None:
    training = begin(SPEC)
    environment = open_environment(SPEC.environment, clip_actions=True)
    update(training.state, [collect(environment, training.state, stream) for stream in (0, 1)])
    wrong = training.state.open_episodes[0]
    assert wrong is not None
    moved = dataclasses.replace(wrong, observation=np.nextafter(wrong.observation, np.inf))
    training.state.open_episodes = (moved, None)
    fresh = open_environment(SPEC.environment, clip_actions=True)
    with pytest.raises(EnvironmentFailed, match="cannot be taken up; train with continue_streams=False"):
        collect(fresh, training.state, 0)
    training.state.open_episodes = (dataclasses.replace(moved, actions=wrong.actions[:-1]), None)
    with pytest.raises(EnvironmentFailed, match="came to another place"):
        collect(environment, training.state, 0)


def test_an_environment_that_does_not_repeat_is_refused_before_anything_starts(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    store.create()
    with pytest.raises(InputError, match="no episode can be taken up again; continue_streams=False"):
        SerialLab(store=store).learn([dataclasses.replace(SPEC, environment=f"{HERE}:Unrepeatable")])
    assert not store.folders("agents")


def test_an_episode_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "MAX_OPEN_STEPS", 100)
    spec = dataclasses.replace(SPEC, environment=f"{HERE}:Matrix")
    with pytest.raises(EnvironmentFailed, match=r"has not ended after 100 steps; .* max_episode_steps"):
        train_agent(spec)


def test_presets_begin_with_resets() -> None:
    assert not PolicyGradient().continue_streams and not preset("ppo", "Hopper").continue_streams
