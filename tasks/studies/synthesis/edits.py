"""What one classifier can do to pictures (arXiv:1906.09453, sections 3 and 4), each task a function.

    made = inpaint(model, images, hole, target=None, ascent=Ascent(step_size=0.1, num_steps=200, eps=3.0, keep="best"))
    made.mended, made.found.path_loss

Every task descends the cross-entropy of a class within a ball around its start, painting ascends a coordinate of the
latent; nothing else is known of pictures. A model is a module or a function of images (b, channels, height, width) in
[0, 1] to logits (b, classes); painting needs `forward_with_latent(images, fake_relu)`. `target` is one class for all
images or a tensor (b,) int64. `record` names steps whose iterates are kept in `found.path`. A result depends on its own
image, mask and class only, never on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.objective import CrossEntropy
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.items import Ascended, ascend
from robustray.tasks.inputs.objectives import Anchored, Unit
from robustray.tasks.inputs.settings import Ascent
from robustray.tasks.latents.cache import look
from robustray.tasks.studies.synthesis.damage import enlarged, filled, pasted

Goal = int | Tensor
UNIT_SHARE = 0.1
"""Weight of the coordinate in the objective of painting, as in the paper's code."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """b = number of images."""

    start: Tensor
    """(b, ...): where it began: the seed, the damaged, enlarged or given picture."""
    mended: Tensor
    """(b, ...): the result; of tasks with a mask, with the known pixels put back."""
    wanted: Tensor
    """(b,) int64: the class that was asked for, or the coordinate of the latent."""
    found: Ascended
    """`found.images`: the result before known pixels are put back; objectives, iterates, distance."""


def generate(model: Any, seeds: Tensor, target: Goal, ascent: Ascent, *, record: Sequence[int] = ()) -> Made:
    """Images of a class from seeds: draws of `damage.seed_images`, noise, or anything else (section 4.1).

    Raises: InputError for images outside [0, 1] and a class that does not exist, as all functions here.
    """
    return _descended(model, seeds, target, ascent, record)


def translate(model: Any, images: Tensor, target: Goal, ascent: Ascent, *, record: Sequence[int] = ()) -> Made:
    """Pictures turned into ones of another class; nothing but the ball ties them to what they show (section 4.3)."""
    return _descended(model, images, target, ascent, record)


def from_sketch(model: Any, sketches: Tensor, target: Goal, ascent: Ascent, *, record: Sequence[int] = ()) -> Made:
    """Drawings, dark on white, turned into pictures of the class that they are meant to show (section 4.5)."""
    return _descended(model, sketches, target, ascent, record)


def enlarge(
    model: Any, small: Tensor, factor: int, target: Goal | None, ascent: Ascent, *, record: Sequence[int] = ()
) -> Made:
    """Small pictures enlarged by repeating pixels and sharpened within a small ball (section 4.4).

    target None: what the model sees in the enlarged picture.
    """
    return _descended(model, enlarged(small, factor), target, ascent, record)


def inpaint(
    model: Any,
    images: Tensor,
    hole: Tensor,
    target: Goal | None,
    ascent: Ascent,
    *,
    anchor: float = 10.0,
    record: Sequence[int] = (),
) -> Made:
    """Holes, 1 in `hole` (b, 1 or channels, height, width), filled with the image's mean and descended from there.

    `anchor` times the mean squared change of the known pixels is subtracted from the objective, as the paper's code
    has it (section 4.2): they drift. `mended` has them put back. target None: what the model sees in the damaged
    picture.

    Raises: InputError also for a mask of another shape, or of other values than 0 and 1.
    """
    check_mask(hole, images)
    damaged = filled(images, hole)
    wanted = _classes(model, damaged, target)
    objective = Anchored(objective=CrossEntropy(targeted=True), weight=anchor)
    state = {"goal": wanted, "known": damaged, "hole": hole}
    found = ascend(ascent, model, damaged, state, objective=objective, record=record)
    return Made(start=damaged, mended=pasted(found.images, damaged, hole), wanted=wanted, found=found)


def paint(
    model: Any,
    images: Tensor,
    mask: Tensor,
    unit: Goal,
    ascent: Ascent,
    *,
    anchor: float = 0.0,
    record: Sequence[int] = (),
) -> Made:
    """Excite one coordinate z of the latent where `mask` is 1 (section 4.6); a second one on the result of the first.

    anchor 0: everything else stays as it is, to the bit. Above 0 the paper's objective is maximised instead, 0.1 z -
    anchor mean((x0 - x)^2 (1 - mask)), under which the rest drifts, visibly with its 90; `mended` has it put back.

    Raises: InputError also for a mask that does not fit, a model without latents, and a coordinate it does not have.
    """
    check_mask(mask, images)
    width = look(model, images[:1])[1].shape[1]
    units = _each(unit, images, "unit", width, f"the latent has {width} coordinates")
    if anchor:
        state = {"goal": units, "known": images, "hole": mask}
        soft = Anchored(objective=Unit(), weight=anchor / UNIT_SHARE)
        found = ascend(ascent, model, images, state, objective=soft, record=record)
    else:
        found = ascend(ascent, model, images, units, objective=Unit(), mask=mask, record=record)
    return Made(start=images, mended=pasted(found.images, images, mask), wanted=units, found=found)


def check_mask(mask: Tensor, images: Tensor) -> None:
    """Raises: InputError unless a mask of 0 and 1 fits the images (b, channels, height, width)."""
    shapes = [(len(images), channels, *images.shape[2:]) for channels in (1, images.shape[1])]
    if images.ndim != 4 or tuple(mask.shape) not in shapes:
        raise InputError(
            f"mask: shape {tuple(mask.shape)} does not fit images of {tuple(images.shape)}: give {shapes[0]}"
        )
    if not ((mask == 0) | (mask == 1)).all():
        raise InputError("mask: values other than 0 (known, stays) and 1 (lost, or may be painted)")


def _descended(model: Any, start: Tensor, target: Goal | None, ascent: Ascent, record: Sequence[int]) -> Made:
    wanted = _classes(model, start, target)
    found = ascend(ascent, model, start, wanted, objective=CrossEntropy(targeted=True), record=record)
    return Made(start=start, mended=found.images, wanted=wanted, found=found)


def _classes(model: Any, start: Tensor, target: Goal | None) -> Tensor:
    """(b,): the classes asked for; where none is, those that the model sees."""
    if target is None:
        return predict_logits(model, start).argmax(1)
    num_classes = predict_logits(model, start[:1]).shape[1]
    return _each(target, start, "target", num_classes, f"the model has {num_classes} classes")


def _each(goal: Goal, images: Tensor, name: str, count: int, known: str) -> Tensor:
    """(b,) int64 on the device of the images."""
    goals = torch.as_tensor(goal, dtype=torch.int64, device=images.device)
    if goals.ndim == 0:
        goals = goals.expand(len(images)).contiguous()
    if goals.shape != images.shape[:1]:
        raise InputError(f"{name}: {tuple(goals.shape)} for {len(images)} images: give one, or one for each")
    outside = goals[(goals < 0) | (goals >= count)]
    if len(outside):
        raise InputError(f"{name} {int(outside[0])} does not exist: {known}, from 0")
    return goals
