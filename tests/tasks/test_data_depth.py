"""Images of more than 8 bits a channel are never cut to 8 in silence: their depth is read from the header."""

from __future__ import annotations

import io
import struct
import zlib
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image, features

from robustray.tasks.data.decode import decode_one
from robustray.tasks.data.depth import DEPTHS
from robustray.tasks.errors import InputError

CHANNELS = {"grey": 1, "grey and alpha": 2, "colour": 3, "colour and alpha": 4}


def png(depth: int, channels: int) -> bytes:
    """8 x 8 pixels of value 0, fully opaque, written by hand: Pillow writes no deep colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    opaque = b"\xff" * (depth // 8) if channels in (2, 4) else b""
    pixel = bytes(depth // 8 * (channels - len(opaque[:1]))) + opaque
    rows = zlib.compress((b"\0" + pixel * 8) * 8)
    header = struct.pack(">IIBBBBB", 8, 8, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff(depth: int, channels: int, order: str = "<") -> bytes:
    """8 x 8 pixels, uncompressed, one strip."""
    pixels = bytes(64 * channels * depth // 8)
    entries = [
        (256, 3, [8]),  # width
        (257, 3, [8]),  # height
        (258, 3, [depth] * channels),  # bits per sample
        (259, 3, [1]),  # no compression
        (262, 3, [2 if channels >= 3 else 1]),  # RGB or grey
        (273, 4, [8]),  # where the strip is
        (277, 3, [channels]),
        (278, 3, [8]),  # rows per strip
        (279, 4, [len(pixels)]),
    ]
    at = 8 + len(pixels)
    more = at + 2 + 12 * len(entries) + 4
    directory, behind = struct.pack(order + "H", len(entries)), b""
    for tag, kind, values in entries:
        body = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(body) > 4:
            body, behind = struct.pack(order + "I", more + len(behind)), behind + body
        directory += struct.pack(order + "HHI", tag, kind, len(values)) + body.ljust(4, b"\0")
    start = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return start + struct.pack(order + "I", at) + pixels + directory + bytes(4) + behind


def ppm(largest: int, channels: int, plain: bool = False) -> bytes:
    magic = {(1, False): b"P5", (3, False): b"P6", (1, True): b"P2", (3, True): b"P3"}[channels, plain]
    body = b"0 " * 64 * channels if plain else bytes(64 * channels * (2 if largest > 255 else 1))
    return magic + b"\n# a comment of 9 words, and 65535 of them are none\n8 8\n%d\n" % largest + body


def saved(kind: str, channels: int = 3, value: int = 100) -> bytes:
    buffer = io.BytesIO()
    shape = (64, 64, channels) if channels > 1 else (64, 64)
    Image.fromarray(np.full(shape, value, np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def deeper_jpeg2000(depth: int, component: int) -> bytes:
    """With another depth in the header: in the marker SIZ, and where the box `ihdr` repeats it."""
    data = bytearray(saved("JPEG2000"))
    data[data.index(b"\xff\x4f\xff\x51") + 42 + 3 * component] = depth - 1
    return bytes(data)


AVIFS = {
    10: b64decode(
        "AAAAHGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZgAAAOltZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
        "AA5waXRtAAAAAAABAAAAHmlsb2MAAAAARAAAAQABAAAAAQAAAQ0AAAAWAAAAKGlpbmYAAAAAAAEAAAAaaW5mZQIAAAAAAQAAYXYw"
        "MUNvbG9yAAAAAGhpcHJwAAAASWlwY28AAAAUaXNwZQAAAAAAAAAIAAAACAAAAA5waXhpAAAAAAEKAAAADGF2MUOBAFwAAAAAE2Nv"
        "bHJuY2x4AAIAAgACgAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAAHm1kYXQSAAoFGAi/a1AyCxlGIYmmaCSQP6ug"
    ),
    12: b64decode(
        "AAAAHGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZgAAAOltZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
        "AA5waXRtAAAAAAABAAAAHmlsb2MAAAAARAAAAQABAAAAAQAAAQ0AAAAWAAAAKGlpbmYAAAAAAAEAAAAaaW5mZQIAAAAAAQAAYXYw"
        "MUNvbG9yAAAAAGhpcHJwAAAASWlwY28AAAAUaXNwZQAAAAAAAAAIAAAACAAAAA5waXhpAAAAAAEMAAAADGF2MUOBQHwAAAAAE2Nv"
        "bHJuY2x4AAIAAgACgAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAAHm1kYXQSAAoFWAi/a6gyCxlGIYmmaCSQP6ug"
    ),
}
"""8 x 8 grey pixels at half of the range, by depth; written with OpenCV 5.0 (libavif), as Pillow writes 8 bits only."""


DEEP: dict[str, tuple[bytes, int]] = {
    **{f"PNG, {name}": (png(16, channels), 16) for name, channels in CHANNELS.items()},
    **{f"TIFF, {n}": (tiff(16, c), 16) for n, c in CHANNELS.items() if c in (1, 3)},
    "TIFF, colour, the other byte order": (tiff(16, 3, ">"), 16),
    "PPM, 16 bits": (ppm(65535, 3), 16),
    "PPM, 12 bits": (ppm(4095, 3), 12),
    "PPM, 9 bits": (ppm(256, 3), 9),
    "PPM, 10 bits, in text": (ppm(1023, 3, plain=True), 10),
    "PGM, 16 bits": (ppm(65535, 1), 16),
    "PGM, 12 bits, in text": (ppm(4095, 1, plain=True), 12),
    "PFM": (b"Pf\n8 8\n-1.0\n" + bytes(256), 32),
}
if features.check("jpg_2000"):
    DEEP |= {f"JPEG 2000, component {i}": (deeper_jpeg2000(12, i), 12) for i in range(3)}
if features.check("avif"):
    DEEP |= {f"AVIF, {depth} bits": (data, depth) for depth, data in AVIFS.items()}


@pytest.mark.parametrize("case", DEEP)
def test_more_than_8_bits_are_refused_and_the_depth_is_said(case: str) -> None:
    data, bits = DEEP[case]
    with pytest.raises(
        InputError, match=f"deep.img has {bits} bits per channel .*images here have 8 bits: scale"
    ) as caught:
        decode_one("deep.img", data)
    assert "\n" not in str(caught.value)


SHALLOW: dict[str, tuple[bytes, int]] = {
    **{f"PNG, {name}": (png(8, channels), 0) for name, channels in CHANNELS.items()},
    **{f"TIFF, {n}": (tiff(8, c), 0) for n, c in CHANNELS.items() if c in (1, 3)},
    "TIFF, colour, the other byte order": (tiff(8, 3, ">"), 0),
    "PPM": (ppm(255, 3), 0),
    "PPM, 4 bits": (ppm(15, 3), 0),
    "PGM in text": (ppm(255, 1, plain=True), 0),
    "bitmap": (b"P4\n8 8\n" + b"\xff" * 8, 0),
    **{kind: (saved(kind), 100) for kind in ("BMP", "GIF", "JPEG", "PNG", "TIFF", "PPM")},
    **{kind: (saved(kind), 100) for kind in ("WEBP", "JPEG2000", "AVIF") if kind in Image.SAVE},
}


@pytest.mark.parametrize("case", SHALLOW)
def test_8_bits_are_read_as_they_are(case: str) -> None:
    data, value = SHALLOW[case]
    pixels = decode_one("x", data)
    assert pixels.dtype == np.uint8 and abs(pixels.astype(int) - value).max() <= 2  # JPEG and its kin are lossy


def test_every_format_that_is_read_is_tested() -> None:
    tested = {Image.open(io.BytesIO(data)).format for data, _ in [*SHALLOW.values(), *DEEP.values()]}
    assert tested | {"MPO"} >= {name for name in DEPTHS if name in Image.SAVE}


@pytest.mark.parametrize("kind", ["SGI", "ICO", "DDS", "TGA"])
def test_formats_whose_depth_is_not_known_here_are_not_opened(kind: str) -> None:
    """SGI and the PNG in an icon may hold 16 bits, DDS floats: Pillow reads them all as 8 bits."""
    with pytest.raises(InputError, match=r"it is no image of a kind that is read here \(PNG, JPEG"):
        decode_one("x", saved(kind))
