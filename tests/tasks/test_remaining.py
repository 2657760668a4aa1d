"""The one estimate of a run's time: closed forms, and what it may not do when steps arrive."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import pytest

from robustray.tasks.cost import Part
from robustray.tasks.report.numbers import format_left
from robustray.tasks.report.remaining import Left, Remaining
from robustray.tasks.study import STUDIES, load_outline


def plan(*steps: tuple[str, int, float]) -> tuple[Part, ...]:
    return tuple(Part(step=step, items=items, cost=cost) for step, items, cost in steps)


def seconds(found: Left | None) -> float:
    assert found is not None
    return found.seconds


THREE = plan(("train", 4, 30.0), ("clean", 100, 0.1), ("attack", 100, 2.0))


def walk(parts: Sequence[Part], true: dict[str, float], blocks: dict[str, int]) -> Iterator[tuple[Remaining, float]]:
    """One worker, one step after the other; after every event the estimate and the time that is truly left."""
    remaining, now = Remaining(parts=parts), 0.0
    truly = sum(part.items * true[part.step] for part in parts)
    for part in parts:
        remaining.asked(part.step, part.items, 0, now)
        yield remaining, truly - now
        for first in range(0, part.items, blocks[part.step]):
            n = min(blocks[part.step], part.items - first)
            now += n * true[part.step]
            remaining.computed(part.step, n, n * true[part.step], now)
            yield remaining, truly - now


def test_a_plan_that_is_right_gives_the_time_that_is_left() -> None:
    """Costs of a plan are relative: here a unit is 1.7 s."""
    true = {part.step: 1.7 * part.cost for part in THREE}
    whole = sum(part.items * true[part.step] for part in THREE)
    found = None
    for remaining, truly in walk(THREE, true, {"train": 1, "clean": 30, "attack": 7}):
        found = remaining.left(whole - truly)
        assert found is None or (found.seconds == pytest.approx(truly, abs=1e-6) and not found.at_least)
    assert found is not None


def test_between_two_blocks_the_clock_goes_on_and_stops_where_the_block_should_have_ended() -> None:
    remaining = Remaining(parts=THREE)
    remaining.asked("train", 4, 0, 0.0)
    remaining.computed("train", 1, 30.0, 30.0)
    assert [seconds(remaining.left(now)) for now in (30.0, 40.0, 60.0, 500.0)] == [300.0, 290.0, 270.0, 270.0]


@pytest.mark.parametrize("seed", range(20))
def test_a_step_that_begins_changes_nothing(seed: int) -> None:
    """What was reported: 43 s, then 1.4 s, then 22 s, as steps were added."""
    drawn = random.Random(seed)
    parts = plan(*((name, drawn.randint(1, 300), drawn.uniform(0.01, 30)) for name in "abcdef"))
    remaining, now = Remaining(parts=parts), 0.0
    for part in parts:
        before = remaining.left(now)
        cuts = sorted(drawn.randint(0, part.items) for _ in range(3))
        for total in (b - a for a, b in zip([0, *cuts], [*cuts, part.items], strict=True)):
            remaining.asked(part.step, total, 0, now)  # in four handles
        assert (before is None) == (remaining.left(now) is None)
        assert before is None or seconds(remaining.left(now)) == pytest.approx(before.seconds)
        spent = part.items * part.cost * drawn.uniform(0.3, 3)
        now += spent
        remaining.computed(part.step, part.items, spent, now)
    assert seconds(remaining.left(now)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", range(50))
def test_a_plan_that_errs_by_a_factor_misleads_by_no_more_than_its_square(seed: int) -> None:
    drawn, factor = random.Random(seed), 3.0
    parts = plan(*((name, drawn.randint(1, 200), drawn.uniform(0.1, 10)) for name in "abcde"))
    true = {part.step: part.cost * factor ** drawn.uniform(-1, 1) for part in parts}
    blocks = {part.step: drawn.randint(1, 50) for part in parts}
    whole = sum(part.items * true[part.step] for part in parts)
    found = None
    for remaining, truly in walk(parts, true, blocks):
        found = remaining.left(whole - truly)
        if found is not None and truly > 1e-6:
            assert factor**-2 <= found.seconds / truly <= factor**2


@pytest.mark.parametrize("seed", range(20))
def test_one_block_moves_the_estimate_by_no_more_than_what_it_may_teach(seed: int) -> None:
    """Within a step each block costs what it should or three times as much: once a tenth is done, the total moves by at
    most a third of itself."""
    drawn = random.Random(seed)
    costs = [drawn.choice([1.0, 3.0]) for _ in range(200)]
    remaining, totals = Remaining(parts=plan(("attack", 200, 1.0))), []
    remaining.asked("attack", 200, 0, 0.0)
    for now, cost in zip(accumulate(costs), costs, strict=True):
        remaining.computed("attack", 1, cost, now)
        totals.append(now + seconds(remaining.left(now)))
    late = totals[20:]
    assert all(abs(b - a) / a < 0.1 for a, b in pairwise(late))
    assert totals[-1] == pytest.approx(sum(costs)) and max(late) / min(late) < 1 + 1 / 3


def test_survivors_are_expected_to_go_on_as_many_as_they_were() -> None:
    parts = (Part(step="attack", items=400, cost=1.0, times=4),)
    remaining, now = Remaining(parts=parts), 0.0
    left = []
    for alive in (100, 50, 20, 20):
        remaining.asked("attack", alive, 0, now)
        now += alive
        remaining.computed("attack", alive, float(alive), now)
        left.append(seconds(remaining.left(now)))
    assert left == pytest.approx([300, 2 * 75, 170 / 3, 0])


def test_what_is_in_the_store_takes_no_time() -> None:
    remaining = Remaining(parts=THREE)
    remaining.asked("train", 4, 4, 0.0)
    remaining.asked("clean", 100, 0, 0.0)
    remaining.computed("clean", 100, 10.0, 10.0)
    left = remaining.left(10.0)
    assert seconds(left) == pytest.approx(200) and left is not None and not left.at_least


def test_what_nobody_knows_is_said_to_be_missing() -> None:
    unplanned = Remaining()
    unplanned.asked("mine", 10, 0, 0.0)
    assert unplanned.left(0.0) is None, "before anything was computed there is no estimate"
    unplanned.computed("mine", 5, 5.0, 5.0)
    assert unplanned.left(5.0) == Left(5.0, True)

    remaining = Remaining(parts=plan(("attack", 10, 1.0)))
    remaining.asked("attack", 10, 0, 0.0)
    remaining.computed("attack", 5, 5.0, 5.0)
    assert remaining.left(5.0) == Left(5.0, False)
    remaining.asked("mine", 3, 0, 5.0)
    assert remaining.left(5.0) == Left(5.0, True)
    remaining.computed("mine", 1, 2.0, 7.0)
    assert remaining.left(7.0) == Left(9.0, False)


def test_two_workers_take_half_the_time_whoever_answers_first() -> None:
    remaining = Remaining(parts=plan(("attack", 10, 1.0)), workers=2)
    remaining.asked("attack", 10, 0, 0.0)
    for finished in range(1, 9):
        now = 10.0 * ((finished + 1) // 2)
        remaining.computed("attack", 1, 10.0, now)
        assert seconds(remaining.left(now)) == pytest.approx(50 - now)


def test_a_single_job_is_not_shared_by_two_workers() -> None:
    remaining = Remaining(parts=plan(("quick", 4, 1.0), ("train", 1, 100.0)), workers=2)
    remaining.asked("quick", 4, 0, 0.0)
    for now in (1.0, 1.0, 2.0, 2.0):
        remaining.computed("quick", 1, 1.0, now)
    remaining.asked("train", 1, 0, 2.0)
    assert seconds(remaining.left(2.0)) == pytest.approx(100)
    assert seconds(remaining.left(52.0)) == pytest.approx(50)


def test_workers_that_were_not_counted_are_found_out() -> None:
    remaining = Remaining(parts=plan(("attack", 80, 1.0)), workers=None)
    remaining.asked("attack", 80, 0, 0.0)
    for _ in range(8):
        remaining.computed("attack", 5, 10.0, 10.0)  # eight at once
    assert seconds(remaining.left(10.0)) == pytest.approx(10)


def test_requests_of_a_step_that_differ_in_cost_have_a_part_each() -> None:
    """What was reported: networks of ten minutes, then many of ten seconds, all "train": 14 hours left of two."""
    parts = plan(("train", 4, 100.0), ("train", 50, 2.0), ("test", 10, 1.0))
    remaining, now = Remaining(parts=parts), 0.0
    truly = sum(part.items * part.cost for part in parts)
    for part in parts:
        remaining.asked(part.step, part.items, 0, now)
        for _ in range(part.items):
            now += part.cost
            remaining.computed(part.step, 1, part.cost, now)
            assert seconds(remaining.left(now)) == pytest.approx(truly - now, abs=1e-6)
    remaining.computed("train", -3, 0.0, now)
    assert seconds(remaining.left(now)) == pytest.approx(3 * 2.0), "what is lost belongs to the last request"


def test_a_damaged_block_is_work_again() -> None:
    remaining = Remaining(parts=plan(("attack", 10, 1.0)))
    remaining.asked("attack", 10, 8, 0.0)
    remaining.computed("attack", 2, 4.0, 4.0)
    remaining.computed("attack", -5, 0.0, 4.0)
    assert seconds(remaining.left(4.0)) == pytest.approx(10)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_says_what_its_steps_are_and_cost(name: str) -> None:
    """That the counts are those of a run is part of the contract (tests/contract)."""
    outline = load_outline(name)
    for settings in outline.sizes.values():
        work = outline.estimate(settings)
        assert work.parts and work.unit is not None and work.cost > 0
        steps = [part.step for part in work.parts]
        again = [part.step for a, part in pairwise(work.parts) if a.step == part.step]
        assert len(steps) - len(again) == len(set(steps)), "parts of a step stand side by side, as they are requested"
        assert all(part.items >= 0 and part.cost >= 0 and part.times >= 1 for part in work.parts)


def test_a_study_that_is_told_to_train_nothing_counts_no_training() -> None:
    outline = load_outline("labels")
    work = outline.estimate(dataclasses.replace(outline.sizes["quick"], epochs=0))
    assert {part.step: part.items for part in work.parts if part.step != "crowd"} == {"train": 0, "predict": 0}
    assert work.cost > 0 and work.counts["training images"] == 0


@pytest.mark.parametrize(
    ("left", "at_least", "words"),
    [
        (0.3, False, "about 1 s left"),
        (7.4, False, "about 7 s left"),
        (43.2, False, "about 45 s left"),
        (61.0, True, "at least 1 min left"),
        (200.0, False, "about 3 min left"),
        (3_599.0, False, "about 60 min left"),
        (7_700.0, False, "about 2 h 10 min left"),
    ],
)
def test_the_words_are_no_finer_than_an_estimate(left: float, at_least: bool, words: str) -> None:
    assert format_left(left, at_least) == words
