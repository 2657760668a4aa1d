"""The colours that a printer can print, from its ICC profile: a table of colours, and the nearest printable colour.

A profile says which ink makes which colour, and back. A colour that goes through it and returns unchanged can be
printed; one that cannot returns as what the printer would make of it (relative colorimetric intent: the nearest colour
of the gamut, paper counts as white). LittleCMS (Pillow) does that exactly, for 8-bit colours. A design moves its
patches many times on any device, so that it takes a table of 33³ colours instead, linear between them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    import torch

LEVELS = 33
"""Levels of each of red, green and blue in the table, from 0 to 255."""
ROUNDING = 2
"""Levels of 255 by which a colour that can be printed may return changed: 8 bits on either way. Such colours stay
exactly as they are, or patches would drift from step to step."""
_MODES = {"RGB": "RGB", "CMYK": "CMYK", "GRAY": "L"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Gamut:
    """What a printer makes of each colour: a `Reference` whose object is `table`."""

    name: str
    """The profile's file as the user wrote it."""
    table: NDArray[np.uint8]
    """(LEVELS, LEVELS, LEVELS, 3): by red, green and blue, the printed colour in sRGB."""

    @property
    def content_hash(self) -> str:
        return hashlib.sha256(self.table.tobytes()).hexdigest()

    @property
    def modules(self) -> tuple[str, ...]:
        return ()

    def fetch(self) -> NDArray[np.uint8]:
        return self.table

    def build(self, payload: NDArray[np.uint8], device: str) -> torch.Tensor:
        """(1, 3, LEVELS, LEVELS, LEVELS) float32 in [0, 1], as `printable` takes it."""
        import torch

        table = torch.from_numpy(np.ascontiguousarray(payload).copy()).to(device)
        return (table.float() / 255).permute(3, 0, 1, 2)[None].contiguous()


def open_gamut(path: str) -> Gamut:
    """Read a profile. Raises: InputError as `printed`."""
    steps = np.linspace(0, 255, LEVELS).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    flat = printed(path, colours.reshape(LEVELS * LEVELS, LEVELS, 3)).reshape(colours.shape)
    off = np.abs(flat.astype(int) - colours).max(axis=-1, keepdims=True)
    return Gamut(name=path, table=np.where(off <= ROUNDING, colours, flat).astype(np.uint8))


def printed(path: str, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a printer makes of sRGB pixels (height, width, 3), as sRGB.

    Raises: InputError where there is no such file, it is no ICC profile, or a profile of something that does not print.
    """
    from PIL import Image, ImageCms

    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"--gamut {path}: there is no such file; expected the ICC profile (.icc) of a printer")
    try:
        profile: Any = ImageCms.getOpenProfile(str(file))
        space = profile.profile.xcolor_space.strip()
        if space not in _MODES:
            raise InputError(f"--gamut {path}: a profile of {space} colours; expected RGB, CMYK or GRAY, of a printer")
        srgb = ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        there = ImageCms.buildTransform(srgb, profile, "RGB", _MODES[space], intent)
        back = ImageCms.buildTransform(profile, srgb, _MODES[space], "RGB", intent)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        ink = ImageCms.applyTransform(image, there)
        returned = None if ink is None else ImageCms.applyTransform(ink, back)
    except (ImageCms.PyCMSError, OSError) as error:
        raise InputError(f"--gamut {path} can't be used as an ICC profile of a printer: {error}") from error
    assert returned is not None, "only a transform in place returns nothing"
    return np.asarray(returned)


def printable(parameter: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Canvases (k, 3, height, width) as a printer would print them. table: of `Gamut.build`."""
    from torch.nn import functional

    colours = parameter.clamp(0, 1).permute(0, 2, 3, 1).flip(-1)[None] * 2 - 1  # the last axis of the table is blue
    found = functional.grid_sample(table, colours, mode="bilinear", padding_mode="border", align_corners=True)
    return found[0].permute(1, 0, 2, 3)
