"""How inputs are optimised: steps, their length, the ball. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from robustray.tasks.attacks.precision import PRECISIONS, Precision
from robustray.tasks.attacks.settings import MIN_BATCH, NORMS, Norm
from robustray.tasks.checks import check_choice, check_count, check_size
from robustray.tasks.errors import InputError

Keep = Literal["last", "best"]
KEEPS: tuple[Keep, ...] = ("last", "best")
Gradients = Literal["fresh", "cumulative"]
GRADIENTS: tuple[Gradients, ...] = ("fresh", "cumulative")


@dataclass(frozen=True, kw_only=True)
class StepRule:
    """Steps of a known length towards whatever an objective rewards; the size of a gradient never weakens them.

    A gradient of exactly zero gives no step, one of length 1e-12 a full one.

    Raises: InputError (a ValueError) for a value that cannot be used.
    """

    uses_gradients: ClassVar[bool] = True
    """Whether gradients are used, as for attacks."""

    norm: Norm = "l2"
    """"l2": along the gradient, scaled to length 1. "linf": along its sign."""
    step_size: float
    """Length of the first step in `norm`, in pixel units."""
    final_step_size: float | None = None
    """Length of the last step; between them it falls (or rises) linearly. None: all steps are alike."""
    num_steps: int
    precision: Precision = "auto"
    """Precision of gradients; reported losses are fp32. "auto": bf16 where the hardware multiplies it, which a study
    decides once for all machines (`attacks.precision.resolve_precision`)."""

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, NORMS)
        check_size("step_size", self.step_size)
        if self.final_step_size is not None:
            check_size("final_step_size", self.final_step_size)
        check_count("num_steps", self.num_steps, at_least=1)
        check_choice("precision", self.precision, PRECISIONS)

    def step_sizes(self) -> Sequence[float]:
        """(num_steps,): length of each step."""
        last = self.step_size if self.final_step_size is None else self.final_step_size
        share = 1 / max(1, self.num_steps - 1)
        return [self.step_size + (last - self.step_size) * step * share for step in range(self.num_steps)]


@dataclass(frozen=True, kw_only=True)
class Ascent(StepRule):
    """Every image on its own: `items.ascend`."""

    eps: float | None = None
    """Largest distance from the start (or the centre, if one is given), in `norm`; None: no ball, only [0, 1]."""
    keep: Keep = "last"
    """Which iterate of x_0 ... x_T is returned: the last one, or that of highest objective."""
    batch_size: int = 128
    """Images in flight. On one kind of CPU it does not change results."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps is not None:
            check_size("eps", self.eps)
            if self.norm == "linf" and self.eps > 1:
                raise InputError(f"eps must be at most 1 for linf, got {self.eps}: pixel units, 8/255 and not 8")
        check_choice("keep", self.keep, KEEPS)
        check_count("batch_size", self.batch_size, at_least=MIN_BATCH)


@dataclass(frozen=True, kw_only=True)
class SharedAscent(StepRule):
    """One parameter for many images: `shared.SharedParameter`."""

    batch_size: int = 128
    """Images per step. Over each epoch every image is drawn once, in an order that only (seed, epoch) decide; images
    that fill no batch of their own are left out of that epoch."""
    gradients: Gradients = "fresh"
    """What a step follows: the gradient of its own batch, or ("cumulative") the sum of all gradients so far, as the
    released code for unadversarial patches does (arXiv:2012.12235; it never clears them)."""
    seed: int = 0
    """Seed of the order of images. What `Design.place` draws has another seed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("batch_size", self.batch_size, at_least=1)
        check_choice("gradients", self.gradients, GRADIENTS)
        check_count("seed", self.seed, at_least=0)


@dataclass(frozen=True, kw_only=True)
class WeightSteps:
    """How a model's weights follow a shared parameter: `joint.JointParameter`. SGD with momentum.

    Raises: InputError (a ValueError) for a value that cannot be used.
    """

    lr: float
    """Of the first step, the mean gradient of the batch."""
    final_lr: float | None = None
    """Of the last step; between them it changes linearly. None: all alike."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    """On all parameters."""

    def __post_init__(self) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            check_size(name, getattr(self, name))
        if self.final_lr is not None:
            check_size("final_lr", self.final_lr)
        if self.momentum >= 1:
            raise InputError(f"momentum must be below 1, got {self.momentum!r}")

    def rate(self, step: int, num_steps: int) -> float:
        """Learning rate of step `step` in 0 .. num_steps - 1."""
        last = self.lr if self.final_lr is None else self.final_lr
        return self.lr + (last - self.lr) * step / max(1, num_steps - 1)
