"""One image file as data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robustray.tasks.data.decode import decode_images
from robustray.tasks.data.files import read_file
from robustray.tasks.data.images import ImageData

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True, kw_only=True)
class PictureSource:
    """A picture: one image of one class, which has the file's name without its ending."""

    file: str

    @property
    def modules(self) -> tuple[str, ...]:
        return ()

    def fingerprint(self) -> None:
        """Read in no time."""

    def fetch(self, name: str) -> ImageData:
        """Raises: InputError when it is missing, damaged, transparent or deeper than 8 bits."""
        path = Path(self.file)
        images = decode_images([(str(path), read_file(path))], 1)
        return ImageData(name=name, images=images, labels=np.zeros(1, np.int64), classes=(path.stem,))
