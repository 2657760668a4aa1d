"""Versions that were built before: by `--build`, or ImageNet-9's, as its authors released them.

    ROOT/original/val/00_dog/n02085620_1.JPEG ...     ROOT/mixed_rand/val/00_dog/...     ROOT/original/test-*.parquet
    ROOT/fg_mask/val/00_dog/n02085620_1.npy ...       (which pixels the object covers; for adversarial backgrounds)

Released pictures are taken as they are: cropped again, they would lose box pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.data.files import file_sha256, first_line
from robustray.tasks.data.folder import FolderSource
from robustray.tasks.data.images import ImageData, checked
from robustray.tasks.data.reference import DataRef
from robustray.tasks.data.views import subset
from robustray.tasks.errors import InputError
from robustray.tasks.lab.keys import digest
from robustray.tasks.lab.protocol import Reference
from robustray.tasks.studies.backgrounds.blocks import NO_OTHER
from robustray.tasks.studies.backgrounds.building import record_file
from robustray.tasks.studies.backgrounds.settings import NEEDED, ORIGINAL, Settings
from robustray.tasks.studies.backgrounds.worlds import World

if TYPE_CHECKING:
    from robustray.tasks.lab.protocol import Lab

UNPAIRED = (
    "file names do not say which foregrounds of the versions belong together: images are paired by their order, so "
    "that the interval of the BG-gap is about that of two separate sets, and shares of what decides an image mean "
    "little"
)


def open_released(settings: Settings, lab: Lab) -> tuple[World, tuple[str, ...]]:
    """The versions in a folder, in the order of the original's foregrounds. Returns: them, and warnings.

    Raises: InputError for a version that is needed and not there, or holds other classes or numbers of images.
    """
    root = Path(settings.released).expanduser()
    found: dict[str, Reference] = {}
    for version in (ORIGINAL, *settings.versions):
        place = _place(root, version)
        if place is not None:
            found[version] = lab.data(str(place))
        elif version in (ORIGINAL, *NEEDED):
            raise InputError(
                f"--released {settings.released}: there is no folder {version}, with class folders, val/ or Parquet "
                f"files in it; at least {', '.join((ORIGINAL, *NEEDED))} are needed"
            )
    first: ImageData = lab.load(found[ORIGINAL])
    unpaired = False
    for version, ref in found.items():
        images: ImageData = lab.load(ref)
        if images.classes != first.classes or Counter(images.labels.tolist()) != Counter(first.labels.tolist()):
            raise InputError(
                f"--released {settings.released}: {version} holds {len(images)} images of {images.num_classes} "
                f"classes, {ORIGINAL} {len(first)} of {first.num_classes}: all versions show the same foregrounds"
            )
        order = _order(found[ORIGINAL], ref)
        unpaired = unpaired or order is None
        if order and order != list(range(len(images))):
            found[version] = subset(ref, order)
    found[ORIGINAL] = _with_masks(root, found[ORIGINAL])
    world = World(
        name=settings.released,
        rho=float("nan"),
        classes=first.classes,
        kept=list(range(len(first))),
        given=found,
        backgrounds=_backgrounds(root, len(first)),
    )
    return world, (UNPAIRED,) if unpaired else ()


@dataclass(frozen=True, kw_only=True)
class Masked:
    """Images with masks that lie in files of their own: a reference whose object is an `ImageData`."""

    name: str
    base: Reference
    files: tuple[str, ...]
    """A NumPy file for each image, (height, width), not 0 on the object."""

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of the images' hash and of the files. Raises: InputError."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        return digest(["masked", self.base.content_hash, [file_sha256(Path(file)) for file in self.files]], length=64)

    @property
    def modules(self) -> tuple[str, ...]:
        """Roots of CODE."""
        return (*self.base.modules, f"{__name__}:{Masked.__name__}")

    def fetch(self) -> ImageData:
        """Raises: InputError naming the first mask that can't be read or is of another size."""
        return self.made_from(self.base.fetch())

    def made_from(self, payload: ImageData) -> ImageData:
        """The images with their masks. Raises: as `fetch`."""
        masks = np.zeros((len(payload), *payload.shape[1:]), bool)
        for row, file in enumerate(self.files):
            try:
                mask = np.load(file, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise InputError(f"{file} is no mask: {first_line(error)}") from error
            if mask.shape != payload.shape[1:]:
                raise InputError(f"{file}: the mask has shape {mask.shape}, the images have {payload.shape[1:]}")
            masks[row] = mask != 0
        return checked(replace(payload, masks=masks))

    def build(self, payload: ImageData, device: str) -> ImageData:
        """The payload itself: batches go to `device` one by one."""
        return payload

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_hash": self.content_hash}


def _with_masks(root: Path, original: Reference) -> Reference:
    """The original with the masks beside it, where there are any. Raises: InputError where one is missing."""
    folder, names = root / "fg_mask" / "val", _names(original)
    if names is None or not folder.is_dir():
        return original
    files = [folder / f"{name}.npy" for name in names]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(f"{missing[0]} is missing ({len(missing)} of {len(files)} masks of the original are)")
    return Masked(name=original.name, base=original, files=tuple(str(file.absolute()) for file in files))


def _place(root: Path, version: str) -> Path | None:
    for place in (root / version / "val", root / version):
        if place.is_dir():
            return place
    return None


def _order(original: Reference, version: Reference) -> list[int] | None:
    """The place in the version of each of the original's foregrounds: [] where it is the same for all, None where names
    don't say it."""
    first, names = _names(original), _names(version)
    if first is None and names is None:  # both in Parquet: `--build` keeps the order
        return []
    if first is None or names is None:
        return None
    places = {foreground(name): place for place, name in enumerate(names)}
    if len(places) < len(names) or not places.keys() >= set(map(foreground, first)):
        return None
    return [places[foreground(name)] for name in first]


def foreground(name: str) -> str:
    """Of `CLASS/STEM`: which foreground it shows. The stem is that of the original, alone or as in `fg_STEM_bg_...`."""
    folder, _, stem = name.rpartition("/")
    return f"{folder}/{stem.removeprefix('fg_').partition('_bg_')[0]}"


def _names(ref: Reference) -> list[str] | None:
    """`CLASS/STEM` of every image of a folder of class folders; None for Parquet."""
    if not isinstance(ref, DataRef) or not isinstance(ref.source, FolderSource):
        return None
    listing = ref.source.listing()
    return [f"{each}/{file.stem}" for each, files in listing.items() for file in files]


def _backgrounds(root: Path, count: int) -> NDArray[np.int64] | None:
    """The classes of Mixed-Rand's backgrounds, where `--build` has written them down."""
    file = record_file(root, "mixed_rand")
    if not file.is_file():
        return None
    labels: Sequence[int] = pd.read_parquet(file, columns=["background_label"])["background_label"].tolist()
    return np.array(labels if len(labels) == count else [NO_OTHER] * count, dtype=np.int64)
