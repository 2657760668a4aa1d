"""Tables of answers about an image and a label: which questions were asked, and which row answers which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.tables import CrowdTable
from robustray.tasks.errors import InputError

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Questions:
    """Questions (an image and a label), sorted by image, then label; each image's given label is among them."""

    images: NDArray[np.str_]
    given: Ints
    """(images,)"""
    num_classes: int
    question: Ints
    """(questions,) image * num_classes + label; ascends."""
    place: Ints
    """(rows,) the question that a row of the table answers."""
    of_given: Ints
    """(images,) the question about the given label."""

    @staticmethod
    def of(table: CrowdTable, *, why: str) -> Questions:
        """Of a table with the columns image, given and label. why: what given labels are needed for, as errors say it.

        Raises: InputError naming the row of an image's second given label; and for given labels that nobody was
        asked about.
        """
        images, first, image = np.unique(table["image"], return_index=True, return_inverse=True)
        given = table["given"][first]
        differs = table["given"] != given[image]
        if differs.any():
            row = int(np.argmax(differs))
            raise table.bad("given", row, f"image {images[image[row]]} has another given label in an earlier row")
        num_classes = int(max(table["given"].max(), table["label"].max())) + 1
        question, place = np.unique(image * num_classes + table["label"], return_inverse=True)
        wanted = np.arange(len(images)) * num_classes + given
        of_given = np.minimum(np.searchsorted(question, wanted), len(question) - 1)
        asked = question[of_given] == wanted
        if not asked.all():
            raise InputError(
                f"{table.name}: nobody was asked about the given label of {int((~asked).sum())} images (the first is "
                f"{images[np.argmin(asked)]}): {why}"
            )
        return Questions(
            images=images, given=given, num_classes=num_classes, question=question, place=place, of_given=of_given
        )
