"""Weather: snow, fog, and a frost that is computed."""

from __future__ import annotations

import torch
from torch import Tensor

from robustray.tasks.corruptions import operators
from robustray.tasks.corruptions.blurs import smeared
from robustray.tasks.corruptions.draws import Draws

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def snow(
    images: Tensor,
    draws: Draws,
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    weight: float,
) -> Tensor:
    """A whitened image, and flakes: enlarged noise above a threshold, smeared downwards, once more turned round."""
    height, width = images.shape[-2:]
    flakes = operators.zoomed(mean + deviation * draws.normal(1, height, width), zoom)
    flakes = (flakes.masked_fill_(flakes < threshold, 0).clamp_(max=1) * 255).floor_() / 255
    flakes = smeared(flakes, draws.within(-135, -45, stream=1), int(radius), sigma)
    flakes = (flakes * 255).round_() / 255
    whitened = torch.maximum(images, grey(images) * 1.5 + 0.5)
    return weight * images + (1 - weight) * whitened + flakes + flakes.rot90(2, (2, 3))


def grey(images: Tensor) -> Tensor:
    """(batch, 1, height, width)."""
    if images.shape[1] == 1:
        return images
    return (images * torch.tensor(LUMINANCE).to(images)[:, None, None]).sum(dim=1, keepdim=True)


def fog(images: Tensor, draws: Draws, strength: float, decay: float) -> Tensor:
    """A fractal of light is added, and the sum brought back to the image's own largest value."""
    largest = images.amax(dim=(1, 2, 3), keepdim=True)
    height, width = images.shape[-2:]
    light = fractal(draws, max(images.shape[1:]), decay)[:, None, :height, :width]
    return (images + strength * light) * (largest / (largest + strength))


def fractal(draws: Draws, side: int, decay: float, *, stream: int = 0) -> Tensor:
    """Diamonds and squares (Fournier, Fussell and Carpenter, CACM 25, 1982), (batch, n, n) from 0 to 1.

    n: the power of two from `side` up. Each half-size step has random parts that are weaker by decay squared (their
    amplitude enters twice in the benchmark's code); the field goes on at the opposite border.
    """
    size = 1 << (side - 1).bit_length()
    drawn = draws.uniform(size, size, stream=stream).mul_(2).sub_(1)
    field = torch.zeros_like(drawn)
    step, amplitude = size, 100.0
    while step >= 2:
        half = step // 2
        corners, random = field[:, ::step, ::step], amplitude**2 * drawn
        across = corners + corners.roll(-1, 1)
        across = across + across.roll(-1, 2)
        field[:, half::step, half::step] = across / 4 + random[:, half::step, half::step]
        middles = field[:, half::step, half::step]
        beside = middles + middles.roll(1, 1) + corners + corners.roll(-1, 2)
        field[:, ::step, half::step] = beside / 4 + random[:, ::step, half::step]
        below = middles + middles.roll(1, 2) + corners + corners.roll(-1, 1)
        field[:, half::step, ::step] = below / 4 + random[:, half::step, ::step]
        step, amplitude = half, amplitude / decay
    field -= field.amin(dim=(1, 2), keepdim=True)
    return field / field.amax(dim=(1, 2), keepdim=True)


def procedural_frost(images: Tensor, draws: Draws, weight: float, frost: float) -> Tensor:
    """The image, dimmed, under ridges of ice: three fractals folded at their middle height, in a bluish white."""
    height, width = images.shape[-2:]
    ice = torch.zeros_like(images[:, :1])
    for layer, decay in enumerate((1.5, 1.7, 2.0)):
        field = fractal(draws, max(height, width), decay, stream=layer)[:, None, :height, :width]
        ice = torch.maximum(ice, (1 - (2 * field - 1).abs()) ** 3)
    if images.shape[1] == 3:
        ice = ice * torch.tensor((0.86, 0.94, 1.0)).to(images)[:, None, None]
    return weight * images + frost * ice
