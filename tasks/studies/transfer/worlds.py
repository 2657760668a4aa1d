"""What sources learn and what they are transferred to: the other classes of the same data, or the user's own images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from robustray.tasks.data.reference import at_size
from robustray.tasks.data.views import coarsen, keep_classes, resize, subset, three_channels
from robustray.tasks.errors import InputError
from robustray.tasks.kit.images import check_alike, check_apart
from robustray.tasks.lab.seeds import stream
from robustray.tasks.studies.transfer import given
from robustray.tasks.studies.transfer.kinds import OTHERS, Target
from robustray.tasks.studies.transfer.presets import PRESETS
from robustray.tasks.studies.transfer.settings import Settings

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Lab, Reference

FEWEST_PER_CLASS = 2
"""Training images of a target class: one to learn from, one to choose on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images:
    """A target's images, brought to the shape that the sources take."""

    train: Reference
    test: Reference
    shared: bool
    """Whether all chains are tested on the same images."""
    prepared: str = ""
    """What was done to them, in words; empty if nothing was done."""
    held: tuple[ImageData, ...] = dataclasses.field(default=(), repr=False, compare=False)
    """The images themselves. Parts of a data set that is in memory are not made by decoding all of it again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """What the sources of a chain learn, and what they are transferred to."""

    targets: Mapping[str, Images]
    """By the names of `Settings.data`."""
    source: Reference | None = None
    source_test: Reference | None = None
    """None where the sources are there already."""
    same_classes: bool = False
    """The sources of all chains learn the same classes, since they learn all, and are tested on the same images."""


def open_worlds(settings: Settings, lab: Lab, chains: Iterable[int]) -> list[World]:
    """A world for each chain. Raises: InputError."""
    shape = given.target_shape(settings, lab) if settings.sources else lab.load(lab.data(settings.train_data)).shape
    own = {name: own_target(settings, lab, name, shape) for name in settings.own_targets}
    return [open_world(settings, lab, chain, own) for chain in chains]


def open_world(settings: Settings, lab: Lab, chain: int, own: Mapping[str, Images]) -> World:
    """The classes of the sources are drawn by the chain's seed, the same for all its sources. own: the images of
    `settings.own_targets`, which all chains have in common. Raises: InputError."""
    if settings.sources:
        return World(targets=own)
    train, test = lab.data(settings.train_data), lab.data(settings.test_data)
    check_apart(train, test)
    whole: ImageData = lab.load(train)
    tested: ImageData = lab.load(test)
    check_alike(whole, tested)
    if OTHERS in settings.data:
        check_target(whole, tested)  # a class that this chain learns is another chain's target
    first, others = split_classes(settings, chain, whole)
    source, source_test = ((keep_classes(ref, first) if others else ref) for ref in (train, test))
    targets = {
        name: Images(train=keep_classes(train, others), test=keep_classes(test, others), shared=False)
        if name == OTHERS
        else own[name]
        for name in settings.data
    }
    return World(targets=targets, source=source, source_test=source_test, same_classes=not others)


def split_classes(settings: Settings, chain: int, data: ImageData) -> tuple[list[str], list[str]]:
    """(the classes that the sources of a chain learn, the others), each in the data's order. Raises: InputError."""
    count = settings.num_source_classes or data.num_classes
    if count > data.num_classes or (count == data.num_classes and OTHERS in settings.data):
        raise InputError(
            f"num_source_classes {count}: {data.name} has {data.num_classes} classes, and the target needs some"
        )
    drawn = stream(settings.seed + chain, "transfer-classes").permutation(data.num_classes)[:count].tolist()
    parts = ([], [])  # type: tuple[list[str], list[str]]
    for label, name in enumerate(data.classes):
        parts[label not in drawn].append(name)
    return parts


def view_of(settings: Settings, lab: Lab, target: Target, images: Images) -> tuple[Reference, Reference, str]:
    """Training and test images of a target in its detail, and what was done to them in words. Raises: InputError."""
    if not target.side:
        return images.train, images.test, images.prepared
    _, height, width = lab.load(images.test).shape
    if target.side >= min(height, width):
        raise InputError(
            f"shrink {target.side}: the networks see the target at {height} x {width} pixels; give fewer than "
            f"{min(height, width)}"
        )
    words = (
        f"every image is shrunk to {target.side} pixels a side (by area) and enlarged again to {height} x {width} "
        "(bicubic)"
    )
    return coarsen(images.train, target.side), coarsen(images.test, target.side), words


def own_target(settings: Settings, lab: Lab, name: str, shape: tuple[int, ...]) -> Images:
    """The user's own images, brought to the shape that the sources take. Raises: InputError."""
    square, preset = shape[1] == shape[2], PRESETS.get(name)
    images_name, test_name = preset.train if preset else name, settings.test_of(name)
    own = lab.data(at_size(images_name, shape[1]) if square else images_name)
    images: ImageData = lab.load(own)
    if preset and images.num_classes != preset.num_classes:
        raise InputError(
            f"--target {name} has {preset.num_classes} classes, {images_name} under the data root has "
            f"{images.num_classes}: it is a part or another version of it; give a folder of your own by its path"
        )
    if images.num_classes < 2:
        raise InputError(f"--target {name} has one class only: there is nothing to tell apart")
    if images.shape[0] not in (1, shape[0]):
        raise InputError(
            f"--target {name} has images of {images.shape[0]} channels, the sources' "
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
    if test_name:
        test = lab.data(at_size(test_name, shape[1]) if square else test_name)
        tested: ImageData = lab.load(test)
        if test.content_hash == own.content_hash:
            raise InputError(f"--target-test {test_name} and --target {name} are the same images")
        if (tested.shape, tested.classes) != (images.shape, images.classes):
            raise InputError(
                f"--target-test {test_name} and --target {name} differ in the size of their images or in their classes"
            )
        learnt: Reference = own
    else:
        learnt, test = (
            subset(own, part, name=f"{name} ({what} part)")
            for part, what in zip(split(settings, name, images), ("training", "test"), strict=True)
        )
    train, test = fitted(learnt), fitted(test)
    held = (lab.load(train), lab.load(test))
    return Images(train=train, test=test, shared=True, prepared="; ".join(words), held=held)


def split(settings: Settings, name: str, images: ImageData) -> tuple[list[int], list[int]]:
    """Images to learn from and to test on: `test_share` of every class, the same for all chains. Raises: InputError."""
    return aside(images.labels, settings.test_share, settings.seed, "transfer-test", f"--target {name}")


def pool(settings: Settings, chain: int, data: str, labels: np.ndarray) -> list[int]:
    """The training images of a target from which a chain draws its few: of each class as many, drawn at random, as all
    its draws could need. labels: (n,) of the whole training part.

    Few images are drawn from a pool, so that latents are computed for no more than that."""
    counts = [target.per_class for target in settings.targets if target.data == data]
    most = len(settings.draws) * max(counts) if all(counts) else None
    drawn: list[int] = []
    for label in np.unique(labels).tolist():
        members = stream(settings.seed + chain, "transfer-pool", label).permutation(np.flatnonzero(labels == label))
        drawn += members[:most].tolist()
    return sorted(drawn)


def shots(labels: np.ndarray, per_class: int, *, seed: int, draw: int) -> list[int]:
    """Places of the few images of a draw in a pool: `per_class` of every class, or all (0). labels: (n,) of the pool.

    A larger number of images a class holds the images of a smaller one."""
    drawn: list[int] = []
    for label in np.unique(labels).tolist():
        members = stream(seed, "transfer-shots", draw, label).permutation(np.flatnonzero(labels == label))
        drawn += members[: per_class or None].tolist()
    return sorted(drawn)


def fit_and_held(
    labels: np.ndarray, places: list[int], share: float, *, seed: int, where: str
) -> tuple[list[int], list[int]]:
    """Of the few images at `places` of a pool: those to fit on, and those to choose on. Raises: InputError."""
    fit, held = aside(labels[places], share, seed, "transfer-held-out", where)
    return [places[place] for place in fit], [places[place] for place in held]


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
