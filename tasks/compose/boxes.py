"""Where objects are, as others write it down: COCO's JSON, ImageNet's XML files, a table, or nowhere at all.

    annotations.json     boxes.csv     boxes.parquet     FOLDER of XML files     central:0.6

Boxes become x0, y0, x1, y1, half open, in pixels of the image as it is stored. They are not judged here: one that
leaves its image is the image's affair (`segment.box_reason`).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from robustray.tasks.data.files import first_line, read_file
from robustray.tasks.errors import InputError

Box = tuple[int, int, int, int]
CENTRAL = "central:"
SIDES = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What is written down about one image."""

    boxes: tuple[Box, ...] = ()
    size: tuple[int, int] | None = None
    """(height, width), where it is stated."""
    classes: tuple[str, ...] = ()
    """The class of each box, where they are named."""


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """All annotations, found by the name of an image."""

    where: str
    by_name: Mapping[str, Annotation]
    """File name, as it was written down -> what was."""
    classes: tuple[str, ...] = ()
    """Names in the order in which they are listed, where there is a list."""
    _short: Mapping[str, Annotation] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        short: dict[str, list[Annotation]] = {}
        for name, each in self.by_name.items():
            path = PurePosixPath(name)
            for key in {path.name, path.stem}:
                short.setdefault(key, []).append(each)
        object.__setattr__(self, "_short", {key: found[0] for key, found in short.items() if len(found) == 1})

    def of(self, name: str) -> Annotation | None:
        """Of the image `CLASS/FILE`: by this name, else by the file's own name or its stem, where only one annotation
        has it. Whether other images have it too is not known here: `of_all`."""
        path = PurePosixPath(name)
        return self.by_name.get(name) or self._short.get(path.name) or self._short.get(path.stem)

    def of_all(self, names: Sequence[str]) -> tuple[Annotation | None, ...]:
        """Of each image, as `of`; None where the short name is that of several of these images (`cat/1.png` and
        `dog/1.png`), since an annotation is about one image."""
        found = [self.of(name) for name in names]
        uses = Counter(id(each) for each in found)
        return tuple(
            each if name in self.by_name or uses[id(each)] == 1 else None
            for name, each in zip(names, found, strict=True)
        )


def read_boxes(where: str) -> Annotations:
    """Read annotations. where: a .json, .csv or .parquet file, or a folder of XML files.

    Raises: InputError naming file and place of what can't be read.
    """
    path = Path(where).expanduser()
    if path.is_dir():
        return _xml(path)
    if not path.exists():
        raise InputError(f"--boxes {where}: there is no such file or folder")
    readers = {".json": _coco, ".csv": _table, ".parquet": _table}
    if path.suffix.lower() not in readers:
        raise InputError(
            f"--boxes {where}: give annotations.json (COCO), a table (.csv, .parquet) with file,{','.join(SIDES)}, "
            "a folder of ImageNet's XML files, or central:0.6"
        )
    return readers[path.suffix.lower()](path)


def central_share(where: str) -> float | None:
    """0.6 of `central:0.6`: the share of each side that the box covers; None for annotations that are written down.
    Raises: InputError for a share that is none."""
    if not where.startswith(CENTRAL):
        return None
    try:
        share = float(where.removeprefix(CENTRAL))
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise InputError(f"--boxes {where}: the share of each side lies between 0 and 1, as in central:0.6")
    return share


def central_box(height: int, width: int, share: float) -> Box:
    """The box over the central `share` of each side."""
    tall, wide = max(1, round(share * height)), max(1, round(share * width))
    top, left = (height - tall) // 2, (width - wide) // 2
    return (left, top, left + wide, top + tall)


# -- the formats -------------------------------------------------------------------------------------------------------


def _coco(path: Path) -> Annotations:
    """`{"images": [{"id", "file_name", "width", "height"}], "annotations": [{"image_id", "bbox", "category_id"}],
    "categories": [{"id", "name"}]}`; a bbox is x, y, width, height, in fractions of pixels too."""
    try:
        content = json.loads(read_file(path))
        images = {image["id"]: image for image in content["images"]}
        names = {each["id"]: str(each["name"]) for each in content.get("categories", ())}
        found: dict[Any, list[Mapping[str, Any]]] = {identity: [] for identity in images}
        for each in content["annotations"]:
            found[each["image_id"]].append(each)
        by_name = {
            str(image["file_name"]): Annotation(
                boxes=tuple(_whole(_from_width(each["bbox"])) for each in found[identity]),
                size=(int(image["height"]), int(image["width"])) if {"height", "width"} <= image.keys() else None,
                classes=tuple(names[each["category_id"]] for each in found[identity]) if names else (),
            )
            for identity, image in images.items()
        }
    except InputError:
        raise
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else first_line(error)
        raise InputError(f"--boxes {path} is no COCO annotation (images, annotations with bbox): {what}") from error
    return Annotations(where=str(path), by_name=by_name, classes=tuple(names.values()))


def _from_width(box: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = box
    return x, y, x + width, y + height


def _whole(sides: Iterable[float]) -> Box:
    """The pixels that a box touches. Raises: ValueError for what is no number."""
    x0, y0, x1, y1 = (float(side) for side in sides)
    return math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)


def _table(path: Path) -> Annotations:
    """Columns file, x0, y0, x1, y1, as in boxes.csv beside class folders; `class` names what a box shows; an image
    with several objects has several lines."""
    if path.suffix.lower() == ".csv":
        try:
            rows: list[Mapping[str, Any]] = list(csv.DictReader(io.StringIO(read_file(path).decode("utf-8-sig"))))
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"--boxes {path} is no CSV file: {error}") from error
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            rows = pq.read_table(path).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"--boxes {path} is no whole Parquet file: {first_line(error)}") from error
    boxes: dict[str, list[Box]] = {}
    classes: dict[str, list[str]] = {}
    for number, row in enumerate(rows):
        try:
            boxes.setdefault(str(row["file"]), []).append(_whole(row[side] for side in SIDES))
        except KeyError as error:
            raise InputError(f"--boxes {path} has no column {error}; it needs file, {', '.join(SIDES)}") from error
        except (TypeError, ValueError, OverflowError) as error:
            shown = ",".join(str(row[side]) for side in SIDES)
            raise InputError(f"--boxes {path}, row {number} ({row['file']}): {shown} is no box") from error
        classes.setdefault(str(row["file"]), []).append(str(row.get("class") or ""))
    named = any(any(each) for each in classes.values())
    by_name = {
        name: Annotation(boxes=tuple(found), classes=tuple(classes[name]) if named else ())
        for name, found in boxes.items()
    }
    return Annotations(where=str(path), by_name=by_name, classes=_sorted_classes(by_name.values()))


def _xml(folder: Path) -> Annotations:
    """ImageNet's (PASCAL VOC's) XML files, at any depth: NAME.xml is of the image NAME. A box covers xmin to xmax - 1,
    as GrabCut's rectangle does; the published generator draws its boxes one row and one column larger."""
    files = sorted(folder.rglob("*.xml"))
    if not files:
        raise InputError(f"--boxes {folder} holds no XML files")
    by_name = {str(PurePosixPath(*file.relative_to(folder).with_suffix("").parts)): _voc(file) for file in files}
    return Annotations(where=str(folder), by_name=by_name, classes=_sorted_classes(by_name.values()))


def _voc(file: Path) -> Annotation:
    data = read_file(file)
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # nothing that an annotation needs, and a way to fill the memory
        raise InputError(f"--boxes {file} declares a document type or entities: annotations have none")
    try:
        root = ElementTree.fromstring(data)
        objects = [each.find("bndbox") for each in root.iter("object")]
        boxes = tuple(
            _whole(float(box.findtext(side) or "") for side in ("xmin", "ymin", "xmax", "ymax"))
            for box in objects
            if box is not None
        )
        tall, wide = (root.findtext(f"size/{side}") for side in ("height", "width"))
        size = (int(tall), int(wide)) if tall and wide else None
    except (ElementTree.ParseError, ValueError, OverflowError) as error:
        raise InputError(f"--boxes {file} is no annotation (object/bndbox/xmin ...): {first_line(error)}") from error
    names = tuple(each.findtext("name") or "" for each in root.iter("object") if each.find("bndbox") is not None)
    return Annotation(boxes=boxes, size=size if size != (0, 0) else None, classes=names if all(names) else ())


def _sorted_classes(annotations: Iterable[Annotation]) -> tuple[str, ...]:
    return tuple(sorted({name for each in annotations for name in each.classes}))
