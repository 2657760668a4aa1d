"""What fewer annotators would have said: exact expectations over all subsets of the answers, no random draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from robustray.tasks.errors import InputError


def thinned(n_selected: ArrayLike, n_shown: ArrayLike, num_answers: int) -> NDArray[np.float64]:
    """Chance of each count if only `num_answers` of an image's answers had been given.

    n_selected, n_shown: (rows,). Returns: (rows, num_answers + 1); entry j of a row is
    Hypergeometric(j; n_shown, n_selected, num_answers), the mean over all subsets of the answers. Summed over images
    these are histograms; for images with different numbers of answers too.

    Raises: InputError where an image has fewer answers than that.
    """
    selected, shown = np.broadcast_arrays(np.asarray(n_selected), np.asarray(n_shown))
    if selected.size and shown.min() < num_answers:
        raise InputError(f"an image has {shown.min()} answers: it can't be thinned to {num_answers}")
    pairs, inverse = np.unique(np.stack([shown, selected], axis=1), axis=0, return_inverse=True)
    counts = np.arange(num_answers + 1)
    rows = stats.hypergeom.pmf(counts[None, :], pairs[:, :1], pairs[:, 1:], num_answers)
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))[inverse]


def moments(n_selected: ArrayLike, n_shown: ArrayLike, highest: int) -> NDArray[np.float64]:
    """Unbiased estimates of s^0 .. s^highest from an image's answers, s its true selection frequency.

    n_selected, n_shown: (rows,). Returns: (rows, highest + 1), (k)_j / (n)_j with (k)_j = k (k - 1) .. (k - j + 1): the
    chance that j different answers drawn from the image's are all "yes". Its mean over Binomial(n, s) is exactly s^j.

    Raises: InputError where an image has fewer answers than `highest`.
    """
    selected, shown = np.broadcast_arrays(
        np.asarray(n_selected, dtype=np.float64), np.asarray(n_shown, dtype=np.float64)
    )
    if selected.size and shown.min() < highest:
        raise InputError(f"an image has {int(shown.min())} answers: moments up to {highest} need as many")
    steps = np.arange(highest)
    factors = np.maximum(selected[:, None] - steps, 0) / (shown[:, None] - steps)
    return np.concatenate([np.ones((len(selected), 1)), np.cumprod(factors, axis=1)], axis=1, dtype=np.float64)
