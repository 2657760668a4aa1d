"""Answers to "does image x contain an object of class l?": of those who saw an image and a label, how many ticked it.

One row per image and label (or per answer, with a worker and `n_shown` 1). A label's selection frequency is the share
of its workers who ticked it. Labels compete only where people are asked about several: a label that is confirmed may
not be the one that fits best (Tsipras et al., arXiv:2005.11295, sections 3 and 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robustray.tasks.crowds.questions import Questions
from robustray.tasks.crowds.ratings import Ratings
from robustray.tasks.crowds.sets import ALONE, CLASSIFIED, FEW, NEVER
from robustray.tasks.crowds.tables import Column, CrowdTable, Schema
from robustray.tasks.crowds.thinning import thinned
from robustray.tasks.errors import InputError

CONTAINS = Schema(
    what="answers about whether an image contains an object of a class",
    columns={
        "image": Column(kind="name"),
        "given": Column(kind="label"),
        "label": Column(kind="label"),
        "n_shown": Column(kind="count"),
        "n_selected": Column(kind="count"),
        "worker": Column(kind="name", required=False),
    },
)
ENOUGH = 5
"""Workers who must have seen a label before it is judged, as in the published annotations."""
MOST_SHOWN = 1_000
"""The most workers to whom one label was shown. Tables of the chance of every count grow with its square."""
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Contains:
    """Questions (an image and a label), sorted by image, then label; every image's given label is among them."""

    images: NDArray[np.str_]
    given: Ints
    """(images,)"""
    image: Ints
    """(questions,) number of the image; ascends, and none is missing."""
    label: Ints
    n_shown: Ints
    n_selected: Ints
    of_given: Ints
    """(images,) the question about the given label."""
    ratings: Ratings
    """The same as scores of predictions: by worker where the table has any, else with a single one for all answers."""

    @staticmethod
    def of(table: CrowdTable) -> Contains:
        """Raises: InputError naming the row: more ticks than answers, a label nobody saw, an image and label that occur
        twice, two given labels of an image; and for a given label that nobody was asked about."""
        shown, selected = table["n_shown"], table["n_selected"]
        _check_rows(table)
        found = Questions.of(table, why="other labels are compared with it")
        question, num_classes, place = found.question, found.num_classes, found.place
        n_shown = np.bincount(place, weights=shown).astype(np.int64)
        if n_shown.max() > MOST_SHOWN:
            at = found.images[question[np.argmax(n_shown)] // num_classes]
            raise InputError(
                f"{table.name}: a label of image {at} was shown {n_shown.max():,} times; at most {MOST_SHOWN:,} are "
                "analysed"
            )
        workers, worker = (
            np.unique(table["worker"], return_inverse=True) if table.has("worker") else (None, np.zeros_like(place))
        )
        form = (len(question), 1 if workers is None else len(workers))
        return Contains(
            images=found.images,
            given=found.given,
            image=question // num_classes,
            label=question % num_classes,
            n_shown=n_shown,
            n_selected=np.bincount(place, weights=selected).astype(np.int64),
            of_given=found.of_given,
            ratings=Ratings(
                images=found.images,
                given=found.given,
                question=question,
                num_classes=num_classes,
                asked=sparse.csr_array((shown / n_shown[place], (place, worker)), shape=form),
                yes=sparse.csr_array((selected / n_shown[place], (place, worker)), shape=form),
            ),
        )

    @property
    def frequency(self) -> Array:
        """(questions,) selection frequencies. Division rounds correctly: equal fractions are equal floats."""
        return self.n_selected / self.n_shown

    def other(self, judged: Bools | None = None) -> tuple[Array, Ints]:
        """(images,) highest selection frequency of another label than the given one (−1 where there is none), and that
        label (ties: the smaller class; the given one where there is none). judged: (questions,) which of them count."""
        frequency = self.frequency if judged is None else np.where(judged, self.frequency, -1.0)
        frequency[self.of_given] = -1.0
        starts = np.searchsorted(self.image, np.arange(len(self.images)))
        highest = np.maximum.reduceat(frequency, starts)
        best = np.flatnonzero(frequency == highest[self.image])
        first = best[np.searchsorted(self.image[best], np.arange(len(self.images)))]
        return highest, np.where(highest >= 0, self.label[first], self.given)

    def split(self) -> NDArray[np.str_]:
        """(images,) what becomes of each: shown to people with all its plausible labels ("classified": another one was
        ticked, at least half as often as the given one); "only-given"; "never-ticked"; "too-few" workers, below 5, saw
        the given label. Labels that fewer than 5 workers saw are not plausible."""
        of_given, (other, _) = self.frequency[self.of_given], self.other(self.n_shown >= ENOUGH)
        few, never = self.n_shown[self.of_given] < ENOUGH, self.n_selected[self.of_given] == 0
        plausible = (other > 0) & (2 * other >= of_given)
        return np.select([few, never, plausible], [FEW, NEVER, CLASSIFIED], ALONE)

    def fewer(self, sizes: list[int]) -> tuple[Array, Bools]:
        """(images, sizes, 2) chance that another label is ticked at least as often as the given one, and that one is
        ticked more often, had every label been shown to so many workers: exact, over all subsets of the answers, which
        are independent between labels. And (images,) which images count: those whose given label was shown as often as
        the largest size; other labels that were not are left out of them.

        sizes: ascending.
        """
        there = self.n_shown >= sizes[-1]
        kept = there[self.of_given]
        rows = np.flatnonzero(there & kept[self.image])
        place = np.cumsum(kept) - 1
        starts = np.searchsorted(place[self.image[rows]], np.arange(kept.sum()))
        own = np.searchsorted(rows, self.of_given[kept])
        found = np.zeros((int(kept.sum()), len(sizes), 2))
        for at, size in enumerate(sizes):
            chance = thinned(self.n_selected[rows], self.n_shown[rows], size)
            below = np.concatenate([np.zeros((len(rows), 1)), np.cumsum(chance, axis=1)], axis=1).clip(max=1.0)
            below[own] = 1.0  # the given label is no rival of itself
            none_above = np.multiply.reduceat(below, starts, axis=0)
            for which, ends in enumerate((none_above[:, :-1], none_above[:, 1:])):
                found[:, at, which] = 1.0 - (chance[own] * ends).sum(axis=1)
        return found.clip(0.0, 1.0), kept


def _check_rows(table: CrowdTable) -> None:
    shown, selected = table["n_shown"], table["n_selected"]
    if (shown == 0).any():
        raise table.bad("n_shown", int(np.argmin(shown)), "is 0: leave out labels that nobody saw")
    if (selected > shown).any():
        row = int(np.argmax(selected > shown))
        raise table.bad("n_selected", row, f"{selected[row]} of {shown[row]} workers ticked it")
    keys = ["image", "label"] + ["worker"] * table.has("worker")
    if table.has("worker") and (shown > 1).any():
        row = int(np.argmax(shown > 1))
        raise table.bad("n_shown", row, "a row with a worker is one answer: n_shown must be 1")
    rows = np.stack([np.unique(table[key], return_inverse=True)[1] for key in keys], axis=1)
    found, first = np.unique(rows, axis=0, return_index=True)
    if len(found) < len(rows):
        row = int(np.setdiff1d(np.arange(len(rows)), first)[0])
        what = ", ".join(f"{key} {table[key][row]}" for key in keys)
        raise table.bad(keys[-1], row, f"{what} occurs in an earlier row: no answer may count twice")
