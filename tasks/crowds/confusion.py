"""What is confused with what: superclasses, and pairs of classes that models or people can't distinguish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.tables import Column, CrowdTable, Schema
from robustray.tasks.errors import InputError
from robustray.tasks.statistics import Estimate, proportion

CLASSES = Schema(
    what="one row per class: its number, name and superclass",
    columns={"class": Column(kind="label"), "name": Column(kind="name"), "superclass": Column(kind="name")},
)
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Classes:
    """Names of classes 0 .. n - 1; never keys: two classes may share a name."""

    name: NDArray[np.str_]
    superclass: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.name)

    @staticmethod
    def of(table: CrowdTable, num_classes: int) -> Classes:
        """Raises: InputError for a class that occurs twice, or is missing below `num_classes` or the largest one."""
        number = table["class"]
        count = np.bincount(number, minlength=num_classes)
        if (count > 1).any():
            row = int(np.flatnonzero(number == np.argmax(count > 1))[1])
            raise table.bad("class", row, f"class {number[row]} occurs in an earlier row")
        if (count == 0).any():
            raise InputError(
                f"{table.name}: class {int(np.argmin(count))} is missing: labels up to {len(count) - 1} occur"
            )
        order = np.argsort(number)
        return Classes(name=table["name"][order], superclass=table["superclass"][order])


def within_superclass(classes: Classes, given: Ints, said: Ints) -> Estimate:
    """Share of the labels that differ from the given one which stay in its superclass (Wilson's interval)."""
    wrong = given != said
    return proportion(classes.superclass[given[wrong]] == classes.superclass[said[wrong]])


def by_superclass(classes: Classes, given: Ints, said: Ints) -> tuple[NDArray[np.str_], NDArray[np.float64], Ints]:
    """Superclasses; (superclasses, superclasses) where wrong labels go, rows are the given label's and add up to 1 (NaN
    without a wrong label); and (superclasses,) wrong labels of each row."""
    names, group = np.unique(classes.superclass, return_inverse=True)
    wrong = given != said
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, (group[given[wrong]], group[said[wrong]]), 1)
    total = counts.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return names, counts / total[:, None], total.astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two classes that are taken for each other."""

    first: int
    second: int
    confused: int
    """Labels of one of them on images of the other, over all who label (models or people)."""
    decided: int
    """Images of the two classes that were labelled as one of the two, over all who label."""

    @property
    def accuracy(self) -> float:
        """Share of the decided that are right; chance is .5."""
        return 1 - self.confused / self.decided


def pairs(given: Ints, said: Sequence[Ints] | Mapping[str, Ints], most: int) -> list[Pair]:
    """The `most` pairs of classes that are confused most often, both ways added up, over all of `said`.

    given: (images,); said: (images,) labels each. Ties: the pair of smaller classes.
    """
    each = list(said.values()) if isinstance(said, Mapping) else list(said)
    width = int(max(given.max(), *(labels.max() for labels in each))) + 1
    wrong = np.concatenate([np.stack([given, labels])[:, given != labels] for labels in each], axis=1)
    key, counts = np.unique(wrong.min(axis=0) * width + wrong.max(axis=0), return_counts=True)
    top = np.lexsort((key, -counts))[:most]
    right = np.zeros(width, dtype=np.int64)
    for labels in each:
        right += np.bincount(given[given == labels], minlength=width)
    first, second = np.divmod(key[top], width)
    return [
        Pair(first=int(a), second=int(b), confused=int(count), decided=int(count + right[a] + right[b]))
        for a, b, count in zip(first, second, counts[top], strict=True)
    ]
