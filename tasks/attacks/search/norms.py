"""What differs between the norms: where one starts, which way a step goes, how one gets back, what a distance is.

An iterate is projected on the ball and clipped to [0, 1] then, as in MadryLab/robustness 1.2.1. Steps are scale-free:
the size of a gradient never weakens them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from robustray.tasks.attacks.search import noise
from robustray.tasks.attacks.settings import Norm


class Geometry(Protocol):
    """All tensors are (batch, ...); nothing mixes the images of a batch."""

    def draw(self, seed: int, stream: str, restart: Tensor, indices: Tensor, shape: Sequence[int]) -> Tensor:
        """Raw noise of the random start, before mask and `start`, on the device of `indices`."""
        ...

    def start(self, drawn: Tensor) -> Tensor:
        """Perturbation of the random start for eps = 1."""
        ...

    def direction(self, gradient: Tensor) -> Tensor:
        """Steepest ascent of length 1 in this norm; zero where the gradient is zero."""
        ...

    def project(self, images: Tensor, centre: Tensor, eps: float) -> Tensor:
        """Back into the ball around `centre`, then into [0, 1]."""
        ...

    def size(self, perturbation: Tensor) -> Tensor:
        """(batch,)"""
        ...


class _Linf:
    def draw(self, seed: int, stream: str, restart: Tensor, indices: Tensor, shape: Sequence[int]) -> Tensor:
        return noise.uniform(seed, stream, restart, indices, shape, indices.device).mul_(2).sub_(1)

    def start(self, drawn: Tensor) -> Tensor:
        return drawn

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def project(self, images: Tensor, centre: Tensor, eps: float) -> Tensor:
        return images.clamp(min=(centre - eps).clamp_(min=0), max=(centre + eps).clamp_(max=1))

    def size(self, perturbation: Tensor) -> Tensor:
        return perturbation.flatten(1).abs().amax(dim=1)


class _L2:
    def draw(self, seed: int, stream: str, restart: Tensor, indices: Tensor, shape: Sequence[int]) -> Tensor:
        return noise.normal(seed, stream, restart, indices, shape, indices.device)

    def start(self, drawn: Tensor) -> Tensor:
        return self.direction(drawn)

    def direction(self, gradient: Tensor) -> Tensor:
        # Scaled by the largest entry first, the norm lies in [1, sqrt(d)]: no floor is needed, and none weakens the
        # step where gradients are tiny (confident images: 1e-12; squares underflow below 1e-19).
        flat = gradient.flatten(1)
        largest = flat.abs().amax(dim=1, keepdim=True)
        scaled = flat / torch.where(largest > 0, largest, 1)
        length = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
        return (scaled / torch.where(length > 0, length, 1)).view_as(gradient)

    def project(self, images: Tensor, centre: Tensor, eps: float) -> Tensor:
        perturbation = images - centre
        length = self.size(perturbation).view(-1, *[1] * (images.ndim - 1))
        shrink = torch.where(length > eps, eps / length, 1)
        return (centre + perturbation * shrink).clamp_(0, 1)

    def size(self, perturbation: Tensor) -> Tensor:
        return torch.linalg.vector_norm(perturbation.flatten(1), dim=1)


GEOMETRIES: Mapping[Norm, Geometry] = {"linf": _Linf(), "l2": _L2()}
