"""Checks that refuse bad input before any work begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robustray.tasks.errors import InputError
from robustray.tasks.kit.likeness import LEAST_SIDE
from robustray.tasks.studies.synthesis.fields import Settings

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData


def check_images(settings: Settings, train: ImageData, test: ImageData) -> None:
    """Raises: InputError for images that cannot be damaged as the settings say, and for too few of them."""
    check_sizes(settings, test)
    if settings.num_images > len(test):
        raise InputError(f"num_images {settings.num_images}: {test.name} has {len(test)} images")
    if "generate" not in settings.tasks:
        return
    for data, least, why in (
        (train, 2, "seeds are drawn from a Gaussian"),
        (test, 2 * settings.per_class, "half of them as a reference, half as an anchor"),
    ):
        sizes = np.bincount(data.labels, minlength=data.num_classes)
        if sizes.min() < least:
            raise InputError(
                f"{data.name} has {sizes.min()} images of class {data.classes[int(sizes.argmin())]!r}, {least} are "
                f"needed ({why}): lower per_class, or take other data"
            )
    count = settings.per_class * test.num_classes
    if settings.neighbours >= count:
        raise InputError(f"neighbours {settings.neighbours}: only {count} generations a network: raise per_class")


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
        factor = getattr(settings, name)
        if height % factor or width % factor or factor >= min(height, width):
            raise InputError(f"{name} {factor} does not divide the sides of {data.name}'s images, {height}x{width}")
