"""What sources learn and what they are transferred to: the other classes of the same data, or the user's own images."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from robustray.tasks.data.reference import at_size
from robustray.tasks.data.views import coarsen, keep_classes, resize, subset, three_channels
from robustray.tasks.errors import InputError
from robustray.tasks.kit.images import check_alike, check_apart
from robustray.tasks.lab.seeds import stream
from robustray.tasks.studies.transfer import given
from robustray.tasks.studies.transfer.settings import Settings

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Lab, Reference

FEWEST_PER_CLASS = 2
"""Training images of a target class: one to learn from, one to choose on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Worlds:
    """What sources learn and what they are transferred to: data sets, all of the same shape."""

    target: Reference
    target_test: Reference
    source: Reference | None = None
    source_test: Reference | None = None
    """None where the sources are there already."""
    prepared: str = ""
    """What was done to the target's images, in words; empty if nothing was done."""


def open_worlds(settings: Settings, lab: Lab) -> Worlds:
    """Source and target as views. Raises: InputError."""
    worlds = whole_worlds(settings, lab)
    if not settings.shrink:
        return worlds
    _, height, width = lab.load(worlds.target).shape
    if settings.shrink >= min(height, width):
        raise InputError(
            f"shrink {settings.shrink}: the networks see the target at {height} x {width} pixels; give fewer than "
            f"{min(height, width)}"
        )
    words = (
        f"every image is shrunk to {settings.shrink} pixels a side (by area) and enlarged again to {height} x {width} "
        "(bicubic)"
    )
    return dataclasses.replace(
        worlds,
        target=coarsen(worlds.target, settings.shrink),
        target_test=coarsen(worlds.target_test, settings.shrink),
        prepared="; ".join(filter(None, (worlds.prepared, words))),
    )


def whole_worlds(settings: Settings, lab: Lab) -> Worlds:
    """Before the target is shrunk. Raises: InputError."""
    if settings.sources:
        return own_target(settings, lab, given.target_shape(settings, lab))
    train, test = lab.data(settings.train_data), lab.data(settings.test_data)
    check_apart(train, test)
    whole: ImageData = lab.load(train)
    check_alike(whole, lab.load(test))
    count = settings.num_source_classes or whole.num_classes
    if count > whole.num_classes or (count == whole.num_classes and not settings.target):
        raise InputError(
            f"num_source_classes {count}: {whole.name} has {whole.num_classes} classes, and the target needs some"
        )
    first, others = whole.classes[:count], whole.classes[count:]
    source, source_test = ((keep_classes(ref, first) if others else ref) for ref in (train, test))
    if not settings.target:
        return Worlds(
            source=source,
            source_test=source_test,
            target=keep_classes(train, others),
            target_test=keep_classes(test, others),
        )
    found = own_target(settings, lab, lab.load(source).shape)
    return dataclasses.replace(found, source=source, source_test=source_test)


def own_target(settings: Settings, lab: Lab, shape: tuple[int, ...]) -> Worlds:
    """The user's own images, brought to the shape that the sources take. Raises: InputError."""
    square = shape[1] == shape[2]
    own = lab.data(at_size(settings.target, shape[1]) if square else settings.target)
    images: ImageData = lab.load(own)
    if images.num_classes < 2:
        raise InputError(f"--target {settings.target} has one class only: there is nothing to tell apart")
    if images.shape[0] not in (1, shape[0]):
        raise InputError(
            f"--target {settings.target} has images of {images.shape[0]} channels, the sources' "
            f"{'networks' if settings.sources else settings.train_data} of {shape[0]}: "
            + ("give others" if settings.sources else "give --train-data, --test-data and --arch for images in colour")
        )
    words = list(images.notes)

    def fitted(ref: Reference) -> Reference:
        if images.shape[0] < shape[0]:
            ref = three_channels(ref)
        if images.shape[1:] == shape[1:]:
            return ref
        return resize(ref, shape[1] if shape[1] == shape[2] else (shape[1], shape[2]), name=ref.name)

    if images.shape[0] < shape[0]:
        words.append("grey images are given three equal channels")
    if images.shape[1:] != shape[1:]:
        sizes = [f"{height} x {width}" for _, height, width in (images.shape, shape)]
        words.append(
            f"images of {sizes[0]} pixels are resized to {sizes[1]} (bicubic, short side first, centre cut out)"
        )
    if settings.target_test:
        test = lab.data(at_size(settings.target_test, shape[1]) if square else settings.target_test)
        tested: ImageData = lab.load(test)
        if test.content_hash == own.content_hash:
            raise InputError(f"--target-test {settings.target_test} and --target {settings.target} are the same images")
        if (tested.shape, tested.classes) != (images.shape, images.classes):
            raise InputError(
                f"--target-test {settings.target_test} and --target {settings.target} differ in the size of their "
                "images or in their classes"
            )
        learnt: Reference = own
    else:
        learnt, test = (
            subset(own, part, name=f"{settings.target} ({what} part)")
            for part, what in zip(split(settings, images), ("training", "test"), strict=True)
        )
    return Worlds(
        target=fitted(learnt),
        target_test=fitted(test),
        prepared="; ".join(words),
    )


def split(settings: Settings, images: ImageData) -> tuple[list[int], list[int]]:
    """Images to learn from and to test on: `test_share` of every class, the same for all chains. Raises: InputError."""
    return aside(images.labels, settings.test_share, settings.seed, "transfer-test", f"--target {settings.target}")


def shots(settings: Settings, chain: int, target: ImageData) -> tuple[list[int], list[int]]:
    """A chain's training images of the target: those to fit on, and those to choose on. Raises: InputError."""
    seed = settings.seed + chain
    drawn: list[int] = []
    for label in range(target.num_classes):
        members = stream(seed, "transfer-shots", label).permutation(np.flatnonzero(target.labels == label))
        drawn += members[: settings.per_class or None].tolist()
    drawn.sort()
    fit, held = aside(target.labels[drawn], settings.held_out, seed, "transfer-held-out", target.name)
    return [drawn[place] for place in fit], [drawn[place] for place in held]


def aside(labels: np.ndarray, share: float, seed: int, what: str, where: str) -> tuple[list[int], list[int]]:
    """(the others, `share` of every class): at least one image of each class in both. Raises: InputError."""
    kept: list[int] = []
    for label in np.unique(labels).tolist():
        members = stream(seed, what, label).permutation(np.flatnonzero(labels == label))
        if len(members) < FEWEST_PER_CLASS:
            raise InputError(f"{where}: class {label} has {len(members)} image, at least {FEWEST_PER_CLASS} are needed")
        kept += members[: min(len(members) - 1, max(1, round(share * len(members))))].tolist()
    return sorted(set(range(len(labels))) - set(kept)), sorted(kept)


def check_target(target: ImageData, test: ImageData) -> None:
    """Raises: InputError unless there are two classes, and training and test images of each."""
    if target.num_classes < 2:
        raise InputError(f"{target.name} has one class only: leave the target at least two, by --num-source-classes")
    for images in (target, test):
        counts = np.bincount(images.labels, minlength=images.num_classes)
        if not counts.all():
            raise InputError(f"{images.name} has no image of {images.classes[int(counts.argmin())]!r}")
