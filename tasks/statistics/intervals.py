"""Confidence intervals for proportions, differences of proportions, and means over seeds.

Proportions use score intervals: unlike p +- 1.96 standard errors they keep their level near 0 and 1, where robust
accuracies live, and never leave [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # not scipy.stats: half a second in every process that imports it

from robustray.tasks.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its interval."""

    value: float
    """NaN when nothing could be estimated (n = 0)."""
    lo: float
    hi: float
    n: int
    """Independent units behind it (images, pairs, seeds)."""

    @property
    def interval(self) -> tuple[float, float]:
        return self.lo, self.hi


NOTHING = Estimate(value=float("nan"), lo=float("nan"), hi=float("nan"), n=0)
"""Of what was not asked, or could not be: neither a number nor an interval. A claim about it is undecided."""


def wilson(successes: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's score interval of a proportion, elementwise; (0, 1) where n = 0.

    Wilson, Probable inference, JASA 22 (1927). The proportions p0 that a two-sided score test does not reject.

    Returns: (lo, hi), arrays of the broadcast shape. Raises: InputError unless 0 <= successes <= n.
    """
    k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if not ((k >= 0) & (k <= n)).all():
        raise InputError(f"a proportion needs 0 <= successes <= n, got {successes!r} of {n!r}")
    z2 = _z(level) ** 2
    # (2k + z^2 -+ z sqrt(z^2 + 4 k (n - k) / n)) / 2 (n + z^2), the roots of (p - k/n)^2 = z^2 p (1 - p) / n
    spread = np.sqrt(z2 * (z2 + 4 * k * (n - k) / np.maximum(n, 1)))
    lo, hi = (2 * k + z2 - spread) / (2 * (n + z2)), (2 * k + z2 + spread) / (2 * (n + z2))
    # Exact ends, against rounding.
    return np.where(k == 0, 0.0, lo), np.where(k == n, 1.0, hi)


def clopper_pearson(
    successes: ArrayLike, n: ArrayLike, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The exact interval of a proportion, elementwise: it holds the truth at least `level` of the time, for any n > 0.

    Clopper and Pearson, The use of confidence or fiducial limits, Biometrika 26 (1934): the proportions that neither
    one-sided binomial test rejects at (1 - level) / 2.

    Returns: (lo, hi), arrays of the broadcast shape. Raises: InputError unless 0 <= successes <= n and n > 0.
    """
    k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if not ((k >= 0) & (k <= n) & (n > 0)).all():
        raise InputError(f"a proportion needs 0 <= successes <= n and n > 0, got {successes!r} of {n!r}")
    tail = (1 - checked_level(level)) / 2
    lo = np.where(k == 0, 0.0, special.betaincinv(np.maximum(k, 1), n - k + 1, tail))
    hi = np.where(k == n, 1.0, special.betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail))
    return lo, hi


def proportion(successes: ArrayLike, level: float = 0.95) -> Estimate:
    """Share of True in a boolean array, with Wilson's interval. Raises: InputError unless it is boolean and flat."""
    hits = as_flags("successes", successes)
    k, n = int(hits.sum()), len(hits)
    lo, hi = wilson(k, n, level)
    return Estimate(value=k / n if n else float("nan"), lo=float(lo), hi=float(hi), n=n)


def newcombe_difference(successes_a: int, n_a: int, successes_b: int, n_b: int, level: float = 0.95) -> Estimate:
    """p_a - p_b of independent samples: Newcombe's hybrid score interval.

    Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine 17 (1998)
    873-890, method 10: each end combines the distances to the Wilson limits of both proportions. `n` is n_a + n_b.

    Raises: InputError unless 0 <= successes <= n.
    """
    (lo_a, hi_a), (lo_b, hi_b) = _limits(successes_a, n_a, level), _limits(successes_b, n_b, level)
    if n_a == 0 or n_b == 0:
        return Estimate(value=float("nan"), lo=-1.0, hi=1.0, n=n_a + n_b)
    a, b = successes_a / n_a, successes_b / n_b
    return Estimate(
        value=a - b,
        lo=a - b - float(np.hypot(a - lo_a, hi_b - b)),
        hi=a - b + float(np.hypot(hi_a - a, b - lo_b)),
        n=n_a + n_b,
    )


def paired_difference(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Estimate:
    """mean(a) - mean(b) for two yes/no outcomes on the same images: Tango's score interval.

    Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample design,
    Statistics in Medicine 17 (1998) 891-908: the differences d that the score test of p_a - p_b = d does not reject. At
    d = 0 that test is McNemar's. Only images on which a and b disagree move it, so it is much narrower than an interval
    of two independent samples.

    a, b: boolean, (n,), same order. Raises: InputError otherwise.
    """
    first, second = as_flags("a", a), as_flags("b", b)
    if len(first) != len(second):
        raise InputError(f"paired outcomes need the same images: {len(first)} and {len(second)} were given")
    n = len(first)
    if n == 0:
        return Estimate(value=float("nan"), lo=-1.0, hi=1.0, n=0)
    only_a, only_b = int((first & ~second).sum()), int((second & ~first).sum())
    lo, hi = tango_limits(only_a, only_b, n, _z(level))
    return Estimate(value=(only_a - only_b) / n, lo=lo, hi=hi, n=n)


def tango_limits(only_a: float, only_b: float, n: float, z: float) -> tuple[float, float]:
    """The differences (only_a - only_b) / n that Tango's test does not reject; see `paired_difference`.

    only_a, only_b: pairs with a yes in one of the two only, of n; effective numbers need not be whole. z: the quantile
    of the statistic, 1.96 at 95 %.
    """
    return -_upper_limit(only_b, only_a, n, z), _upper_limit(only_a, only_b, n, z)


def mean_interval(values: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean of independent repetitions (seeds) with Student's t interval; infinite for a single one.

    Raises: InputError for no values or values that are not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all():
        raise InputError(f"a mean needs a flat list of finite numbers, got {values!r}")
    n, mean = len(x), float(x.mean())
    if n == 1:
        return Estimate(value=mean, lo=-np.inf, hi=np.inf, n=1)
    half = float(special.stdtrit(n - 1, (1 + checked_level(level)) / 2) * (x.std(ddof=1) / np.sqrt(n)))
    return Estimate(value=mean, lo=mean - half, hi=mean + half, n=n)


def median_interval(values: ArrayLike, level: float = 0.95) -> Estimate:
    """Median of independent numbers, with the interval between two order statistics that holds it at least this often.

    Distribution-free: the number of values below the median is Binomial(n, 1/2). Too few values for it (under 6 at
    95 %) have the interval -inf to inf. Values may be infinite (the width of an interval that says nothing).

    Raises: InputError unless the values are flat and none is NaN.
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    if x.ndim != 1 or np.isnan(x).any():
        raise InputError(f"a median needs a flat list of numbers, got {values!r}")
    n = len(x)
    below = int(np.searchsorted(special.bdtr(np.arange(n + 1), n, 0.5), (1 - checked_level(level)) / 2))
    if not below:
        return Estimate(value=float(np.median(x)) if n else float("nan"), lo=-np.inf, hi=np.inf, n=n)
    return Estimate(value=float(np.median(x)), lo=float(x[below - 1]), hi=float(x[n - below]), n=n)


def _upper_limit(only_a: float, only_b: float, n: float, z: float) -> float:
    """The d > (only_a - only_b) / n at which Tango's statistic falls to -z; 1 if it never does. By bisection."""
    lo, hi = (only_a - only_b) / n, 1.0
    for _ in range(60):  # to the last bit of a number in [-1, 1]
        middle = (lo + hi) / 2
        if _tango_statistic(only_a, only_b, n, middle) > -z:
            lo = middle
        else:
            hi = middle
    return hi


def _tango_statistic(only_a: float, only_b: float, n: float, d: float) -> float:
    """Score statistic of H0: p_a - p_b = d; its variance uses the likelihood's estimate q of P(only b) under H0."""
    # q is the larger root of 2n q^2 + B q + C = 0 (Tango's equation 9)
    linear = -only_a - only_b + (2 * n - only_a + only_b) * d
    constant = -only_b * d * (1 - d)
    q = (np.sqrt(max(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
    variance = n * (2 * q + d * (1 - d))
    score = only_a - only_b - n * d
    return float(score / np.sqrt(variance)) if variance > 0 else float(np.sign(score) * np.inf if score else 0.0)


def _limits(successes: int, n: int, level: float) -> tuple[float, float]:
    lo, hi = wilson(successes, n, level)
    return float(lo), float(hi)


def as_flags(name: str, values: ArrayLike) -> NDArray[Any]:
    """Raises: InputError unless boolean and flat."""
    flags = np.asarray(values)
    if flags.ndim != 1 or (flags.dtype != np.bool_ and flags.size):
        raise InputError(f"{name} must be a flat boolean array, got {flags.dtype} of shape {flags.shape}")
    return flags.astype(np.bool_)


def _z(level: float) -> float:
    return float(special.ndtri((1 + checked_level(level)) / 2))


def checked_level(level: float) -> float:
    """Raises: InputError unless 0 < level < 1."""
    if not 0 < level < 1:
        raise InputError(f"the level of an interval must lie between 0 and 1, got {level}")
    return level
