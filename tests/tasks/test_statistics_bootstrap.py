"""The bootstrap against SciPy at equal draws, closed forms, enumeration, and its promised coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from robustray.tasks.errors import InputError
from robustray.tasks.statistics import (
    bootstrap,
    bootstrap_mean,
    by_cell,
    by_cluster,
    by_unit,
    clustered_mean,
    mean_interval,
    resample,
)
from robustray.tasks.statistics.bootstrap import Kind

KINDS: tuple[Kind, ...] = ("percentile", "basic", "bca")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_one_sample_is_scipys_to_the_last_digits(kind: Kind, level: float) -> None:
    """The same draws, the same three formulas; a skewed statistic, so that BCa's corrections matter."""
    x = np.random.default_rng(0).lognormal(size=37)
    theirs = stats.bootstrap(
        (x,), np.mean, n_resamples=999, confidence_level=level, method=kind, rng=np.random.default_rng(5)
    ).confidence_interval
    ours = bootstrap_mean(x, kind=kind, level=level, num_resamples=999, seed=5)
    assert ours.interval == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert ours.value == pytest.approx(x.mean())
    assert ours.n == 37


def test_bca_counts_ties_half() -> None:
    """17 of 20: .65 as in SciPy; libraries that count strictly smaller draws have .55."""
    assert bootstrap_mean([1.0] * 17 + [0.0] * 3, kind="bca", num_resamples=9_999).lo == pytest.approx(0.65)


@pytest.mark.parametrize("kind", KINDS)
def test_two_samples_are_strata(kind: Kind) -> None:
    """SciPy draws the samples one after the other, so the draws differ: equal up to their noise."""
    rng = np.random.default_rng(1)
    a, b = rng.exponential(size=40), rng.normal(size=60)
    theirs = stats.bootstrap(
        (a, b), lambda x, y, axis: x.mean(axis) - y.mean(axis), n_resamples=20_000, method=kind, rng=rng
    ).confidence_interval
    first = np.repeat([True, False], [40, 60])
    values = np.concatenate([a, b])

    def difference(weights: np.ndarray) -> np.ndarray:
        return weights[:, first] @ values[first] / 40 - weights[:, ~first] @ values[~first] / 60

    ours = bootstrap(difference, by_unit(100, strata=first), kind=kind, num_resamples=20_000)
    assert ours.interval == pytest.approx((theirs.low, theirs.high), abs=0.04)


@pytest.mark.parametrize("kind", KINDS)
def test_cells_are_the_units_that_they_hold(kind: Kind) -> None:
    """The same distribution at the cost of the cells; the jackknife of BCa is the same number."""
    values, counts = np.array([0.0, 1.0, 2.0, 5.0]), np.array([30, 0, 12, 8])
    design = by_cell(counts)
    by_cells = bootstrap_mean(values, design=design, kind=kind, num_resamples=20_000)
    by_units = bootstrap_mean(np.repeat(values, counts), kind=kind, num_resamples=20_000)
    assert by_cells.n == by_units.n == 50
    assert by_cells.interval == pytest.approx(by_units.interval, abs=0.041), "means move in steps of 0.02"
    by_hand = np.repeat(values, counts)
    cells = resample(lambda w: w @ values / w.sum(1), design, num_resamples=200, jackknife=True)
    units = resample(lambda w: w @ by_hand / w.sum(1), by_unit(50), num_resamples=200, jackknife=True)
    assert cells.acceleration is not None
    assert cells.acceleration == pytest.approx(units.acceleration)


def test_clusters_are_drawn_whole() -> None:
    design = by_cluster(["b", "a", "b", "c", "a"])
    weights = np.concatenate(list(design.resamples(500, seed=0)))
    assert design.num_units == 3
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    values = np.array([1.0, 2.0, 1.0, 3.0, 2.0])
    once = bootstrap_mean([1.0, 2.0, 3.0], kind="percentile", seed=4)
    whole = bootstrap_mean(values, design=by_cluster([0, 1, 0, 2, 1]), kind="percentile", seed=4)
    assert whole.n == 3 and whole.lo >= once.lo and whole.hi <= once.hi


def test_strata_keep_their_sizes() -> None:
    strata = np.array([0, 1, 0, 2, 1, 2, 2])
    for design in (by_unit(7, strata=strata), by_cell([2, 3, 4, 1, 2, 2, 5], strata=strata)):
        weights = np.concatenate(list(design.resamples(300, seed=1)))
        for stratum, size in enumerate(design.stratum_sizes):
            assert (weights[:, strata == stratum].sum(axis=1) == size).all()
        assert weights.std(axis=0).min() > 0
    between = np.array([0.0, 10.0, 0.0, 20.0, 10.0, 20.0, 20.0])
    inside = bootstrap_mean(between, design=by_unit(7, strata=strata), kind="basic")
    assert inside.lo == inside.hi == pytest.approx(between.mean()), "differences between strata are not resampled"


def test_draws_have_the_distribution_of_all_resamples() -> None:
    """n = 4: the mean of all 256 resamples, enumerated."""
    x = np.array([0.0, 1.0, 3.0, 7.0])
    exact = np.array([np.mean(x[list(picked)]) for picked in itertools.product(range(4), repeat=4)])
    draws = resample(lambda w: w @ x / 4, by_unit(4), num_resamples=40_000).draws[:, 0]
    assert draws.mean() == pytest.approx(exact.mean(), abs=0.03)
    assert draws.std() == pytest.approx(exact.std(), abs=0.02)
    assert np.unique(draws).size == np.unique(exact).size


def test_several_quantities_share_their_resamples() -> None:
    x = np.random.default_rng(2).normal(size=(50, 3))
    found = resample(lambda w: w @ x / 50, by_unit(50), jackknife=True)
    for k, estimate in enumerate(found.estimates("bca")):
        assert estimate.interval == pytest.approx(bootstrap_mean(x[:, k]).interval)
    total = resample(lambda w: w @ x.sum(1) / 50, by_unit(50)).draws[:, 0]
    assert total == pytest.approx(found.draws.sum(axis=1))


def test_the_seed_decides_and_batches_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(3).normal(size=300)
    whole = bootstrap_mean(x, seed=7)
    assert whole == bootstrap_mean(x, seed=7) != bootstrap_mean(x, seed=8)
    monkeypatch.setattr("robustray.tasks.statistics.designs.BATCH_ENTRIES", 4_000)
    assert bootstrap_mean(x, seed=7).interval == pytest.approx(whole.interval, rel=1e-12)


def test_failed_draws_widen_the_interval() -> None:
    """A ratio without a denominator in some resamples: they count against us on both sides."""
    hits = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])

    def ratio(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ hits) / (weights @ hits)  # 1, or 0 / 0 in a third of the resamples

    found = resample(ratio, by_unit(6))
    assert found.num_failed[0] / 2_000 == pytest.approx((5 / 6) ** 6, abs=0.04)
    assert found.estimates("percentile")[0].interval == (-np.inf, np.inf)


def test_too_little_says_so() -> None:
    assert bootstrap_mean([3.0]).interval == (-np.inf, np.inf)
    assert bootstrap_mean([2.0, 2.0, 2.0]).interval == (2.0, 2.0)
    repeats = bootstrap(lambda w: (w.max(1) > 1).astype(float), by_unit(30), kind="bca")
    assert repeats.interval == (-np.inf, np.inf), "every draw above the value: no BCa interval exists"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: by_unit(0), "no unit"),
        (lambda: by_cell([0, 0]), "no unit"),
        (lambda: by_cell([1.5, 2]), "whole numbers"),
        (lambda: by_cell([-1, 2]), "whole numbers"),
        (lambda: by_unit(3, strata=["a", "a", "b"]), "stratum b has 1 unit"),
        (lambda: by_unit(3, strata=[0, 0]), "do not fit"),
        (lambda: by_cluster([0, 0, 1], strata=[0, 1, 1]), "two strata"),
        (lambda: by_cluster([0, 0, 1], strata=[0, 1]), "do not fit"),
        (lambda: bootstrap_mean([1.0, np.nan]), "finite"),
        (lambda: bootstrap_mean([1.0, 2.0], design=by_unit(3)), "3 finite numbers"),
        (lambda: bootstrap_mean([1.0, 2.0], num_resamples=50), "at least 200"),
        (lambda: bootstrap_mean([1.0, 2.0], level=95), "level"),
        (lambda: bootstrap(lambda w: w[:, :2], by_unit(2)), "2 values"),
        (lambda: resample(lambda w: w[:, 0], by_unit(2)).estimates("bca"), "jackknife=True"),
    ],
)
def test_what_cannot_be_resampled_is_refused(call: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("kind", KINDS)
def test_coverage_of_a_mean(kind: Kind) -> None:
    """Normal values, n = 40: a bootstrap knows nothing of the t distribution and is a little short."""
    rng = np.random.default_rng(11)
    hits = [
        found.lo <= 0 <= found.hi
        for found in (bootstrap_mean(rng.normal(size=40), kind=kind, num_resamples=400, seed=i) for i in range(600))
    ]
    assert 0.905 <= np.mean(hits) <= 0.965


def test_the_clusters_of_the_bootstrap_agree_with_the_closed_form() -> None:
    rng = np.random.default_rng(12)
    labels = np.repeat(np.arange(120), rng.integers(1, 5, 120))
    values = rng.normal(size=120)[labels] + 0.2 * rng.normal(size=len(labels))
    closed = clustered_mean(values, labels)
    drawn = bootstrap_mean(values, design=by_cluster(labels), kind="basic", num_resamples=10_000)
    assert drawn.interval == pytest.approx(closed.interval, abs=0.02)
    assert drawn.hi - drawn.lo > 1.3 * (mean_interval(values).hi - mean_interval(values).lo)
