"""Differences: of two independent samples (Welch), of pairs (permutation), of two estimates."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustray.tasks.errors import InputError
from robustray.tasks.statistics.designs import BATCH_ENTRIES
from robustray.tasks.statistics.intervals import Estimate, checked_level

EXACT_PAIRS = 14
"""Up to so many pairs all sign changes are tried (16,384), beyond that a random choice of them."""


def welch(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Estimate:
    """mean(a) - mean(b) of independent samples with unequal variances, with Welch's t interval (SciPy's).

    Welch, The generalization of 'Student's' problem, Biometrika 34 (1947) 28-35. Infinite where a sample has a single
    value: nothing is known of its spread. `n` is the number of values of both.

    Raises: InputError for an empty sample or values that are not finite.
    """
    first, second = _finite("a", a), _finite("b", b)
    n = len(first) + len(second)
    difference = float(first.mean() - second.mean())
    if min(len(first), len(second)) < 2:
        return Estimate(value=difference, lo=-np.inf, hi=np.inf, n=n)
    if np.ptp(first) == 0 == np.ptp(second):  # SciPy's degrees of freedom are 0 / 0 there
        return Estimate(value=difference, lo=difference, hi=difference, n=n)
    from scipy import stats  # slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nearly equal values; the interval is right all the same
        ends = stats.ttest_ind(first, second, equal_var=False).confidence_interval(checked_level(level))
    return Estimate(value=difference, lo=float(ends.low), hi=float(ends.high), n=n)


def difference_of(a: Estimate, b: Estimate) -> Estimate:
    """a - b of two independent estimates of which only the intervals are known, whatever they were made by.

    The distances from each value to its own ends are added in quadrature (MOVER: Zou and Donner, Statistics in Medicine
    27 (2008) 1693-1702; of two Wilson intervals it is Newcombe's). Too wide where a and b rise and fall together, as on
    the same images. `n` is the smaller one.
    """
    value = a.value - b.value
    down, up = np.hypot(a.value - a.lo, b.hi - b.value), np.hypot(a.hi - a.value, b.value - b.lo)
    return Estimate(value=value, lo=value - float(down), hi=value + float(up), n=min(a.n, b.n))


def permutation_difference(
    a: ArrayLike, b: ArrayLike, level: float = 0.95, *, num_permutations: int = 9_999, seed: int = 0
) -> Estimate:
    """mean(a) - mean(b) over pairs, with the differences that the paired permutation test does not reject.

    The test flips the signs of the pairs' differences from a constant d; it is exact at any n where these are symmetric
    around d. A flip s has a mean at least as large as the sample's exactly when d is at least the mean of the flipped
    differences, so the interval's ends are order statistics of means over random subsets (Hartigan, Using subsample
    values as typical values, JASA 64 (1969) 1303-1317): no search for them is needed. Up to 14 pairs all subsets are
    used. Infinite below 6 pairs at 95 %: such a test can't reject.

    a, b: (n,) finite, same order. num_permutations: beyond 14 pairs, at least 999.

    Raises: InputError for values that are not finite, not in pairs, or for fewer permutations.
    """
    differences = _paired(a, b)
    lower, upper, total = _subset_means(differences, num_permutations, seed)
    rank = int((1 - checked_level(level)) / 2 * total * (1 + 1e-12))
    value, n = float(differences.mean()), len(differences)
    if rank == 0:
        return Estimate(value=value, lo=-np.inf, hi=np.inf, n=n)
    lo, hi = np.partition(lower, rank - 1)[rank - 1], np.partition(upper, -rank)[-rank]
    return Estimate(value=value, lo=float(lo), hi=float(hi), n=n)


def permutation_p(a: ArrayLike, b: ArrayLike, *, num_permutations: int = 9_999, seed: int = 0) -> float:
    """Two-sided p-value of no difference between pairs: twice the smaller one-sided one, at most 1.

    The sample itself counts among the permutations, so that p is never 0. It is at most 1 - level exactly when the
    interval of `permutation_difference` at the same seed excludes 0. Raises: InputError as there.
    """
    differences = _paired(a, b)
    lower, upper, total = _subset_means(differences, num_permutations, seed)
    as_high, as_low = 1 + int((lower <= 0).sum()), 1 + int((upper >= 0).sum())
    return min(1.0, 2 * min(as_high, as_low) / total)


def _subset_means(
    differences: NDArray[np.float64], num_permutations: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Mean difference of the flipped pairs of each permutation but the identity, twice (for the two ends), and their
    number with the identity. A random permutation that flips none rejects nothing: -inf and inf."""
    means = np.concatenate(
        [_means(flipped, differences) for flipped in _flips(len(differences), num_permutations, seed)]
    )
    empty = np.isnan(means)
    return np.where(empty, -np.inf, means), np.where(empty, np.inf, means), len(means) + 1


def _means(flipped: NDArray[np.float64], differences: NDArray[np.float64]) -> NDArray[np.float64]:
    size = flipped.sum(axis=1)
    return np.where(size > 0, flipped @ differences / np.maximum(size, 1), np.nan)


def _flips(n: int, num_permutations: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """(batch, n) of 0 and 1: which pairs change sign."""
    if n <= EXACT_PAIRS:
        yield ((np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1).astype(np.float64)
        return
    if num_permutations < 999:
        raise InputError(f"a permutation test needs at least 999 permutations, got {num_permutations}")
    rng = np.random.default_rng(seed)
    batch = max(1, BATCH_ENTRIES // n)
    for first in range(0, num_permutations, batch):
        yield rng.integers(0, 2, (min(batch, num_permutations - first), n), dtype=np.int8).astype(np.float64)


def _paired(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    first, second = _finite("a", a), _finite("b", b)
    if len(first) != len(second):
        raise InputError(f"pairs need two values each: {len(first)} and {len(second)} were given")
    return first - second


def _finite(name: str, values: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all():
        raise InputError(f"{name} must be a flat list of finite numbers, and not empty")
    return x
