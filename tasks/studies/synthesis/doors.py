"""Checks that refuse bad input before any work begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from robustray.tasks.errors import InputError
from robustray.tasks.kit.likeness import LEAST_SIDE
from robustray.tasks.studies.synthesis.fields import Settings
from robustray.tasks.studies.synthesis.scores import GROUPS

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData

FEWEST_SEEDED = 2
"""The fewest training images of a class from which seeds are drawn."""


def check_images(settings: Settings, train: ImageData, test: ImageData) -> None:
    """Raises: InputError for images that cannot be damaged as the settings say, and for too few of them."""
    check_sizes(settings, test)
    if settings.num_images > len(test):
        raise InputError(f"num_images {settings.num_images}: {test.name} has {len(test)} images")
    if "generate" not in settings.tasks:
        return
    for data, least, why in (
        (train, FEWEST_SEEDED, "seeds are drawn from a Gaussian"),
        (test, 2 * settings.per_class, "half of them as a reference, half as an anchor"),
    ):
        sizes = np.bincount(data.labels, minlength=data.num_classes)
        if sizes.min() < least:
            raise InputError(
                f"{data.name} has {sizes.min()} images of class {data.classes[int(sizes.argmin())]!r}, {least} are "
                f"needed ({why}): lower per_class, or take other data"
            )
    count = fewest_scored(settings.per_class, test.num_classes)
    if settings.neighbours >= count:
        raise InputError(
            f"neighbours {settings.neighbours}: recall is measured with as few as {count} generations of a network: "
            "raise per_class"
        )


def fewest_scored(per_class: int, num_classes: int) -> int:
    """The fewest generations of a network that a score is taken of: without the largest group of the jackknife, which
    has the same numbers of every class; all of them where there is a single group."""
    groups = min(per_class, GROUPS)
    largest = -(-per_class // groups)
    return num_classes * (per_class - largest if groups > 1 else per_class)


def check_sizes(settings: Settings, data: ImageData) -> None:
    """Raises: InputError for a hole that fills the image, factors that do not divide its sides, and tiny images."""
    height, width = data.shape[1:]
    if min(height, width) < LEAST_SIDE:
        raise InputError(
            f"{data.name} has images of {height}x{width}: structural similarity needs sides of {LEAST_SIDE}"
        )
    if settings.hole >= min(height, width):
        raise InputError(f"hole {settings.hole}: images of {data.name} are {height}x{width}, the hole must be smaller")
    for name in ("factor", "seed_factor"):
        check_factor(settings, name, data.name, data.shape)


def check_factor(settings: Settings, name: str, of: str, shape: Sequence[int]) -> None:
    """Raises: InputError for a factor that does not divide the sides of images (channels, height, width) of `of`. name:
    of the setting, "factor" or "seed_factor"."""
    factor, (height, width) = getattr(settings, name), shape[1:]
    if height % factor or width % factor or factor >= min(height, width):
        raise InputError(f"{name} {factor} does not divide the sides of {of}'s images, {height}x{width}")
