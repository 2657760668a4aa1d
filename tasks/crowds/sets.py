"""Tables about all images of a data set: what became of each before people classified it, and all labels that fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.tables import Column, CrowdTable, Labels, Schema
from robustray.tasks.errors import InputError

CLASSIFIED, ALONE, NEVER, FEW = "classified", "only-given", "never-ticked", "too-few"
IMAGES = Schema(
    what="all images of a data set and what became of them",
    columns={
        "image": Column(kind="name"),
        "given": Column(kind="label"),
        "split": Column(kind="name", choices=(CLASSIFIED, ALONE, NEVER, FEW)),
    },
)
ACCEPTED = Schema(
    what="all labels that fit an image",
    columns={
        "image": Column(kind="name"),
        "given": Column(kind="label"),
        "accepted": Column(kind="labels", may_be_empty=True),
    },
)
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class WholeSet:
    """All images, of which some were classified."""

    names: NDArray[np.str_]
    given: Ints
    split: NDArray[np.str_]
    classified: Ints
    """(images,) place among the classified ones; -1 where an image is none of them."""

    @staticmethod
    def of(table: CrowdTable, classified: NDArray[np.str_], given: Ints) -> WholeSet:
        """classified, given: sorted names of the images with answers, and their labels.

        Raises: InputError for an image that occurs twice or has another label than in the answers, or where the images
        with answers are not those that the table calls classified.
        """
        names = table["image"]
        _once(table)
        place = np.minimum(np.searchsorted(classified, names), len(classified) - 1)
        place = np.where(classified[place] == names, place, -1)
        marked = table["split"] == CLASSIFIED
        wrong = marked != (place >= 0)
        if wrong.any():
            row = int(np.argmax(wrong))
            says = "has no answers" if marked[row] else "has answers, so that it was classified"
            raise table.bad("split", row, f"image {names[row]} {says}")
        if int(marked.sum()) < len(classified):
            missing = np.setdiff1d(classified, names)
            raise InputError(
                f"{table.name}: {len(missing)} images with answers are not in it (the first is {missing[0]})"
            )
        other = marked & (given[place] != table["given"])
        if other.any():
            row = int(np.argmax(other))
            raise table.bad("given", row, f"image {names[row]} has label {given[place[row]]} in the answers")
        return WholeSet(names=names, given=table["given"], split=table["split"], classified=place)


@dataclass(frozen=True, kw_only=True, eq=False)
class AcceptedLabels:
    """Images and all labels that fit them."""

    names: NDArray[np.str_]
    given: Ints
    accepted: Labels

    @staticmethod
    def of(table: CrowdTable) -> AcceptedLabels:
        """Raises: InputError for an image that occurs twice, or a table without any label that fits."""
        _once(table)
        accepted = table.lists["accepted"]
        if not len(accepted.values):
            raise InputError(f"{table.name}: column accepted: no image has a label that fits")
        return AcceptedLabels(names=table["image"], given=table["given"], accepted=accepted)

    @property
    def judged(self) -> NDArray[np.bool_]:
        """(images,) whether any label fits; the others count for nothing."""
        return self.accepted.lengths > 0

    def right(self, label: Ints) -> NDArray[np.bool_]:
        """(images,) whether a label of each image is among those that fit."""
        rows = self.accepted.rows
        hits = np.zeros(len(label), dtype=np.bool_)
        hits[rows[self.accepted.values == label[rows]]] = True
        return hits


def _once(table: CrowdTable) -> None:
    names, first = np.unique(table["image"], return_index=True)
    if len(names) < len(table):
        row = int(np.setdiff1d(np.arange(len(table)), first)[0])
        raise table.bad("image", row, f"image {table['image'][row]} occurs in an earlier row")
