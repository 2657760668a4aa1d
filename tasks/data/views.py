"""Views: some images of a data set, other labels, another size, less detail, three channels; references like the data
they show.

A view is a reference over a reference. Its hash is made of the hash of its base and of what the view does, so that
nothing has to be read to know it, and the same view of the same images is the same data to every step and training.

    subset(ref, range(100))    keep_classes(ref, ["cat", "dog"])    merge_classes(ref, {"pet": ["cat", "dog"], ...})
    resize(ref, 64)            three_channels(ref)                  relabel(ref, labels, classes)
    coarsen(ref, 8)
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustray.tasks.data.images import ImageData, checked
from robustray.tasks.errors import InputError
from robustray.tasks.lab.keys import digest
from robustray.tasks.lab.protocol import Reference


class Change(ABC):
    """What a view does to its base: a frozen dataclass, called with the images. Raises: InputError."""

    @abstractmethod
    def __call__(self, data: ImageData) -> ImageData: ...


@dataclass(frozen=True, kw_only=True)
class DataView:
    """A data set seen through a `Change`: a `Reference` whose object is an `ImageData`."""

    name: str
    base: Reference
    change: Change

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of the base's hash and of the change."""
        return self._hash

    @cached_property  # a part of many images is many numbers, and its hash is asked for by every block of work
    def _hash(self) -> str:
        return digest(["view", self.base.content_hash, self.change], length=64)

    @property
    def modules(self) -> tuple[str, ...]:
        """Roots of CODE: those of the base, and what the view does."""
        own = (f"{kind.__module__}:{kind.__qualname__}" for kind in (DataView, type(self.change)))
        return tuple(dict.fromkeys((*self.base.modules, *own)))

    def fetch(self) -> ImageData:
        """Raises: InputError when the base can't be read or the change doesn't fit it."""
        return self.made_from(self.base.fetch())

    def made_from(self, payload: ImageData) -> ImageData:
        """What `fetch` makes of the base's images. Raises: InputError when the change doesn't fit them."""
        return dataclasses.replace(checked(self.change(payload)), name=self.name)

    def build(self, payload: ImageData, device: str) -> ImageData:
        """The payload itself: batches go to `device` one by one."""
        return payload


def subset(ref: Reference, indices: Sequence[int] | NDArray[np.integer[Any]], *, name: str | None = None) -> DataView:
    """The images `indices`, in that order; image i of the view is image indices[i] of `ref`.

    Raises: InputError for no indices, or one twice: the same image would be counted as two.
    """
    chosen = tuple(int(index) for index in indices)
    if not chosen:
        raise InputError(f"{ref.name}: a subset needs at least one image")
    if len(set(chosen)) < len(chosen):
        raise InputError(f"{ref.name}: a subset holds each image once; some are named twice")
    return DataView(name=name or f"{len(chosen)} of {ref.name}", base=ref, change=Subset(indices=chosen))


def keep_classes(ref: Reference, classes: Sequence[str], *, name: str | None = None) -> DataView:
    """The images of these classes, numbered in this order. Raises: InputError."""
    if not classes or len(set(classes)) < len(classes):
        raise InputError(f"{ref.name}: name at least one class, each once, got {list(classes)}")
    change = KeepClasses(classes=tuple(classes))
    return DataView(name=name or f"{', '.join(classes)} of {ref.name}", base=ref, change=change)


def merge_classes(ref: Reference, groups: Mapping[str, Sequence[str]], *, name: str | None = None) -> DataView:
    """All images under coarser classes: {name of a group: names of its classes}; every class in exactly one group.

    Raises: InputError.
    """
    change = MergeClasses(groups=tuple((group, tuple(members)) for group, members in groups.items()))
    return DataView(name=name or f"{ref.name} in {len(groups)} groups", base=ref, change=change)


def relabel(
    ref: Reference, labels: Sequence[int] | NDArray[np.integer[Any]], classes: Sequence[str], *, name: str | None = None
) -> DataView:
    """The same images with other labels, one for each. Raises: InputError."""
    change = Relabel(labels=tuple(int(label) for label in labels), classes=tuple(classes))
    return DataView(name=name or f"{ref.name}, relabelled", base=ref, change=change)


def resize(ref: Reference, size: int | tuple[int, int], *, name: str | None = None) -> DataView:
    """Every image at `size`: a number (the short side gets that length, then the centre is cut out square) or
    (height, width) (each side gets its length, whatever becomes of the proportions).

    Bicubic, with the kernel widened when it shrinks (antialiased), as Pillow does it; 8 bits stay 8 bits. Masks take
    the nearest pixel, boxes the pixels that they touch. Raises: InputError for a size below 1, or of more numbers.
    """
    sides: tuple[int, ...] = (size,) if isinstance(size, int) else tuple(size)
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise InputError(f"{ref.name}: a size is a number of pixels or (height, width), at least 1, got {size!r}")
    shown = "x".join(map(str, sides))
    return DataView(name=name or f"{ref.name} at {shown}", base=ref, change=Resize(sides=sides))


def coarsen(ref: Reference, side: int, *, name: str | None = None) -> DataView:
    """Every image shrunk until its short side has `side` pixels and enlarged again: the same size with less detail.

    Shrunk by area (each pixel the average of those that it covers), enlarged bicubically; 8 bits are rounded both
    times. Masks and boxes stay. Raises: InputError for a side below 1, and at fetch for images without more pixels.
    """
    if side < 1:
        raise InputError(f"{ref.name}: images are shrunk to at least 1 pixel, got {side}")
    return DataView(name=name or f"{ref.name}, detail of {side} pixels", base=ref, change=Coarsen(side=side))


def three_channels(ref: Reference, *, name: str | None = None) -> DataView:
    """Grey images with their one channel three times; images in colour stay as they are."""
    return DataView(name=name or ref.name, base=ref, change=ThreeChannels())


# -- what the views do -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Subset(Change):
    """Some images."""

    indices: tuple[int, ...]

    def __call__(self, data: ImageData) -> ImageData:
        wrong = [index for index in self.indices if not 0 <= index < len(data)]
        if wrong:
            raise InputError(f"{data.name} has the images 0..{len(data) - 1}, a subset names {wrong[0]}")
        return taken(data, np.asarray(self.indices, dtype=np.int64))


@dataclass(frozen=True, kw_only=True)
class KeepClasses(Change):
    """Some classes."""

    classes: tuple[str, ...]

    def __call__(self, data: ImageData) -> ImageData:
        places = {label: self.classes.index(name) for label, name in enumerate(data.classes) if name in self.classes}
        _check_known(data, self.classes)
        rows = np.flatnonzero(np.isin(data.labels, list(places)))
        if not rows.size:
            raise InputError(f"{data.name} has no image of {', '.join(self.classes)}")
        labels = np.array([places[label] for label in data.labels[rows].tolist()], dtype=np.int64)
        return dataclasses.replace(taken(data, rows), labels=labels, classes=self.classes)


@dataclass(frozen=True, kw_only=True)
class MergeClasses(Change):
    """Coarser classes."""

    groups: tuple[tuple[str, tuple[str, ...]], ...]

    def __call__(self, data: ImageData) -> ImageData:
        group_of = {member: label for label, (_, members) in enumerate(self.groups) for member in members}
        named = [member for _, members in self.groups for member in members]
        _check_known(data, named)
        if len(named) > len(group_of) or set(group_of) != set(data.classes):
            stray = next((name for name in data.classes if named.count(name) != 1), "")
            raise InputError(f"{data.name}: every class belongs to exactly one group, {stray!r} does not")
        numbers = np.array([group_of[name] for name in data.classes], dtype=np.int64)
        return dataclasses.replace(data, labels=numbers[data.labels], classes=tuple(group for group, _ in self.groups))


@dataclass(frozen=True, kw_only=True)
class Relabel(Change):
    """Other labels."""

    labels: tuple[int, ...]
    classes: tuple[str, ...]

    def __call__(self, data: ImageData) -> ImageData:
        if len(self.labels) != len(data):
            raise InputError(f"{data.name} has {len(data)} images, but {len(self.labels)} labels were given")
        return dataclasses.replace(data, labels=np.asarray(self.labels, dtype=np.int64), classes=self.classes)


@dataclass(frozen=True, kw_only=True)
class ThreeChannels(Change):
    """Grey, three times."""

    def __call__(self, data: ImageData) -> ImageData:
        if data.shape[0] == 3:
            return data
        return dataclasses.replace(data, images=np.repeat(data.images, 3, axis=1))


@dataclass(frozen=True, kw_only=True)
class Resize(Change):
    """Another size: (side,) or (height, width)."""

    sides: tuple[int, ...]

    def __call__(self, data: ImageData) -> ImageData:
        height, width = data.shape[1:]
        if len(self.sides) == 2:
            (tall, wide), (out_height, out_width) = self.sides, self.sides
        else:
            side = self.sides[0]
            scale = side / min(height, width)
            tall, wide = max(side, round(height * scale)), max(side, round(width * scale))
            out_height = out_width = side
        top, left = (tall - out_height) // 2, (wide - out_width) // 2
        inside = np.s_[..., top : top + out_height, left : left + out_width]

        images = np.stack([resized(image, tall, wide)[inside] for image in data.images])
        masks = boxes = None
        if data.masks is not None:
            rows = ((np.arange(tall) + 0.5) * height / tall).astype(np.int64)
            columns = ((np.arange(wide) + 0.5) * width / wide).astype(np.int64)
            masks = np.ascontiguousarray(data.masks[:, rows][:, :, columns][inside])
        if data.boxes is not None:
            scales = np.array([wide / width, tall / height])
            low = np.floor(data.boxes[:, :2] * scales).astype(np.int64) - [left, top]
            high = np.ceil(data.boxes[:, 2:] * scales).astype(np.int64) - [left, top]
            end = [out_width, out_height]
            boxes = np.concatenate([np.clip(low, 0, end), np.clip(high, 0, end)], axis=1)
        return dataclasses.replace(data, images=np.ascontiguousarray(images), masks=masks, boxes=boxes)


@dataclass(frozen=True, kw_only=True)
class Coarsen(Change):
    """Smaller and back again."""

    side: int

    def __call__(self, data: ImageData) -> ImageData:
        height, width = data.shape[1:]
        short = min(height, width)
        if short <= self.side:
            raise InputError(
                f"{data.name} has images of {height} x {width} pixels: to shrink them name fewer, got {self.side}"
            )
        small = round(height * self.side / short), round(width * self.side / short)
        averages = (shrunk(image, *small) for image in data.images)
        return dataclasses.replace(data, images=np.stack([resized(image, height, width) for image in averages]))


def shrunk(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """One image (channels, h, w) with fewer pixels, each the average of the area that it covers; of the same type."""
    channels = (Image.fromarray(np.ascontiguousarray(channel)) for channel in image)
    return np.stack([np.asarray(each.resize((width, height), Image.Resampling.BOX)) for each in channels])


def resized(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """One image (channels, h, w) at another size: bicubic, antialiased, of the same type and range."""

    def one(channel: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BICUBIC))

    scaled = np.stack([one(np.ascontiguousarray(channel)) for channel in image])
    return scaled if image.dtype == np.uint8 else scaled.clip(0, 1)  # bicubic weights overshoot at edges


def taken(data: ImageData, rows: NDArray[np.int64]) -> ImageData:
    """The images `rows` with all that belongs to them."""
    return dataclasses.replace(
        data,
        images=data.images[rows],
        labels=data.labels[rows],
        masks=None if data.masks is None else data.masks[rows],
        boxes=None if data.boxes is None else data.boxes[rows],
    )


def _check_known(data: ImageData, names: Sequence[str]) -> None:
    from robustray.tasks.words import nearest

    for name in names:
        if name not in data.classes:
            raise InputError(f"{data.name} has no class {name!r}{nearest(name, data.classes)}")
