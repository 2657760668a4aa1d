"""Scores of many images at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from robustray.tasks.errors import InputError
from robustray.tasks.statistics import Estimate


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
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * error)
    return Estimate(value=value, lo=max(1.0, value - half), hi=min(float(p.shape[1]), value + half), n=n)


def probabilities(logits: ArrayLike) -> NDArray[np.float64]:
    """Softmax (n, c)."""
    return special.softmax(np.asarray(logits, dtype=np.float64), axis=1)


def _mean_divergence(p: NDArray[np.float64]) -> float:
    """Mean over i of KL(p_i || mean p) = mean of the p_i's negative entropies, minus that of the mean."""
    mean = p.mean(0)
    return float(special.xlogy(p, p).sum(1).mean() - special.xlogy(mean, mean).sum())


def _checked(values: ArrayLike) -> NDArray[np.float64]:
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != 2 or not len(p) or not (p >= 0).all() or not np.allclose(p.sum(1), 1):
        raise InputError(f"a classifier score needs class probabilities (n, c) of at least one image, got {p.shape}")
    return p
