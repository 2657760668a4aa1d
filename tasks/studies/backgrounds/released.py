"""Versions that were built before: by `--build`, or ImageNet-9's, as its authors released them.

    ROOT/original/val/00_dog/n02085620_1.JPEG ...     ROOT/mixed_rand/val/00_dog/...     ROOT/original/test-*.parquet

Released pictures are taken as they are: cropped again, they would lose box pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.data.folder import FolderSource
from robustray.tasks.data.reference import DataRef
from robustray.tasks.data.views import subset
from robustray.tasks.errors import InputError
from robustray.tasks.studies.backgrounds.blocks import NO_OTHER
from robustray.tasks.studies.backgrounds.building import record_file
from robustray.tasks.studies.backgrounds.settings import NEEDED, ORIGINAL, Settings
from robustray.tasks.studies.backgrounds.worlds import World

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Lab, Reference

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
    world = World(
        name=settings.released,
        rho=float("nan"),
        classes=first.classes,
        kept=list(range(len(first))),
        given=found,
        backgrounds=_backgrounds(root, len(first)),
    )
    return world, (UNPAIRED,) if unpaired else ()


def _place(root: Path, version: str) -> Path | None:
    for place in (root / version / "val", root / version):
        if place.is_dir():
            return place
    return None


def _order(original: Reference, version: Reference) -> list[int] | None:
    """The place in the version of each of the original's foregrounds: [] where it is the same for all, None where names
    don't say it."""
    first, names = _names(original), _names(version)
    if names is None or first is None:  # Parquet: `--build` keeps the order
        return [] if names is first else None
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
