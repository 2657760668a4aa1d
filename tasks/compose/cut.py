"""Objects and backgrounds apart: hard masks, no blending, no scaling (arXiv:2006.09994, appendix A).

Images are (channels, height, width), alone or with a batch before; a mask is True on the object. Boxes are x0, y0, x1,
y1, half open, as `ImageData.boxes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError

Bools = NDArray[np.bool_]
LARGEST_BOX = 0.9
"""A box over more of the image than this leaves no background to speak of (paper's filter)."""
SMALLEST_OBJECT = 0.1
"""An object on less of its box than this was not found (paper's filter)."""


def box_masks(boxes: NDArray[np.integer[Any]], height: int, width: int) -> Bools:
    """Boxes (n, 4) as masks (n, height, width)."""
    x0, y0, x1, y1 = (side[:, None] for side in boxes.T)
    columns, rows = np.arange(width)[None], np.arange(height)[None]
    across, down = (columns >= x0) & (columns < x1), (rows >= y0) & (rows < y1)
    return down[:, :, None] & across[:, None, :]


def object_masks(data: ImageData) -> Bools:
    """(n, height, width): the masks of the data, else their boxes. Raises: InputError where there are neither."""
    if data.masks is not None:
        return data.masks
    if data.boxes is None:
        raise InputError(f"{data.name} has neither boxes nor masks: nothing says where its objects are")
    return box_masks(data.boxes, *data.shape[1:])


def rejected(boxes: NDArray[np.integer[Any]], masks: Bools) -> list[str]:
    """Per image why its object can't be cut out and its background filled; "" where both can."""
    height, width = masks.shape[1:]
    box_area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    mask_area = masks.sum((1, 2))
    no_margin = (boxes == [0, 0, width, height]).all(1)
    reasons = np.select(
        [no_margin, box_area > LARGEST_BOX * height * width, mask_area < SMALLEST_OBJECT * box_area],
        [
            "the box is the whole image",
            f"the box covers more than {LARGEST_BOX:.0%} of the image",
            f"the mask covers less than {SMALLEST_OBJECT:.0%} of its box",
        ],
        default="",
    )
    return [str(reason) for reason in reasons]


def filled(images: NDArray[Any], masks: Bools, value: float = 0) -> NDArray[Any]:
    """Images (n, channels, height, width) with `value` where the masks (n, height, width) are True."""
    return np.where(masks[:, None], np.asarray(value, images.dtype), images)


def pasted(foregrounds: NDArray[Any], masks: Bools, backgrounds: NDArray[Any]) -> NDArray[Any]:
    """The foregrounds where the masks (n, height, width) are True, the backgrounds elsewhere; all of one size."""
    return np.where(masks[:, None], foregrounds, backgrounds)


def tiled(image: NDArray[Any], box: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[Any]:
    """One image (channels, height, width) whose box is filled with its own background.

    The larger of two strips is repeated over the canvas from the top left corner on, and shows inside the box: the
    full-height strip beside the box on its wider side (the right one if both are equally wide), or the full-width strip
    above or below on the taller side (below if equal), the latter too when both are equally large. No learned
    inpainting, on purpose: an inpainter would bring knowledge of classes with it (arXiv:2006.09994, appendix A).

    Raises: InputError when the box is the whole image.
    """
    height, width = image.shape[1:]
    x0, y0, x1, y1 = (int(side) for side in box)
    left, right, above, below = x0, width - x1, y0, height - y1
    beside, stacked = max(left, right) * height, max(above, below) * width
    if not beside and not stacked:
        raise InputError("the box is the whole image: there is no background to fill it with")
    if beside > stacked:
        strip = image[:, :, :left] if left > right else image[:, :, x1:]
    else:
        strip = image[:, :above] if above > below else image[:, y1:]
    rows, columns = np.arange(y0, y1) % strip.shape[1], np.arange(x0, x1) % strip.shape[2]
    result = image.copy()
    result[:, y0:y1, x0:x1] = strip[:, rows[:, None], columns[None, :]]
    return result
