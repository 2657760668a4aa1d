"""Intervals against SciPy, published examples, and their promised coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from robustray.tasks.errors import InputError
from robustray.tasks.statistics import (
    Estimate,
    mean_interval,
    median_interval,
    newcombe_difference,
    paired_difference,
    proportion,
    wilson,
)
from robustray.tasks.statistics.clusters import clustered_difference, clustered_mean
from robustray.tasks.statistics.intervals import clopper_pearson


def pairs(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, only_a, only_b, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (376, 1000), (1, 10_000)])
def test_wilson_is_scipys(k: int, n: int, level: float) -> None:
    expected = stats.binomtest(k, n).proportion_ci(level, method="wilson")
    lo, hi = wilson(k, n, level)
    assert float(lo) == pytest.approx(expected.low, abs=1e-12)
    assert float(hi) == pytest.approx(expected.high, abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 10), (61, 100)])
def test_clopper_pearson_is_scipys(k: int, n: int) -> None:
    expected = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    assert np.allclose(clopper_pearson(k, n), (expected.low, expected.high))


def test_wilson_is_elementwise_and_knows_nothing_of_nothing() -> None:
    lo, hi = wilson([[0], [5]], [5, 10])
    assert lo.shape == hi.shape == (2, 2)
    assert (lo <= hi).all()
    assert [float(end) for end in wilson(0, 0)] == [0.0, 1.0]
    assert float(wilson(0, 7)[0]) == 0.0
    assert float(wilson(7, 7)[1]) == 1.0
    for bad in ((3, 2), (-1, 2), (float("nan"), 2)):
        with pytest.raises(InputError, match="0 <= successes <= n"):
            wilson(*bad)


@pytest.mark.parametrize("level", [0.0, 1.0, 95, float("nan")])
def test_a_level_is_a_probability(level: float) -> None:
    for call in (
        lambda: wilson(1, 2, level),
        lambda: clopper_pearson(1, 2, level),
        lambda: mean_interval([1.0, 2.0], level),
        lambda: median_interval([1.0, 2.0], level),
        lambda: clustered_mean([1.0, 2.0], [0, 1], level),
        lambda: clustered_difference([True, False], [False, False], [0, 1], level),
    ):
        with pytest.raises(InputError, match="level"):
            call()


def test_a_proportion_counts_flags() -> None:
    estimate = proportion(np.array([True, False, True, True]))
    assert (estimate.value, estimate.n) == (0.75, 4)
    assert estimate.interval == tuple(float(end) for end in wilson(3, 4))
    empty = proportion(np.zeros(0, dtype=bool))
    assert math.isnan(empty.value)
    assert empty.interval == (0.0, 1.0)
    with pytest.raises(InputError, match="boolean"):
        proportion([0.5, 1.0])


@pytest.mark.parametrize(
    ("a", "m", "b", "n", "lo", "hi"),
    [  # Newcombe 1998 (independent), table II, method 10
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (10, 10, 0, 20, 0.6791, 1.0),
        (0, 10, 0, 20, -0.1611, 0.2775),
    ],
)
def test_independent_difference_reproduces_newcombes_table(
    a: int, m: int, b: int, n: int, lo: float, hi: float
) -> None:
    estimate = newcombe_difference(a, m, b, n)
    assert estimate.value == pytest.approx(a / m - b / n)
    assert estimate.interval == pytest.approx((lo, hi), abs=6e-5)
    mirrored = newcombe_difference(b, n, a, m)
    assert mirrored.interval == pytest.approx((-hi, -lo), abs=6e-5)


def test_paired_difference_inverts_the_score_test() -> None:
    # Independent derivation: under p_a - p_b = d maximise the likelihood of the table numerically, then the score
    # statistic; at both ends of the interval its size is the normal quantile.
    a, b, c, n = 12, 40, 9, 150
    estimate = paired_difference(*pairs(a, b, c, n - a - b - c))
    assert estimate.value == pytest.approx((b - c) / n)
    for end in estimate.interval:
        q = np.linspace(max(0, -end), (1 - end) / 2, 2_000_001)[1:-1]  # P(only b); P(only a) = q + end
        likelihood = b * np.log(q + end) + c * np.log(q) + (n - b - c) * np.log(1 - 2 * q - end)
        best = q[likelihood.argmax()]
        statistic = (b - c - n * end) / np.sqrt(n * (2 * best + end - end**2))
        assert abs(statistic) == pytest.approx(stats.norm.ppf(0.975), abs=1e-4)


def test_paired_difference_at_zero_is_mcnemars_test() -> None:
    # the interval excludes 0 exactly if (b - c)^2 / (b + c) > z^2
    for b in range(30):
        for c in range(30):
            estimate = paired_difference(*pairs(20, b, c, 40))
            rejects = b + c > 0 and (b - c) ** 2 / (b + c) > stats.norm.ppf(0.975) ** 2
            assert (estimate.lo > 0 or estimate.hi < 0) == rejects, (b, c)


def test_paired_difference_at_the_edges() -> None:
    same = paired_difference(*pairs(30, 0, 0, 20))
    assert same.value == 0
    assert same.lo == pytest.approx(-same.hi)
    assert 0 < same.hi < 0.1
    opposite = paired_difference(*pairs(0, 50, 0, 0))
    assert (opposite.value, opposite.hi) == (1.0, 1.0)
    assert 0.8 < opposite.lo < 1
    reverse = paired_difference(*pairs(0, 0, 50, 0))
    assert reverse.interval == (-1.0, -opposite.lo)
    nothing = paired_difference([], [])
    assert math.isnan(nothing.value)
    assert nothing.interval == (-1.0, 1.0)
    a, b = pairs(5, 9, 2, 40)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert forth.interval == pytest.approx((-back.hi, -back.lo))
    with pytest.raises(InputError, match="same images"):
        paired_difference([True], [True, False])
    with pytest.raises(InputError, match="boolean"):
        paired_difference([1, 0], [1, 1])


@pytest.mark.parametrize("cells", [(0.3, 0.1, 0.1, 0.5), (0.9, 0.06, 0.01, 0.03), (0.02, 0.01, 0.03, 0.94)])
def test_paired_difference_covers_as_promised(cells: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    truth, repetitions, n = cells[1] - cells[2], 1_500, 200
    hits = 0
    for counts in rng.multinomial(n, cells, size=repetitions):
        estimate = paired_difference(*pairs(*counts))
        hits += estimate.lo <= truth <= estimate.hi
    assert 0.92 < hits / repetitions < 0.985  # with eight disagreeing pairs expected, the last row has 93 %


@pytest.mark.parametrize(("p", "q"), [(0.4, 0.5), (0.02, 0.05)])
def test_independent_difference_covers_as_promised(p: float, q: float) -> None:
    rng = np.random.default_rng(0)
    draws = zip(rng.binomial(200, p, 3_000), rng.binomial(300, q, 3_000), strict=True)
    hits = [e.lo <= p - q <= e.hi for e in (newcombe_difference(int(a), 200, int(b), 300) for a, b in draws)]
    assert 0.93 < np.mean(hits) < 0.985


def test_mean_interval_is_students() -> None:
    values = [0.61, 0.58, 0.66, 0.63]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    estimate = mean_interval(values)
    assert estimate.interval == pytest.approx((expected.low, expected.high))
    assert mean_interval([0.5]) == Estimate(value=0.5, lo=-math.inf, hi=math.inf, n=1)
    assert mean_interval([0.5, 0.5]).interval == (0.5, 0.5)
    for bad in ([], [1.0, float("nan")], [[1.0]]):
        with pytest.raises(InputError, match="finite"):
            mean_interval(bad)


def test_median_interval_is_between_order_statistics() -> None:
    """n = 10: P(2 <= Binomial(10, 1/2) <= 8) = .979; the next narrower interval has .891."""
    found = median_interval(np.arange(1.0, 11.0)[::-1])
    assert (found.value, found.interval, found.n) == (5.5, (2.0, 9.0), 10)
    assert median_interval([3.0, 1.0, 2.0, 5.0, 4.0]).interval == (-math.inf, math.inf), "five are too few"
    assert median_interval(range(6)).interval == (0.0, 5.0)
    assert math.isnan(median_interval([]).value)
    assert median_interval([*range(5), math.inf]).interval == (0.0, math.inf), "an infinite width is a width"
    for bad in ([1.0, math.nan] * 3, [[1.0, 2.0]]):
        with pytest.raises(InputError, match="a median needs"):
            median_interval(bad)
    rng = np.random.default_rng(0)
    held = [e.lo <= np.log(2) <= e.hi for e in map(median_interval, rng.exponential(size=(2_000, 25)))]
    assert 0.945 < np.mean(held) < 0.975  # exactly .957
