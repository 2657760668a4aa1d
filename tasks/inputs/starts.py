"""Where optimisations start when it is not at an image: noise by position, the same in any batch, block and retry."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustray.tasks.attacks.search import noise
from robustray.tasks.attacks.search.norms import GEOMETRIES

NOISE = 1 / 20
"""Standard deviation of the noise around mid-grey (public notebooks of arXiv:1906.00945)."""


def grey_noise(seed: int, what: str, indices: Tensor, shape: Sequence[int]) -> Tensor:
    """0.5 + N(0, 1) / 20, clipped to [0, 1]: (batch, *shape) float32 on the device of `indices`.

    indices: (batch,) int64; the start of an image depends on (seed, what, its index) and on nothing else.
    """
    drawn = noise.normal(seed, what, 0, indices, shape, indices.device)
    return torch.clamp(0.5 + NOISE * drawn, 0, 1)


def on_sphere(images: Tensor, eps: float, *, seed: int, what: str, number: int, indices: Tensor) -> Tensor:
    """A random point at l2 distance eps from each image (batch, ...), clipped to [0, 1].

    indices: (batch,) int64; the point of an image depends on (seed, what, number, its index) and on nothing else.
    """
    drawn = noise.normal(seed, what, number, indices, images.shape[1:], images.device)
    return GEOMETRIES["l2"].project(images + eps * GEOMETRIES["l2"].direction(drawn), images, eps)
