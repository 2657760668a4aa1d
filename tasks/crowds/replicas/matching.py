"""The original study's sampler: choose candidates so that their measured frequencies look like the original's.

Per class: the original images' frequencies in five bins, scaled to the wanted size by largest remainder; that many
candidates are drawn from each bin; a bin that runs dry is filled from the next higher ones (Recht et al. 2019, the set
MatchedFrequency).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    shape = (num_classes, NUM_BINS)

    def histogram(classes: NDArray[np.int64], bins: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(classes * NUM_BINS + bins, minlength=num_classes * NUM_BINS).reshape(shape)

    available = histogram(candidate_class, candidate_bin)
    taken = upward(largest_remainder(histogram(original_class, original_bin), per_class), available).ravel()
    group = candidate_class * NUM_BINS + candidate_bin
    order = np.argsort(group + rng.random(len(group)), kind="stable")  # a random order within each group
    starts = np.cumsum(available.ravel()) - available.ravel()
    rank = np.arange(len(group)) - starts[group[order]]
    return order[rank < taken[group[order]]]
