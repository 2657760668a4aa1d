"""The cases that corruptions are compared on: which images, at which sizes, and how often."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.corruptions.tables import CORRUPTIONS, Table

SETTLED = ("defocus-blur", "zoom-blur", "brightness", "contrast", "pixelate", "jpeg-compression")
"""Corruptions without random numbers."""
RANDOM = tuple(name for name in CORRUPTIONS if name not in SETTLED)
EXACT: tuple[tuple[int, Table], ...] = ((32, "cifar10-c"), (224, "imagenet-c"))
NUM_EXACT = {32: 3, 224: 1}
IN_THE_MEAN: tuple[tuple[int, Table], ...] = ((32, "cifar10-c"), (64, "imagenet-c"))
"""ImageNet-C's parameters at 64 pixels: at 224 a mean within a few percent would take minutes."""
DRAWS = {32: 40, 64: 25}
"""Of each image: their number times this is the number of corrupted images behind a mean."""
NUM_REAL, REAL_SEVERITIES = 300, (1, 3, 5)


def pictures() -> dict[int, NDArray[np.uint8]]:
    """Side -> (n, side, side, 3): shapes on textured grounds, from our own generator."""
    from robustray.tasks.data import open_data

    found = {}
    for side, count in ((32, 12), (64, 8), (224, 1)):
        data = open_data(f"scenes:test,n=36,size={side}", data_root=None).fetch()
        found[side] = np.ascontiguousarray(data.images[:count].transpose(0, 2, 3, 1))
    return found


def sampled(image: NDArray[Any]) -> NDArray[Any]:
    """All pixels of a small image; of a large one every seventh row and column, and the last ones."""
    if len(image) < 100:
        return image
    place = np.r_[0 : len(image) : 7, len(image) - 1]
    return image[place][:, place]


def real(data_root: str) -> tuple[NDArray[np.uint8], NDArray[np.int64], Any]:
    """The first CIFAR-10 test images (n, 3, 32, 32), their labels, and ResNet-20."""
    from robustray.tasks.data import open_data
    from robustray.tasks.models.reference import open_model

    data = open_data("cifar10:test", data_root=data_root).fetch()
    network = open_model("cifar:resnet20", data_root=data_root)
    return data.images[:NUM_REAL], data.labels[:NUM_REAL], network.build(network.fetch(), "cpu")
