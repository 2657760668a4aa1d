"""What an attack was given, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustray.tasks.attacks.gradient.refusals import Model, refuse_one_output
from robustray.tasks.attacks.objective import CrossEntropy, Objective
from robustray.tasks.attacks.settings import Plan
from robustray.tasks.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Consistent arguments of one call, on one device. b = number of images."""

    images: Tensor
    """(b, ...) float32 in [0, 1], contiguous: the centres of the balls."""
    labels: Tensor
    """(b,) int64"""
    state: Tensor
    """(b, ...): what the objective compares with."""
    indices: Tensor
    """(b,) int64: positions in the split."""
    mask: Tensor | None
    """Broadcastable to images, float32 of 0 and 1."""
    objective: Objective


def check_arguments(
    plan: Plan,
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    indices: Sequence[int] | Tensor | None,
    objective: Objective | None,
    mask: Tensor | None,
    targets: Tensor | None,
) -> Problem:
    """Raises: InputError naming the argument and what it should be."""
    _check_images(images)
    count, device = len(images), images.device
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if parameter is not None and parameter.device.type != device.type:
        raise InputError(f"images are on {device}, the model is on {parameter.device}: move one of them")
    _check_classes("labels", labels, count)
    if plan.targeted:
        if objective is not None:
            raise InputError(
                "targeted=True goes with the default objective; one's own states its direction: Margin(targeted=True)"
            )
        if targets is None:
            raise InputError("targeted=True needs targets=, the class to be predicted for each image")
    elif targets is not None and objective is None:
        raise InputError("targets were given to an attack with targeted=False and no objective of its own")
    if objective is None:
        objective = CrossEntropy(targeted=plan.targeted)
        if targets is not None:
            _check_classes("targets", targets, count)
    if targets is not None:
        if isinstance(kind := _kind(targets), str):
            raise InputError(f"targets must be a tensor with one entry for each image, got {kind}")
        if targets.shape[:1] != (count,):
            raise InputError(f"targets has {len(targets) if targets.ndim else 'no'} entries for {count} images")
    return Problem(
        images=_ordinary(images.detach().contiguous()),
        labels=_ordinary(labels.to(device)),
        state=_ordinary((labels if targets is None else targets).detach().to(device)),
        indices=_checked_indices(indices, count).to(device),
        mask=None if mask is None else _checked_mask(mask, images),
        objective=objective,
    )


def check_class_range(name: str, classes: Tensor, num_classes: int, model: Model) -> None:
    """Raises: InputError for a class the model has no output for, and for a model of a single output."""
    refuse_one_output(num_classes, model)
    if len(classes) and (classes.min() < 0 or classes.max() >= num_classes):
        raise InputError(
            f"{name} must be in 0 .. {num_classes - 1} (the model has {num_classes} outputs), "
            f"got {int(classes.min())} .. {int(classes.max())}"
        )


def _check_images(images: Tensor) -> None:
    if _kind(images) != torch.float32:
        raise InputError(f"images must be a float32 tensor with values in [0, 1], got {_kind(images)}")
    if images.ndim < 2:
        raise InputError(f"images must have shape (batch, ...), got {tuple(images.shape)}")
    if images.numel() == 0:
        return
    if not torch.isfinite(images).all():
        bad = int((~torch.isfinite(images.flatten(1))).any(1).nonzero()[0])
        raise InputError(f"images must be finite; row {bad} has NaN or infinite pixels")
    if images.min() < 0 or images.max() > 1:
        raise InputError(
            f"images must lie in [0, 1], got {float(images.min()):g} .. {float(images.max()):g}: "
            "normalisation belongs into the model"
        )


def _check_classes(name: str, classes: Tensor, count: int) -> None:
    if _kind(classes) != torch.int64:
        raise InputError(f"{name} must be an int64 tensor of class indices, got {_kind(classes)}")
    if classes.shape != (count,):
        raise InputError(f"{name} must have shape ({count},) as there are images, got {tuple(classes.shape)}")


def _checked_indices(indices: Sequence[int] | Tensor | None, count: int) -> Tensor:
    if indices is None:
        return torch.arange(count)
    given = torch.as_tensor(indices if len(indices) else torch.zeros(0, dtype=torch.int64))
    if given.dtype.is_floating_point or given.dtype.is_complex or given.dtype == torch.bool:
        raise InputError(f"indices must be integers, got {given.dtype}")
    if given.shape != (count,):
        raise InputError(f"indices must have one entry for each of the {count} images, got shape {tuple(given.shape)}")
    return given.to(torch.int64)


def _ordinary(values: Tensor) -> Tensor:
    """A copy of what was made inside torch.inference_mode(), which autograd would refuse outside of it."""
    return values.clone() if values.is_inference() else values


def _kind(value: object) -> torch.dtype | str:
    return value.dtype if isinstance(value, Tensor) else type(value).__name__


def _checked_mask(mask: Tensor, images: Tensor) -> Tensor:
    if isinstance(kind := _kind(mask), str):
        raise InputError(f"mask must be a tensor of 0 and 1, got {kind}")
    fits = mask.ndim == images.ndim and all(m in (1, n) for m, n in zip(mask.shape[1:], images.shape[1:], strict=True))
    if not fits or len(mask) != len(images):
        raise InputError(f"mask of shape {tuple(mask.shape)} does not fit images of shape {tuple(images.shape)}")
    mask = mask.to(device=images.device, dtype=torch.float32)
    if not ((mask == 0) | (mask == 1)).all():
        raise InputError("mask must consist of 0 (pixel stays) and 1 (pixel may change)")
    return mask
