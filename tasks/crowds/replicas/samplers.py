"""Samplers: which candidates become the replica, by the answers given to them.

By bins, as the original study's set MatchedFrequency: per class, the original images' frequencies in five bins, scaled
to the wanted size by largest remainder; that many candidates are drawn from each bin; a bin that runs dry is filled
from the next higher ones. By a threshold, as its set Threshold0.7. By the highest frequencies, as its set TopImages
(Recht et al. 2019). `posterior` chooses so that true frequencies, not readings, look like the original's.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
NUM_BINS = 5


def frequency_bin(n_selected: ArrayLike, n_shown: ArrayLike) -> NDArray[np.int64]:
    """Bin 0 .. 4 of n_selected / n_shown: [0, .2) .. [.8, 1]. By whole numbers: 6 of 10 is not below .6."""
    selected, shown = np.asarray(n_selected, dtype=np.int64), np.asarray(n_shown, dtype=np.int64)
    return np.minimum(NUM_BINS * selected // shown, NUM_BINS - 1)


def largest_remainder(histogram: ArrayLike, size: int) -> NDArray[np.int64]:
    """(..., bins) counts scaled to sum to `size`: floors, then one more for the largest remainders (ties: lower bin).

    Raises nothing: every histogram has to hold something.
    """
    counts = np.asarray(histogram, dtype=np.int64)
    total = counts.sum(axis=-1, keepdims=True)
    floors, remainders = np.divmod(counts * size, total)
    rank = np.argsort(np.argsort(-remainders, axis=-1, kind="stable"), axis=-1)
    return floors + (rank < size - floors.sum(axis=-1, keepdims=True))


def upward(wanted: ArrayLike, available: ArrayLike) -> NDArray[np.int64]:
    """(classes, bins) how many to take from each bin: what a bin lacks is taken from the next higher ones.

    The sum of a class is below what was wanted where the highest bins run dry too.
    """
    want, there = np.array(wanted, dtype=np.int64), np.asarray(available, dtype=np.int64)
    taken = np.zeros_like(want)
    lacking = np.zeros(len(want), dtype=np.int64)
    for b in range(want.shape[1]):
        asked = want[:, b] + lacking
        taken[:, b] = np.minimum(asked, there[:, b])
        lacking = asked - taken[:, b]
    return taken


def match(
    original_bin: NDArray[np.int64],
    original_class: NDArray[np.int64],
    candidate_bin: NDArray[np.int64],
    candidate_class: NDArray[np.int64],
    per_class: int,
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Indices of the candidates that are chosen, `per_class` of each class (fewer where its high bins run dry).

    original_bin, candidate_bin: of `frequency_bin`. Classes are 0 .. C - 1 and each has original images.
    """
    num_classes = int(original_class.max()) + 1

    def histogram(classes: Ints, bins: Ints) -> Ints:
        flat = np.bincount(classes * NUM_BINS + bins, minlength=num_classes * NUM_BINS)
        return flat.reshape(num_classes, NUM_BINS)

    wanted = largest_remainder(histogram(original_class, original_bin), per_class)
    return take(wanted, candidate_bin, candidate_class, rng)


def take(wanted: Ints, group: Ints, classes: Ints, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices of `wanted` (classes, groups) candidates, drawn at random; a dry group is filled from higher ones."""
    num_groups = wanted.shape[1]
    place = classes * num_groups + group
    available = np.bincount(place, minlength=wanted.size).reshape(wanted.shape)
    taken = upward(wanted, available).ravel()
    order = np.argsort(place + rng.random(len(place)), kind="stable")  # a random order within each group
    starts = np.cumsum(available.ravel()) - available.ravel()
    rank = np.arange(len(place)) - starts[place[order]]
    return order[rank < taken[place[order]]]


def above_threshold(
    n_selected: ArrayLike,
    n_shown: ArrayLike,
    classes: ArrayLike,
    per_class: int,
    threshold: Fraction,
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """`per_class` of each class, drawn uniformly from the candidates whose measured frequency is at least `threshold`.

    By whole numbers: 7 of 10 is at least 7/10. Fewer of a class that has not so many.
    """
    selected, shown, of = (np.asarray(each, dtype=np.int64) for each in (n_selected, n_shown, classes))
    good = np.flatnonzero(selected * threshold.denominator >= threshold.numerator * shown)
    order = good[np.lexsort([rng.random(len(good)), of[good]])]
    return order[_rank(of[order]) < per_class]


def highest(n_selected: ArrayLike, n_shown: ArrayLike, classes: ArrayLike, per_class: int) -> NDArray[np.intp]:
    """The `per_class` candidates of each class with the highest measured frequencies.

    Of equal frequencies that with more answers, then the earlier one.
    """
    selected, shown, of = (np.asarray(each, dtype=np.int64) for each in (n_selected, n_shown, classes))
    # equal fractions are equal floats: division rounds correctly
    order = np.lexsort([np.arange(len(of)), -shown, -selected / np.maximum(shown, 1), of])
    return order[_rank(of[order]) < per_class]


def _rank(sorted_classes: Ints) -> Ints:
    """Place of each element within its class."""
    first = np.searchsorted(sorted_classes, sorted_classes, side="left")
    return np.asarray(np.arange(len(sorted_classes)) - first)
