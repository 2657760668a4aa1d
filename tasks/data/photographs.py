"""Photographs of mixed sizes -> one array: turned upright, the short side resized, the centre cut out square."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustray.tasks.data.decode import decode_one
from robustray.tasks.data.depth import open_known
from robustray.tasks.errors import InputError

LARGEST_SIDE = 4_096
"""Pixels of a side that pictures are brought to, at most."""
ORIENTATION = 0x0112
"""The EXIF tag that says how the camera was held."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_NAMED = 5
"""Unreadable files that an error names."""


def decode_fitted(
    encoded: Iterable[tuple[str, bytes]], count: int, side: int
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Decode `count` pictures of any sizes; `encoded` yields (file, its bytes). Only one at a time is held at
    its native size.

    Returns: (count, channels, side, side), one channel if every picture is grey, else three (RGB); and sentences that
    say what was done. Resizing is bicubic, with the kernel widened when it shrinks (antialiased).

    Raises: InputError naming the pictures that cannot be read, none is left out; and for more than memory holds.
    """
    try:
        out = np.empty((count, 3, side, side), dtype=np.uint8)
    except MemoryError as error:
        raise InputError(
            f"{count:,} pictures of {side} x {side} pixels need {3 * count * side**2 / 2**30:,.1f} GiB of memory: use "
            "fewer, or a smaller size="
        ) from error
    sizes: Counter[tuple[int, int]] = Counter()
    unreadable: list[str] = []
    num_grey = num_turned = num_enlarged = 0
    for row, (where, data) in enumerate(encoded):
        try:
            pixels, turned = upright(where, data)
        except InputError as error:
            unreadable.append(str(error))
            continue
        sizes[pixels.shape[1], pixels.shape[0]] += 1
        num_grey += pixels.ndim == 2
        num_turned += turned
        num_enlarged += min(pixels.shape[:2]) < side
        fitted = fit(pixels, side)
        out[row] = fitted.transpose(2, 0, 1) if fitted.ndim == 3 else fitted
    if unreadable:
        more = f"; and {len(unreadable) - _NAMED} more" if len(unreadable) > _NAMED else ""
        raise InputError(
            f"{len(unreadable)} of {count} pictures cannot be used: {'; '.join(unreadable[:_NAMED])}{more}. "
            "Mend them or take them out of the folder"
        )
    notes = [_resized(sizes, side, num_enlarged)]
    if 0 < num_grey < count:
        notes.append(f"{num_grey} of {count} pictures are grey and got three equal channels")
    if num_turned:
        notes.append(f"{num_turned} of {count} pictures were turned upright, as their EXIF data say")
    return np.ascontiguousarray(out[:, :1]) if num_grey == count else out, tuple(notes)


def _resized(sizes: Counter[tuple[int, int]], side: int, num_enlarged: int) -> str:
    small, large = (pick(sizes, key=lambda size: size[0] * size[1]) for pick in (min, max))
    span = f"{small[0]} x {small[1]}" + (f" to {large[0]} x {large[1]}" if len(sizes) > 1 else "")
    enlarged = f"; {num_enlarged} of them enlarged" if num_enlarged else ""
    how = f"bicubic, short side first, centre cut out{enlarged}"
    return f"pictures of {span} pixels are resized to {side} x {side} ({how})"


def upright(where: str, data: bytes) -> tuple[NDArray[np.uint8], bool]:
    """One picture at its native size, turned as its EXIF data say: (height, width) if it is grey, else (height, width,
    3); and whether it had to be turned. Raises: InputError as `decode_one`."""
    pixels = decode_one(where, data)
    turn = _TURNS.get(open_known(data).getexif().get(ORIENTATION, 1))
    return (pixels, False) if turn is None else (np.asarray(Image.fromarray(pixels).transpose(turn)), True)


def fit(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(height, width) or (height, width, 3) -> the same with both sides `side`: the short side gets that length, the
    centre is cut out."""
    height, width = pixels.shape[:2]
    scale = side / min(height, width)
    tall, wide = max(side, round(height * scale)), max(side, round(width * scale))
    scaled = Image.fromarray(pixels).resize((wide, tall), Image.Resampling.BICUBIC)
    left, top = (wide - side) // 2, (tall - side) // 2
    return np.asarray(scaled.crop((left, top, left + side, top + side)))
