"""Photographs at their native sizes with their boxes: encoded, in one array, for steps that decode them one by one.

    ROOT/CLASS/IMAGE.jpg     ROOT/IMAGE.jpg, classes in the annotations     Parquet with image and label columns

A photograph that can't be used (damaged, without annotation, with two boxes) is kept and has its reason later, so that
what is missing at the end can be listed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robustray.tasks.compose.boxes import Annotation, Annotations, Box, central_box, central_share, read_boxes
from robustray.tasks.data.decode import decode_one
from robustray.tasks.data.files import first_line, read_file
from robustray.tasks.data.folder import BOXES, FolderSource
from robustray.tasks.data.parquet import BOX_COLUMN, IMAGE_COLUMNS, LABEL_COLUMNS, MASK_COLUMN, class_names, find_shards
from robustray.tasks.data.picture import SUFFIXES
from robustray.tasks.errors import InputError
from robustray.tasks.lab.keys import digest

OWN = "own"
"""`--boxes own`: those that come with the data."""
UNLABELLED = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Photographs:
    """Encoded photographs. Picklable, its large array fit for shared memory."""

    name: str
    names: tuple[str, ...]
    """Of each photograph: `CLASS/FILE` in a folder, the path in a Parquet file. No two are the same."""
    encoded: NDArray[np.uint8]
    """All files, one behind the other."""
    ends: NDArray[np.int64]
    """(n + 1,): photograph i is encoded[ends[i] : ends[i + 1]]."""
    labels: NDArray[np.int64]
    """(n,); `UNLABELLED` where nothing names the class."""
    classes: tuple[str, ...]
    annotations: tuple[Annotation | None, ...]
    """None: there is none."""
    central: float | None = None
    """Instead of annotations: the share of each side that the box covers."""
    masks: tuple[bytes | None, ...] | None = None
    """Encoded masks, where they come with the data."""

    def __len__(self) -> int:
        return len(self.names)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """(height, width, 3), as stored: not turned by EXIF data, which boxes don't know. Raises: InputError."""
        data = self.encoded[self.ends[index] : self.ends[index + 1]].tobytes()
        found = decode_one(self.names[index], data)
        return np.ascontiguousarray(np.repeat(found[..., None], 3, axis=2) if found.ndim == 2 else found)

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        """(height, width), where the data bring masks. Raises: InputError."""
        data = None if self.masks is None else self.masks[index]
        if data is None:
            return None
        found = decode_one(f"the mask of {self.names[index]}", data)
        return (found if found.ndim == 2 else found.any(2)) != 0

    def boxes(self, index: int, height: int, width: int) -> tuple[Sequence[Box], tuple[int, int] | None] | None:
        """The boxes of a photograph of this size and the size that its annotation states; None without annotation."""
        if self.central is not None:
            return [central_box(height, width, self.central)], None
        each = self.annotations[index]
        return None if each is None else (each.boxes, each.size)


@dataclass(frozen=True, kw_only=True)
class PhotographsRef:
    """Photographs by name: a `robustray.tasks.lab.protocol.Reference` whose object is a `Photographs`."""

    name: str
    root: str
    boxes: str

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of names, files, labels and annotations. Raises: InputError."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        found = self.fetch()
        facts = [found.names, found.classes, found.labels.tolist(), found.ends.tolist(), found.central]
        facts += [None if each is None else [each.boxes, each.size] for each in found.annotations]
        for mask in found.masks or ():
            facts.append(None if mask is None else hashlib.sha256(mask).hexdigest())
        return digest(["photographs", hashlib.sha256(found.encoded.data).hexdigest(), facts], length=64)

    @property
    def modules(self) -> tuple[str, ...]:
        """Roots of CODE."""
        return (f"{__name__}:{PhotographsRef.__name__}",)

    def fetch(self) -> Photographs:
        """Read all files; none is decoded. Raises: InputError."""
        path = Path(self.root)
        boxes = Path(self.boxes).expanduser().absolute()  # a table of boxes beside the photographs is no shard of them
        if path.is_file() or any(file.absolute() != boxes for file in path.glob("*.parquet")):
            return _from_parquet(self.name, path, self.boxes)
        return _from_folder(self.name, path, self.boxes)

    def build(self, payload: Photographs, device: str) -> Photographs:
        """The payload itself: photographs are decoded one by one."""
        return payload

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_hash": self.content_hash}


def open_photographs(name: str, boxes: str) -> PhotographsRef:
    """Refer to the photographs at `name`, a folder or Parquet file, with the boxes at `boxes`, a word for `read_boxes`,
    `central:0.6` or `own`. Raises: InputError where there is nothing of that name."""
    path = Path(name.removeprefix("folder:")).expanduser()
    if not path.exists() or not (path.is_dir() or path.suffix == ".parquet"):
        raise InputError(f"--data {name} with --boxes: give a folder of photographs or a Parquet file; there is none")
    return PhotographsRef(name=name, root=str(path.absolute()), boxes=boxes)


# -- folders -----------------------------------------------------------------------------------------------------------


def _from_folder(name: str, root: Path, boxes: str) -> Photographs:
    central = central_share(boxes)
    annotations = None if central is not None else _read(boxes, root / BOXES)
    flat = sorted(file for file in root.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    if flat:
        files = {file.name: file for file in flat}
        classes = () if annotations is None else annotations.classes
        if annotations is None or not classes:
            raise InputError(
                f"--data {name}: pictures lie directly in {root} and nothing names their classes: put them into class "
                "folders, or give annotations that name the class of every box (COCO's categories)"
            )
        labels = [_class_in(each, classes) for each in annotations.of_all(tuple(files))]
    else:
        listing = FolderSource(root=str(root)).listing()
        files = {f"{each}/{file.name}": file for each, found in listing.items() for file in found}
        classes = tuple(listing)
        labels = [label for label, found in enumerate(listing.values()) for _ in found]
    data = [read_file(file) for file in files.values()]
    return _joined(name, tuple(files), data, labels, classes, annotations, central)


def _class_in(found: Annotation | None, classes: Sequence[str]) -> int:
    """The class of the only box of an image; `UNLABELLED` where there is none, or several."""
    return classes.index(found.classes[0]) if found is not None and len(found.classes) == 1 else UNLABELLED


def _read(boxes: str, own: Path) -> Annotations:
    if boxes != OWN:
        return read_boxes(boxes)
    if not own.is_file():
        raise InputError(f"--boxes own: there is no {own}; name a file of boxes, or central:0.6")
    return read_boxes(str(own))


# -- Parquet -----------------------------------------------------------------------------------------------------------


def _from_parquet(name: str, path: Path, boxes: str) -> Photographs:
    central = central_share(boxes)
    annotations = None if central is not None or boxes == OWN else read_boxes(boxes)
    found: list[Mapping[str, Any]] = []
    named: dict[tuple[str, ...], str] = {}
    for file in [str(path)] if path.is_file() else find_shards(path, None):
        rows, classes = _rows(Path(file), own=boxes == OWN)
        found += rows
        named.setdefault(classes, file)
    if len(named) > 1:
        one, other = list(named.values())[:2]
        raise InputError(f"{one} and {other} name different classes: they are no shards of one set")
    names = _distinct([row["name"] for row in found])
    labels = [row["label"] for row in found]
    classes = next(iter(named), ()) or tuple(str(label) for label in range(max(labels, default=0) + 1))
    for each, label in zip(names, labels, strict=True):
        if label != UNLABELLED and not 0 <= label < len(classes):
            most = len(classes) - 1
            raise InputError(f"{name}: {each} has label {label}, expected 0..{most}, or {UNLABELLED} for no class")
    result = _joined(name, names, [row["bytes"] for row in found], labels, classes, annotations, central)
    if boxes != OWN:
        return result
    own = tuple(None if row["box"] is None else Annotation(boxes=(_four(row["name"], row["box"]),)) for row in found)
    masks = tuple(row["mask"] for row in found)
    return replace(result, annotations=own, masks=masks if any(mask is not None for mask in masks) else None)


def _four(name: str, box: Sequence[int | None]) -> Box:
    if len(box) != 4 or None in box:
        raise InputError(f"{name} has the box {list(box)}, expected four numbers: x0, y0, x1, y1")
    x0, y0, x1, y1 = (int(side) for side in box if side is not None)
    return x0, y0, x1, y1


def _rows(file: Path, *, own: bool) -> tuple[list[Mapping[str, Any]], tuple[str, ...]]:
    """name, bytes, label, box and mask of every row, and the names of the classes, () where the file has none.

    own: with boxes and masks. Raises: InputError for a file that lacks a column, or has one of another type.
    """
    try:
        table = pq.read_table(file)
    except Exception as error:  # Arrow's errors have no common ancestor but this
        raise InputError(f"{file} is no whole Parquet file: {first_line(error)}") from error
    image = next((each for each in IMAGE_COLUMNS if each in table.column_names), None)
    label = next((each for each in LABEL_COLUMNS if each in table.column_names), None)
    if image is None or label is None:
        raise InputError(f"{file}: expected the columns image and label, found {', '.join(table.column_names)}")
    if own and BOX_COLUMN not in table.column_names:
        raise InputError(f"--boxes own: {file} has no column {BOX_COLUMN}; name a file of boxes, or central:0.6")
    _check_types(file, table.schema, image, label, own=own)
    rows: list[Mapping[str, Any]] = []
    for number, row in enumerate(table.to_pylist()):
        mask = row.get(MASK_COLUMN) if own else None
        rows.append(
            {
                "name": (row[image] or {}).get("path") or f"{file.name} row {number}",
                "bytes": (row[image] or {}).get("bytes") or b"",
                "label": UNLABELLED if row[label] is None else row[label],
                "box": row.get(BOX_COLUMN) if own else None,
                "mask": None if mask is None else mask["bytes"],
            }
        )
    return rows, class_names(file, table.schema, label) or ()


def _check_types(file: Path, schema: pa.Schema, image: str, label: str, *, own: bool) -> None:
    """Raises: InputError for a column of another type than those of `robustray.tasks.data.parquet`."""

    def holds_files(kind: pa.DataType) -> bool:
        return pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0

    def holds_boxes(kind: pa.DataType) -> bool:
        lists = pa.types.is_list, pa.types.is_fixed_size_list, pa.types.is_large_list
        return any(is_kind(kind) for is_kind in lists) and pa.types.is_integer(kind.value_type)

    files = "struct<bytes: binary, path: string>"
    wanted = [(image, holds_files, files), (label, pa.types.is_integer, "int64")]
    wanted += [(BOX_COLUMN, holds_boxes, "a list of 4 integers"), (MASK_COLUMN, holds_files, files)] if own else []
    for column, fits, expected in wanted:
        if column in schema.names and not fits(schema.field(column).type):
            raise InputError(f"{file}: column {column!r} is {schema.field(column).type}, expected {expected}")


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names, those that occur twice with the row's number behind them."""
    counts = Counter(names)
    return tuple(each if counts[each] == 1 else f"{each} ({row})" for row, each in enumerate(names))


def _joined(
    name: str,
    names: tuple[str, ...],
    data: Sequence[bytes],
    labels: Sequence[int],
    classes: tuple[str, ...],
    annotations: Annotations | None,
    central: float | None,
) -> Photographs:
    """All files as one array, each with its annotation. Raises: InputError for annotations of none of them."""
    if not names:
        raise InputError(f"{name} holds no photographs")
    found = (None,) * len(names) if annotations is None else annotations.of_all(names)
    if annotations is not None and not any(found):
        written = next(iter(annotations.by_name), "nothing")
        raise InputError(
            f"--boxes {annotations.where} says nothing about any photograph of {name}: it is about {written} ..., the "
            f"photographs are {names[0]} ..."
        )
    return Photographs(
        name=name,
        names=names,
        encoded=np.frombuffer(b"".join(data), np.uint8),
        ends=np.cumsum([0, *map(len, data)], dtype=np.int64),
        labels=np.array(labels, dtype=np.int64),
        classes=classes,
        annotations=found,
        central=central,
    )
