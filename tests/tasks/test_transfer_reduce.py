"""The study of transfer: who chooses a source, and what gains are."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.statistics import mean_interval, mean_over_seeds, paired_difference
from robustray.tasks.studies.transfer import reduce
from robustray.tasks.studies.transfer.kinds import FIXED, RANDOM, STANDARD
from robustray.tasks.studies.transfer.metric import ACCURACY, mean_per_class
from tests.tasks.transfer_rows import fixed, transfers

# -- who chooses -------------------------------------------------------------------------------------------------------


def test_a_chain_has_no_part_in_the_choice_that_it_is_judged_by() -> None:
    """A is far better by the validation of chain 0 alone, B a little in the others: chain 0 is given B, they get A."""
    part = fixed(
        transfers(
            {STANDARD: [5, 5, 5], "A": [9, 5, 5], "B": [6, 7, 7]},
            {STANDARD: [0.5] * 3, "A": [1.0, 0.5, 0.5], "B": [0.1, 0.6, 0.6]},
        )
    )
    assert reduce.choose(part, ["A", "B"]) == {0: "B", 1: "A", 2: "A"}
    found = reduce.chosen_gain(part, ["A", "B"])
    assert found.value == pytest.approx((0.1 + 0.0 + 0.0) / 3) and found.n == 10


def test_test_images_have_no_part_in_the_choice() -> None:
    names = {STANDARD: [0.5] * 2, "A": [0.7, 0.7], "B": [0.6, 0.6]}
    for counts in ([1, 1], [9, 9]):
        part = fixed(transfers({STANDARD: [5, 5], "A": counts, "B": [8, 8]}, names))
        assert set(reduce.choose(part, ["A", "B"]).values()) == {"A"}
        assert reduce.chosen_gain(part, ["A", "B"]).value == pytest.approx((counts[0] - 5) / 10)


def test_all_draws_of_the_other_chains_choose() -> None:
    """A wins in the first draw, B by more in the second."""
    counts = {STANDARD: [5, 5], "A": [6, 6], "B": [7, 7]}
    first, second = (
        transfers(counts, {STANDARD: [0.5] * 2, "A": [a, a], "B": [b, b]}, draw=draw)
        for draw, (a, b) in enumerate([(0.7, 0.6), (0.5, 0.9)])
    )
    assert set(reduce.choose(fixed(first), ["A", "B"]).values()) == {"A"}
    assert set(reduce.choose(fixed(pd.concat([first, second])), ["A", "B"]).values()) == {"B"}


def test_equal_candidates_give_the_first_and_a_single_chain_none() -> None:
    frame = transfers(
        {STANDARD: [5, 5], "A": [6, 6], "B": [7, 7]}, {name: [0.1 + 0.2, 0.3] for name in (STANDARD, "A", "B")}
    )
    assert set(reduce.choose(fixed(frame), ["B", "A"]).values()) == {"B"}
    alone = fixed(frame[frame.seed == 0])
    assert reduce.choose(alone, ["A", "B"]) == {}
    assert reduce.chosen_gain(alone, ["A", "B"]).n == 0


def test_the_choice_among_alike_sources_gains_nothing_on_average() -> None:
    """The null: candidates that differ by chance only, validated on the very images they are tested on. To choose in
    every chain by its own images would gain two points."""
    rng, gains, own = np.random.default_rng(0), [], []
    for _ in range(60):
        hits = {name: rng.binomial(400, 0.5, size=3).tolist() for name in (STANDARD, "A", "B", "C")}
        frame = transfers(hits, {name: [right / 400 for right in found] for name, found in hits.items()}, n=400)
        gains.append(reduce.chosen_gain(fixed(frame), ["A", "B", "C"]).value)
        best = np.max([hits[name] for name in "ABC"], axis=0)
        own.append(float(np.mean(best - np.array(hits[STANDARD]))) / 400)
    interval = mean_interval(gains, 0.99)
    assert interval.lo < 0 < interval.hi
    assert mean_interval(own, 0.99).lo > interval.hi


# -- gains -------------------------------------------------------------------------------------------------------------


def test_a_gain_is_the_mean_of_paired_differences() -> None:
    frame = transfers({STANDARD: [5, 6], "A": [7, 9]})
    found = reduce.fixed_gain(fixed(frame), "A")
    assert found.value == pytest.approx(0.25)
    ten = np.arange(10)
    ends = [paired_difference(ten < a, ten < b).lo for a, b in ((7, 5), (9, 6))]
    assert found.lo <= np.mean(ends)
    table = reduce.transfer_table(frame, [STANDARD, "A"])
    assert table[table.source == STANDARD].gain.isna().all(), "a source has no gain over itself"
    assert table[table.source == "A"].accuracy.tolist() == pytest.approx([0.8, 0.8])


def test_chains_of_their_own_test_images_have_students_t_over_chains() -> None:
    """Gains of 2, 3 and 4 in 10 images: the mean and the half-width by hand, t = 4.303 on two degrees of freedom."""
    right = {STANDARD: [5, 5, 5], "A": [7, 8, 9]}
    own, shared = (fixed(transfers(right, shared=shared)) for shared in (False, True))
    found = reduce.fixed_gain(own, "A")
    half = 4.302652729749462 * 0.1 / math.sqrt(3)
    assert (found.value, found.lo, found.hi) == pytest.approx((0.3, 0.3 - half, 0.3 + half)) and found.n == 10
    wider = reduce.fixed_gain(shared, "A")
    assert wider.value == found.value and wider.lo < found.lo and wider.hi > found.hi, "images count on top"
    one = own[own.seed == 0]
    ten = np.arange(10)
    assert reduce.fixed_gain(one, "A").interval == pytest.approx(paired_difference(ten < 7, ten < 5).interval)


def test_draws_are_nested_in_chains() -> None:
    """Two draws of each chain are its mean and no more chains: the interval is that over the chains' means."""
    draws = [
        transfers({STANDARD: [5, 5], "A": counts}, shared=False, draw=draw)
        for draw, counts in enumerate([[6, 8], [8, 8]])
    ]
    both, means = fixed(pd.concat(draws)), mean_interval([0.2, 0.3])
    found = reduce.fixed_gain(both, "A")
    assert (found.value, *found.interval) == pytest.approx((means.value, max(-1, means.lo), min(1, means.hi)))
    assert reduce.gains_by_seed(both, "A") == pytest.approx([0.2, 0.3])
    runs = reduce.run_table(pd.concat(draws))
    assert reduce.chain_accuracy(runs, FIXED, "t", "A") == pytest.approx([0.7, 0.8])


def test_a_gain_over_targets_is_their_mean_in_every_chain() -> None:
    right = {STANDARD: [5, 5, 5], "A": [7, 8, 9], RANDOM: [4, 4, 4]}
    other = {STANDARD: [5, 6, 5], "A": [4, 5, 6], RANDOM: [2, 2, 2]}
    parts = [
        reduce.part_of(transfers(each, shared=False, target=name), FIXED, name)
        for name, each in (("t", right), ("u", other))
    ]
    found = reduce.over_targets(parts, lambda part: dict.fromkeys(reduce.seeds_of(part), "A"))
    by_hand = mean_interval([(0.2 - 0.1) / 2, (0.3 - 0.1) / 2, (0.4 + 0.1) / 2])
    assert (found.value, *found.interval) == pytest.approx((by_hand.value, *by_hand.interval))
    assert reduce.over_targets(parts, lambda part: {}).n == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_gains_of_several_sizes_hold_together(weighted: bool) -> None:
    """Bonferroni by hand: two sizes, so that each interval is at 97.5 %; the others have none."""
    right = {STANDARD: [5, 6], "A": [7, 9], "B": [6, 6], "other seed": [5, 5]}
    metric = mean_per_class(np.arange(10) % 3, 3) if weighted else ACCURACY
    frame = transfers(right, metric=metric)
    table = reduce.transfer_table(frame, list(right), ["A", "B"])
    ten = np.arange(10)
    for row in table.itertuples():
        if row.source not in "AB":
            assert math.isnan(row.sim_lo) and math.isnan(row.sim_hi)
            continue
        pairs = zip(right[row.source], right[STANDARD], strict=True)
        parts = [metric.difference(ten < mine, ten < first, 0.975) for mine, first in pairs]
        wide = mean_over_seeds(parts, level=0.975)
        assert (row.sim_lo, row.sim_hi) == pytest.approx(wide.interval) and row.gain == pytest.approx(wide.value)
        assert row.sim_lo <= row.gain_lo <= row.gain_hi <= row.sim_hi and row.sim_lo < row.gain_lo
    (alone,) = reduce.transfer_table(fixed(frame), ["B", "A"], ["A"])[1:].itertuples()
    assert (alone.sim_lo, alone.sim_hi) == pytest.approx((alone.gain_lo, alone.gain_hi)), "a single one as it was"


def test_choices_of_several_targets_hold_together_and_shrunk_ones_by_themselves() -> None:
    right = {STANDARD: [5, 5, 5], "A": [7, 8, 9]}
    frame = pd.concat(
        [transfers(right, shared=False, target=name, side=side) for name, side in (("t", 0), ("u", 0), ("t small", 8))]
    )
    table = reduce.choice_table(frame, {"robust": ["A"]})
    for row in table.itertuples():
        level = 0.95 if row.target == "t small" else 0.975
        wide = mean_interval([0.2, 0.3, 0.4], level)
        assert (row.sim_lo, row.sim_hi) == pytest.approx((max(-1, wide.lo), min(1, wide.hi)))


def test_robust_accuracy_is_of_the_images_that_were_attacked() -> None:
    frame = transfers({STANDARD: [5, 5], "A": [6, 6]})
    assert math.isnan(reduce.robust_accuracy(fixed(frame), "A").value)
    flags = [np.arange(4) < count for count in (2, 3)]
    frame["robust"] = [
        flags[seed] if name == "A" else None for name, seed in zip(frame.source, frame.seed, strict=True)
    ]
    found = reduce.robust_accuracy(fixed(frame), "A")
    assert found.value == pytest.approx(5 / 8) and found.n == 4
    table = reduce.transfer_table(frame, [STANDARD, "A"])
    assert table.attacked.tolist() == [0, 4] * 2


# -- mean per class ----------------------------------------------------------------------------------------------------


def test_mean_per_class_is_the_mean_of_recalls_and_of_weighted_hits() -> None:
    """By hand: classes of 2, 3 and 5 images, of which 1, 3 and 1 are right: (1/2 + 1 + 1/5) / 3 = 17/30, where accuracy
    is 1/2. With weights n / (K n_c) = 10/6, 10/9, 10/15 the hits are (10/6 + 3 x 10/9 + 10/15) / 10."""
    labels = np.array([2, 0, 1, 2, 1, 2, 0, 2, 1, 2])
    correct = np.array([1, 1, 1, 0, 1, 0, 0, 0, 1, 0], dtype=bool)
    metric = mean_per_class(labels, 3)
    found = metric.of(correct)
    assert found.value == pytest.approx(17 / 30) and found.n == 10 and ACCURACY.of(correct).value == 0.5
    weights = 10 / (3 * np.bincount(labels))[labels]
    assert found.value == pytest.approx((weights * correct).mean()) and weights.mean() == pytest.approx(1)
    other = np.array([0, 1, 1, 1, 0, 0, 0, 0, 1, 0], dtype=bool)
    gain = metric.difference(correct, other)
    assert gain.value == pytest.approx((weights * (correct.astype(float) - other)).mean())
    assert gain.lo < gain.value < gain.hi
    with pytest.raises(InputError, match="every class, and class 1 has none"):
        mean_per_class(np.array([0, 2, 2]), 3)


def test_a_table_in_mean_per_class_ignores_how_large_classes_are() -> None:
    """A class three times as often: accuracy moves, mean per class and its gains do not."""
    right = {STANDARD: [4, 5], "A": [6, 7]}
    frame = transfers(right)
    labels = (np.arange(10) < 5).astype(int)
    more = np.concatenate([np.arange(10), np.flatnonzero(labels), np.flatnonzero(labels)])
    again = frame.assign(correct=[correct[more] for correct in frame.correct])
    names = list(right)
    plain, large = (reduce.transfer_table(each, names) for each in (frame, again))
    assert (plain.accuracy < large.accuracy).all()
    weighted = [
        each.assign(metric=mean_per_class(places, 2)) for each, places in ((frame, labels), (again, labels[more]))
    ]
    tables = [reduce.transfer_table(each, names) for each in weighted]
    for name in ("accuracy", "gain"):
        np.testing.assert_allclose(tables[0][name], tables[1][name])
    columns = ["accuracy", "lo", "hi", "gain", "gain_lo", "gain_hi"]
    np.testing.assert_allclose(plain[columns], tables[0][columns])  # the two classes of the first are equally large
    assert (tables[0].gain_lo < tables[1].gain_lo)[1::2].all(), "more images, a shorter interval"
    assert reduce.run_table(weighted[1]).test.tolist() == pytest.approx([0.4, 0.5, 0.6, 0.7] * 2)
    assert reduce.gains_by_seed(fixed(weighted[1]), "A") == pytest.approx([0.2, 0.2])
