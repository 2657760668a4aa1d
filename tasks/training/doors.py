"""What a training needs of its data and its model, found out before anything starts."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from robustray.tasks.attacks.gradient.trial import try_gradient
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.models.doors import check_model
from robustray.tasks.training.settings import TrainSpec

_PROBE = 4
"""Images that the untrained model is shown."""


def check_fit(spec: TrainSpec, data: ImageData) -> None:
    """Raises: InputError when there are too few images or classes, or labels that name no class."""
    held_out = spec.num_validation(len(data))
    if len(data) - held_out < spec.batch_size:
        without = f" that are left without {held_out} for validation" if held_out else ""
        raise InputError(
            f"batch_size {spec.batch_size} is larger than the {max(len(data) - held_out, 0)} training images of "
            f"{data.name}{without}"
        )
    if spec.validation and not held_out:
        raise InputError(f"validation {spec.validation:g} of {len(data)} images is less than one image")
    wrong = np.flatnonzero((data.labels < 0) | (data.labels >= data.num_classes))
    if wrong.size:
        raise InputError(
            f"{data.name}: image {wrong[0]} has label {data.labels[wrong[0]]}, but there are {data.num_classes} classes"
        )
    if len(np.unique(data.labels)) < 2:
        raise InputError(f"{data.name} has images of one class only: there is nothing to learn")


def check_training(
    spec: TrainSpec, data: ImageData, initial: nn.Module | None = None, *, weights_only: bool = False
) -> None:
    """`check_fit`, and a few images through the model before its first step. initial: the model behind `spec.initial`.

    weights_only: a model that is built in the same way has passed with such images, so that only what its weights
    change is looked at: whether they fit, and whether logits are finite.

    Raises: InputError also for a model that does not take these images, has another number of outputs than there are
    classes, nothing to train, or no repeatable answer in evaluation mode.
    """
    from robustray.tasks.training.state import initial_model

    check_fit(spec, data)
    with torch.random.fork_rng(devices=[]):
        model = initial_model(spec, data.num_classes, initial)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(f"{spec.model} has no parameters to train{' beside the frozen ones' * bool(spec.frozen)}")
    images = data.batch(range(min(_PROBE, len(data))))[0]
    try:
        warnings = check_model(model, images, data.num_classes, company=not weights_only)
        if spec.loss in ("adversarial", "trades") and not weights_only:
            try_gradient(model, images)
    except InputError as error:
        raise InputError(f"{spec.model} on {data.name}: {error}") from error
    if warnings:
        raise InputError(f"{spec.model}: {'; '.join(warnings)}")
