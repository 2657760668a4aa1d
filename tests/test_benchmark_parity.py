"""The mapping table says what the presets hold; what is read from the records of `benchmarks/learning_parity.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.parity import mapping, records
from robustray.tasks.policy_gradients.presets import like_sb3_ppo, like_sb3_trpo


@pytest.mark.parametrize(
    ("found", "rows"), [(like_sb3_ppo(), mapping.PPO), (like_sb3_trpo(), mapping.TRPO)], ids=["ppo", "trpo"]
)
def test_the_table_is_what_the_presets_hold(found: Any, rows: Any) -> None:
    for field, value, _ in (*mapping.BOTH, *rows):
        assert getattr(found, field) == value, field


def training(arm: str, seed: int, outcome: float) -> records.Training:
    return records.Training(
        arm=arm, seed=seed, environment="Hopper-v5", outcome=outcome, episodes=9, steps=1, cpu=1.0, versions={"a": "1"}
    )


@pytest.mark.parametrize(
    ("gap", "seeds", "verdict"),
    [
        (0.0, 40, "no worse"),
        (-200.0, 40, "no worse"),
        (-245.0, 40, "undecided"),
        (-300.0, 40, "worse"),
        (0.0, 39, "not judged before 40 seeds"),
    ],
)
def test_verdicts(gap: float, seeds: int, verdict: str) -> None:
    """The peer's mean is 1,000; the limit lies some 19 below the difference."""
    outcomes = [1000.0 + 50.0 * (-1) ** seed for seed in range(seeds)]
    both = [training("ppo", seed, each + gap) for seed, each in enumerate(outcomes)]
    both += [training("sb3 ppo", seed, each) for seed, each in enumerate(outcomes)]
    (found,) = records.compare(both)
    assert found.verdict == verdict
    assert verdict in records.render(both)


def test_a_stopped_run_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "parity.jsonl"
    for arm in records.ARMS[:3]:
        records.append(path, training(arm, 0, 1.0))
    with path.open("a") as file:
        file.write('{"arm": "sb3-con')  # killed while it wrote
    there = records.load(path)
    assert [each.arm for each in there] == list(records.ARMS[:3])
    assert records.missing(there)[:2] == [(records.ARMS[3], 0), (records.ARMS[0], 1)]
    records.append(path, training(records.ARMS[3], 0, 1.0))
    assert len(records.load(path)) == 4
