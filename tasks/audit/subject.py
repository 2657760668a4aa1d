"""What is audited: a model, a few images, and a threat model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from robustray.tasks.attacks.gradient.refusals import Model
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import CrossEntropy, ModelOutput, OnLogits
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.errors import InputError
from robustray.tasks.lab.seeds import torch_seeded
from robustray.tasks.models.watching import watched

INSIDE = 0.02
"""How far points at which derivatives are looked at are pulled away from black and white."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """What every check gets. b = number of images, at least 2."""

    model: Model
    images: Tensor
    """(b, channels, height, width) in [0, 1], on the model's device."""
    labels: Tensor
    """(b,): what the model says of them. Attacks of an audit go against the model's own answers, so that it needs no
    labels and loses no image."""
    indices: Tensor
    """(b,): the images' positions in their split."""
    norm: Norm
    eps: float
    seed: int
    gradients: bool
    """A gradient passes from the logits to the images."""
    random: bool = False
    """The model gives other logits when it sees the same images again."""
    hard: bool = False
    """The model says classes and nothing else."""

    @classmethod
    def of(
        cls,
        model: Model,
        images: Tensor,
        *,
        norm: Norm = "linf",
        eps: float,
        seed: int = 0,
        indices: Sequence[int] | None = None,
        hard: bool = False,
    ) -> Self:
        """Raises: InputError for a model that does not fit the images."""
        with watched(model), torch_seeded(seed):
            labels = predict_logits(model, images).argmax(1)
            passes = passes_gradient(model, images[:2])
        places = torch.arange(len(images)) if indices is None else torch.as_tensor(list(indices))
        return cls(
            model=model,
            images=images,
            labels=labels,
            indices=places,
            norm=norm,
            eps=eps,
            seed=seed,
            gradients=passes,
            hard=hard,
        )

    def inside(self) -> Tensor:
        """The images, pulled a little towards grey: there derivatives at 0 and 1, where a clamp may act, are none."""
        return INSIDE + (1 - 2 * INSIDE) * self.images


@dataclass(frozen=True)
class Pair(OnLogits):
    """The logit of one fixed class minus that of another, for each image: smooth where the largest one changes."""

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        """state: (batch, 2) int64, the classes."""
        chosen = output.logits.gather(1, state)
        return chosen[:, 0] - chosen[:, 1]

    def success(self, output: ModelOutput, images: Tensor, state: Tensor) -> None:
        return None


def rivals(logits: Tensor) -> Tensor:
    """(b, 2): the class of the second largest logit and that of the largest one."""
    return logits.topk(2, dim=1).indices.flip(1)


def passes_gradient(model: Model, images: Tensor) -> bool:
    """Whether any gradient arrives at the images. Raises: what the model raises on its forward pass."""
    with GradientView(model) as view:
        labels = view.evaluate(images).logits.argmax(1)
        try:
            view.follow(images, labels, CrossEntropy())
        except InputError as error:
            if "passes no gradient" in str(error) or "inference_mode" in str(error):
                return False
            raise
        except RuntimeError:  # integers or an operation without derivative on the way
            return False
    return True
