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

    Raises: InputError when arrays and classes do not fit together. Values are checked once, by `checked`.
    """

    name: str
    images: NDArray[Any]
    """(n, channels, height, width): uint8 in 0..255, or float32 in [0, 1]; one or three channels, C-contiguous."""
    labels: NDArray[np.int64]
    """(n,): 0 .. number of classes - 1."""
    classes: tuple[str, ...]
    """Names by label."""
    masks: NDArray[np.bool_] | None = None
    """(n, height, width): the pixels of the object that the label names."""
    boxes: NDArray[np.int64] | None = None
    """(n, 4): its box as x0, y0, x1, y1 in pixels; it covers the columns x0 .. x1 - 1 and the rows y0 .. y1 - 1."""
    notes: tuple[str, ...] = ()
    """What was done to the pictures when they were read, in words for a report. Not part of the content."""

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
        for field, wanted, kind in (("masks", (shape[0], *shape[2:]), "bool"), ("boxes", (shape[0], 4), "int64")):
            array = getattr(self, field)
            if array is not None and (array.shape != wanted or array.dtype != kind):
                raise InputError(f"{self.name}: {field} are {array.dtype} {array.shape}, expected {kind} {wanted}")

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
    """Check pixels, labels, masks and boxes. Returns: `data` itself, if every value is usable.

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
    _check_objects(data)
    return data


def _check_objects(data: ImageData) -> None:
    """Masks and boxes: every object has a pixel, lies in its image, and a mask lies in its box."""
    height, width = data.shape[1:]
    if data.boxes is not None:
        x0, y0, x1, y1 = data.boxes.T
        wrong = np.flatnonzero((x0 < 0) | (y0 < 0) | (x1 > width) | (y1 > height) | (x0 >= x1) | (y0 >= y1))
        if wrong.size:
            raise InputError(
                f"{data.name}: image {wrong[0]} has the box {data.boxes[wrong[0]].tolist()}, expected x0, y0, x1, y1 "
                f"with 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}"
            )
    if data.masks is None:
        return
    empty = np.flatnonzero(~data.masks.any((1, 2)))
    if empty.size:
        raise InputError(f"{data.name}: the mask of image {empty[0]} is empty: every image needs its object")
    if data.boxes is not None:
        found = boxes_of(data.masks)
        outside = np.flatnonzero(((found[:, :2] < data.boxes[:, :2]) | (found[:, 2:] > data.boxes[:, 2:])).any(1))
        if outside.size:
            raise InputError(
                f"{data.name}: the mask of image {outside[0]} reaches over its box: it spans "
                f"{found[outside[0]].tolist()}, the box is {data.boxes[outside[0]].tolist()}"
            )


def boxes_of(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The tightest box of each mask (n, height, width), as `ImageData.boxes`; an empty mask has the box 0, 0, 0, 0."""
    columns: NDArray[np.bool_] = np.any(masks, axis=1)
    rows: NDArray[np.bool_] = np.any(masks, axis=2)

    def ends(along: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return along.argmax(1), np.where(along.any(1), along.shape[1] - along[:, ::-1].argmax(1), 0)

    (x0, x1), (y0, y1) = ends(columns), ends(rows)
    return np.stack([x0, y0, x1, y1], axis=1).astype(np.int64)


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
    """SHA-256 (hex) of pixels, labels, class names, and masks and boxes where there are any: what a data set is,
    whatever holds it."""
    digest = hashlib.sha256()
    objects = [array for array in (data.masks, data.boxes) if array is not None]
    for array in (data.images, data.labels, *objects):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    digest.update("\0".join(data.classes).encode())
    return digest.hexdigest()
