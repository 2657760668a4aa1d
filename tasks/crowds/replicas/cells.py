"""All that estimators see of a set of images: how many there are, and how many are right, at each count of answers.

A *cell* is a pair (answers, of them ticked), within a class where an estimator looks at classes. Estimators are
functions of sums over cells, so that a thousand resamples of images and a hundred models are a few matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Remeasured:
    """Answers given after the choice, and which models are right. A row is an image, or many equal ones."""

    n_shown: NDArray[np.int64]
    """(rows,)"""
    n_selected: NDArray[np.int64]
    correct: Array
    """(rows, models), in [0, 1]: of many images their share, of a mean over models that mean."""
    chosen: NDArray[np.bool_] | None = None
    """(rows,) which rows are the replica itself, where all candidates are given in its place; None: all of them."""
    stratum: NDArray[np.int64] | None = None
    """(rows,) from 0: the class of each, numbered alike in both sets; None: all in one."""
    weight: Array | None = None
    """(rows,) above 0: how many images of the population each represents; None: equally many."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """Sums over weighted images, for each resample."""

    held: Array
    """(resamples, cells) images."""
    right: Array
    """(resamples, cells, models) images that a model is right on."""
    accuracy: Array
    """(resamples, models) of the set itself."""

    @property
    def shares(self) -> Array:
        """(resamples, cells), sum 1."""
        return np.asarray(self.held / self.held.sum(axis=1, keepdims=True))


class Cells:
    """A set's rows put together by cell."""

    n_shown: NDArray[np.int64]
    """(cells,)"""
    n_selected: NDArray[np.int64]
    stratum: NDArray[np.int64]

    def __init__(self, rows: Remeasured) -> None:
        # one number per pair (and class), which sorts as they do
        width, longest = int(rows.n_selected.max()) + 1, int(rows.n_shown.max()) + 1
        key = rows.n_shown * width + rows.n_selected
        if rows.stratum is not None:
            key = rows.stratum * (longest * width) + key
        found, member = np.unique(key, return_inverse=True)
        self.stratum, pair = np.divmod(found, longest * width)
        self.n_shown, self.n_selected = np.divmod(pair, width)
        order = np.argsort(member, kind="stable")
        self._order = None if (np.diff(order) == 1).all() else order
        ends = np.cumsum(np.bincount(member, minlength=len(found)))
        self._blocks = [slice(*ends_of) for ends_of in zip(np.concatenate([[0], ends[:-1]]), ends, strict=True)]
        self._correct = rows.correct[order]
        self._weight = None if rows.weight is None else rows.weight[order]
        self._chosen = None if rows.chosen is None else rows.chosen[order].astype(np.float64)

    def whole(self) -> Sums:
        """Every row once."""
        return self.sums(np.ones((1, len(self._correct))))

    def sums(self, weights: Array) -> Sums:
        """weights: (resamples, rows) how often each row was drawn."""
        drawn = weights if self._order is None else weights[:, self._order]
        drawn = drawn if self._weight is None else drawn * self._weight
        held = np.stack([drawn[:, block].sum(axis=1) for block in self._blocks], axis=1)
        right = np.stack([drawn[:, block] @ self._correct[block] for block in self._blocks], axis=1)
        if self._chosen is None:
            accuracy = right.sum(axis=1) / held.sum(axis=1, keepdims=True)
        else:
            itself = drawn * self._chosen
            accuracy = itself @ self._correct / itself.sum(axis=1, keepdims=True)
        return Sums(held=held, right=right, accuracy=accuracy)
