"""Seeds of generations, and what is done to pictures before they are mended. Nothing here knows a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from robustray.tasks.data.images import ImageData
from robustray.tasks.inputs.starts import grey_noise
from robustray.tasks.lab.seeds import stream
from robustray.tasks.studies.synthesis.kinds import Law

RIDGE = 1e-4
"""Added to the variances of a class (public code of arXiv:1906.09453)."""
EDGE = 0.4
"""Share of the fastest change of an image; where it changes faster than that, its drawing has a line."""
NUMBERS = 1 << 20
"""More seeds than anyone draws of one class: seed `number` of a class has the noise number class * this + number."""


def seed_images(data: ImageData, law: Law, items: Sequence[Sequence[int]], *, factor: int, seed: int) -> Tensor:
    """Seeds (b, channels, height, width) in [0, 1] of [class, number]; decided by (seed, class, number) and the law.

    "class": a draw from N(mean, covariance + 1e-4 I) of the class's images, averaged over squares of side `factor`,
    clipped, and enlarged by repeating pixels. "noise": N(0, 1) / 20 around grey, which knows no class.
    """
    if law == "noise":
        places = torch.tensor([label * NUMBERS + number for label, number in items])
        return grey_noise(seed, "seed image", places, data.shape)
    channels, height, width = data.shape
    laws: dict[int, Gaussian] = {}
    rows = []
    for label, number in items:
        if label not in laws:
            small = reduced(data.batch(np.flatnonzero(data.labels == label))[0], factor)
            laws[label] = Gaussian(small.flatten(1).double().numpy())
        rows.append(laws[label].draw(stream(seed, "seed image", label, number)))
    drawn = torch.from_numpy(np.stack(rows)).float().view(-1, channels, height // factor, width // factor)
    return enlarged(drawn.clamp(0, 1), factor)


class Gaussian:
    """N(mean, biased covariance + RIDGE * I) of images (n, d).

    A draw is mean + X'u / sqrt(n) + sqrt(RIDGE) v, with X the centred images and u, v standard Gaussian: exactly that
    law, without a d x d matrix.
    """

    def __init__(self, images: NDArray[np.float64]) -> None:
        self._mean = images.mean(0)
        self._centred = (images - self._mean) / np.sqrt(len(images))

    def draw(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """(d,): a draw from the Gaussian."""
        u, v = (generator.normal(size=size) for size in self._centred.shape)
        return self._mean + u @ self._centred + np.sqrt(RIDGE) * v


def reduced(images: Tensor, factor: int) -> Tensor:
    """Averages over squares of side `factor`: (b, c, h, w) -> (b, c, h / factor, w / factor)."""
    return functional.avg_pool2d(images, factor)


def inconsistency(images: Tensor, small: Tensor, factor: int) -> NDArray[np.float64]:
    """(b,) l2 distance of the reduced images from the small ones, relative to these: what super-resolution forgot."""
    away = (reduced(images, factor) - small).double().flatten(1).norm(dim=1)
    return (away / small.double().flatten(1).norm(dim=1).clamp_min(1e-12)).numpy()


def enlarged(images: Tensor, factor: int) -> Tensor:
    """Every pixel becomes a square of side `factor`."""
    return images.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


def bicubic(images: Tensor, factor: int) -> Tensor:
    """The baseline of super-resolution: interpolated, clipped to [0, 1]."""
    larger = functional.interpolate(images, scale_factor=factor, mode="bicubic", align_corners=False)
    return larger.clamp(0, 1)


def hole_places(indices: Sequence[int], shape: Sequence[int], side: int, *, seed: int) -> NDArray[np.int64]:
    """(b, 2): row and column of each image's hole, uniform over all places inside (channels, height, width)."""
    room = [shape[1] - side + 1, shape[2] - side + 1]
    return np.array([stream(seed, "hole", index).integers(room) for index in indices]).reshape(-1, 2)


def holes(places: NDArray[Any], shape: Sequence[int], side: int) -> Tensor:
    """(b, 1, height, width): 1 inside each image's square, else 0."""
    mask = torch.zeros(len(places), 1, *shape[1:])
    for row, (top, left) in enumerate(places.tolist()):
        mask[row, :, top : top + side, left : left + side] = 1
    return mask


def filled(images: Tensor, hole: Tensor) -> Tensor:
    """The images with their holes filled with the mean of each channel of the whole image."""
    return images * (1 - hole) + images.mean((2, 3), keepdim=True) * hole


def pasted(images: Tensor, known: Tensor, hole: Tensor) -> Tensor:
    """The known pixels put back: `images` inside the hole, `known` outside."""
    return torch.where(hole == 1, images, known)


def outlines(images: Tensor) -> Tensor:
    """Drawings of images: black where brightness changes fastest, white elsewhere; shape (b, c, h, w) as given.

    The length of the Sobel gradient of the channels' mean, above `EDGE` of its largest value in the image. An image of
    one colour gives a white sheet.
    """
    kernel = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    grey = functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across, down = (functional.conv2d(grey, each[None, None]) for each in (kernel, kernel.T))
    length = (across.square() + down.square()).sqrt()
    highest = length.amax((2, 3), keepdim=True)
    # A constant image has a gradient of rounding: that is no line.
    dark = (length > EDGE * highest) & (highest > 1e-4)
    return (1 - dark.to(images.dtype)).expand_as(images).contiguous()
