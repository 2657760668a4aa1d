"""Means over observations that come in clusters: several models on one image are not several images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from robustray.tasks.errors import InputError
from robustray.tasks.statistics.intervals import Estimate, as_flags, checked_level, tango_limits


def clustered_mean(values: ArrayLike, clusters: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean of `values` with an interval over clusters of any size.

    values: (k,) numbers. clusters: (k,) labels, one per value; `n` of the result is the number of distinct ones.
    The mean is a ratio (sum of values / number of values); its variance is that of the linearised ratio over clusters
    (Cochran, Sampling Techniques, 3rd ed., section 6.3; the same as the cluster-robust variance of a mean with the
    factor G / (G - 1)), with Student's t on G - 1 degrees of freedom. Infinite for a single cluster.

    Raises: InputError for values that are not finite or of another length than the clusters, or a level that is none.
    """
    x, labels = np.asarray(values, dtype=np.float64), np.asarray(clusters)
    if x.ndim != 1 or x.shape != labels.shape or not np.isfinite(x).all():
        raise InputError(f"a clustered mean needs finite values and a label for each, got {x.shape} and {labels.shape}")
    if len(x) == 0:
        return Estimate(value=float("nan"), lo=-np.inf, hi=np.inf, n=0)
    _, member = np.unique(labels, return_inverse=True)
    num_clusters = int(member.max()) + 1
    mean = float(x.mean())
    if num_clusters == 1:
        return Estimate(value=mean, lo=-np.inf, hi=np.inf, n=1)
    half = float(special.stdtrit(num_clusters - 1, (1 + checked_level(level)) / 2)) * _variance(x, member) ** 0.5
    return Estimate(value=mean, lo=mean - half, hi=mean + half, n=num_clusters)


def clustered_difference(a: ArrayLike, b: ArrayLike, clusters: ArrayLike, level: float = 0.95) -> Estimate:
    """mean(a) - mean(b) for two yes/no outcomes on the same rows, which come in clusters; inside [-1, 1].

    a, b: boolean, (k,), same order. clusters: (k,) labels; `n` of the result is the number of distinct ones.
    Tango's score interval (`paired_difference`), whose limits are differences that two shares can have, on the
    effective number of rows: k over the design effect (Rao & Scott, Biometrics 48 (1992) 577-585), which is the
    variance of `clustered_mean` over that of as many independent rows. Student's t on (clusters - 1) degrees of freedom
    takes the place of z, as the design effect is estimated from the clusters (Korn & Graubard, Survey Methodology 24
    (1998) 193-201). The effective number is at most k; where every row has the same outcome nothing can be estimated,
    and a cluster counts as one row. A single cluster says nothing: -1 to 1.

    Raises: InputError unless all are flat and of one length, a and b boolean.
    """
    first, second, labels = as_flags("a", a), as_flags("b", b), np.asarray(clusters)
    if not first.shape == second.shape == labels.shape:
        raise InputError(
            f"paired outcomes in clusters need the same rows, got {first.shape}, {second.shape} and {labels.shape}"
        )
    rows = len(first)
    if rows == 0:
        return Estimate(value=float("nan"), lo=-1.0, hi=1.0, n=0)
    x = first.astype(np.float64) - second
    _, member = np.unique(labels, return_inverse=True)
    num_clusters = int(member.max()) + 1
    if num_clusters == 1:
        return Estimate(value=float(x.mean()), lo=-1.0, hi=1.0, n=1)
    between, alone = _variance(x, member), float(x.var(ddof=1)) / rows
    effective = min(rows, rows * alone / between) if between else rows if alone else num_clusters
    only_a, only_b = (float((x == sign).mean()) * effective for sign in (1, -1))
    t = float(special.stdtrit(num_clusters - 1, (1 + checked_level(level)) / 2))
    lo, hi = tango_limits(only_a, only_b, effective, t)
    return Estimate(value=float(x.mean()), lo=lo, hi=hi, n=num_clusters)


def _variance(x: NDArray[np.float64], member: NDArray[np.intp]) -> float:
    """Variance of the mean of x, over two clusters or more: that of the linearised ratio. member: the cluster of each
    value."""
    residuals = np.bincount(member, weights=x - x.mean())
    return len(residuals) / (len(residuals) - 1) * float(np.square(residuals).sum()) / len(x) ** 2
