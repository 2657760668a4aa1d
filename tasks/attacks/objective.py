"""What attacks maximise. Studies that optimise inputs for other ends bring an objective of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from robustray.tasks.errors import InputError

State = Tensor | Mapping[str, Tensor]
"""What images are compared with: one tensor (batch, ...), or several by name."""


def each(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """`change` of the tensor, or of every one of several: `each(state, lambda rows: rows[chosen])`."""
    return change(state) if isinstance(state, Tensor) else {name: change(rows) for name, rows in state.items()}


@dataclass(frozen=True)
class ModelOutput:
    """One forward pass."""

    logits: Tensor
    """(batch, classes)"""
    latent: Tensor | None = None
    """(batch, width): input of the linear head; None unless the objective needs it."""


class Objective(Protocol):
    """A number per image to be MAXIMISED; what is to fall (a distance to a target) is negated by the objective.

    `state` holds what an image is compared with, one entry per image: labels (batch,) for untargeted attacks, target
    classes (batch,) for targeted ones, or anything with that leading dimension (`targets=` of an attack is one tensor;
    the drivers of `robustray.tasks.inputs` take several by name, `State`). It travels with its image, so neither method
    may mix the images of a batch.
    """

    @property
    def needs_latent(self) -> bool:
        """Fill `ModelOutput.latent`; the model then needs `forward_with_latent(images, fake_relu)`."""
        ...

    @property
    def fake_relu(self) -> bool:
        """The last block's final ReLU passes gradients as the identity (as `fake_relu` of
        MadryLab/robustness 1.2.1). Only read with `needs_latent`."""
        ...

    @property
    def no_relu(self) -> bool:
        """The latent is pooled from what that ReLU reads; the model then needs `forward_with_latent(..., no_relu)`.
        Not with `fake_relu`."""
        ...

    def loss(self, output: ModelOutput, images: Tensor, state: Any) -> Tensor:
        """(batch,) finite, differentiable; images: (batch, ...) in [0, 1]."""
        ...

    def success(self, output: ModelOutput, images: Tensor, state: Any) -> Tensor | None:
        """(batch,) bool: the goal is reached; None: there is no goal, only more or less of `loss`."""
        ...


class OnLogits:
    """What objectives of logits alone have in common."""

    needs_latent: bool = False
    fake_relu: bool = False
    no_relu: bool = False


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(OnLogits):
    """Cross-entropy with the label, or minus that with the target."""

    targeted: bool = False

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        loss = functional.cross_entropy(output.logits, state, reduction="none")
        return -loss if self.targeted else loss

    def success(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        return class_goal(output.logits, state, self.targeted)


@dataclass(frozen=True, kw_only=True)
class Margin(OnLogits):
    """Largest other logit minus that of the label: positive when the label is not predicted; or minus that with the
    target. Unlike cross-entropy its gradient does not vanish on confident images."""

    targeted: bool = False

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        chosen = functional.one_hot(state, output.logits.shape[1]).bool()
        others = output.logits.masked_fill(chosen, -torch.inf).amax(dim=1)
        margin = others - output.logits.gather(1, state[:, None])[:, 0]
        return -margin if self.targeted else margin

    def success(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        return class_goal(output.logits, state, self.targeted)


@dataclass(frozen=True, kw_only=True)
class LatentMatching:
    """Minus the distance to a target representation relative to its length: -||latent - target||_2 / ||target||_2.

    `state` is the target latents (batch, width). There is no goal, so the exit rule is "last" or "best_loss".
    """

    fake_relu: bool = False
    no_relu: bool = False
    """Match what stands before the last ReLU: `state` is then made with `no_relu` too."""

    def __post_init__(self) -> None:
        if self.fake_relu and self.no_relu:
            raise InputError("fake_relu and no_relu exclude each other: give one")

    @property
    def needs_latent(self) -> bool:
        return True

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        assert output.latent is not None
        # The floor only guards a target of length zero; a squared distance would starve far and flood near targets.
        length = torch.linalg.vector_norm(state, dim=1).clamp_min(1e-12)
        return -torch.linalg.vector_norm(output.latent - state, dim=1) / length

    def success(self, output: ModelOutput, images: Tensor, state: Tensor) -> None:
        return None


def class_goal(logits: Tensor, state: Tensor, targeted: bool) -> Tensor:
    """(batch,) bool: the target class is predicted, or the label is not."""
    predicted = logits.argmax(dim=1)
    return predicted == state if targeted else predicted != state
