"""The door through which a model meets data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.tasks.data.own import describe
from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn


def check_model(model: nn.Module, images: torch.Tensor, num_classes: int) -> list[str]:
    """Run a few images through `model`, twice, in evaluation mode; every module's own mode is put back afterwards.

    images: (b, channels, height, width) in [0, 1], on any device; num_classes: of the data.
    Returns: warnings, empty for a good model (one line if two passes differ).

    Raises: InputError when the model cannot take such images, does not return finite logits (b, num_classes), or
    returns probabilities.
    """
    import torch

    name = type(model).__name__
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    if (parameter := next(model.parameters(), None)) is not None:
        images = images.to(parameter.device)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            first, second = model(images), model(images)
    except Exception as error:  # the model may be the user's own
        raise InputError(
            f"the model ({name}) fails on images of shape {tuple(images.shape)}: {describe(error)}"
        ) from error
    finally:
        for module, training in modes:
            module.training = training

    if not isinstance(first, torch.Tensor) or not first.is_floating_point():
        raise InputError(f"the model ({name}) returns {_kind(first)}, expected a float tensor of logits")
    if first.ndim != 2 or len(first) != len(images):
        raise InputError(
            f"the model ({name}) returns shape {tuple(first.shape)} for {len(images)} images, expected "
            f"({len(images)}, {num_classes}) logits"
        )
    if first.shape[1] != num_classes:
        raise InputError(f"the model has {first.shape[1]} outputs, the data {num_classes} classes")
    if not torch.isfinite(first).all():
        bad = int((~torch.isfinite(first)).any(1).nonzero()[0])
        raise InputError(f"the model returns NaN or infinite logits (first for image {bad} of the checked ones)")
    sums = first.sum(1)
    if num_classes > 1 and first.min() >= 0 and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        raise InputError(f"the model ({name}) returns probabilities; attacks need logits: remove the softmax")
    if not torch.equal(first, second):
        gap = float((first - second).abs().max())
        return [
            f"the model gives other logits when it sees the same images again (up to {gap:.2g} apart): "
            "is a dropout or a noise layer still active? Its results cannot be reproduced"
        ]
    return []


def _kind(value: object) -> str:
    return str(getattr(value, "dtype", type(value).__name__))
