"""What is read from the records of `benchmarks/training.py`; nothing is measured, and no other library is needed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from benchmarks.trainings import records as rec
from benchmarks.trainings import tables
from robustray.tasks.statistics import mean_interval


def timing(contender: str, number: int, wall: float, **changed: Any) -> rec.Record:
    fields: dict[str, Any] = {
        "loss": "adversarial",
        "model": "cifar:resnet20",
        "images": 512,
        "threads": 1,
        "cpu": 2 * wall,
        "foreign_load": 0.0,
        "first_loss": 2.5,
        "code": "c",
    }
    return rec.Record(contender=contender, round=number, wall=wall, **fields | changed)


def rounds(ours: tuple[float, ...], theirs: tuple[float, ...], **changed: Any) -> list[rec.Record]:
    """Seconds by round, of our bf16 step and of `use_best=0`."""
    sides = ((rec.BF16, ours), (rec.LAST, theirs))
    return [timing(name, number, wall, **changed) for name, walls in sides for number, wall in enumerate(walls)]


def outcome(arm: str, seed: int, robust: int, **changed: Any) -> rec.Outcome:
    fields: dict[str, Any] = {"protocol": "short", "images": 1000, "clean": 600, "code": "c"}
    return rec.Outcome(arm=arm, seed=seed, robust=robust, **fields | changed)


def test_a_ratio_is_that_of_medians_and_its_range_that_of_rounds() -> None:
    (found,) = rec.compare(rounds((1.0, 2.0, 4.0), (3.0, 4.0, 20.0)))
    assert (found.ratio, found.low, found.high, found.rounds) == (2.0, 2.0, 5.0, 3)
    assert (found.rate, found.rival_rate, found.by) == (256.0, 128.0, "wall")


def test_a_round_that_only_one_side_has_does_not_count() -> None:
    (found,) = rec.compare(rounds((1.0, 1.0, 100.0), (2.0, 2.0)))
    assert (found.ratio, found.rounds) == (2.0, 2)
    assert rec.compare(rounds((1.0,), ())) == []


def test_cpu_time_counts_where_others_were_busy_in_any_timing_of_the_model() -> None:
    busy = [dataclasses.replace(record, cpu=record.wall) for record in rounds((1.0,), (2.0,))]
    busy.append(timing(rec.FP32, 0, 9.0, foreign_load=0.5))
    found = {each.line.ours: each for each in rec.compare(busy)}
    assert found[rec.BF16].by == "cpu" and found[rec.BF16].foreign_load == 0.5
    elsewhere = timing(rec.FP32, 0, 9.0, foreign_load=0.5, model="cifar:resnet18-w16")
    assert {each.by for each in rec.compare([*rounds((1.0,), (2.0,)), elsewhere])} == {"wall"}


@pytest.mark.parametrize(
    ("ours", "ratio", "verdict"),
    [
        (rec.BF16, 2.31, "aim"),
        (rec.BF16, 2.29, "accepted"),
        (rec.BF16, 1.96, "accepted"),
        (rec.BF16, 1.94, "below"),
        (rec.FP32, 1.46, "aim"),
        (rec.FP32, 1.24, "accepted"),
        (rec.FP32, 1.22, "below"),
        (rec.MIXED, 1.0, ""),
    ],
)
def test_aims_and_what_is_accepted(ours: str, ratio: float, verdict: str) -> None:
    (found,) = rec.compare([timing(ours, 0, 1.0), timing(rec.LAST, 0, ratio)])
    assert found.verdict == verdict


def test_every_line_of_the_table_is_between_two_who_take_part() -> None:
    for line in rec.LINES:
        assert {line.ours, line.rival} <= set(rec.TAKING_PART[line.loss])


def test_differences_are_paired_by_seed() -> None:
    outcomes = [outcome("fp32", 0, 300), outcome("fp32", 1, 400), outcome("fp32", 7, 900)]
    outcomes += [outcome("bf16", 1, 402), outcome("bf16", 0, 301)]
    (found,) = rec.differences(outcomes)
    assert found.seeds == (0, 1)
    assert found.points.value == pytest.approx(0.15)
    wanted = mean_interval([0.1, 0.2])
    assert (found.points.lo, found.points.hi) == pytest.approx((wanted.lo, wanted.hi))
    assert (found.accuracy.value, found.fp32_accuracy.value) == pytest.approx((35.15, 35.0))


def test_one_seed_and_other_protocols_give_no_difference() -> None:
    outcomes = [outcome("fp32", 0, 300), outcome("bf16", 0, 300), outcome("fp32", 1, 300)]
    assert rec.differences(outcomes) == []
    assert rec.differences([*outcomes, outcome("bf16", 1, 300, protocol="longer")]) == []


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ((-1, 0, 1), "no worse"),
        ((-6, -7, -6), "no worse"),
        ((-30, -31, -32), "worse"),
        ((-30, 0, 30), "undecided"),
        ((0, 0), "undecided"),
    ],
)
def test_verdicts_on_low_precision(gaps: tuple[int, ...], verdict: str) -> None:
    """Gaps in images of 1,000, by seed."""
    pairs = [(outcome("fp32", seed, 500), outcome("bf16", seed, 500 + gap)) for seed, gap in enumerate(gaps)]
    (found,) = rec.differences([each for pair in pairs for each in pair])
    assert found.verdict == verdict


def test_a_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "training.json"
    assert rec.load(path) == rec.Document()
    document = rec.Document(machine={"cpus": 2}, speed=rounds((1.0,), (2.0,)), quality=[outcome("fp32", 0, 300)])
    rec.save(path, document)
    assert rec.load(path) == document
    assert [each.name for each in path.parent.iterdir()] == ["training.json"]


def test_tables_say_what_was_measured_and_what_was_not() -> None:
    document = rec.Document(speed=rounds((1.0, 1.0), (2.5, 2.7)))
    text = tables.render(document)
    assert "| `cifar:resnet20` | bf16 | robustness, use_best=0 | 2.60 (2.50–2.70) | 2.30 |" in text
    assert "| aim | 512 | 197 |" in text
    assert text.endswith("Not measured yet.\n")
    document.quality = [outcome(arm, seed, 300 + seed) for seed in (0, 1, 2) for arm in ("fp32", "bf16")]
    text = tables.render(document)
    assert "| bf16 | 3 | 30.10 | 30.10 | 0.00 [0.00, 0.00] | no worse |" in text
