"""One parameter that many images carry: a universal perturbation, patches, a texture. The model is frozen.

    design = Design(apply=add, place=nowhere, project=ball("linf", 8 / 255), objective=CrossEntropy())
    shared = advance(ascent, model, design, data, range(len(data)), begin(torch.zeros(1, 3, 32, 32)))

A step draws a batch by its number, lets every image carry the parameter at a place drawn for (step, image), and moves
the parameter along the gradient summed over the batch. Nothing depends on which steps ran before in this process: a
design that was saved (`SharedState.to_bytes`) and goes on elsewhere ends at the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robustray.tasks.attacks.gradient.verdicts import Model
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import Objective, State
from robustray.tasks.attacks.precision import resolve_precision
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.lab import seeds

Apply = Callable[[Tensor, Tensor, State], Tensor]
"""`apply(parameter, images, placements) -> images`: (b, channels, height, width) in [0, 1] that depend on the parameter
(any shape) differentiably. `placements` are what `place` drew for these images, one entry each."""
Place = Callable[[int, Tensor, Tensor], State]
"""`place(step, indices, labels) -> placements`: one entry per image; all three decide it and nothing else does (draw
with `attacks.search.noise`, which counts instead of remembering). labels: (b,) int64, for a parameter per class."""
Project = Callable[[Tensor], Tensor]
"""The nearest parameter that is allowed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """What a shared parameter does to images, where it may lie, and what it is for."""

    apply: Apply
    place: Place
    project: Project
    objective: Objective
    """Maximised, of the model's output on the images that carry the parameter."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedState:
    """A design after some steps; with the settings and the data all that its next steps depend on."""

    parameter: Tensor
    """(k, ...) float32: k parameters that are moved side by side, each by steps of the full length (patches of k
    classes; k = 1 for a single one)."""
    gradient: Tensor
    """Of the same shape: the sum of all gradients so far where they are cumulative, else zeros."""
    losses: Tensor
    """(steps so far,): the objective, mean over the batch, before each step; in the precision of the search."""

    @property
    def step(self) -> int:
        """Number of the next step."""
        return len(self.losses)

    def to_bytes(self) -> bytes:
        """As safetensors, on the CPU."""
        from safetensors.torch import save

        return save({name: tensor.detach().cpu().contiguous() for name, tensor in vars(self).items()})

    @classmethod
    def from_bytes(cls, data: bytes) -> SharedState:
        """Raises: InputError for bytes that `to_bytes` did not write."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return cls(**load(data))
        except (SafetensorError, TypeError) as error:
            raise InputError(f"these are no saved design: {error}") from error


def begin(parameter: Tensor) -> SharedState:
    """A design that starts at `parameter`, (k, ...) float32."""
    start = parameter.detach().clone()
    return SharedState(parameter=start, gradient=torch.zeros_like(start), losses=start.new_zeros(0))


def advance(
    ascent: SharedAscent,
    model: Model,
    design: Design,
    data: ImageData,
    indices: Sequence[int],
    shared: SharedState,
    *,
    targets: Tensor | None = None,
    until: int | None = None,
) -> SharedState:
    """The design after `until` steps (all of them if None); the model, frozen and in evaluation mode, stays as it was.

    indices: the images of `data` that it is designed on. targets: what the objective compares images with, one entry
    per entry of `indices` (a class for all of them, say); their labels if None.

    Raises: InputError for a batch larger than there are images, for what `apply` returns where it has another shape,
        leaves [0, 1] or does not depend on the parameter, and what `GradientView` refuses.
    """
    chosen = np.asarray(indices, dtype=np.int64)
    _check(ascent, chosen, shared, targets)
    device, end = shared.parameter.device, ascent.num_steps if until is None else min(until, ascent.num_steps)
    sizes = ascent.step_sizes()
    geometry = GEOMETRIES[ascent.norm]
    parameter, total, losses = shared.parameter, shared.gradient, list(shared.losses)
    objective = design.objective
    with GradientView(
        model,
        needs_latent=objective.needs_latent,
        fake_relu=objective.fake_relu,
        no_relu=objective.no_relu,
        precision=resolve_precision(str(device)) if ascent.precision == "auto" else ascent.precision,
        shape=torch.Size(data.shape),
    ) as view:
        for step in range(shared.step, end):
            positions = drawn(ascent, len(chosen), step)
            at = torch.from_numpy(chosen[positions]).to(device)
            images, labels = (tensor.to(device) for tensor in data.batch(chosen[positions]))
            state = labels if targets is None else targets[torch.from_numpy(positions)].to(device)
            placements = design.place(step, at, labels)
            with torch.enable_grad():
                leaf = parameter.detach().requires_grad_(True)
                carrying = design.apply(leaf, images, placements)
            _check_images(carrying, images)
            loss, gradient, _ = view.value_and_gradient(carrying.detach(), state, objective)
            (gradient,) = torch.autograd.grad(carrying, leaf, gradient)
            losses.append(loss.mean())
            if ascent.gradients == "cumulative":
                gradient = total = total + gradient
            parameter = design.project(parameter + sizes[step] * geometry.direction(gradient))
    history = torch.stack(losses) if losses else shared.losses
    return SharedState(parameter=parameter.detach(), gradient=total, losses=history)


def drawn(ascent: SharedAscent, num_images: int, step: int) -> np.ndarray:
    """Positions (batch_size,) in 0 .. num_images - 1 of the images of a step; no two of an epoch are the same."""
    epoch, place = divmod(step, num_images // ascent.batch_size)
    order = seeds.stream(ascent.seed, "shared parameter", epoch).permutation(num_images)
    return order[place * ascent.batch_size :][: ascent.batch_size]


# --- A universal perturbation -----------------------------------------------------------------------------------------


def universal(norm: Norm, eps: float, objective: Objective) -> Design:
    """One perturbation (1, channels, height, width) within eps that is added to every image (arXiv:1610.08401)."""
    return Design(apply=add, place=nowhere, project=ball(norm, eps), objective=objective)


def add(parameter: Tensor, images: Tensor, placements: State) -> Tensor:
    """The same perturbation on every image, clipped to [0, 1]."""
    return (images + parameter).clamp(0, 1)


def nowhere(step: int, indices: Tensor, labels: Tensor) -> State:
    """For a parameter that has no place."""
    return indices.new_zeros(len(indices), 0)


def ball(norm: Norm, eps: float) -> Project:
    """Each of the k parameters within eps of zero, in pixel units."""

    def project(parameter: Tensor) -> Tensor:
        if norm == "linf":
            return parameter.clamp(-eps, eps)
        length = GEOMETRIES["l2"].size(parameter).view(-1, *[1] * (parameter.ndim - 1))
        return parameter * torch.where(length > eps, eps / length, 1)

    return project


def box(parameter: Tensor) -> Tensor:
    """Pixels: within [0, 1]."""
    return parameter.clamp(0, 1)


# --- The door ---------------------------------------------------------------------------------------------------------


def _check(ascent: SharedAscent, chosen: np.ndarray, shared: SharedState, targets: Tensor | None) -> None:
    if ascent.batch_size > len(chosen):
        raise InputError(f"batch_size {ascent.batch_size}: only {len(chosen)} images to design on")
    if shared.parameter.dtype != torch.float32 or shared.parameter.ndim < 2:
        raise InputError(
            f"a shared parameter must be float32 (k, ...), k = 1 for a single one, got {shared.parameter.dtype} "
            f"{tuple(shared.parameter.shape)}"
        )
    if targets is not None and len(targets) != len(chosen):
        raise InputError(f"targets has {len(targets)} entries for {len(chosen)} images")


def _check_images(carrying: Tensor, images: Tensor) -> None:
    if carrying.shape != images.shape:
        raise InputError(f"apply returned shape {tuple(carrying.shape)} for images of shape {tuple(images.shape)}")
    if not carrying.requires_grad:
        raise InputError("the images that apply returned do not depend on the parameter: no gradient")
    if not ((carrying >= 0) & (carrying <= 1)).all():
        raise InputError("apply returned pixels outside [0, 1]: clip them")
