"""Thumbnails of single images with what became of each: the page lets one choose among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from robustray.tasks.figures.pictures import as_uint8, encoded
from robustray.tasks.study import Gallery

MOST_IMAGES, MOST_BYTES = 300, 600_000
"""The most thumbnails of a gallery, and bytes of their pixels: a page has to be sent and opened."""
LARGEST_SIDE = 48
"""Pixels of a thumbnail; larger images are made smaller."""
PER_ROW = 20


def room_for(shape: Sequence[int]) -> int:
    """How many images of this shape (channels, height, width) a gallery has room for."""
    channels, side = shape[0], min(LARGEST_SIDE, max(shape[1:]))
    return max(1, min(MOST_IMAGES, MOST_BYTES // (channels * side * side)))


def gallery(
    *,
    name: str,
    title: str,
    caption: str,
    images: npt.ArrayLike,
    classes: Sequence[str],
    indices: Sequence[int],
    labels: Sequence[int],
    ways: Sequence[str],
    cells: Mapping[tuple[str, str], tuple[Sequence[Sequence[int]], Sequence[int]]],
    start: tuple[str, str],
) -> Gallery:
    """Images `(n, channels, height, width)`, uint8 or float in [0, 1], at most as many as `room_for` says, as one sheet
    of square thumbnails; the rest as in `Gallery`."""
    from PIL import Image

    pixels = as_uint8(images)
    num, channels, height, width = pixels.shape
    assert num <= room_for(pixels.shape[1:]), f"{num} images, room for {room_for(pixels.shape[1:])}"
    assert num == len(indices) == len(labels) > 0 and start in cells
    assert all(num == len(fell) == len(seen) for fell, seen in cells.values())
    side = min(LARGEST_SIDE, max(height, width))
    sheet = Image.new("RGB", (PER_ROW * side, -(-num // PER_ROW) * side))
    for i, image in enumerate(pixels):
        tile = Image.fromarray(np.moveaxis(image.repeat(3 // channels, axis=0), 0, 2))
        if max(height, width) > side:
            tile = tile.resize((round(side * width / max(height, width)), round(side * height / max(height, width))))
        sheet.paste(tile, ((i % PER_ROW) * side, i // PER_ROW * side))
    png, webp = encoded(sheet)
    return Gallery(
        name=name,
        title=title,
        caption=caption,
        png=png,
        webp=webp,
        side=side,
        per_row=PER_ROW,
        classes=classes,
        indices=indices,
        labels=labels,
        ways=ways,
        cells=cells,
        start=start,
    )
