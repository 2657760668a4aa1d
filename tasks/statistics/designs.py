"""What was drawn independently, and how it is drawn again: units, cells of equal units, clusters; within strata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustray.tasks.errors import InputError

Weights = NDArray[np.float64]
"""(resamples, rows): how often each row was drawn."""

BATCH_ENTRIES = 2**21
"""Entries of one batch of weights. Fixed: a batch of another size could consume the generator in another order, and
an interval would then depend on more than its seed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """Rows of a table, the independent units they belong to, and the strata whose sizes were fixed.

    Made by `by_unit`, `by_cell` or `by_cluster`.
    """

    unit_of_row: NDArray[np.intp]
    """(rows,) index of the unit that each row belongs to."""
    counts: NDArray[np.int64]
    """(units,) how many equal units each of them represents: 1, except for cells."""
    strata: NDArray[np.intp]
    """(units,) index of the stratum: each is resampled within itself, to its own size."""

    @property
    def num_units(self) -> int:
        return int(self.counts.sum())

    @property
    def num_rows(self) -> int:
        return len(self.unit_of_row)

    @property
    def stratum_sizes(self) -> NDArray[np.int64]:
        return np.bincount(self.strata, weights=self.counts).astype(np.int64)

    def resamples(self, num_resamples: int, seed: int) -> Iterator[Weights]:
        """Weights of `num_resamples` resamples with replacement, in batches. Every stratum keeps its size."""
        rng = np.random.default_rng(seed)
        draw = self._draw_units if (self.counts == 1).all() else self._draw_cells
        batch = max(1, BATCH_ENTRIES // max(self.num_rows, len(self.counts)))
        for first in range(0, num_resamples, batch):
            yield self._of_rows(draw(rng, min(batch, num_resamples - first)))

    def leave_one_out(self) -> Iterator[Weights]:
        """Weights with one unit missing, for each entry of `counts` that is not 0, in batches."""
        batch = max(1, BATCH_ENTRIES // max(self.num_rows, len(self.counts)))
        held = np.flatnonzero(self.counts)
        for first in range(0, len(held), batch):
            missing = held[first : first + batch]
            weights = np.repeat(self.counts[None, :].astype(np.float64), len(missing), axis=0)
            weights[np.arange(len(missing)), missing] -= 1
            yield self._of_rows(weights)

    def _of_rows(self, of_units: Weights) -> Weights:
        same = len(self.counts) == self.num_rows and (self.unit_of_row == np.arange(self.num_rows)).all()
        return of_units if same else of_units[:, self.unit_of_row]

    def _draw_units(self, rng: np.random.Generator, num: int) -> Weights:
        order = np.argsort(self.strata, kind="stable")
        sizes = self.stratum_sizes
        n = len(order)
        if len(sizes) == 1:  # the stream of SciPy's bootstrap at the same seed
            drawn = rng.integers(0, n, (num, n))
        else:
            end = np.cumsum(sizes)
            drawn = rng.integers(np.repeat(end - sizes, sizes), np.repeat(end, sizes), (num, n))
        flat = drawn if (order == np.arange(n)).all() else order[drawn]
        flat += n * np.arange(num)[:, None]
        return np.bincount(flat.ravel(), minlength=num * n).reshape(num, n).astype(np.float64)

    def _draw_cells(self, rng: np.random.Generator, num: int) -> Weights:
        weights = np.zeros((num, len(self.counts)))
        for stratum, size in enumerate(self.stratum_sizes):
            inside = np.flatnonzero(self.strata == stratum)
            weights[:, inside] = rng.multinomial(size, self.counts[inside] / size, size=num)
        return weights


def by_unit(num_units: int, *, strata: ArrayLike | None = None) -> Design:
    """Every row is a unit of its own: images, pairs, seeds.

    strata: (units,) labels; the number of units of each was fixed beforehand (10 images per class; two samples).

    Raises: InputError for no unit, or a stratum of a single unit among several: it would add nothing to the spread.
    """
    return _design(np.arange(num_units), np.ones(num_units, dtype=np.int64), strata)


def by_cell(counts: ArrayLike, *, strata: ArrayLike | None = None) -> Design:
    """Every row is a cell that holds `counts` equal units: images with the same count of votes and the same outcome.

    Exactly the resamples of the units themselves, at the cost of the cells. Raises: InputError as `by_unit`, and for
    counts that are not whole numbers from 0 on.
    """
    held = np.asarray(counts)
    if held.ndim != 1 or not (np.isfinite(held) & (held >= 0) & (held == np.floor(held))).all():
        raise InputError("counts of cells must be a flat list of whole numbers from 0 on")
    return _design(np.arange(len(held)), held.astype(np.int64), strata)


def by_cluster(labels: ArrayLike, *, strata: ArrayLike | None = None) -> Design:
    """Rows with the same label are drawn together: several models on one image, several images of one batch of work.

    labels: (rows,). strata: (rows,), equal within a cluster.

    Raises: InputError as `by_unit`, and for a cluster that lies in two strata.
    """
    found, first, member = np.unique(np.asarray(labels), return_index=True, return_inverse=True)
    of_clusters = None
    if strata is not None:
        of_rows = np.asarray(strata)
        if of_rows.shape != member.shape:
            raise InputError(f"{member.shape} rows and strata of shape {of_rows.shape} do not fit")
        of_clusters = of_rows[first]
        if not (of_clusters[member] == of_rows).all():
            raise InputError("a cluster lies in two strata: strata must be unions of clusters")
    return _design(member, np.ones(len(found), dtype=np.int64), of_clusters)


def _design(unit_of_row: NDArray[np.intp], counts: NDArray[np.int64], strata: ArrayLike | None) -> Design:
    if counts.sum() == 0:
        raise InputError("nothing to resample: there is no unit")
    labels = np.zeros(len(counts), dtype=np.intp) if strata is None else np.asarray(strata)
    if labels.shape != counts.shape:
        raise InputError(f"{len(counts)} units and strata of shape {labels.shape} do not fit")
    found, index = np.unique(labels, return_inverse=True)
    design = Design(unit_of_row=unit_of_row, counts=counts, strata=index)
    alone = np.flatnonzero(design.stratum_sizes < 2)
    if len(found) > 1 and len(alone):
        raise InputError(
            f"stratum {found[alone[0]]} has {design.stratum_sizes[alone[0]]} unit, which says nothing of its spread: "
            "merge small strata, or leave the strata out"
        )
    return design
