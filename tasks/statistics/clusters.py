"""Means over observations that come in clusters: several models on one image are not several images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from robustray.tasks.errors import InputError
from robustray.tasks.statistics.intervals import Estimate


def clustered_mean(values: ArrayLike, clusters: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean of `values` with an interval over clusters of any size.

    values: (k,) numbers. clusters: (k,) labels, one per value; `n` of the result is the number of distinct ones.
    The mean is a ratio (sum of values / number of values); its variance is that of the linearised ratio over clusters
    (Cochran, Sampling Techniques, 3rd ed., section 6.3; the same as the cluster-robust variance of a mean with the
    factor G / (G - 1)), with Student's t on G - 1 degrees of freedom. Infinite for a single cluster.

    Raises: InputError for values that are not finite or of another length than the clusters.
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
    residuals = np.bincount(member, weights=x - mean)
    variance = num_clusters / (num_clusters - 1) * float(np.square(residuals).sum()) / len(x) ** 2
    half = float(special.stdtrit(num_clusters - 1, (1 + level) / 2)) * variance**0.5
    return Estimate(value=mean, lo=mean - half, hi=mean + half, n=num_clusters)
