"""Parquet image shards in the Hugging Face layout: `image: struct<bytes, path>`, `label: int`.

Where the images show objects, also `mask: struct<bytes, path>` (an image of the same size, not 0 on the object) and
`box: list<int>` (x0, y0, x1, y1 as in `ImageData.boxes`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robustray.tasks.data.decode import decode_images, decode_one
from robustray.tasks.data.files import file_sha256, first_line
from robustray.tasks.data.images import ImageData, checked
from robustray.tasks.errors import InputError

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")
MASK_COLUMN, BOX_COLUMN = "mask", "box"
_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)
_SHARD = re.compile(r"(?P<split>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.parquet")


@dataclass(frozen=True, kw_only=True)
class ParquetSource:
    """The shards of one split, in order."""

    files: tuple[str, ...]
    classes: tuple[str, ...] | None = None
    """Where the set is a known one: its class names by label. Shards that name others are refused."""
    num_classes: int | None = None
    """Where only their number is known: names, if shards give them, must be that many and in alphabetical order."""
    shape: tuple[int, int, int] | None = None
    """Where the set is a known one: (channels, height, width) of its images."""

    @property
    def modules(self) -> tuple[str, ...]:
        return ()

    def fingerprint(self) -> tuple[object, ...]:
        return (self.classes, self.num_classes, self.shape, *(file_sha256(Path(file)) for file in self.files))

    def fetch(self, name: str) -> ImageData:
        """Decode all shards.

        Raises: InputError naming file and row when a shard is damaged, lacks a column, or a label or size does not fit.
        """
        shards = [_Shard(Path(file)) for file in self.files]
        names = self._class_names(shards)
        count = sum(shard.count for shard in shards)
        if not count:
            raise InputError(f"{self.files[0]} holds no rows")
        labels = np.empty(count, dtype=np.int64)
        masks: list[NDArray[np.bool_]] = []
        boxes: list[list[int]] = []
        objects = _object_columns(shards)

        def encoded() -> Iterator[tuple[str, bytes]]:
            row = 0
            for shard in shards:
                for where, data, label, *rest in shard.rows(len(names) if names else None, objects):
                    labels[row] = label
                    for column, value in zip(objects, rest, strict=True):
                        if column == BOX_COLUMN:
                            boxes.append(_box(where, value))
                        else:
                            masks.append(_mask(where, value))
                    row += 1
                    yield where, data

        images = decode_images(encoded(), count)
        for row, mask in enumerate(masks):
            if mask.shape != images.shape[2:]:
                raise InputError(f"{self.files[0]}: mask {row} is {mask.shape}, the images are {images.shape[2:]}")
        if self.shape and images.shape[1:] != self.shape:
            raise InputError(f"{self.files[0]}: images are {images.shape[1:]}, those of {name} are {self.shape}")
        if names is None:
            names = _numbered(labels, self.files[0])
        return checked(
            ImageData(
                name=name,
                images=images,
                labels=labels,
                classes=names,
                masks=np.stack(masks) if masks else None,
                boxes=np.array(boxes, dtype=np.int64) if boxes else None,
            )
        )

    def _class_names(self, shards: Sequence[_Shard]) -> tuple[str, ...] | None:
        named = {shard.classes: shard for shard in reversed(shards) if shard.classes is not None}
        if len(named) > 1:
            one, other = list(named.values())[:2]
            raise InputError(f"{one.path} and {other.path} name different classes: they are no shards of one set")
        found = next(iter(named), None)
        if found is None:
            return self.classes or (self.num_classes and tuple(map(str, range(self.num_classes)))) or None
        expected = self.classes or (tuple(sorted(found)) if self.num_classes else found)
        if len(found) != (self.num_classes or len(expected)):
            raise InputError(
                f"{shards[0].path} names {len(found)} classes, expected {self.num_classes or len(expected)}"
            )
        for label, (name, wanted) in enumerate(zip(found, expected, strict=True)):
            if name != wanted:
                raise InputError(
                    f"{shards[0].path}: label {label} is named {name!r}, expected {wanted!r} "
                    "(classes in alphabetical order): rewrite labels and names in that order"
                )
        return found


class _Shard:
    """One opened file whose columns were found."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InputError(f"{path} is {'no file' if path.exists() else 'missing'}")
        try:
            self.file = pq.ParquetFile(path, page_checksum_verification=True)  # where there are checksums
            schema = self.file.schema_arrow
            schema.names  # noqa: B018  (decodes text, which a flipped bit can spoil)
        except _DAMAGE as error:
            raise InputError(f"{path} is no whole Parquet file (truncated?): {first_line(error)}") from error
        self.count: int = self.file.metadata.num_rows
        self.image = self._column(schema, IMAGE_COLUMNS)
        self.label = self._column(schema, LABEL_COLUMNS)
        kind = schema.field(self.image).type
        if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
            raise InputError(f"{path}: column {self.image!r} is {kind}, expected struct<bytes: binary, path: string>")
        if not pa.types.is_integer(schema.field(self.label).type):
            raise InputError(f"{path}: column {self.label!r} is {schema.field(self.label).type}, expected int64")
        self.classes = class_names(path, schema, self.label)

    def _column(self, schema: pa.Schema, wanted: Sequence[str]) -> str:
        found = [name for name in wanted if name in schema.names]
        if len(found) != 1:
            raise InputError(
                f"{self.path}: expected one of the columns {', '.join(wanted)}, found {', '.join(schema.names)}"
            )
        return found[0]

    def rows(self, num_classes: int | None, objects: Sequence[str] = ()) -> Iterator[tuple[Any, ...]]:
        """(where, image bytes, label, the values of the columns `objects` ...) of every row."""
        row = 0
        batch: Any = None
        columns = [self.image, self.label, *objects]
        batches = self.file.iter_batches(batch_size=512, columns=columns, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    break
                images = batch.column(self.image)
                # `flatten` lets a missing struct hide its children, which `field` does not
                data = images.flatten()[images.type.get_field_index("bytes")].to_pylist()
                labels = batch.column(self.label).to_pylist()
                rest = [batch.column(column).to_pylist() for column in objects]
            except _DAMAGE as error:
                raise InputError(f"{self.path} is damaged after row {row}: {first_line(error)}") from error
            if row + len(labels) > self.count:
                break
            for one, label, *others in zip(data, labels, *rest, strict=True):
                where = f"{self.path} row {row}"
                if one is None:
                    raise InputError(f"{where} holds no image bytes: embed the files in the shard")
                if label is None or label < 0 or (num_classes is not None and label >= num_classes):
                    limit = "" if num_classes is None else f"..{num_classes - 1}"
                    raise InputError(f"{where} has label {label}, expected 0{limit}")
                yield where, one, label, *others
                row += 1
        if batch is not None or row != self.count:
            raise InputError(f"{self.path} is damaged: it does not hold the {self.count} rows that its footer states")


def class_names(path: Path, schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """The names of the classes in the column `label`, where the schema's metadata have them. Raises: InputError."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return None
    try:
        feature = json.loads(text)["info"]["features"].get(label, {})
        names = feature.get("names")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: the schema's `huggingface` metadata cannot be read: {error!r}") from error
    return None if names is None else tuple(str(name) for name in names)


def _object_columns(shards: Sequence[_Shard]) -> list[str]:
    """Which of mask and box the shards have. Raises: InputError when only some of them do, or for another type."""
    found = []
    for column in (MASK_COLUMN, BOX_COLUMN):
        having = [shard for shard in shards if column in shard.file.schema_arrow.names]
        if having and len(having) < len(shards):
            without = next(shard for shard in shards if shard not in having)
            raise InputError(f"{having[0].path} has a column {column!r}, {without.path} has none")
        for shard in having:
            kind = shard.file.schema_arrow.field(column).type
            if column == MASK_COLUMN:
                good = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
            else:
                is_list = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)
                good = is_list and pa.types.is_integer(kind.value_type)
            if not good:
                wanted = "struct<bytes: binary, path: string>" if column == MASK_COLUMN else "a list of 4 integers"
                raise InputError(f"{shard.path}: column {column!r} is {kind}, expected {wanted}")
        found += [column] if having else []
    return found


def _box(where: str, value: list[int | None] | None) -> list[int]:
    if value is None or len(value) != 4 or None in value:
        raise InputError(f"{where} has the box {value}, expected four numbers: x0, y0, x1, y1")
    return [int(number) for number in value if number is not None]


def _mask(where: str, value: Mapping[str, Any] | None) -> NDArray[np.bool_]:
    if value is None or value["bytes"] is None:
        raise InputError(f"{where} holds no mask: embed one for every image")
    pixels = decode_one(f"the mask of {where}", value["bytes"])
    return (pixels if pixels.ndim == 2 else pixels.any(2)) != 0


def _numbered(labels: np.ndarray[Any, np.dtype[np.int64]], where: str) -> tuple[str, ...]:
    """Classes named "0", "1", ...: only when every label up to the largest occurs, else a class was lost."""
    present = np.unique(labels)
    absent = np.setdiff1d(np.arange(present[-1] + 1), present)
    if absent.size:
        raise InputError(
            f"{where}: no image has label {absent[0]} though labels reach {present[-1]}: "
            "number the classes without gaps or name them in the schema's `huggingface` metadata"
        )
    return tuple(str(label) for label in present)


def find_shards(folder: Path, split: str | None) -> tuple[str, ...]:
    """The Parquet files of `folder`, in order; with `split`, those named `SPLIT-*.parquet`.

    Raises: InputError when there are none, when they belong to several splits and none was asked for, or when a shard
    of a numbered series is missing.
    """
    files = sorted(folder.glob("*.parquet" if split is None else f"{split}-*.parquet"))
    if not files:
        raise InputError(f"there is no {folder / ('*' if split is None else split + '-*')}.parquet")
    matches = [_SHARD.fullmatch(file.name) for file in files]
    series = sorted({(match["split"], int(match["count"])) for match in matches if match})
    if len({name for name, _ in series}) > 1:
        raise InputError(
            f"{folder} holds the splits {', '.join(dict.fromkeys(name for name, _ in series))}: "
            f"say which, as in {folder}:{series[0][0]}"
        )
    if len(series) > 1 or (series and not all(matches)):
        raise InputError(f"{folder} holds shards of different series: {files[0].name}, {files[-1].name}")
    if series:
        indices = {int(match["index"]) for match in matches if match}
        absent = sorted(set(range(series[0][1])) - indices)
        if absent:
            raise InputError(f"{folder / f'{series[0][0]}-{absent[0]:05}-of-{series[0][1]:05}.parquet'} is missing")
    return tuple(str(file) for file in files)
