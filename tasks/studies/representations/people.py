"""People's answers to the test images (CIFAR-10H and its like), as a table of counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.tables import Column, CrowdTable, Schema, open_table
from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Reference


def people_table(path: str, data: ImageData) -> Reference:
    """The table as what `lab.load` and `Opened.refs` take. Nothing is read yet."""
    columns = {"index": Column(kind="count"), "label": Column(kind="label")}
    columns |= {f"count_{name}": Column(kind="count") for name in data.classes}
    return open_table(path, Schema(what="one row per test image: how many people chose each class", columns=columns))


def answers_of(table: CrowdTable, data: ImageData) -> NDArray[np.float64]:
    """(images, classes): counts, in the order of the images.

    Raises: InputError unless the table has one row for each image, with its label, and an answer to each; and for a
    class without any image, with which people could confuse nothing.
    """
    order = np.argsort(table["index"])
    if not np.array_equal(table["index"][order], np.arange(len(data))):
        raise InputError(f"{table.name}: index must name each of the {len(data):,} images of {data.name} once")
    wrong = np.flatnonzero(table["label"][order] != data.labels)
    if wrong.size:
        raise InputError(
            f"{table.name}: image {wrong[0]} has label {table['label'][order][wrong[0]]}, {data.name} has "
            f"{data.labels[wrong[0]]}: these answers are not about these images"
        )
    absent = np.flatnonzero(np.bincount(data.labels, minlength=data.num_classes) == 0)
    if absent.size:
        raise InputError(
            f"{data.name} has no image of class {data.classes[absent[0]]!r}: which classes people confuse is asked of "
            "all of them; leave --people out"
        )
    counts: NDArray[Any] = np.stack([table[f"count_{name}"][order] for name in data.classes], axis=1)
    if (counts.sum(1) == 0).any():
        raise InputError(f"{table.name}: image {int((counts.sum(1) == 0).argmax())} has no answer")
    return counts.astype(np.float64)
