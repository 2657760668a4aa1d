"""Shares of images that do not count alike: equal weights, all right, and the promised coverage."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from robustray.tasks.errors import InputError
from robustray.tasks.statistics import paired_difference, proportion, weighted_difference, weighted_proportion


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_equal_weights_are_none(level: float) -> None:
    rng = np.random.default_rng(0)
    for n, share in ((1, 0.5), (12, 0.0), (12, 1.0), (200, 0.3)):
        a, b, weights = rng.random(n) < share, rng.random(n) < 0.5, np.full(n, 7.0)
        for weighted, plain in (
            (weighted_proportion(a, weights, level), proportion(a, level)),
            (weighted_difference(a, b, weights, level), paired_difference(a, b, level)),
        ):
            assert weighted.n == plain.n == n
            assert (weighted.value, *weighted.interval) == pytest.approx((plain.value, *plain.interval), abs=1e-9)


def test_an_image_of_weight_two_is_not_two_images() -> None:
    """The value is that of the doubled images, the interval is wider."""
    hits, weights = np.arange(12) < 5, np.array([2.0, 2, 2, 1, 1, 1, 1, 1, 1, 1, 2, 2])
    doubled = proportion(np.repeat(hits, weights.astype(int)))
    found = weighted_proportion(hits, weights)
    assert found.value == pytest.approx(doubled.value) and found.n == 12
    assert found.hi - found.lo > doubled.hi - doubled.lo


def test_all_right_has_a_width_that_the_rarest_class_sets() -> None:
    """Ten images that count as much as 990: what is known is about as much as of 40 (Kish), not of 1,000."""
    weights = np.repeat([50.0, 50 / 99], [10, 990])
    right = np.ones(1_000, dtype=bool)
    found, kish = weighted_proportion(right, weights), 1_000**2 / np.square(weights).sum()
    assert found.value == found.hi == 1 and found.lo == pytest.approx(
        proportion(np.ones(round(kish), bool)).lo, abs=2e-3
    )
    almost = right.copy()
    almost[-1] = False  # of small weight: no reason to be surer of the ten
    assert weighted_proportion(almost, weights).lo <= found.lo
    none = weighted_difference(right, right, weights)
    assert none.value == 0 and none.lo == pytest.approx(-none.hi) and none.hi > paired_difference(right, right).hi


def test_what_cannot_be_weighted() -> None:
    empty = np.zeros(0, dtype=bool)
    assert math.isnan(weighted_proportion(empty, []).value) and weighted_difference(empty, empty, []).n == 0
    for weights in ([1.0, 1.0], [1.0, 0.0, 1.0], [1.0, math.nan, 1.0]):
        with pytest.raises(InputError, match="one for each of 3 images"):
            weighted_proportion(np.ones(3, dtype=bool), weights)
    with pytest.raises(InputError, match="same images"):
        weighted_difference(np.ones(3, dtype=bool), np.ones(2, dtype=bool), np.ones(3))


CASES: dict[str, tuple[Sequence[int], Sequence[float], Sequence[float]]] = {
    "four classes, 10 to 200 images": ((10, 30, 80, 200), (0.9, 0.3, 0.99, 0.6), (0.8, 0.35, 0.95, 0.6)),
    "many small classes": ((10, 6) * 10, (0.9,) * 20, (0.85,) * 20),
    "the rare ones are hard": ((20, 20, 300), (0.3, 0.5, 0.95), (0.4, 0.4, 0.9)),
}


@pytest.mark.parametrize("case", CASES)
def test_mean_per_class_is_covered(case: str) -> None:
    """400 intervals of 95 %: at least 92.5 % hold the truth (three standard errors are 3.3 points)."""
    sizes, recalls, others = CASES[case]
    rng, weights = np.random.default_rng(0), np.repeat(1 / np.array(sizes), sizes)

    def spread(values: Sequence[float]) -> NDArray[np.float64]:
        return np.repeat(values, sizes)

    mean, difference = np.mean(recalls), np.mean(recalls) - np.mean(others)
    covered = np.zeros(2)
    for _ in range(400):
        drawn, fresh = rng.random((2, len(weights)))
        other = np.where(rng.random(len(weights)) < 0.7, drawn, fresh)  # outcomes of one image hang together
        a, b = drawn < spread(recalls), other < spread(others)
        found = weighted_proportion(a, weights), weighted_difference(a, b, weights)
        covered += [each.lo <= truth <= each.hi for each, truth in zip(found, (mean, difference), strict=True)]
    assert (covered / 400 > 0.925).all()
