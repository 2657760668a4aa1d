"""Scores of many images at once, by what a judge says of them and by the judge's features.

All are biased in small samples, and by n: rows that are compared have equal n. A plain bootstrap adds to the bias
(equal images twice look surer, and nearer, than they are), so intervals are by the jackknife.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from robustray.tasks.errors import InputError
from robustray.tasks.statistics import Estimate

Floats = NDArray[np.float64]
GROUPS = 10
"""Into which images are dealt for the grouped jackknife."""
ROWS = 256
"""Rows of a matrix of distances that are computed at once."""


# --- By what the judge says -------------------------------------------------------------------------------------------


def classifier_score(probabilities: ArrayLike) -> float:
    """exp of the mean KL divergence of each image's class probabilities (n, c) from their mean: from 1 to c.

    The formula of the Inception score (arXiv:1606.03498) with any judge. High where the judge is sure of every image
    and sees all classes; it rewards images that were optimised to please a classifier, and it rises as n falls.
    """
    return float(np.exp(_mean_divergence(_checked(probabilities))))


def score_interval(probabilities: ArrayLike, level: float = 0.95) -> Estimate:
    """The score with an interval over images, by the jackknife (delete one), with Student's t; cut at 1 and c.

    A plain bootstrap would be biased: equal images twice make the mean look surer than it is. Infinite for one image.
    """
    p = _checked(probabilities)
    n, value = len(p), classifier_score(p)
    if n < 2:
        return Estimate(value=value, lo=-np.inf, hi=np.inf, n=n)
    entropies = special.xlogy(p, p).sum(1)
    means = (n * p.mean(0) - p) / (n - 1)  # without image i
    without = np.exp((entropies.sum() - entropies) / (n - 1) - special.xlogy(means, np.maximum(means, 1e-300)).sum(1))
    error = np.sqrt((n - 1) / n * np.square(without - without.mean()).sum())
    half = float(special.stdtrit(n - 1, (1 + level) / 2) * error)
    return Estimate(value=value, lo=max(1.0, value - half), hi=min(float(p.shape[1]), value + half), n=n)


def probabilities(logits: ArrayLike) -> Floats:
    """Softmax (n, c)."""
    return special.softmax(np.asarray(logits, dtype=np.float64), axis=1)


# --- By the judge's features ------------------------------------------------------------------------------------------


def frechet(a: ArrayLike, b: ArrayLike) -> float:
    """Squared Frechet distance of the Gaussians fitted to features (n, d) and (m, d).

    |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), with unbiased covariances A and B. The formula of
    arXiv:1706.08500 with any judge's features, so it is no FID and compares with none. It falls as n grows, slowly
    where n is not many times d.

    Raises: InputError for fewer than two images a side, or features that are not alike or not finite.
    """
    x, y = (_features(each, at_least=2) for each in (a, b))
    if x.shape[1] != y.shape[1]:
        raise InputError(f"features of {x.shape[1]} and of {y.shape[1]} numbers cannot be compared")
    first, second = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (x, y))
    root = _root(first)
    between = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    apart = float(np.square(x.mean(0) - y.mean(0)).sum() + np.trace(first) + np.trace(second) - 2 * between)
    return max(apart, 0.0)  # equal samples give zero up to rounding


def precision(made: ArrayLike, real: ArrayLike, k: int) -> NDArray[np.bool_]:
    """(n,): which made images lie within a real one's distance to its k-th nearest other real one (arXiv:1904.06991).

    made (n, d), real (m, d). Recall is the same with the sides exchanged. Raises: InputError unless m > k.
    """
    x, y = _features(made), _features(real)
    inside: NDArray[np.bool_] = distances(x, y) <= radii(y, k)[None, :]
    return np.asarray(inside.any(axis=1))


def radii(features: ArrayLike, k: int) -> Floats:
    """(n,): distance of every image from its k-th nearest other one. Raises: InputError unless n > k."""
    x = _features(features)
    if not 1 <= k < len(x):
        raise InputError(f"the nearest neighbour number {k} of {len(x)} images: more images are needed")
    return np.partition(distances(x, x), k, axis=1)[:, k]  # the nearest of all is the image itself


def nearest(features: ArrayLike, among: ArrayLike) -> Floats:
    """(n,): Euclidean distance of every row of features (n, d) from the nearest one of `among` (m, d)."""
    x, y = _features(features), _features(among)
    return np.concatenate([distances(x[row : row + ROWS], y).min(1) for row in range(0, len(x), ROWS)])


def distances(a: Floats, b: Floats) -> Floats:
    """Euclidean distances (n, m)."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0.0))


# --- Intervals --------------------------------------------------------------------------------------------------------


def grouped_jackknife(
    statistic: Callable[[NDArray[np.bool_]], float],
    groups: ArrayLike,
    *,
    limits: tuple[float, float] = (-np.inf, np.inf),
    level: float = 0.95,
) -> Estimate:
    """A statistic of images with an interval over images, leaving out one group at a time, with Student's t.

    statistic: a function of a mask (n,) that selects images. groups: (n,) numbers, equally many images in each as far
    as that goes: every set that is left has the same n, so the bias that depends on n is common to all. For a mean it
    is the usual interval of group means. The ends are cut at `limits`; infinite (or those) for a single group.
    """
    of = np.asarray(groups)
    names = np.unique(of)
    value, count = statistic(np.ones(len(of), dtype=bool)), len(names)
    if count < 2:
        return Estimate(value=value, lo=limits[0], hi=limits[1], n=len(of))
    without = np.array([statistic(of != name) for name in names])
    error = np.sqrt((count - 1) / count * np.square(without - without.mean()).sum())
    half = float(special.stdtrit(count - 1, (1 + level) / 2) * error)
    return Estimate(value=value, lo=max(limits[0], value - half), hi=min(limits[1], value + half), n=len(of))


def _root(covariance: Floats) -> Floats:
    """The symmetric square root."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _features(values: ArrayLike, at_least: int = 1) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or len(x) < at_least or not np.isfinite(x).all():
        raise InputError(f"features are finite numbers (n, d) of at least {at_least} images, got shape {x.shape}")
    return x


def _mean_divergence(p: Floats) -> float:
    """Mean over i of KL(p_i || mean p) = mean of the p_i's negative entropies, minus that of the mean."""
    mean = p.mean(0)
    return float(special.xlogy(p, p).sum(1).mean() - special.xlogy(mean, mean).sum())


def _checked(values: ArrayLike) -> Floats:
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != 2 or not len(p) or not (p >= 0).all() or not np.allclose(p.sum(1), 1):
        raise InputError(f"a classifier score needs class probabilities (n, c) of at least one image, got {p.shape}")
    return p
