"""Ten sets of photographs that transfer is measured on, as their authors' archives unpack; nothing is downloaded.

    pets:train    cars:test,size=224

Each is looked for under the data root, in the folder that torchvision uses for it. Every set has its own layout, split
and quirks, and a function below that knows them; pictures of any sizes are brought to one (`photographs`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from robustray.tasks.data.files import file_sha256, read_file
from robustray.tasks.data.images import ImageData, checked
from robustray.tasks.data.photographs import LARGEST_SIDE, decode_fitted
from robustray.tasks.data.sources import check_rest
from robustray.tasks.errors import InputError

Split = Literal["train", "test"]
SIDE = 224
"""Pixels of a side where the name gives none: that of most ImageNet networks."""
PICTURES = (".jpg", ".jpeg", ".png")


class Listing(NamedTuple):
    """The pictures of a split in their order."""

    files: list[Path]
    labels: list[int]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What was left out, in sentences."""


@dataclass(frozen=True, kw_only=True)
class PhotoSetSource:
    """One split of a set, every picture at `side` pixels a side."""

    set: str
    split: Split
    root: str
    """The folder of the set."""
    side: int = SIDE

    @property
    def modules(self) -> tuple[str, ...]:
        return ()

    @cached_property
    def listing(self) -> Listing:
        """Raises: InputError for a missing file, and for lists that do not fit each other."""
        found = LAYOUTS[self.set].read(Path(self.root), self.split)
        if not found.files:
            raise InputError(f"{self.root} lists no picture of {self.set}:{self.split}")
        missing = [file for file in found.files if not file.is_file()]
        if missing:
            raise InputError(
                f"{missing[0]} is missing, and {len(missing) - 1:,} others of {len(found.files):,} that the lists of "
                f"{self.set} name: unpack the archive again"
            )
        return found

    def fingerprint(self) -> tuple[object, ...]:
        found = self.listing
        return (self.set, self.split, self.side, *found.classes, *found.labels, *map(file_sha256, found.files))

    def fetch(self, name: str) -> ImageData:
        """Raises: InputError naming all pictures that cannot be read."""
        found = self.listing
        encoded: Iterator[tuple[str, bytes]] = ((str(file), read_file(file)) for file in found.files)
        images, notes = decode_fitted(encoded, len(found.files), self.side)
        labels = np.array(found.labels, dtype=np.int64)
        return checked(
            ImageData(name=name, images=images, labels=labels, classes=found.classes, notes=(*found.notes, *notes))
        )


def open_source(name: str, rest: str, data_root: str | None) -> PhotoSetSource:
    """See `data.sources`. Raises: InputError."""
    split, *options = rest.split(",")
    check_rest(name, split)
    layout, side = LAYOUTS[name], SIDE
    for option in options:
        key, _, value = option.partition("=")
        if key != "size" or not value.isdecimal() or not 1 <= int(value) <= LARGEST_SIDE:
            raise InputError(f"{f'{name}:{rest}'!r}: {option!r} is no option; it takes size=, 1 to {LARGEST_SIDE:,}")
        side = int(value)
    if data_root is None:
        raise InputError(
            f"{name}:{split} needs a data root: give --data-root DIR, with the folder {layout.folders[0]}/"
        )
    folders = [Path(data_root).absolute() / folder for folder in layout.folders]
    root = next((folder for folder in folders if folder.is_dir()), None)
    if root is None:
        raise InputError(f"{name}:{split}: found no folder {folders[0]}: unpack {layout.archive} there")
    source = PhotoSetSource(set=name, split=cast(Split, split), root=str(root), side=side)
    source.listing  # noqa: B018  # lists are checked before any work starts
    return source


# --- Layouts ----------------------------------------------------------------------------------------------------------


def _aircraft(root: Path, split: Split) -> Listing:
    """Variants, 100 of them; names hold spaces and slashes ("F/A-18"), so that they are in lists and not in paths."""
    classes = tuple(_lines(root / "variants.txt"))
    known = {name: label for label, name in enumerate(classes)}
    files, labels = [], []
    path = root / f"images_variant_{'trainval' if split == 'train' else 'test'}.txt"
    for number, line in enumerate(_lines(path), start=1):
        image, _, variant = line.partition(" ")
        files.append(root / "images" / f"{image}.jpg")
        labels.append(_label(known, variant, f"{path} line {number}"))
    return Listing(files, labels, classes)


def _birdsnap(root: Path, split: Split) -> Listing:
    """Tab-separated lists. Pictures were downloaded one by one from where people had put them, and many are gone: those
    that are listed and not there are left out, and counted."""
    species = _table(root / "species.txt", ("id", "common"))
    classes = tuple(row["common"] for row in species)
    known = {row["id"]: label for label, row in enumerate(species)}
    test = {row["path"] for row in _table(root / "test_images.txt", ("path",))}
    files, labels, gone = [], [], 0
    for row in _table(root / "images.txt", ("path", "species_id")):
        if (row["path"] in test) is not (split == "test"):
            continue
        file = root / "images" / row["path"]
        if not file.is_file():
            gone += 1
            continue
        files.append(file)
        labels.append(_label(known, row["species_id"], str(root / "images.txt")))
    note = f"{gone:,} of {gone + len(files):,} pictures that are listed are not there and were left out"
    return Listing(files, labels, classes, (note,) * bool(gone))


def _caltech(folder: str, num_train: int, drop: str) -> Callable[[Path, Split], Listing]:
    """No list of a split: of every class the first files train, all others test (arXiv:2007.08489, released loaders).
    Folders hold files and folders that are no pictures ("tmp", "RENAME2", "greg")."""

    def read(root: Path, split: Split) -> Listing:
        base = root / folder if (root / folder).is_dir() else root
        classes = tuple(
            sorted(each.name for each in _entries(base) if each.is_dir() and each.name not in (drop, ".git"))
        )
        files, labels = [], []
        for label, name in enumerate(classes):
            pictures = sorted(each for each in _entries(base / name) if each.suffix.lower() in PICTURES)
            if len(pictures) <= num_train:
                raise InputError(
                    f"{base / name} holds {len(pictures)} pictures: the first {num_train} of a class are for training "
                    "and none is left to test"
                )
            part = pictures[:num_train] if split == "train" else pictures[num_train:]
            files += part
            labels += [label] * len(part)
        return Listing(files, labels, classes)

    return read


def _cars(root: Path, split: Split) -> Listing:
    """Annotations in MATLAB's format, classes from 1 on; those of the test images are in a file of their own, which is
    not in the archive of the images."""
    path = root / ("devkit/cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat")
    names = _matlab(root / "devkit/cars_meta.mat", "class_names")
    classes = tuple(str(name) for name in np.atleast_1d(names))
    rows = np.atleast_1d(_matlab(path, "annotations"))
    try:
        pairs = [(str(row["fname"]), int(row["class"]) - 1) for row in rows]
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path} lacks fname or class: labels of test images are in the file 'withlabels'") from error
    _check_range([label for _, label in pairs], len(classes), path)
    return Listing([root / f"cars_{split}" / file for file, _ in pairs], [label for _, label in pairs], classes)


def _dtd(root: Path, split: Split) -> Listing:
    """Partition 1 of ten; its training and validation parts train."""
    base = root / "dtd" if (root / "dtd").is_dir() else root
    classes = tuple(sorted(each.name for each in _entries(base / "images") if each.is_dir()))
    known = {name: label for label, name in enumerate(classes)}
    parts = ("train", "val") if split == "train" else ("test",)
    lines = [line for part in parts for line in _lines(base / "labels" / f"{part}1.txt")]
    labels = [_label(known, line.partition("/")[0], str(base / "labels")) for line in lines]
    return Listing([base / "images" / line for line in lines], labels, classes)


def _flowers(root: Path, split: Split) -> Listing:
    """Numbers of images in MATLAB's format, from 1 on; training and validation parts train. Classes are numbered."""
    labels = np.atleast_1d(_matlab(root / "imagelabels.mat", "labels")).astype(np.int64)
    parts = ("trnid", "valid") if split == "train" else ("tstid",)
    numbers = np.concatenate([np.atleast_1d(_matlab(root / "setid.mat", part)) for part in parts]).astype(np.int64)
    _check_range([number - 1 for number in numbers.tolist()], len(labels), root / "setid.mat")
    classes = tuple(str(label) for label in range(1, int(labels.max()) + 1))
    files = [root / "jpg" / f"image_{number:05d}.jpg" for number in numbers.tolist()]
    return Listing(files, (labels[numbers - 1] - 1).tolist(), classes)


def _food(root: Path, split: Split) -> Listing:
    """JSON lists of every class's pictures, without their suffix."""
    path = root / "meta" / f"{split}.json"
    try:
        listed: dict[str, list[str]] = json.loads(read_file(path))
        classes = tuple(sorted(listed))
        files = [root / "images" / f"{name}.jpg" for each in classes for name in listed[each]]
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is no JSON list of pictures by class: {error}") from error
    return Listing(files, [label for label, each in enumerate(classes) for _ in listed[each]], classes)


def _pets(root: Path, split: Split) -> Listing:
    """Lines "Name_of_breed_12 LABEL SPECIES ID", labels from 1 on; the breed is what stands before the last "_"."""
    path = root / "annotations" / ("trainval.txt" if split == "train" else "test.txt")
    rows = [line.split() for line in _lines(path) if not line.startswith("#")]
    try:
        pairs = [(row[0], int(row[1]) - 1) for row in rows]
    except (IndexError, ValueError) as error:
        raise InputError(f"{path}: expected lines NAME LABEL ...: {error}") from error
    names = {label: name.rpartition("_")[0] for name, label in pairs}
    _check_range(list(names), len(names), path)
    classes = tuple(names[label] for label in range(len(names)))
    return Listing([root / "images" / f"{name}.jpg" for name, _ in pairs], [label for _, label in pairs], classes)


def _sun397(root: Path, split: Split) -> Listing:
    """Classes are paths of two or three folders, the first of one letter ("/a/apartment_building/outdoor"); partition 1
    of ten, whose lists lie beside the images or in a folder of their own."""
    classes = tuple(line.strip("/").partition("/")[2] for line in _lines(root / "ClassName.txt"))
    known = {name: label for label, name in enumerate(classes)}
    name = f"{'Training' if split == 'train' else 'Testing'}_01.txt"
    path = next((folder / name for folder in (root, root / "Partitions") if (folder / name).is_file()), root / name)
    lines = [line.strip("/") for line in _lines(path)]
    labels = [_label(known, "/".join(line.split("/")[1:-1]), str(path)) for line in lines]
    return Listing([root / line for line in lines], labels, classes)


class Layout(NamedTuple):
    """Where a set lies and how it is read."""

    folders: tuple[str, ...]
    """Under the data root; the first that is there."""
    archive: str
    read: Callable[[Path, Split], Listing]


LAYOUTS: Mapping[str, Layout] = {
    "aircraft": Layout(("fgvc-aircraft-2013b/data",), "fgvc-aircraft-2013b.tar.gz", _aircraft),
    "birdsnap": Layout(("birdsnap",), "birdsnap.tgz and what its script downloads", _birdsnap),
    "caltech101": Layout(
        ("caltech101", "101_ObjectCategories"),
        "101_ObjectCategories.tar.gz",
        _caltech("101_ObjectCategories", 30, "BACKGROUND_Google"),
    ),
    "caltech256": Layout(
        ("caltech256", "256_ObjectCategories"),
        "256_ObjectCategories.tar",
        _caltech("256_ObjectCategories", 60, ""),
    ),
    "cars": Layout(("stanford_cars",), "cars_train.tgz, cars_test.tgz, car_devkit.tgz and the test labels", _cars),
    "dtd": Layout(("dtd",), "dtd-r1.0.1.tar.gz", _dtd),
    "flowers": Layout(("flowers-102",), "102flowers.tgz, imagelabels.mat and setid.mat", _flowers),
    "food": Layout(("food-101",), "food-101.tar.gz", _food),
    "pets": Layout(("oxford-iiit-pet",), "images.tar.gz and annotations.tar.gz", _pets),
    "sun397": Layout(("SUN397",), "SUN397.tar.gz and its Partitions.zip", _sun397),
}


# --- Files ------------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> list[str]:
    """Lines that are not empty, without white space at their ends. Raises: InputError."""
    try:
        text = read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text file: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _table(path: Path, wanted: Iterable[str]) -> list[dict[str, str]]:
    """Rows of a tab-separated file with a line of names. Raises: InputError where a wanted column, or a row's value in
    it, is not there."""
    wanted = tuple(wanted)
    header, *lines = _lines(path) or [""]
    names = header.split("\t")
    missing = [name for name in wanted if name not in names]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}: expected a first line of names, separated by tabs")
    rows = [dict(zip(names, line.split("\t"), strict=False)) for line in lines]
    for number, row in enumerate(rows, start=1):
        if any(name not in row for name in wanted):
            raise InputError(f"{path}: row {number} has {len(row)} values, its columns are {', '.join(names)}")
    return rows


def _matlab(path: Path, name: str) -> Any:
    """A variable of a MATLAB file. Raises: InputError."""
    from scipy.io import loadmat

    if not path.is_file():
        raise InputError(f"{path} is missing")
    try:
        return loadmat(str(path), squeeze_me=True)[name]
    except (ValueError, KeyError, NotImplementedError, OSError, TypeError) as error:
        raise InputError(f"{path} is no MATLAB file with a variable {name!r}: {error}") from error


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, hidden entries left out. Raises: InputError."""
    try:
        return [each for each in folder.iterdir() if not each.name.startswith(".")]
    except OSError as error:
        raise InputError(f"cannot list {folder}: {error.strerror or error}") from error


def _label(known: Mapping[str, int], name: str, where: str) -> int:
    """Raises: InputError for a class that is not among the known ones."""
    if name not in known:
        raise InputError(f"{where}: {name!r} is none of the {len(known)} classes of the set")
    return known[name]


def _check_range(labels: list[int], count: int, path: Path) -> None:
    """Raises: InputError unless all numbers are within 0 .. count - 1."""
    strange = [label for label in labels if not 0 <= label < count]
    if strange:
        raise InputError(f"{path}: number {strange[0] + 1} is not within 1 to {count}")
