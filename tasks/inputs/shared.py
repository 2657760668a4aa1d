"""One parameter that many images carry: a universal perturbation, patches, a texture. The model is frozen.

    design = Design(apply=add, place=nowhere, project=ball("linf", 8 / 255), objective=CrossEntropy())
    start = torch.zeros(1, 3, 32, 32)
    found = complete(SharedParameter(ascent=..., model=model, design=design, data=data, indices=..., parameter=start))

A step draws a batch by its number, lets every image carry the parameter at a place drawn for (step, image), and moves
the parameter along the gradient summed over the batch. Nothing depends on which steps ran before in this process: under
`lab.optimise`, what is killed and goes on elsewhere ends at the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustray.tasks.attacks.gradient.chain import pulled_back
from robustray.tasks.attacks.gradient.verdicts import Model
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import Objective, State
from robustray.tasks.attacks.precision import resolve_precision
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.attacks.settings import NORMS, Norm
from robustray.tasks.checks import check_choice, check_size
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


@dataclass(kw_only=True, eq=False)
class SharedParameter:
    """A parameter on its way, as `lab.optimise` runs it: a `robustray.tasks.lab.resumable.Optimisation`.

    The model is frozen and in evaluation mode while steps are taken, and stays as it was.

    Raises: InputError for a batch larger than there are images, a start that is not float32 (k, ...) and targets that
    do not fit; while steps are taken, for what `apply` returns where it has another shape, leaves [0, 1] or does not
    depend on the parameter, and what `GradientView` refuses.
    """

    ascent: SharedAscent
    model: Model
    design: Design
    data: ImageData
    indices: Sequence[int]
    """The images of `data` that it is designed on."""
    parameter: Tensor
    """(k, ...) float32: k parameters that are moved side by side, each by steps of the full length (patches of k
    classes; k = 1 for a single one). First where it starts, then where it is."""
    targets: Tensor | None = None
    """What the objective compares images with, one entry per entry of `indices` (a class for all of them, say); their
    labels if None."""
    name: str = "parameter"
    """Name of the parameter in the result."""
    gradient: Tensor = field(init=False)
    """Tensor of the parameter's shape: the sum of all gradients so far where they are cumulative, else zeros."""
    step: int = field(init=False, default=0)
    """Number of the next step."""

    def __post_init__(self) -> None:
        self._chosen = np.asarray(self.indices, dtype=np.int64)
        self._check()
        self.parameter = self.parameter.detach().clone()
        self.gradient = torch.zeros_like(self.parameter)

    def steps(self) -> Generator[dict[str, float], None, None]:
        """Take the steps that are left. Rows: objective, mean over the batch before the step, in the precision of the
        search."""
        sizes, geometry, objective = self.ascent.step_sizes(), GEOMETRIES[self.ascent.norm], self.design.objective
        device = str(self.parameter.device)
        with GradientView(
            self.model,
            needs_latent=objective.needs_latent,
            fake_relu=objective.fake_relu,
            no_relu=objective.no_relu,
            precision=resolve_precision(device) if self.ascent.precision == "auto" else self.ascent.precision,
            shape=torch.Size(self.data.shape),
        ) as view:
            while self.step < self.ascent.num_steps:
                loss, gradient = self._gradient(view)
                if self.ascent.gradients == "cumulative":
                    gradient = self.gradient = self.gradient + gradient
                moved = self.parameter + sizes[self.step] * geometry.direction(gradient)
                self.parameter = self.design.project(moved).detach()
                self.step += 1
                yield {"objective": float(loss)}

    def _gradient(self, view: GradientView) -> tuple[Tensor, Tensor]:
        """The objective, mean over the step's batch, and the gradient of its sum with respect to the parameter."""
        images, _, state, placements = self._batch()
        with torch.enable_grad():
            leaf = self.parameter.detach().requires_grad_(True)
            carrying = self.design.apply(leaf, images, placements)
        check_images(carrying, images)
        loss, gradient, _ = view.value_and_gradient(carrying.detach(), state, self.design.objective)
        pulled = pulled_back(carrying, leaf, gradient)
        assert pulled is not None
        return loss.mean(), pulled

    def _batch(self) -> tuple[Tensor, Tensor, Tensor, State]:
        """Images, labels, what the objective compares with, and placements of the step."""
        device = self.parameter.device
        positions = drawn(self.ascent, len(self._chosen), self.step)
        at = torch.from_numpy(self._chosen[positions]).to(device)
        images, labels = (tensor.to(device) for tensor in self.data.batch(self._chosen[positions]))
        state = labels if self.targets is None else self.targets[torch.from_numpy(positions)].to(device)
        return images, labels, state, self.design.place(self.step, at, labels)

    def result(self) -> dict[str, Tensor]:
        return {self.name: self.parameter}

    # --- Written down -------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """See `Resumable`."""
        return {name: getattr(self, name).cpu().contiguous() for name in _STATE}

    def record(self) -> dict[str, int]:
        """See `Resumable`."""
        return {"step": self.step}

    def load(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """See `Resumable`."""
        self.parameter, self.gradient = (tensors[name].to(self.parameter.device) for name in _STATE)
        self.step = record["step"]

    def _check(self) -> None:
        num_images, start = len(self._chosen), self.parameter
        if self.ascent.batch_size > num_images:
            raise InputError(f"batch_size {self.ascent.batch_size}: only {num_images} images to design on")
        if start.dtype != torch.float32 or start.ndim < 2:
            raise InputError(
                f"a shared parameter must be float32 (k, ...), k = 1 for a single one, got {start.dtype} "
                f"{tuple(start.shape)}"
            )
        if self.targets is not None and len(self.targets) != num_images:
            raise InputError(f"targets has {len(self.targets)} entries for {num_images} images")


_STATE = ("parameter", "gradient")


def drawn(ascent: SharedAscent, num_images: int, step: int) -> np.ndarray:
    """Positions (batch_size,) in 0 .. num_images - 1 of the images of a step; no two of an epoch are the same."""
    epoch, place = divmod(step, num_images // ascent.batch_size)
    order = seeds.stream(ascent.seed, "shared parameter", epoch).permutation(num_images)
    return order[place * ascent.batch_size :][: ascent.batch_size]


# --- A universal perturbation -----------------------------------------------------------------------------------------


def universal(norm: Norm, eps: float, objective: Objective) -> Design:
    """One perturbation (1, channels, height, width) within eps that is added to every image (arXiv:1610.08401).

    Raises: InputError for a norm that is not known, and a size that is negative or, for linf, above 1.
    """
    check_choice("norm", norm, NORMS)
    check_size("eps", eps)
    if norm == "linf" and eps > 1:
        raise InputError(f"eps must be at most 1 for linf, got {eps}: pixel units, 8/255 and not 8")
    return Design(apply=add, place=nowhere, project=ball(norm, eps), objective=objective)


def add(parameter: Tensor, images: Tensor, placements: State) -> Tensor:
    """The same perturbation on every image, clipped to [0, 1]."""
    return (images + parameter).clamp(0, 1)


def nowhere(step: int, indices: Tensor, labels: Tensor) -> State:
    """The place of a parameter that is placed nowhere."""
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


def check_images(carrying: Tensor, images: Tensor) -> None:
    """What `apply` returned. Raises: InputError."""
    if carrying.shape != images.shape:
        raise InputError(f"apply returned shape {tuple(carrying.shape)} for images of shape {tuple(images.shape)}")
    if not carrying.requires_grad:
        raise InputError("the images that apply returned do not depend on the parameter: no gradient")
    if not ((carrying >= 0) & (carrying <= 1)).all():
        raise InputError("apply returned pixels outside [0, 1]: clip them")
