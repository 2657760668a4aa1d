"""Weighted sums of means of several independent samples: main effects and interactions of designs with cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from robustray.tasks.errors import InputError
from robustray.tasks.statistics.intervals import Estimate, checked_level


def welch_contrast(samples: Sequence[ArrayLike], weights: Sequence[float], level: float = 0.95) -> Estimate:
    """sum of weight * mean over independent samples with unequal variances, with the Welch-Satterthwaite t interval.

    Welch, On the comparison of several mean values, Biometrika 38 (1951) 330-336; of two samples with the weights 1 and
    -1 it is `welch`. Infinite where a sample that counts has a single value. `n` is the number of values of all samples
    whose weight is not 0.

    Raises: InputError for an empty sample, values that are not finite, not one weight for each sample, or weights that
    are all 0.
    """
    if len(samples) != len(weights) or not any(weights):
        raise InputError(f"a contrast needs one weight for each of {len(samples)} samples, and one that is not 0")
    counted = [(np.asarray(x, dtype=np.float64), w) for x, w in zip(samples, weights, strict=True) if w]
    if any(x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all() for x, _ in counted):
        raise InputError("the samples of a contrast must be flat lists of finite numbers, and not empty")
    sizes = np.array([len(x) for x, _ in counted])
    value, n = float(sum(w * x.mean() for x, w in counted)), int(sizes.sum())
    if sizes.min() < 2:
        return Estimate(value=value, lo=-np.inf, hi=np.inf, n=n)
    parts = np.array([w * w * x.var(ddof=1) / len(x) for x, w in counted])
    if not parts.any():
        return Estimate(value=value, lo=value, hi=value, n=n)
    freedom = parts.sum() ** 2 / (parts**2 / (sizes - 1)).sum()
    half = float(special.stdtrit(freedom, (1 + checked_level(level)) / 2) * np.sqrt(parts.sum()))
    return Estimate(value=value, lo=value - half, hi=value + half, n=n)
