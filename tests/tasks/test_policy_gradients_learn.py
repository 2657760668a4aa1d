"""`lab.learn`: kept by content, made from the nearest state, resumed to the bit; agents act as they were trained."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.lab.checkpoints import Interval
from robustray.tasks.lab.journal import Journal
from robustray.tasks.lab.protocol import Context, block_function
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.policy_gradients import files, loop
from robustray.tasks.policy_gradients.agent import load_agent
from robustray.tasks.policy_gradients.environments import EnvironmentFailed
from robustray.tasks.policy_gradients.jobs import Learned, agent_key
from robustray.tasks.policy_gradients.loop import train_agent
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from tests.tasks.rl_environments import HERE

SETTINGS = PolicyGradient(steps_per_stream=64, num_streams=2, num_minibatches=4, hidden=(8,))
SPEC = AgentSpec(environment=f"{HERE}:Target", settings=SETTINGS, iterations=6, milestones=(0, 3), heldout_every=3)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "store"))
    made.create()
    return made


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The updates that are made from here on."""
    made: list[int] = []
    from robustray.tasks.policy_gradients.update import update as real

    def update(state: Any, *rest: Any) -> Any:
        made.append(state.updates_done)
        return real(state, *rest)

    monkeypatch.setattr(loop, "update", update)
    return made


def learn(store: Store, *specs: AgentSpec, **options: Any) -> list[Learned]:
    return SerialLab(store=store, **options).learn(specs).result()


def everything(store: Store, key: str) -> dict[str, bytes]:
    """All of an agent but for its clock."""
    return {f.name: store.read(f.name) for f in files.list_files(store, key) if f.kind != "clock"}


def test_an_agent_is_kept_with_its_milestones_curve_and_episodes(store: Store, updates: list[int]) -> None:
    (found,) = learn(store, SPEC)
    assert sorted(found.states) == [0, 3, 6] and found.final is found.states[6]
    assert list(found.curve["update"]) == list(range(6)) and list(found.clock["update"]) == list(range(6))
    assert list(found.curve["heldout_kl"].notna()) == [True, False, False] * 2
    assert (found.clock[["collect_seconds", "learn_seconds"]] > 0).all(axis=None)
    assert found.curve["episodes"].sum() == len(found.episodes)
    plain = train_agent(SPEC)
    assert files.state_bytes(plain.state) == store.read(found.final.file.name)
    assert updates == list(range(6)) * 2
    again = learn(store, SPEC)[0]
    assert len(updates) == 12 and again.curve.equals(found.curve) and again.states == found.states
    assert store.list("tensorboard/" + found.key) and not store.list("checkpoints/" + found.key)


def test_what_only_watches_is_no_part_of_the_key_and_is_made_from_the_nearest_state(
    store: Store, updates: list[int]
) -> None:
    (first,) = learn(store, SPEC)
    updates.clear()
    other = dataclasses.replace(SPEC, milestones=(4, 5), heldout_every=None)
    assert agent_key(other) == first.key
    (second,) = learn(store, other)
    assert updates == [3, 4] and sorted(second.states) == [4, 5, 6]
    assert second.curve.equals(first.curve) and second.episodes.equals(first.episodes)
    updates.clear()
    (third,) = learn(store, dataclasses.replace(SPEC, heldout_every=4))
    assert updates == [4]
    assert list(third.curve["heldout_kl"].notna()) == [True, False, False, True, True, False]
    straight = Store(store.url + "-2")
    both = learn(straight, other, dataclasses.replace(SPEC, heldout_every=4), SPEC)
    assert len({each.key for each in both}) == 1 and [sorted(e.states) for e in both] == [
        [4, 5, 6],
        [0, 3, 6],
        [0, 3, 6],
    ]
    assert everything(straight, first.key) == everything(store, first.key)


@pytest.mark.parametrize("step", ["ppo", "trpo"])
@pytest.mark.parametrize("killed", [0, 2, 4, 5])
def test_a_killed_training_goes_on_to_the_bit(
    store: Store, updates: list[int], monkeypatch: pytest.MonkeyPatch, step: Any, killed: int
) -> None:
    settings = dataclasses.replace(SETTINGS, step=step)
    if step == "trpo":
        settings = dataclasses.replace(settings, kl_schedule="linear", max_kl_final=0.1)
    spec = dataclasses.replace(SPEC, settings=settings)
    undisturbed = Store(store.url + "-undisturbed")
    (wanted,) = learn(undisturbed, spec)

    class Killed(BaseException):
        pass

    real = loop.LocalCollector.__call__

    def collect(self: Any, state: Any, *, held_out: bool) -> Any:
        if state.updates_done == killed:
            raise Killed
        return real(self, state, held_out=held_out)

    monkeypatch.setattr(loop.LocalCollector, "__call__", collect)
    with pytest.raises(Killed):
        learn(store, spec, checkpoint_every=Interval(steps=2, seconds=None))
    monkeypatch.setattr(loop.LocalCollector, "__call__", real)
    updates.clear()
    learn(store, spec, checkpoint_every=Interval(steps=2, seconds=None))
    assert updates[0] >= killed - 2, "at most one interval is repeated"
    assert everything(store, wanted.key) == everything(undisturbed, wanted.key)


def test_damaged_files_are_made_again(store: Store, updates: list[int]) -> None:
    (found,) = learn(store, SPEC)
    before = everything(store, found.key)
    updates.clear()
    for kind, wanted in (("state", [3, 4, 5]), ("curve", [0, 1, 2, 3, 4, 5])):
        name = [file.name for file in files.list_files(store, found.key) if file.kind == kind][-1]
        whole = store.read(name)
        store.write(name, whole[:-1] + bytes([whole[-1] ^ 1]))
        learn(store, SPEC)
        assert updates == wanted and everything(store, found.key) == before
        updates.clear()


def test_fresh_trains_again_once(store: Store, updates: list[int]) -> None:
    learn(store, SPEC)
    journal = Journal()
    learn(store, SPEC, fresh=["learn"], journal=journal)
    learn(store, SPEC, fresh=["learn"], journal=journal)
    assert len(updates) == 12 and journal.count("learn").reused_blocks == 1


def test_agents_of_other_code_are_used_and_counted(
    store: Store, updates: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (before,) = learn(store, SPEC)
    monkeypatch.setattr("robustray.tasks.policy_gradients.jobs.library_versions", lambda: {"mujoco": "9"})
    journal = Journal()
    (after,) = learn(store, SPEC, journal=journal)
    assert len(updates) == 6 and journal.count("learn").old_blocks == 1 and after.curve.equals(before.curve)


@pytest.mark.parametrize(
    ("environment", "says"),
    [("Hoper-v5", "cannot be made"), ("no_such_module:Thing", "No module named"), (f"{HERE}:Words", "only Box")],
)
def test_a_bad_environment_is_refused_before_anything_starts(store: Store, environment: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        SerialLab(store=store).learn([SPEC, dataclasses.replace(SPEC, environment=environment)])
    assert not store.folders("agents")


def test_an_environment_that_breaks_ends_the_step_with_its_place(store: Store) -> None:
    with pytest.raises(WorkFailed, match=r"seed 0 failed: EnvironmentFailed: .*RaisesInStep, step 7 after the reset"):
        learn(store, dataclasses.replace(SPEC, environment=f"{HERE}:RaisesInStep"))
    assert not store.folders("agents")


def test_an_environment_that_does_not_repeat_is_told(store: Store) -> None:
    said: list[str] = []

    class Notes(Journal):
        def note(self, text: str) -> None:
            said.append(text)

    spec = dataclasses.replace(SPEC, environment=f"{HERE}:Unrepeatable", iterations=3)
    (found,) = learn(store, spec, journal=Notes())
    assert not found.repeatable and learn(store, SPEC)[0].repeatable
    assert any("nothing about it can be repeated" in text for text in said)


# --- Agents -------------------------------------------------------------------------------------------------------


@block_function(version=1, columns={"total": pa.float64()})
def played(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    agent = context.load("agent")
    return {"total": [agent.evaluate(episodes=1, seed=item)["episode_return"][0] for item in items]}


def test_a_state_is_a_reference_for_later_steps(store: Store) -> None:
    lab = SerialLab(store=store)
    (found,) = lab.learn([SPEC]).result()
    rows = lab.map("played", played, range(4), block=2, refs={"agent": found.final}).result()
    other = lab.map("played", played, range(4), block=2, refs={"agent": found.states[3]}).result()
    assert rows["total"].notna().all() and not rows.equals(other)
    assert found.final.content_hash != found.states[3].content_hash
    assert HERE in found.final.modules and found.final.name == f"agent:{found.key}@6"


def test_a_loaded_agent_acts_with_frozen_filters(store: Store) -> None:
    (found,) = learn(store, SPEC)
    path = Path(store.path(found.final.file.name))
    agents = [load_agent(path), load_agent(found.key, store=store.url), load_agent(f"{found.key}@6", store=store.url)]
    actions = [agent.act([0.3]) for agent in agents for _ in range(2)]
    assert len({action.tobytes() for action in actions}) == 1 and actions[0].shape == (1,)
    drawn = [agents[0].act([0.3], deterministic=False) for _ in range(200)]
    assert np.std(drawn) > 0.1 and np.abs(drawn).max() <= 2
    before = agents[0].state.filters.observations.mean.copy()
    first = agents[0].evaluate(episodes=5, seed=1)
    assert first.equals(agents[1].evaluate(episodes=5, seed=1)) and len(first) == 5
    assert not first.equals(agents[1].evaluate(episodes=5, seed=2))
    assert first.equals(agents[1].evaluate(episodes=6, seed=1).head(5)), "an episode depends on its number only"
    np.testing.assert_array_equal(before, agents[0].state.filters.observations.mean)
    limited = agents[0].evaluate(f"{HERE}:RobustrayTarget-v0", episodes=4)
    assert limited["length"].max() <= 8


def test_an_untrained_agent_fills_its_filters_with_its_first_rollouts(store: Store) -> None:
    (found,) = learn(store, SPEC)
    start = load_agent(f"{found.key}@0", store=store.url)
    assert start.state.filters.observations.count == 0
    assert start.filters.observations.count > 128
    (trained,) = learn(store, dataclasses.replace(SPEC, milestones=(1,)))
    after = trained.states[1].build(trained.states[1].fetch(), "cpu").state.filters.observations
    np.testing.assert_array_equal(start.filters.observations.mean, after.mean)


def test_an_episode_without_an_end_is_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustray.tasks.policy_gradients.agent.MAX_STEPS", 50)
    agent = load_agent(
        learn(store, dataclasses.replace(SPEC, environment=f"{HERE}:Matrix", iterations=3))[0].key, store=store.url
    )
    assert agent.act(np.zeros((4, 4), np.uint8)).shape == (4, 4)
    with pytest.raises(EnvironmentFailed, match="has not ended after 50 steps"):
        agent.evaluate(episodes=1)


def test_choices_come_as_the_environment_counts_them(store: Store) -> None:
    spec = dataclasses.replace(SPEC, environment=f"{HERE}:Choice", iterations=3)
    agent = load_agent(learn(store, spec)[0].key, store=store.url)
    assert {agent.act([x]) for x in (-1.0, 0.0, 1.0)} <= {5, 6, 7}
    assert agent.evaluate(episodes=2, deterministic=True)["length"].tolist() == [20, 20]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere.safetensors", "No such file"),
        ("0123456789abcdef", "no such agent"),
        ("KEY@2", "no state before update 2; kept are those before update 0, 3, 6"),
        ("TORN", "no state of an agent"),
    ],
)
def test_agents_that_are_not_there_are_refused(store: Store, tmp_path: Path, name: str, says: str) -> None:
    (found,) = learn(store, SPEC)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(json.dumps({"a": 1}).encode())
    name = name.replace("KEY", found.key).replace("TORN", str(torn))
    with pytest.raises(InputError, match=says):
        load_agent(name, store=store.url)


def test_a_damaged_state_is_not_said_to_be_kept(store: Store) -> None:
    (found,) = learn(store, SPEC)
    for file in files.list_files(store, found.key):
        if file.kind == "state" and file.update == 6:
            store.write(file.name, b"torn")
    with pytest.raises(InputError, match=r"its state before update 6 is damaged; kept are those before update 0, 3$"):
        load_agent(found.key, store=store.url)


def test_what_does_not_fit_an_agent_is_refused(store: Store) -> None:
    agent = load_agent(learn(store, SPEC)[0].key, store=store.url)
    for call, says in (
        (lambda: agent.act([1.0, 2.0]), "1 finite numbers are expected"),
        (lambda: agent.act([float("nan")]), "1 finite numbers"),
        (lambda: agent.evaluate("CartPole-v1"), "made for other observations"),
        (lambda: agent.evaluate(episodes=0), "episodes must be at least 1"),
    ):
        with pytest.raises(InputError, match=says):
            call()


def test_the_page_names_every_column(store: Store, repository: Path) -> None:
    text = (repository / "docs/design/policy-gradients.md").read_text(encoding="utf-8")
    (found,) = learn(store, SPEC)
    for frame in (found.curve, found.episodes, found.clock):
        for column in frame.columns:
            bare = column.removeprefix("heldout_")
            assert f"`{bare}`" in text, f"{column} is not on the page"
    held_out = [column for column in found.curve.columns if column.startswith("heldout_")]
    assert held_out and all(column.removeprefix("heldout_") in found.curve.columns for column in held_out)
    switches = [line for line in text.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert len(switches) == 9
