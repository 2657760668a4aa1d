"""The door of one's own images and models: opened, and tried, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.compose.photographs import UNLABELLED, Photographs, open_photographs
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.kit.images import TRIED_IMAGES, model_to_try, opened_now, trained_modules
from robustray.tasks.kit.words import listed
from robustray.tasks.models.doors import check_model
from robustray.tasks.studies.backgrounds import in9
from robustray.tasks.studies.backgrounds.blocks import cuttable, partners
from robustray.tasks.studies.backgrounds.building import check_folder, not_built
from robustray.tasks.studies.backgrounds.photographs import Rejected, cut
from robustray.tasks.studies.backgrounds.released import open_released
from robustray.tasks.studies.backgrounds.settings import ORIGINAL, Settings
from robustray.tasks.studies.backgrounds.worlds import cutting, grouped
from robustray.tasks.study import Opened

if TYPE_CHECKING:
    from robustray.tasks.lab.protocol import Lab, Reference

BOXES_ONLY = (
    "the images have boxes but no masks: foregrounds are whole boxes, which carry what their box holds of their own "
    "background into the mixed versions, so that gaps come out too small; Parquet with a column mask gives exact ones"
)
CENTRE_ONLY = (
    "boxes are the centre of each photograph, not annotations of its object: what is cut out may be a part of the "
    "object, or none of it, and numbers say how the method runs, not what a model reads"
)


def own_door(settings: Settings, lab: Lab) -> Opened:
    """Raises: InputError for images or models that can't be used."""
    check_folder(settings)
    refs: dict[str, Reference] = {}
    warnings: tuple[str, ...] = ()
    if settings.released:
        world, warnings = open_released(settings, lab)
        refs = {f"data {version}": ref for version, ref in world.given.items()}
        images: ImageData = lab.load(world.given[ORIGINAL])
    elif settings.boxes:
        ref = open_photographs(settings.data, settings.boxes)
        photographs: Photographs = lab.load(ref)
        images = few_photographs(settings, photographs)
        refs = {f"data {ref.name}": ref}
        warnings = (CENTRE_ONLY,) if photographs.central is not None else ()
    else:
        data = lab.data(settings.data)
        images = lab.load(data)
        check_images(settings, images)
        refs = {f"data {data.name}": data}
        warnings = () if images.masks is not None else (BOXES_ONLY,)
    models = opened_now(lab, settings.models)
    mapped = [name for name in settings.models if check_own_model(lab, name, images, models)]
    if mapped:
        warnings += (f"of {listed(mapped)} {in9.mapped_words()}",)
    return Opened(
        refs={**refs, **{f"model {name}": model for name, model in models.items()}},
        modules=trained_modules(settings.models),
        warnings=warnings,
        incomplete=not_built(settings),
    )


def check_images(settings: Settings, images: ImageData) -> None:
    """Raises: InputError for images of which no versions can be made."""
    if images.images.dtype != np.uint8:
        raise InputError(
            f"--data {settings.data}: pixels are {images.images.dtype}; versions are built of 8-bit images"
        )
    reasons = cuttable(images)
    kept = [image for image, reason in enumerate(reasons) if not reason]
    if not kept:
        raise InputError(f"--data {settings.data}: no image can be cut out ({reasons[0]})")
    if len({int(images.labels[image]) for image in kept}) < 2:
        raise InputError(f"--data {settings.data}: the images that can be cut out are of one class; give at least two")
    for version in settings.versions:
        partners(version, images.labels, kept, settings.seed)  # refuses a class with a single image


def few_photographs(settings: Settings, photographs: Photographs) -> ImageData:
    """A few photographs as models will see them, their boxes taken for masks: what can't be used is found out without
    GrabCut. Raises: InputError where there are none, or of one class."""
    labels, classes = grouped(settings, photographs)
    chosen = np.flatnonzero(labels != UNLABELLED)
    if len(set(labels[chosen].tolist())) < 2:
        raise InputError(f"--data {settings.data}: the photographs are of fewer than two classes")
    quick = replace(cutting(settings), segment="box", attempts=1)
    found, first = [], ""
    for index in chosen.tolist():
        try:
            found.append((index, cut(photographs, index, quick, settings.seed).image))
        except Rejected as rejected:
            first = first or f"{photographs.names[index]}: {rejected}"
        if len(found) == TRIED_IMAGES:
            break
    if not found:
        raise InputError(f"--data {settings.data}: no photograph can be cut out ({first})")
    return ImageData(
        name=settings.data,
        images=np.stack([image for _, image in found]),
        labels=labels[[index for index, _ in found]],
        classes=classes,
    )


def check_own_model(lab: Lab, name: str, images: ImageData, opened: dict[str, Reference]) -> bool:
    """Whether answers are looked up: those of ImageNet's 1,000 classes on ImageNet-9's nine.

    Raises: InputError for a model that doesn't fit the images, or has other outputs than their classes.
    """
    model = model_to_try(lab, name, opened)
    few, _ = images.batch(range(min(TRIED_IMAGES, len(images))))
    try:
        found = check_model(model, few, None)
        if found:
            raise InputError("; ".join(found))
        outputs = predict_logits(model, few[:2]).shape[1]
        if outputs != images.num_classes and not looked_up(outputs, images.classes):
            hint = ""
            if outputs == in9.NUM_IMAGENET:
                hint = (
                    f"; 1,000 answers are looked up among the classes of ImageNet-9 only ({', '.join(in9.CLASSES)}, in "
                    "this order)"
                )
            raise InputError(f"the model has {outputs} outputs, the data {images.num_classes} classes{hint}")
        return outputs != images.num_classes
    except InputError as error:
        raise InputError(f"--models {name} with --data {images.name}: {error}") from error


def looked_up(outputs: int, classes: Sequence[str]) -> bool:
    """Whether answers are ImageNet's, to be looked up among ImageNet-9's."""
    return outputs == in9.NUM_IMAGENET and in9.is_in9(classes)


def models_looked_up(lab: Lab, models: dict[str, Reference], images: ImageData) -> tuple[str, ...]:
    """Those of the models whose answers are looked up."""
    few, _ = images.batch(range(min(2, len(images))))
    return tuple(
        name for name, ref in models.items() if looked_up(predict_logits(lab.load(ref), few).shape[1], images.classes)
    )
