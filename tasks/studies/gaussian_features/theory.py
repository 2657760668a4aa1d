"""Closed forms: two Gaussians under an l2 adversary (arXiv:1905.02175, section 4 and appendix E).

y is +1 or -1, x ~ N(y mean, S) with S = diag(s) in its own axes. All is said in those axes: variances s (d,),
mean (d,), sizes in the units of x. Losses are Gaussian negative log-likelihoods, with their factor of one half.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

Array = NDArray[np.float64]


def vulnerability(s: Array, penalty: float) -> float:
    """Theorem 1: mean rise of the loss at S when the adversary maximises it minus penalty / 2 times its squared length.

    penalty: above 1 / min(s), or the adversary has no optimum. The paper prints twice this, and a penalty without the
    square, under which the maximum is infinite.
    """
    return float(0.5 * np.sum((1 + 1 / (penalty * s - 1)) ** 2 - 1))


def robust_variances(s: Array, multiplier: float) -> Array:
    """Theorem 2: variances of the robust maximum likelihood; its axes are those of S.

    S/2 + I/multiplier + (S/multiplier + S^2/4)^(1/2): the larger root of (multiplier r - 1)^2 = multiplier^2 r s.
    """
    return s / 2 + 1 / multiplier + np.sqrt(s / multiplier + s**2 / 4)


def multiplier_of(s: Array, eps: float) -> float:
    """The multiplier at which the adversary's mean squared length is eps^2 > 0.

    eps^2 = sum(1 / robust s) / multiplier^2; the right side falls in the multiplier: one root, found in its logarithm.
    """

    def excess(log: float) -> float:
        return float(np.log(np.sum(1 / robust_variances(s, np.exp(log)))) - 2 * log - 2 * np.log(eps))

    return float(np.exp(brentq(excess, -60.0, 60.0, xtol=1e-12)))


def within_average(s: Array, eps: float) -> Array:
    """Robust variances for an adversary whose mean squared length is eps^2; s itself for eps = 0."""
    return s if eps == 0 else robust_variances(s, multiplier_of(s, eps))


def condition(s: Array) -> float:
    """Largest variance over the smallest."""
    return float(s.max() / s.min())


def alignment(mean: Array, s: Array) -> float:
    """Cosine between the class direction and the gradient of the classifier sign(x' S^-1 mean)."""
    w = mean / s
    return float(mean @ w / (np.linalg.norm(mean) * np.linalg.norm(w)))


def worst_alignment(s: Array) -> float:
    """Theorem 3: the smallest `alignment` over all means, 2 sqrt(k) / (1 + k) for the condition number k."""
    k = condition(s)
    return float(2 * np.sqrt(k) / (1 + k))


def accuracy(mean: Array, s: Array, fitted: Array, eps: float = 0.0) -> float:
    """Share that sign(x' F^-1 mean), with F = diag(fitted), gets right when every x may be moved by eps in l2."""
    w = mean / fitted
    return float(ndtr((w @ mean - eps * np.linalg.norm(w)) / np.sqrt(w @ (s * w))))
