"""Versions of images: who gets whose background, and the block function that builds them (paper, section 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustray.tasks.compose.cut import box_masks, filled, object_masks, pasted, rejected, tiled
from robustray.tasks.data.images import ImageData, boxes_of
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.seeds import stream
from robustray.tasks.studies.backgrounds.settings import ORIGINAL

NO_OTHER = -1
"""Instead of a background's image: the version needs none but its own."""


def partners(version: str, labels: NDArray[np.int64], kept: Sequence[int], seed: int) -> list[list[int]]:
    """[foreground, background] for each image in `kept`: the image whose background it gets, or `NO_OTHER`.

    Mixed-Same: another image of the same class. Mixed-Rand: a class drawn uniformly among all (its own included, as we
    read the paper, which leaves it open), then an image of it. Mixed-Next: an image of the next class, the last one's
    next being the first. No image gets its own background. Draws depend on (seed, version, image) and on which images
    are kept.

    labels: the labels of all images. Raises: InputError for a class with a single image where another one is needed.
    """
    if not version.startswith("mixed"):
        return [[image, NO_OTHER] for image in kept]
    classes = sorted({int(labels[image]) for image in kept})
    members = {label: [image for image in kept if labels[image] == label] for label in classes}
    found = []
    for image in kept:
        draws = stream(seed, version, image)
        own = classes.index(int(labels[image]))
        if version == "mixed_same":
            wanted = classes[own]
        elif version == "mixed_next":
            wanted = classes[(own + 1) % len(classes)]
        else:
            wanted = classes[int(draws.integers(len(classes)))]
        others = [other for other in members[wanted] if other != image]
        if not others:
            raise InputError(
                f"image {image} is the only one of its class that can be cut out: {version} needs another background "
                "of that class"
            )
        found.append([image, others[int(draws.integers(len(others)))]])
    return found


def cuttable(data: ImageData) -> list[str]:
    """Per image why it is in no version; "" for those in all. Raises: InputError where nothing says what to cut."""
    masks = object_masks(data)
    boxes = boxes_of(masks) if data.boxes is None else data.boxes
    return rejected(boxes, masks)


VERSION_COLUMNS: Mapping[str, pa.DataType | Tensor] = {
    "index": pa.int64(),
    "background": pa.int64(),
    "label": pa.int64(),
    "background_label": pa.int64(),
    "image": Tensor("uint8"),
    "mask": Tensor("bool"),
    "box": Tensor("int64"),
}


@block_function(version=1, columns=VERSION_COLUMNS)
def version_block(pairs: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """The version `context.settings` of the pairs [foreground, background] of images of "data"."""
    data: ImageData = context.load("data")
    chosen = np.array([pair[0] for pair in pairs])
    others = np.array([pair[1] for pair in pairs])
    sources = np.where(others == NO_OTHER, chosen, others)
    masks = object_masks(data)
    boxes = boxes_of(masks) if data.boxes is None else data.boxes

    def backgrounds() -> NDArray[np.uint8]:
        return np.stack([tiled(data.images[source], boxes[source]) for source in sources])

    return {
        "index": chosen,
        "background": others,
        "label": data.labels[chosen],
        "background_label": data.labels[sources],
        "image": composed(context.settings, data.images[chosen], masks[chosen], boxes[chosen], backgrounds),
        "mask": masks[chosen],
        "box": boxes[chosen],
    }


def composed(
    version: str,
    images: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    boxes: NDArray[np.int64],
    backgrounds: Callable[[], NDArray[np.uint8]],
) -> NDArray[np.uint8]:
    """Pixels of a version (n, channels, height, width) of images with these masks and boxes.

    backgrounds: gives, for the versions that show them, a tiled background for each image: its own, or another's.
    """
    if version == ORIGINAL:
        return images
    if version == "only_bg_b":
        return filled(images, box_masks(boxes, *images.shape[2:]))
    if version == "no_fg":
        return filled(images, masks)
    if version == "only_fg":
        return filled(images, ~masks)
    if version == "only_bg_t":
        return backgrounds()
    return pasted(images, masks, backgrounds())
