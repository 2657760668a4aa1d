"""Objects found in their boxes by GrabCut, and photographs brought to one size without mixing pixels
(arXiv:2006.09994, appendix A and its published generator).

OpenCV is imported where it is used. GrabCut draws random numbers, so every attempt is seeded by (seed, name of the
image, attempt): a mask belongs to its image, whoever computes it. One thread: whole images are spread over workers.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.compose.cut import LARGEST_BOX, SMALLEST_OBJECT, Bools
from robustray.tasks.lab.seeds import integer

ITERATIONS = 5
"""Of GrabCut, as published."""
ATTEMPTS = 10
"""Times that GrabCut is tried before an image is given up, as in the published second pass."""
FILTER_SHORT, FILTER_CROP = 256, 224
"""The published filters look at the box in this crop of the image with this short side."""
SMALLEST_SHARE = 0.5
"""A box of which less is left in that crop is cut off by it (published filter)."""

Box = Sequence[int] | NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What GrabCut found."""

    mask: Bools
    """(height, width); empty where nothing was found."""
    attempts: int
    """How many it took, or how many failed."""
    reason: str
    """Why the last attempt failed; "" where it did not."""


def grabcut(pixels: NDArray[np.uint8], box: Box, *, seed: int, iterations: int = ITERATIONS) -> Bools:
    """The object in a box: what GrabCut, started from that rectangle, takes for definite or probable foreground.

    pixels: (height, width, 3). box: x0, y0, x1, y1, half open, inside the image and not all of it. seed: below 2^31.
    Returns: (height, width). Raises: cv2.error where GrabCut finds no way to tell object from background.
    """
    import cv2

    x0, y0, x1, y1 = (int(side) for side in box)
    marks = np.zeros(pixels.shape[:2], np.uint8)
    models = np.zeros((1, 65), np.float64), np.zeros((1, 65), np.float64)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    cv2.setRNGSeed(seed)
    try:
        rectangle = (x0, y0, x1 - x0, y1 - y0)
        cv2.grabCut(np.ascontiguousarray(pixels), marks, rectangle, *models, iterations, cv2.GC_INIT_WITH_RECT)
    finally:
        cv2.setNumThreads(threads)
    return np.asarray((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD))


def segmented(pixels: NDArray[np.uint8], box: Box, *, name: str, seed: int = 0, attempts: int = ATTEMPTS) -> Found:
    """`grabcut`, tried again with another seed while it fails: by an exception, or with a mask on less than a tenth of
    its box. name: of the image, part of every seed."""
    import cv2

    x0, y0, x1, y1 = (int(side) for side in box)
    least = SMALLEST_OBJECT * (x1 - x0) * (y1 - y0)
    identity, reason = zlib.crc32(name.encode()), ""
    for attempt in range(attempts):
        try:
            mask = grabcut(pixels, box, seed=integer(seed, "grabcut", identity, attempt) % 2**31)
        except cv2.error as error:
            reason = f"GrabCut failed: {error.err or error}"
            continue
        if mask.sum() >= least:
            return Found(mask=mask, attempts=attempt + 1, reason="")
        reason = f"GrabCut's mask covers less than {SMALLEST_OBJECT:.0%} of its box"
    return Found(mask=np.zeros(pixels.shape[:2], bool), attempts=attempts, reason=reason)


def box_reason(boxes: Sequence[Box], height: int, width: int, annotated: tuple[int, int] | None = None) -> str:
    """Why an image of this size can't be cut out, by the boxes that its annotation has; "" where it can.

    annotated: (height, width) that the annotation states. The published filters: the annotation belongs to this image,
    there is one box, it leaves some background, and the centre of the image shows most of it.
    """
    if annotated is not None and annotated != (height, width):
        tall, wide = annotated
        return f"the annotation is of an image of {wide} x {tall} pixels, this one has {width} x {height}"
    if len(boxes) != 1:
        return f"{len(boxes)} boxes, not one" if boxes else "no box"
    x0, y0, x1, y1 = (int(side) for side in boxes[0])
    if x1 <= x0 or y1 <= y0:
        return f"the box {x0}, {y0}, {x1}, {y1} is empty"
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return f"the box {x0}, {y0}, {x1}, {y1} leaves the image of {width} x {height} pixels"
    if (x0, y0, x1, y1) == (0, 0, width, height):
        return "the box is the whole image"
    rows, columns = _places(height, width, FILTER_SHORT)
    down, across = (rows >= y0) & (rows < y1), (columns >= x0) & (columns < x1)
    shown = _centre(down, FILTER_CROP).sum() * _centre(across, FILTER_CROP).sum()
    if shown > LARGEST_BOX * FILTER_CROP**2:
        return f"the box covers more than {LARGEST_BOX:.0%} of the image"
    if shown < SMALLEST_SHARE * down.sum() * across.sum():
        return f"less than {SMALLEST_SHARE:.0%} of the box is left when the centre of the image is cut out"
    return ""


def nearest_square(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    """Images or masks (..., height, width) -> (..., side, side): the short side gets that length, the centre is cut
    out. Each pixel is the nearest one of the image: any average along the edge of an object would carry its background
    along."""
    height, width = pixels.shape[-2:]
    rows, columns = _places(height, width, side)
    rows, columns = _centre(rows, side), _centre(columns, side)
    return np.ascontiguousarray(pixels[..., rows[:, None], columns[None, :]])


def _places(height: int, width: int, short: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For an image whose short side gets the length `short`: the row, and the column, that each new one shows."""
    scale = short / min(height, width)
    tall, wide = max(short, round(height * scale)), max(short, round(width * scale))
    rows, columns = (np.arange(tall) + 0.5) * height / tall, (np.arange(wide) + 0.5) * width / wide
    return rows.astype(np.int64), columns.astype(np.int64)


def _centre(places: NDArray[Any], side: int) -> NDArray[Any]:
    start = (len(places) - side) // 2
    return places[start : start + side]
