"""A logistic head on latents (scikit-learn), its strength chosen on a held-out part of the training latents."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustray.tasks.errors import InputError
from robustray.tasks.lab import seeds

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of the l2 penalty (scikit-learn's C) that are tried."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LogisticHead:
    """Standardisation and a linear layer. c = classes it was fitted on, w = width of the latents."""

    classes: NDArray[np.int64]
    """(c,) labels, ascending."""
    mean: NDArray[np.float64]
    """(w,)"""
    scale: NDArray[np.float64]
    """(w,) standard deviations; 1 for a coordinate that never changes."""
    weights: NDArray[np.float64]
    """(c, w), for standardised latents."""
    bias: NDArray[np.float64]
    """(c,)"""
    strength: float
    """The C that was chosen."""
    held_out_accuracy: Mapping[float, float]
    """Accuracy by C, on the training latents that were held out while it was chosen."""
    converged: bool
    """The final fit stopped because it had converged and not because it had taken all its iterations."""

    def logits(self, latents: ArrayLike) -> NDArray[np.float64]:
        """(n, w) -> (n, c)."""
        return (np.asarray(latents, dtype=np.float64) - self.mean) / self.scale @ self.weights.T + self.bias

    def predict(self, latents: ArrayLike) -> NDArray[np.int64]:
        """(n, w) -> labels (n,)."""
        return self.classes[self.logits(latents).argmax(1)]


def fit_head(
    latents: ArrayLike,
    labels: ArrayLike,
    *,
    seed: int,
    strengths: Sequence[float] = STRENGTHS,
    held_out: float = 0.2,
    max_iter: int = 1_000,
) -> LogisticHead:
    """Multinomial logistic regression on standardised latents of training images.

    latents (n, w), labels (n,). The share `held_out` of every class (at least one image) is set aside, fixed by the
    seed; the C of highest accuracy there is taken (of equal ones the smallest, the strongest penalty), and the head is
    fitted again on all n. Mean and scale are always those of the latents that are fitted. No test image is looked at.

    Raises: InputError for values that are not finite, fewer than two classes, or a class of a single image.
    """
    x, y = np.asarray(latents, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if x.ndim != 2 or len(x) != len(y) or not np.isfinite(x).all():
        raise InputError(f"a head needs finite latents (n, width) and n labels, got {x.shape} and {y.shape}")
    classes, sizes = np.unique(y, return_counts=True)
    if len(classes) < 2 or sizes.min() < 2:
        raise InputError("a head needs at least two classes, and two images of each: one to fit, one to choose on")
    aside = _aside(y, classes, held_out, seed)
    accuracy = {}
    for strength in sorted(strengths):
        head = _fitted(x[~aside], y[~aside], strength, max_iter)
        accuracy[strength] = float((head.predict(x[aside]) == y[aside]).mean())
    chosen = max(accuracy, key=lambda strength: (accuracy[strength], -strength))
    return _fitted(x, y, chosen, max_iter, accuracy)


def _aside(labels: NDArray[np.int64], classes: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    aside = np.zeros(len(labels), dtype=bool)
    for label in classes.tolist():
        members = np.flatnonzero(labels == label)
        count = min(len(members) - 1, max(1, round(share * len(members))))
        aside[seeds.stream(seed, "head", label).permutation(members)[:count]] = True
    return aside


def _fitted(
    x: NDArray[np.float64],
    y: NDArray[np.int64],
    strength: float,
    max_iter: int,
    accuracy: Mapping[float, float] | None = None,
) -> LogisticHead:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, spread = x.mean(0), x.std(0)
    scale = np.where(spread > 0, spread, 1.0)
    model: Any = LogisticRegression(C=strength, max_iter=max_iter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` says it
        model.fit((x - mean) / scale, y)
    weights, bias = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(weights) == 1:  # two classes: scikit-learn gives the second one's logit against the first one's
        weights, bias = np.vstack((np.zeros_like(weights), weights)), np.array([0.0, bias[0]])
    return LogisticHead(
        classes=np.asarray(model.classes_, dtype=np.int64),
        mean=mean,
        scale=scale,
        weights=weights,
        bias=bias,
        strength=strength,
        held_out_accuracy=accuracy or {},
        converged=bool(np.max(model.n_iter_) < max_iter),
    )
