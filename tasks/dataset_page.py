"""A data set as a page and a table: what one looks at before a study uses it.

The page has a contact sheet (the first images of each class), a few images with all that is known of them, and counts
by class. The table has a row for every image.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.compose.cut import object_masks
from robustray.tasks.corruptions.settings import Corrupting
from robustray.tasks.corruptions.sheet import contact_sheet as corruptions_sheet
from robustray.tasks.data.images import ImageData
from robustray.tasks.data.reference import DataRef
from robustray.tasks.data.views import Resize, taken
from robustray.tasks.figures.gallery import LARGEST_SIDE, room_for
from robustray.tasks.figures.pictures import image_grid
from robustray.tasks.kit.words import plural
from robustray.tasks.lab.keys import digest
from robustray.tasks.lab.runs import now
from robustray.tasks.lab.store import Store
from robustray.tasks.outputs import write_tables
from robustray.tasks.report.dataset import DataFacts, render_dataset
from robustray.tasks.study import Findings, Picture, Table

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "data"
"""Folder of the pages in a store."""
MOST_CLASSES = 24
"""Rows of the contact sheet."""
MOST_SHOWN = 8
"""Images in a row of the contact sheet, and images shown with what is known of them."""
SIDE = 64
"""CSS pixels to which small images are enlarged on the contact sheet. Images over 48 pixels are made smaller."""


@runtime_checkable
class HasFacts(Protocol):
    """A source of data that knows more about its images than labels, masks and boxes."""

    def facts(self) -> Mapping[str, Sequence[Any]]:
        """Column name -> a value for each image: text, a number, True or False, or a list of texts."""
        ...


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What was written about a data set."""

    findings: Findings
    page: str
    tables: Mapping[str, str]
    """Name -> path of its Parquet file."""
    document: Mapping[str, Any]
    """The `--json` document."""


def look(ref: DataRef, store: Store, *, command: str, corrupting: Corrupting | None = None) -> Looked:
    """Write the page of a data set and its tables into the store, as `data/NAME-HASH/`.

    corrupting: corruptions that the first image is also shown under.

    Raises: InputError when the data cannot be read, or its images not be corrupted.
    """
    data = ref.fetch()
    known = ref.source.facts() if isinstance(ref.source, HasFacts) else {}
    findings = describe(data, known)
    if corrupting is not None and corrupting.corruptions:
        sheet = corruptions_sheet(data, corrupting)
        findings = dataclasses.replace(findings, pictures=(*findings.pictures, sheet))
    folder = f"{FOLDER}/{_slug(ref.name)}-{digest([ref.name, ref.content_hash], length=8)}"

    def write(file: str, content: bytes) -> str:
        store.write(f"{folder}/{file}", content)
        return store.path(f"{folder}/{file}")

    tables = write_tables(write, findings)
    for picture in findings.pictures:
        write(f"figures/{picture.name}.png", picture.png)
    facts = DataFacts(
        name=ref.name,
        content_hash=ref.content_hash,
        command=command,
        date=now(),
        notes=tuple(f"{note[0].upper()}{note[1:]}." for note in data.notes),
        tables={table: f"tables/{table}.parquet" for table in tables},
    )
    page = write("index.html", render_dataset(findings, facts).encode())
    document = {
        "data": ref.name,
        "content_hash": ref.content_hash,
        "images": len(data),
        "shape": list(data.shape),
        "classes": list(data.classes),
        "notes": list(data.notes),
        "tables": tables,
        "report": page,
    }
    return Looked(findings=findings, page=page, tables=tables, document=document)


def describe(data: ImageData, known: Mapping[str, Sequence[Any]]) -> Findings:
    """Pictures and tables of a data set. known: as `HasFacts.facts`."""
    channels, height, width = data.shape
    colour = "grey" if channels == 1 else "colour"
    classes = "1 class" if data.num_classes == 1 else f"{data.num_classes} classes"
    pictures = [contact_sheet(data)]
    if data.masks is not None or data.boxes is not None or known:
        pictures.append(single_images(data, known))
    return Findings(
        answer=f"{plural(len(data), 'image')} of {classes}, {height} x {width} pixels, in {colour}.",
        tables=(class_table(data), image_table(data, known)),
        pictures=tuple(pictures),
    )


def contact_sheet(data: ImageData) -> Picture:
    """The first images of each class, a class in a row."""
    labels = [label for label in range(data.num_classes) if (data.labels == label).any()]
    shown = labels[:MOST_CLASSES]
    fewest = min(int((data.labels == label).sum()) for label in shown)
    columns = max(1, min(MOST_SHOWN, fewest, room_for(data.shape) // len(shown)))
    rows = np.concatenate([np.flatnonzero(data.labels == label)[:columns] for label in shown])
    images = thumbnails(data, rows).images
    which = "first image" if columns == 1 else f"first {columns} images"
    more = len(labels) - len(shown)
    return image_grid(
        name="contact-sheet",
        title="Contact sheet",
        caption=f"The {which} of each class, in the order of the data set."
        + (f" {more} more classes are not shown." if more else ""),
        images=images,
        rows=[data.classes[label] for label in shown],
        columns=[""] * columns,
        scale=max(1, SIDE // max(images.shape[2:])),
    )


def single_images(data: ImageData, known: Mapping[str, Sequence[Any]]) -> Picture:
    """A few images with all that is known of them in words, beside the object that the label names.

    Images of which most is known are taken first: those with several objects, and those that are marked True.
    """
    much = np.zeros(len(data), dtype=np.int64)
    for values in known.values():
        much += [len(value) > 1 if isinstance(value, list) else value is True for value in values]
    rows = np.sort(np.argsort(-much, kind="stable")[:MOST_SHOWN])
    small = thumbnails(data, rows)
    columns = {"image": small.images}
    if data.masks is not None or data.boxes is not None:
        columns["its object"] = np.where(object_masks(small)[:, None], small.images, 0).astype(small.images.dtype)
    words = [
        [f"image {row}: {data.classes[data.labels[row]]}", *_in_words(known, row)]  # a line each
        for row in rows.tolist()
    ]
    return image_grid(
        name="single-images",
        title="Single images, and what is known of them",
        caption="The label of each image and what the data set knows beside it; where there are masks or boxes, the "
        "object that the label names. The table of images says it of every image.",
        images=np.stack(list(columns.values()), axis=1).reshape(-1, *small.shape),
        rows=["\n".join(lines) for lines in words],
        columns=list(columns),
        scale=max(1, SIDE // max(small.shape[1:])),
    )


def thumbnails(data: ImageData, rows: NDArray[np.int64]) -> ImageData:
    """The images `rows` with their masks and boxes, made smaller where a side has more than 48 pixels."""
    some = taken(data, rows)
    height, width = data.shape[1:]
    longest = max(height, width)
    if longest <= LARGEST_SIDE:
        return some
    return Resize(sides=tuple(max(1, round(side * LARGEST_SIDE / longest)) for side in (height, width)))(some)


def _in_words(known: Mapping[str, Sequence[Any]], row: int) -> list[str]:
    """What is known of one image, a line for each column: `["objects: plain disc, striped bar", "background:
    ring"]`."""
    lines = []
    for name, values in known.items():
        value = values[row]
        words = ", ".join(value) if isinstance(value, list) else {True: "yes", False: "no"}.get(value, str(value))
        lines.append(f"{name}: {words}")
    return lines


def class_table(data: ImageData) -> Table:
    """How many images each class has."""
    import pandas as pd

    counts = np.bincount(data.labels, minlength=data.num_classes)
    return Table(
        name="classes",
        title="Images by class",
        caption="Classes in the order of their labels.",
        frame=pd.DataFrame({"label": range(data.num_classes), "class": data.classes, "images": counts}),
    )


def image_table(data: ImageData, known: Mapping[str, Sequence[Any]]) -> Table:
    """A row for every image: its label, its box where there are boxes, and all that is known beside."""
    return Table(
        name="images",
        title="Every image",
        caption="index: place in the data set; label and class: what the image is labelled as; x0 to y1: box of the "
        "object that the label names, in pixels; lists are joined by commas; images.csv beside it holds the same. "
        + " ".join(f"{name}: {_MEANING[name]}." for name in known if name in _MEANING),
        frame=image_frame(data, known),
        on_page=False,
        csv=True,
    )


_MEANING: Mapping[str, str] = {
    "objects": "classes of all objects in the image, the main one first",
    "background": "the shape whose family of backgrounds the image has",
    "confusable": "whether nobody can tell the main object from its sibling",
}


def image_frame(data: ImageData, known: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """The rows of `image_table`. Lists of texts are joined: "plain disc, striped bar"."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            "index": range(len(data)),
            "label": data.labels,
            "class": [data.classes[label] for label in data.labels],
        }
    )
    if data.boxes is not None:
        for name, values in zip(("x0", "y0", "x1", "y1"), data.boxes.T, strict=True):
            frame[name] = values
    for name, values in known.items():
        frame[name] = [", ".join(value) if isinstance(value, list) else value for value in values]
    return frame


def _slug(name: str) -> str:
    """A name as the name of a folder: letters, digits and dashes, at most 60."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[-60:] or "data"
