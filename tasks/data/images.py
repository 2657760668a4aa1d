"""What every data source turns into: all images of one split, decoded, in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """All images of one split with their labels.

    The arrays may be read-only: in an actor they are views into Ray's shared memory. `batch` copies what it hands out.

    Raises: InputError when arrays and classes do not fit together. Values are checked by `checked`, once, at the door.
    """

    name: str
    images: NDArray[Any]
    """(n, channels, height, width): uint8 in 0..255, or float32 in [0, 1]; one or three channels, C-contiguous."""
    labels: NDArray[np.int64]
    """(n,): 0 .. number of classes - 1."""
    classes: tuple[str, ...]
    """Names by label."""

    def __post_init__(self) -> None:
        shape, dtype = self.images.shape, self.images.dtype
        if len(shape) != 4 or shape[1] not in (1, 3):
            hint = " (channels last: transpose to NCHW)" if len(shape) == 4 and shape[3] in (1, 3) else ""
            raise InputError(f"{self.name}: images have shape {shape}, expected (n, 1 or 3, height, width){hint}")
        if dtype not in (np.uint8, np.float32):
            raise InputError(f"{self.name}: images are {dtype}, expected uint8 in 0..255 or float32 in [0, 1]")
        if self.labels.shape != (shape[0],) or self.labels.dtype != np.int64:
            raise InputError(
                f"{self.name}: labels are {self.labels.dtype} {self.labels.shape}, expected int64 ({shape[0]},) "
                "as there are images"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.images.shape[1:]

    def batch(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (b, channels, height, width) as float32 in [0, 1] and labels (b,) as int64, on the CPU.

        uint8 is divided by 255 on the CPU whatever the device of the model: CUDA multiplies by a rounded 1/255 instead,
        and the pixels would differ in the last bit.

        Raises: IndexError for an index outside 0 .. len - 1; negative ones would silently count from the end.
        """
        import torch

        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        wrong = chosen[(chosen < 0) | (chosen >= len(self))]
        if wrong.size:
            raise IndexError(f"{self.name} has the images 0..{len(self) - 1}, asked for {wrong[0]}")
        # A fresh tensor with the ordinary strides, whatever those of the array: with one channel its stride may be
        # anything (0 as scikit-learn's digits come, 64 out of shared memory), torch would pass it on, and convolution
        # kernels chosen by it differ in the last bits.
        pixels = torch.empty((len(chosen), *self.shape), dtype=torch.float32)
        pixels.copy_(torch.from_numpy(self.images[chosen]))  # fancy indexing copies, so read-only sources are safe
        if self.images.dtype == np.uint8:
            pixels.div_(255)
        return pixels, torch.from_numpy(self.labels[chosen])

    def __getitem__(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.batch(indices)


def checked(data: ImageData) -> ImageData:
    """`data` itself, if every value is usable: the door for pixels and labels.

    Raises: InputError naming the first bad image or label and its value.
    """
    if not len(data):
        raise InputError(f"{data.name} holds no images")
    if data.images.dtype == np.float32:
        _check_pixels(data)
    if not data.classes or len(set(data.classes)) != len(data.classes):
        raise InputError(f"{data.name}: class names must be given and differ, got {data.classes[:12]}")
    wrong = np.flatnonzero((data.labels < 0) | (data.labels >= data.num_classes))
    if wrong.size:
        raise InputError(
            f"{data.name}: image {wrong[0]} has label {data.labels[wrong[0]]}, "
            f"but there are {data.num_classes} classes (labels 0..{data.num_classes - 1})"
        )
    return data


def _check_pixels(data: ImageData) -> None:
    for start in range(0, len(data), 1024):  # in pieces: no mask of the size of the data set
        piece = data.images[start : start + 1024]
        bad = ~((piece >= 0) & (piece <= 1))  # also true for NaN
        if bad.any():
            first = tuple(np.argwhere(bad)[0])
            value = float(piece[first])
            hint = ": looks like 0..255: divide by 255" if np.isfinite(value) and piece[bad].max() > 1.5 else ""
            raise InputError(
                f"{data.name}: image {start + int(first[0])} holds the pixel value {value:g}, "
                f"expected numbers in [0, 1]{hint}"
            )


def hash_arrays(data: ImageData) -> str:
    """SHA-256 (hex) of pixels, labels and class names, for sources that have no files."""
    digest = hashlib.sha256()
    for array in (data.images, data.labels):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    digest.update("\0".join(data.classes).encode())
    return digest.hexdigest()
