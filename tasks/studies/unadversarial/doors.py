"""What the study opens and refuses before any work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from robustray.tasks.data.views import subset
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.kit.images import (
    check_alike,
    check_apart,
    check_num_images,
    model_to_try,
    own_modules,
    settled,
    trained_modules,
    try_attacks,
    try_models,
)
from robustray.tasks.lab.seeds import stream
from robustray.tasks.studies.unadversarial.gamut import open_gamut
from robustray.tasks.studies.unadversarial.settings import Settings
from robustray.tasks.study import Opened
from robustray.tasks.training.doors import check_training
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Lab, Reference


def door(settings: Settings, lab: Lab) -> Opened:
    """Open the images, find the classes, try the classifiers (or an untrained one). Raises: InputError."""
    refs = open_images(settings, lab)
    train, test = (lab.load(ref) for ref in refs)
    check_images(settings, train, test)
    opened: dict[str, Reference] = {f"data {ref.name}": ref for ref in refs}
    if settings.gamut:
        if train.shape[0] != 3:
            raise InputError(f"--gamut {settings.gamut}: {train.name} has grey images; a gamut is for colours")
        opened["gamut"] = open_gamut(settings.gamut)
    return with_classifiers(settings, lab, train, opened, settings.ascent(0))


def with_classifiers(
    settings: Settings, lab: Lab, train: ImageData, refs: Mapping[str, Reference], steps: SharedAscent
) -> Opened:
    """Open the classifiers (or an untrained one) besides, and try on them what designs need. Raises: InputError."""
    names = (*settings.models, *settings.other_models)
    models = try_models(lab, settings.models, [train], flag="--models")
    models |= try_models(lab, settings.other_models, [train], flag="--other-models")
    opened = {**refs, **{f"model {name}": model for name, model in models.items()}}
    modules = trained_modules(names)
    if not settings.models:
        check_training(settings.training(0), train)
        names, modules = (settings.arch, *names), (*own_modules(settings.arch), *modules)
    if settings.joint:
        for name in settings.models:
            if not any(True for _ in model_to_try(lab, name, models).parameters()):
                raise InputError(f"--joint: {name} has no parameters that could learn along")
    return Opened(
        refs=opened,
        decided={"precision": settled(settings, lab, "precision").precision},
        modules=modules,
        warnings=try_attacks(lab, {name: [steps] for name in names}, [train], models),
    )


def open_images(settings: Settings, lab: Lab) -> tuple[Reference, Reference]:
    """Images that design, and images that judge. Raises: InputError where they would be the same."""
    if settings.data:
        return halves(lab, lab.data(settings.data), settings.seed)
    train, test = lab.data(settings.train_data), lab.data(settings.test_data)
    check_apart(train, test)
    return train, test


def halves(lab: Lab, ref: Reference, seed: int) -> tuple[Reference, Reference]:
    """Of each class a random half, rounded up, and the rest. Raises: InputError for a class of one image."""
    images: ImageData = lab.load(ref)
    order = stream(seed, "unadversarial-halves").permutation(len(images))
    first: list[int] = []
    for label, name in enumerate(images.classes):
        members = order[images.labels[order] == label]
        if len(members) == 1:
            raise InputError(
                f"--data {ref.name}: class {name!r} has one image; half of each class designs, half judges"
            )
        first += members[: (len(members) + 1) // 2].tolist()
    designing = np.sort(first)
    judging = np.setdiff1d(np.arange(len(images)), designing)
    return subset(ref, designing, name=f"{ref.name}, half to design on"), subset(
        ref, judging, name=f"{ref.name}, half to judge on"
    )


def classes(settings: Settings, data: ImageData) -> tuple[int, ...]:
    """The classes that get a patch. Raises: InputError for one that there is not."""
    for name in settings.classes:
        if name not in data.classes:
            raise InputError(f"classes: {data.name} has no class {name!r}{nearest(name, data.classes)}")
    return tuple(data.classes.index(name) for name in settings.classes) or tuple(range(data.num_classes))


def check_images(settings: Settings, train: ImageData, test: ImageData) -> None:
    """Raises: InputError for images that are no squares, patches that do not fit, and classes without images."""
    check_alike(train, test)
    check_num_images(test, settings.num_images, num_detailed=settings.num_detailed)
    _, height, width = train.shape
    if height != width:
        raise InputError(f"{train.name} has images of {height}x{width}: turned patches need square ones")
    for side in (settings.side, *settings.other_sides):
        if not side < height:
            raise InputError(f"side {side}: a patch must be smaller than the images, {height}x{width}")
    mine = classes(settings, train)
    labels = test.labels[: settings.num_images or None]
    detailed = labels[: settings.num_detailed or None]
    for label in mine:
        name = train.classes[label]
        if not (train.labels == label).any():
            raise InputError(f"{train.name}: there is no image of class {name!r} to design its patch on")
        if not (labels == label).any():
            raise InputError(f"{test.name}: there is no image of class {name!r} to test its patch on")
        if not (detailed == label).any() or (detailed == label).all():
            raise InputError(
                f"num_detailed: the first {len(detailed):,} images of {test.name} are all, or none, of class {name!r}; "
                "its patch is shown on this class and on others: take another number of images, or other --classes"
            )
    carrying = len(train) if settings.booster == "one-class" else int(np.isin(train.labels, mine).sum())
    if settings.design_batch > carrying:
        raise InputError(
            f"design_batch {settings.design_batch}: {train.name} has {carrying} images"
            + ("" if settings.booster == "one-class" else " of these classes")
            + "; give a smaller --design-batch"
        )
