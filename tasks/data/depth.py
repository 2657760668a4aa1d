"""How many bits a channel of an encoded image has, read from the file's header.

Pillow decodes colour of 10 to 16 bits into 8 without a word: of 12-bit values in a 16-bit PNG it keeps the highest four
bits, and the picture comes out almost black. It says the depth itself for some formats only.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image


def _png(data: bytes, image: Image.Image) -> int:
    return data[24]  # IHDR, the first chunk: width, height, depth


def _tiff(data: bytes, image: Any) -> int:
    return max(image.tag_v2.get(258, (1,)))  # BitsPerSample, one number per channel


def _ppm(data: bytes, image: Image.Image) -> int:
    """Bits of the largest value, which follows width and height as text; bitmaps have none, floats have a scale."""
    header = re.sub(rb"#[^\n\r]*", b"", data[:65536]).split(maxsplit=4)
    if header[0] in (b"PF", b"Pf"):
        return 32
    return 1 if header[0] in (b"P1", b"P4") else int(header[3]).bit_length()


def _jpeg2000(data: bytes, image: Image.Image) -> int:
    """Bits by the code stream's marker SIZ: the number of components is 38 bytes behind it, then come three bytes for
    each."""
    at = data.index(b"\xff\x4f\xff\x51") + 2
    count = int.from_bytes(data[at + 38 : at + 40], "big")
    return max((data[at + 40 + 3 * i] & 0x7F) + 1 for i in range(count))


def _avif(data: bytes, image: Image.Image) -> int:
    """Bits by the boxes av1C, one for each coded picture: two flags in their third byte."""
    flags = [data[found.end() + 2] for found in re.finditer(rb"av1C", data)]
    return max(8 + 2 * bool(each & 0x40) + 2 * bool(each & 0x40 and each & 0x20) for each in flags)


def _eight(data: bytes, image: Image.Image) -> int:
    return 8  # the format, or what Pillow reads of it (12-bit JPEG is no image to it), has no more


DEPTHS: Mapping[str, Callable[[bytes, Any], int]] = {
    "PNG": _png,
    "JPEG": _eight,
    "MPO": _eight,
    "WEBP": _eight,
    "BMP": _eight,
    "GIF": _eight,
    "TIFF": _tiff,
    "PPM": _ppm,
    "JPEG2000": _jpeg2000,
    "AVIF": _avif,
}
"""Pillow's name of every format that is read -> the depth of a file. What is not here is not opened."""


def open_known(data: bytes) -> Image.Image:
    """The image in `data`, not decoded yet. Raises: what Pillow raises, for other formats too."""
    Image.init()
    known = [name for name in DEPTHS if name in Image.OPEN]  # an older Pillow has no AVIF; MPO opens as JPEG
    return Image.open(io.BytesIO(data), formats=known)


def bits_per_channel(data: bytes, image: Image.Image) -> int:
    """The depth of `image`, which Pillow opened from `data` as one of the formats in `DEPTHS`.

    Raises: ValueError or IndexError for a header that does not say.
    """
    return DEPTHS[str(image.format)](data, image)
