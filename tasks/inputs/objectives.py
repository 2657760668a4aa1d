"""What inputs are optimised for, besides the objectives of attacks (`robustray.tasks.attacks.objective`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from robustray.tasks.attacks.objective import ModelOutput, Objective


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One coordinate of the latent (arXiv:1906.00945, direct feature visualisation).

    `state` is the coordinate of each image, (batch,) int64.
    """

    fake_relu: bool = True
    """A unit that is zero at the start receives gradient all the same."""
    no_relu: bool = False

    @property
    def needs_latent(self) -> bool:
        return True

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        assert output.latent is not None
        return output.latent.gather(1, state[:, None])[:, 0]

    def success(self, output: ModelOutput, images: Tensor, state: Tensor) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class UnitUpTo(Unit):
    """One coordinate of the latent until it reaches a level, min(z - level, 0) (arXiv:1906.00945, feature addition).

    At the level and above the gradient is exactly zero, so the image stops there by itself. `state` holds "unit", the
    coordinate (batch,) int64, and "level" (batch,).
    """

    def loss(self, output: ModelOutput, images: Tensor, state: Mapping[str, Tensor]) -> Tensor:  # type: ignore[override]
        return (super().loss(output, images, state["unit"]) - state["level"]).clamp(max=0)

    def success(self, output: ModelOutput, images: Tensor, state: object) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Along(Unit):
    """The latent along a direction: their inner product. `state` is the direction of each image, (batch, width)."""

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        assert output.latent is not None
        return (output.latent * state).sum(1)


@dataclass(frozen=True, kw_only=True)
class Departure:
    """How far the latent is from what it was: ||latent - state||_2.

    `state` is the latent of each image as it was, (batch, width). There the gradient is zero: start beside it.
    """

    fake_relu: bool = False
    no_relu: bool = False

    @property
    def needs_latent(self) -> bool:
        return True

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        assert output.latent is not None
        return torch.linalg.vector_norm(output.latent - state, dim=1)

    def success(self, output: ModelOutput, images: Tensor, state: Tensor) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Anchored:
    """An objective minus what the known pixels have moved: objective - weight * mean((image - known)^2 * (1 - hole)).

    The mean is over all entries of an image, holes included (arXiv:1906.09453: its code has the mean of squares with
    weight 10 for inpainting, its text a norm). `state` holds "goal", what the objective compares with; "known", the
    image (batch, ...); and "hole", (batch, ...), 1 where nothing is known, broadcastable to it.
    """

    objective: Objective
    weight: float

    @property
    def needs_latent(self) -> bool:
        return self.objective.needs_latent

    @property
    def fake_relu(self) -> bool:
        return self.objective.fake_relu

    @property
    def no_relu(self) -> bool:
        return self.objective.no_relu

    def loss(self, output: ModelOutput, images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        moved = (images - state["known"]).square() * (1 - state["hole"])
        return self.objective.loss(output, images, state["goal"]) - self.weight * moved.flatten(1).mean(1)

    def success(self, output: ModelOutput, images: Tensor, state: Mapping[str, Tensor]) -> Tensor | None:
        return self.objective.success(output, images, state["goal"])
