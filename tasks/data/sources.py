"""Data sets that have a name, and the forms in which all others are given.

A named one is a module with `open_source(name, rest, data_root) -> Source`, where a user writes `name:rest`, and a line
here. Imports nothing heavy: `robustray list` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest

SPLITS = ("test", "train")


class Named(NamedTuple):
    """A data set, or a family of them, by name."""

    module: str
    form: str
    """What a user writes: "digits:SPLIT"."""
    about: str
    known: tuple[str, ...]
    """What may follow the name; for a family of data sets, examples."""


SOURCES: Mapping[str, Named] = {
    "digits": Named(
        "robustray.tasks.data.digits",
        "digits:SPLIT",
        "scikit-learn's 8x8 digits, embedded; SPLIT is train or test",
        SPLITS,
    ),
    "scenes": Named(
        "robustray.tasks.data.scenes",
        "scenes:SPLIT,OPTION=VALUE,...",
        "procedural objects on backgrounds that go with them by rho: scenes:test,rho=0.9,size=64",
        SPLITS,
    ),
    "textures": Named(
        "robustray.tasks.data.textures",
        "textures:SPLIT,OPTION=VALUE,...",
        "procedural patterns of ten families, whatever their colours: textures:train,n=500,size=64",
        SPLITS,
    ),
    "cifar10": Named(
        "robustray.tasks.data.cifar",
        "cifar10:SPLIT",
        "CIFAR-10 under the data root; `robustray import cifar10` brings it there",
        SPLITS,
    ),
    "cifar100": Named(
        "robustray.tasks.data.cifar",
        "cifar100:SPLIT",
        "CIFAR-100 as torchvision unpacks it, under the data root",
        SPLITS,
    ),
} | {
    name: Named("robustray.tasks.data.photo_sets", f"{name}:SPLIT,size=N", f"{about}, as its archive unpacks", SPLITS)
    for name, about in {
        "aircraft": "FGVC Aircraft, 100 variants",
        "birdsnap": "Birdsnap, 500 species",
        "caltech101": "Caltech-101",
        "caltech256": "Caltech-256",
        "cars": "Stanford Cars, 196 models",
        "dtd": "Describable Textures, 47 classes",
        "flowers": "Oxford Flowers, 102 classes",
        "food": "Food-101",
        "pets": "Oxford-IIIT Pets, 37 breeds",
        "sun397": "SUN397, scenes of 397 kinds",
    }.items()
}

FORMS: Mapping[str, str] = {
    "FOLDER": "a folder of class folders, or of Parquet shards with image and label columns",
    "FOLDER,size=N": "class folders of pictures of any sizes: short side resized to N pixels, centre cut out",
    "FILE.parquet": "one Parquet shard",
    "FILE.png": "one picture",
}
"""How data without a name are given."""


def known() -> list[str]:
    """Every name that may be written, for "did you mean"."""
    return [f"{name}:{rest}" for name, source in SOURCES.items() for rest in source.known]


def check_name(text: str) -> None:
    """What can be said of a name before its data are opened. Raises: InputError for one that no data can have.

    Files, folders and the user's own functions are not looked for.
    """
    head, separator, rest = text.partition(":")
    if head in SOURCES:
        check_rest(head, rest.partition(",")[0])
    elif not separator and not any(mark in text for mark in ("/", "\\", ".", "~")) and not _is_there(text):
        raise InputError(f"there is no data set {text!r}{nearest(text, known())}")


def _is_there(text: str) -> bool:
    """Whether a file or folder is there by this name, or by what stands before its options (`photos,size=64`)."""
    return Path(text).exists() or Path(text.partition(",")[0]).exists()


def check_rest(name: str, rest: str, allowed: Sequence[str] = SPLITS) -> None:
    """Check what follows `name:`. Raises: InputError unless it is allowed."""
    if rest not in allowed:
        names = [f"{name}:{each}" for each in allowed]
        raise InputError(f"{f'{name}:{rest}'!r} names no split of {name}{nearest(f'{name}:{rest}', names)}")
