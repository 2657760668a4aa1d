"""One update of `like_sb3_*` against stable-baselines3's own parameters (benchmarks/parity/golden.py): from its rollout
buffer, its initial weights and the same permutations. Float64."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustray.tasks.policy_gradients.adam import Adam
from robustray.tasks.policy_gradients.batch import make_batch
from robustray.tasks.policy_gradients.filters import Moments, Snapshot
from robustray.tasks.policy_gradients.rollout import Rollout
from robustray.tasks.policy_gradients.state import AgentState
from robustray.tasks.policy_gradients.update import update
from tests.golden import sb3_cases as cases


@pytest.fixture(scope="module")
def golden(repository: Path) -> dict[str, Any]:
    with np.load(repository / "tests/golden/sb3.npz") as arrays:
        return dict(arrays)


def given(golden: dict[str, Any], name: str, **changed: Any) -> tuple[AgentState, Rollout, dict[str, Any]]:
    """The state before the update, what was collected, and all arrays of the case."""
    peer = {key.partition("/")[2]: array for key, array in golden.items() if key.startswith(f"{name}/")}
    spec = cases.spec(name)
    spec = dataclasses.replace(spec, settings=dataclasses.replace(spec.settings, **changed))
    flat = {part: peer[f"{part}-before"].copy() for part in ("policy", "value")}
    state = AgentState(
        spec=spec,
        shape=cases.SHAPE,
        policy=flat["policy"],
        value=flat["value"],
        policy_adam=Adam.fresh(flat["policy"]),
        value_adam=Adam.fresh(flat["value"]),
        filters=Snapshot.start(cases.NUM_INPUTS, 1),
    )
    terminated, truncated = peer["terminated"] > 0, peer["truncated"] > 0
    cut = truncated & ~terminated
    cut[-1] = not terminated[-1]
    ends = np.flatnonzero(terminated | truncated)
    collected: dict[str, Any] = {
        "stream": 0,
        "update": 0,
        "observations": peer["observations"],
        "actions": peer["actions"],
        "rewards": peer["reward"],
        "raw_rewards": peer["reward"],
        "terminated": terminated,
        "truncated": truncated,
        "next_steps": np.flatnonzero(cut),
        "next_observations": peer["next"][cut],
        "observation_moments": Moments.none(cases.NUM_INPUTS),
        "reward_moments": Moments.none(1),
        "discounted": 0.0,
        "episode_ends": ends,
        "episode_lengths": np.diff(ends, prepend=-1),
        "episode_returns": np.zeros(len(ends)),
    }
    assert terminated.sum() > 3 and cut.sum() > 3
    return state, Rollout(**collected), peer


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", cases.CASES)
def test_values_advantages_and_log_probabilities(golden: dict[str, Any], name: str) -> None:
    state, rollout, peer = given(golden, name)
    batch = make_batch(state, [rollout])
    close(batch.values, peer["values"])
    close(batch.log_probs, peer["log_probs"])
    close(batch.advantages, peer["advantages"])
    close(batch.value_targets, peer["returns"])


@pytest.mark.parametrize("name", cases.CASES)
def test_one_update_gives_its_parameters(golden: dict[str, Any], name: str) -> None:
    state, rollout, peer = given(golden, name)
    row = update(state, [rollout])
    for part in ("policy", "value"):
        close(getattr(state, part), peer[f"{part}-after"])
        assert np.abs(peer[f"{part}-after"] - peer[f"{part}-before"]).max() > 1e-3
    scale = row["step_scale"]
    assert {"ppo": math.isnan(scale), "trpo": scale == 1, "trpo-far": 0 < scale < 1}[name]


SWITCHES: list[tuple[str, dict[str, Any]]] = [
    ("ppo", {"value_step": "before"}),
    ("ppo", {"value_weight": 1.0}),
    ("ppo", {"gradient_clip": None}),
    ("ppo", {"bootstrap": "reference"}),
    ("ppo", {"value_on_terminals": False}),
    ("trpo", {"fisher_share": 0.1}),
    ("trpo", {"cg_steps": 10}),
    ("trpo", {"cg_start_noise": 0.0}),
    ("trpo", {"kl_per_action": False}),
    ("trpo-far", {"line_search_shrink": 0.5}),
    ("trpo-far", {"kl_direction": "old_new"}),
]


@pytest.mark.parametrize(
    ("name", "switch"), SWITCHES, ids=lambda each: each if isinstance(each, str) else next(iter(each))
)
def test_each_switch_makes_the_difference_that_it_names(
    golden: dict[str, Any], name: str, switch: dict[str, Any]
) -> None:
    state, rollout, peer = given(golden, name, **switch)
    update(state, [rollout])
    found = [np.abs(getattr(state, part) - peer[f"{part}-after"]).max() for part in ("policy", "value")]
    assert max(found) > 1e-8
