"""Shares of images that do not count alike: mean per class, in which every class has the same weight."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from robustray.tasks.errors import InputError
from robustray.tasks.statistics.intervals import Estimate, as_flags, checked_level, tango_limits, wilson


def weighted_proportion(hits: ArrayLike, weights: ArrayLike, level: float = 0.95) -> Estimate:
    """Weighted share of True, with Wilson's interval on the effective number of images.

    hits: boolean, (n,). weights: (n,), above 0, of which only the proportions count. The effective number is that of an
    unweighted share of the same variance (Rao & Scott, Biometrics 48 (1992) 577-585), the variance being that of the
    linearised weighted mean; it is at most Kish's, (sum of weights)^2 / (sum of squares), so that images of great
    weight are not forgotten while all of them happen to be right. With equal weights it is n, and this is `proportion`.

    Returns: `n` is the number of images. Raises: InputError unless both are flat and of one length.
    """
    flags = as_flags("hits", hits)
    share = _shares(flags, weights)
    if not len(flags):
        return Estimate(value=float("nan"), lo=0.0, hi=1.0, n=0)
    value = min(1.0, float(share @ flags))
    effective = _effective(flags.astype(np.float64) - value, value * (1 - value), share)
    lo, hi = wilson(value * effective, effective, level)
    return Estimate(value=value, lo=float(lo), hi=float(hi), n=len(flags))


def weighted_difference(a: ArrayLike, b: ArrayLike, weights: ArrayLike, level: float = 0.95) -> Estimate:
    """Weighted share of `a` minus that of `b`, paired by image: Tango's interval on the effective number of images.

    a, b: boolean, (n,), same order. weights, effective number, Raises: those of `weighted_proportion`. With equal
    weights this is `paired_difference`.
    """
    first, second = as_flags("a", a), as_flags("b", b)
    if len(first) != len(second):
        raise InputError(f"paired outcomes need the same images: {len(first)} and {len(second)} were given")
    share = _shares(first, weights)
    if not len(first):
        return Estimate(value=float("nan"), lo=-1.0, hi=1.0, n=0)
    only_a, only_b = float(share @ (first & ~second)), float(share @ (second & ~first))
    value = only_a - only_b
    effective = _effective(first.astype(np.float64) - second - value, only_a + only_b - value**2, share)
    z = float(special.ndtri((1 + checked_level(level)) / 2))
    lo, hi = tango_limits(only_a * effective, only_b * effective, effective, z)
    return Estimate(value=value, lo=lo, hi=hi, n=len(first))


def _shares(flags: NDArray[np.bool_], weights: ArrayLike) -> NDArray[np.float64]:
    """Weights that sum to 1."""
    found = np.asarray(weights, dtype=np.float64)
    if found.shape != flags.shape or not (np.isfinite(found) & (found > 0)).all():
        raise InputError(f"weights must be finite, above 0 and one for each of {len(flags)} images, got {found.shape}")
    return found / found.sum()


def _effective(residuals: NDArray[np.float64], spread: float, share: NDArray[np.float64]) -> float:
    """Images of equal weight behind a mean of the same variance. spread: variance of one image's outcome."""
    kish = 1 / float(share @ share)
    variance = float(np.square(share * residuals).sum())
    return min(kish, spread / variance) if variance > 0 else kish
