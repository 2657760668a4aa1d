"""Which labels name the same object: exact max-k-cut of the graph of labels that one worker selected together.

Two labels that one worker selects together denote different objects for that worker; names of one object come from
different workers. So the labels of an image are divided into as many groups as it has objects, such that the number of
joint selections *between* groups is largest (Tsipras et al., arXiv:2005.11295, section 4). Images have few labels, so
all divisions are tried.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.errors import InputError

MOST_LABELS = 10
"""The most labels of one image: they have 34,105 divisions into 4 groups, and 42,525 into 5."""


@functools.lru_cache(maxsize=64)
def divisions(num_labels: int, num_groups: int) -> NDArray[np.int64]:
    """(divisions, labels) all divisions of labels into exactly `num_groups` groups that are not empty.

    Groups are numbered by their first label; rows ascend, so that earlier labels share a group first.
    """
    rows = [[0]]
    for _ in range(num_labels - 1):
        rows = [[*row, group] for row in rows for group in range(min(max(row) + 2, num_groups))]
    return np.array([row for row in rows if max(row) + 1 == num_groups], dtype=np.int64).reshape(-1, num_labels)


def max_k_cut(weights: NDArray[np.int64], num_groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The best division of the labels of many images with equally many labels, all edges present or not.

    weights: (images, labels, labels) symmetric, how many workers selected both. num_groups: of all these images.
    Returns: (images, labels) group of each label, 0 .. num_groups - 1; and (images,) how many divisions attain the
    maximum. Of those the first in the order of `divisions` is taken: a rule of the labels' order alone.

    Raises: InputError for more than 10 labels, or fewer labels than groups.
    """
    possible, best = _best(weights, num_groups)
    return possible[best.argmax(axis=1)], best.sum(axis=1)


def optimal_divisions(weights: NDArray[np.int64], num_groups: int) -> NDArray[np.int64]:
    """(optima, labels) every division of one image's labels that attains the maximum. weights: (labels, labels).

    Raises: InputError as `max_k_cut`.
    """
    possible, best = _best(weights[None], num_groups)
    return possible[best[0]]


def _best(weights: NDArray[np.int64], num_groups: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(divisions, labels) all that are possible, and (images, divisions) which of them attain the maximum."""
    num_labels = weights.shape[1]
    if num_labels > MOST_LABELS:
        raise InputError(f"an image has {num_labels} labels that were selected together; at most {MOST_LABELS} are cut")
    if num_labels < num_groups:
        raise InputError(f"{num_labels} labels can't be divided into {num_groups} objects")
    possible = divisions(num_labels, num_groups)
    one, other = np.triu_indices(num_labels, 1)
    apart = (possible[:, one] != possible[:, other]).astype(np.float64)
    between = weights[:, one, other].astype(np.float64) @ apart.T  # whole numbers, exact
    return possible, between == between.max(axis=1, keepdims=True)
