"""What studies of images share: data and models by name, opened and tried on each other, and their predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from robustray.tasks.attacks.blocks import predict_block
from robustray.tasks.attacks.gradient.trial import attack_remarks
from robustray.tasks.attacks.precision import resolve_precision
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Needs
from robustray.tasks.models.doors import check_model
from robustray.tasks.models.registry import build_model, code_root
from robustray.tasks.training.reference_twins import training_by_name

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from robustray.tasks.attacks.settings import Attack
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.inputs.settings import StepRule
    from robustray.tasks.lab.protocol import Handle, Lab, Reference

NEEDS = Needs(threads=1, gpus=0.25)
"""What a block of predictions, attacks or gradients needs; four of them share a GPU."""
TRIED_IMAGES = 32
"""Images on which each model is tried before the run."""

S = TypeVar("S")


# --- At the door ------------------------------------------------------------------------------------------------------


def load_all(lab: Lab, data: Mapping[str, Reference], *, num_images: int = 0) -> dict[str, ImageData]:
    """Every data set by name, decoded. Raises: InputError where one has fewer than `num_images` images."""
    loaded: dict[str, ImageData] = {name: lab.load(ref) for name, ref in data.items()}
    for images in loaded.values():
        check_num_images(images, num_images)
    return loaded


def open_pair(lab: Lab, train: str, test: str) -> tuple[dict[str, Reference], ImageData, ImageData]:
    """Open training and test images by name. Returns: references for `Opened.refs`, and both, decoded.

    Raises: InputError where they are the same images, or differ in shape or classes.
    """
    refs = lab.data(train), lab.data(test)
    check_apart(*refs)
    images = lab.load(refs[0]), lab.load(refs[1])
    check_alike(*images)
    return {f"data {ref.name}": ref for ref in refs}, *images


def check_num_images(images: ImageData, num_images: int, **parts: int) -> None:
    """Raises: InputError unless there are `num_images` images (0: all), and no more than that in each of `parts`,
    settings that count some of them."""
    if num_images > len(images):
        raise InputError(f"num_images {num_images}: {images.name} has {len(images)}; 0 means all")
    for name, count in parts.items():
        if count > (num_images or len(images)):
            raise InputError(f"{name} {count}: only {num_images or len(images)} images of {images.name} are tested")


def try_models(
    lab: Lab, names: Iterable[str], images: Iterable[ImageData], *, flag: str = "--model", random: bool = False
) -> dict[str, Reference]:
    """Open every model and try it on a few images of each data set; one that the run will train is tried untrained.

    Returns: references of those that need no training, for `Opened.refs`. flag: named in errors. random: models that
    draw random numbers are taken as well (`attacks.autoattack_rand` repeats their draws).

    Raises: InputError for a model that cannot be opened, does not fit the images, has another number of classes, or
    answers differently when asked twice.
    """
    names, images = tuple(names), tuple(images)  # every model meets all of them
    opened = opened_now(lab, names)
    for name in names:
        model = model_to_try(lab, name, opened)
        for each in images:
            few, _ = each.batch(range(min(TRIED_IMAGES, len(each))))
            try:
                warnings = check_model(model, few, each.num_classes)
            except InputError as error:
                raise InputError(f"{flag} {name} with --data {each.name}: {error}") from error
            if warnings and not random:
                raise InputError(
                    f"{flag} {name}: {'; '.join(warnings)}. A model that is random on purpose: robustray run "
                    f"attack-sweep --model {name} --attack autoattack-rand"
                )
    return opened


def try_attacks(
    lab: Lab,
    attacks: Mapping[str, Iterable[Attack | StepRule]],
    images: Iterable[ImageData],
    opened: Mapping[str, Reference],
) -> tuple[str, ...]:
    """Try on each model, by name, what its attacks (and whatever else optimises its inputs) need.

    opened: references by name, as of `try_models`; a model that is not among them is an architecture that the run will
    train, and tried untrained. Returns: warnings for the page.

    Raises: InputError for a model without a gradient that one of its attacks would follow.
    """
    remarks: list[str] = []
    images = tuple(images)
    for name, chosen in ((name, tuple(chosen)) for name, chosen in attacks.items()):
        for each in images:
            model = model_to_try(lab, name, opened, each.num_classes)
            few, _ = each.batch(range(min(TRIED_IMAGES, len(each))))
            try:
                remarks += attack_remarks(model, few, chosen)
            except InputError as error:
                raise InputError(f"{name} with {each.name}: {error}") from error
    return tuple(dict.fromkeys(remarks))


def no_evidence_lines(
    lab: Lab,
    attacks: Mapping[str, Iterable[Attack]],
    images: Iterable[ImageData],
    opened: Mapping[str, Reference],
    *,
    seed: int,
) -> tuple[str, ...]:
    """Why robust accuracies by these attacks are no evidence, for each model by name that is there before the run
    (`audit.lines.no_evidence`): warnings for the page. Raises: InputError as `robustray.audit`."""
    from robustray.tasks.audit.lines import no_evidence

    images = tuple(images)
    return tuple(
        f"{name} with {each.name}: {line}"
        for name, chosen in ((name, tuple(chosen)) for name, chosen in attacks.items() if name in opened)
        for each in images
        for line in no_evidence(
            lab.load(opened[name]), each.batch(range(min(TRIED_IMAGES, len(each))))[0], chosen, seed=seed
        )
    )


def opened_now(lab: Lab, names: Iterable[str]) -> dict[str, Reference]:
    """Those models that the run will not have to train. Raises: InputError."""
    return {name: lab.model(name) for name in names if lab.training_of(name) is None}


def model_to_try(lab: Lab, name: str, opened: Mapping[str, Reference], num_classes: int | None = None) -> nn.Module:
    """A model, in evaluation mode; untrained (with so many classes), where the run trains it. opened: of
    `opened_now`."""
    if name in opened:
        model: nn.Module = lab.load(opened[name])
        return model
    spec = lab.training_of(name)
    return untrained(spec.model if spec is not None else name, num_classes).eval()


def untrained(name: str, num_classes: int | None = None) -> nn.Module:
    """An architecture with random weights; torch's generator is left as it was. num_classes: None for its own."""
    import torch

    with torch.random.fork_rng(devices=[]):
        return build_model(name, num_classes)


def check_alike(train: ImageData, test: ImageData) -> None:
    """Raises: InputError unless both have images of one shape and the same classes."""
    if train.shape != test.shape or train.classes != test.classes:
        raise InputError(
            f"--test-data {test.name} has images {test.shape} of {test.num_classes} classes, --train-data {train.name} "
            f"{train.shape} of {train.num_classes}: both must have the same shape and the same classes"
        )


def check_apart(train: Reference, test: Reference) -> None:
    """Raises: InputError when results would be reported on the images of the training."""
    if train.content_hash == test.content_hash:
        raise InputError(
            f"--train-data {train.name} and --test-data {test.name} are the same images: results are "
            "reported on images that no training has seen"
        )


def check_classes(attacks: Iterable[Any], images: ImageData, *, remedy: str = "leave it out") -> None:
    """Raises: InputError for an attack that needs more classes than there are."""
    for attack in attacks:
        least = getattr(attack, "min_classes", 0)
        if images.num_classes < least:
            raise InputError(
                f"--attack {getattr(attack, 'name', attack)}, by itself or in a cascade, needs at least {least} "
                f"classes; {images.name} has {images.num_classes}: {remedy}"
            )


def own_modules(*models: str) -> tuple[str, ...]:
    """Where the code of architectures begins that a study trains, built in or the user's own, for `Opened.modules`.

    Raises: InputError for a name that is neither.
    """
    return tuple(dict.fromkeys(map(code_root, models)))


def trained_modules(names: Iterable[str]) -> tuple[str, ...]:
    """Where the code of those models begins that train themselves, for `Opened.modules`: the same whether a model is
    there already or not. Raises: InputError for a twin that does not exist."""
    return own_modules(*(spec.model for name in names if (spec := training_by_name(name)) is not None))


# --- In the run -------------------------------------------------------------------------------------------------------


def settled(settings: S, lab: Lab, *names: str) -> S:
    """Settings in which the precisions `names` are no longer "auto". They are decided once for all workers, in the same
    way before the run and in it.

    Say it on the page: `Opened(decided={"precision": settings.precision})`.
    """
    auto = [name for name in names if getattr(settings, name) == "auto"]
    decided: dict[str, Any] = dict.fromkeys(auto, resolve_precision(lab.device))
    return replace(settings, **decided)  # type: ignore[type-var]  # settings are dataclasses


def predict(
    lab: Lab, model: Reference, data: Reference, num_images: int, *, block: int, step: str = "clean"
) -> Handle[pd.DataFrame]:
    """Predictions on the first `num_images` images: rows of `predict_block`, under the declared step "clean"."""
    return lab.map(
        step, predict_block, range(num_images), block=block, refs={"model": model, "data": data}, needs=NEEDS
    )
