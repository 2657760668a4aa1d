"""A folder with one folder of images per class (torchvision's ImageFolder layout)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.data.decode import decode_images
from robustray.tasks.data.files import file_sha256, read_file
from robustray.tasks.data.images import ImageData, checked
from robustray.tasks.data.photographs import decode_fitted
from robustray.tasks.errors import InputError

BOXES = "boxes.csv"
HEADER = ("file", "x0", "y0", "x1", "y1")


LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini")
"""What Windows leaves in a folder of pictures, in lower case; other systems leave hidden files (".DS_Store")."""


def is_litter(name: str) -> bool:
    """Whether a file of this name in a folder of pictures is none that anyone put there."""
    return name.startswith(".") or name.lower() in LITTER


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """`root/CLASS/IMAGE`. Labels number the class names sorted as text; images follow in order of their names.

    Where the images show objects, `root/boxes.csv` holds their boxes: the header `file,x0,y0,x1,y1`, then one line
    per image (`CLASS/IMAGE`, pixels as in `ImageData.boxes`). Hidden entries, what file managers leave behind and other
    files beside the class folders are left out.
    """

    root: str
    side: int = 0
    """Pixels of a side that every picture is brought to (see `photographs`); 0: all have one size and keep it."""

    @property
    def modules(self) -> tuple[str, ...]:
        return ()

    def fingerprint(self) -> tuple[object, ...]:
        boxes = Path(self.root) / BOXES
        files = tuple((name, *map(file_sha256, files)) for name, files in self.listing().items())
        found = (*files, file_sha256(boxes)) if boxes.is_file() else files
        return ("side", self.side, *found) if self.side else found

    def listing(self) -> dict[str, list[Path]]:
        """Class name -> its files, both sorted as text.

        Raises: InputError for a missing or empty folder, a class without images, a folder inside a class, and numeric
        class names whose text order ("0", "1", "10", "2") is not that of their numbers: labels would be swapped.
        """
        root = Path(self.root)
        try:
            names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
            listing = {
                name: sorted(file for file in (root / name).iterdir() if not is_litter(file.name)) for name in names
            }
        except OSError as error:
            raise InputError(f"cannot list {root}: {error.strerror or error}") from error
        if not names:
            raise InputError(f"{root} holds no class folders: expected {root}/CLASS/IMAGE.png or Parquet shards")
        if all(name.isdecimal() for name in names):
            by_number = sorted(names, key=int)
            if by_number != names:
                label = next(i for i, (a, b) in enumerate(zip(names, by_number, strict=True)) if a != b)
                raise InputError(
                    f"{root}: as text, class folder {names[label]!r} comes before {by_number[label]!r} and would get "
                    f"label {label}: zero-pad the names ({by_number[label].zfill(len(by_number[-1]))!r})"
                )
        for name, files in listing.items():
            if not files:
                raise InputError(f"{root / name} holds no images: remove the folder or fill it")
            for file in files:
                if not file.is_file():
                    raise InputError(f"{file} is no file: expected images directly in {root / name}")
        return listing

    def fetch(self, name: str) -> ImageData:
        """Raises: InputError naming the first file that is no image or of another size (see `decode_images`); with a
        `side`, naming all that cannot be read, and for boxes, which belong to pixels as stored."""
        listing = self.listing()
        if self.side and (Path(self.root) / BOXES).is_file():
            raise InputError(
                f"{self.root} has a {BOXES}, whose boxes are those of the pictures as stored: leave out size="
            )
        counts = [len(files) for files in listing.values()]

        def encoded() -> Iterator[tuple[str, bytes]]:
            for files in listing.values():
                for file in files:
                    yield str(file), read_file(file)

        notes: tuple[str, ...] = ()
        if self.side:
            images, notes = decode_fitted(encoded(), sum(counts), self.side)
        else:
            images = decode_images(encoded(), sum(counts))
        return checked(
            ImageData(
                name=name,
                images=images,
                notes=notes,
                labels=np.repeat(np.arange(len(counts), dtype=np.int64), counts),
                classes=tuple(listing),
                boxes=self._boxes(listing),
            )
        )

    def _boxes(self, listing: dict[str, list[Path]]) -> NDArray[np.int64] | None:
        """(n, 4) in the order of the images; None where there is no file of boxes."""
        path = Path(self.root) / BOXES
        if not path.is_file():
            return None
        try:
            lines = list(csv.reader(io.StringIO(read_file(path).decode("utf-8-sig"))))
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path} is no CSV file: {error}") from error
        if not lines or [word.strip() for word in lines[0]] != list(HEADER):
            raise InputError(f"{path}: the first line must be {','.join(HEADER)}")
        found: dict[str, list[int]] = {}
        for number, line in enumerate(lines[1:], start=2):
            if not line:
                continue
            try:
                file, *sides = (word.strip() for word in line)
                x0, y0, x1, y1 = map(int, sides)
            except ValueError as error:
                raise InputError(f"{path} line {number}: expected {','.join(HEADER)}, got {','.join(line)}") from error
            if file in found:
                raise InputError(f"{path} line {number}: {file} has a box already; give one box for each image")
            found[file] = [x0, y0, x1, y1]
        wanted = [f"{name}/{file.name}" for name, files in listing.items() for file in files]
        missing = [name for name in wanted if name not in found]
        if missing:
            raise InputError(f"{path} has no box of {missing[0]} ({len(missing)} of {len(wanted)} are missing)")
        stray = sorted(set(found) - set(wanted))
        if stray:
            raise InputError(f"{path} has a box of {stray[0]}, but there is no such image")
        return np.array([found[name] for name in wanted], dtype=np.int64)
