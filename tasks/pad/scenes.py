"""What the camera sees, by index: where it hangs, what lies below, and in what light. In closed form: ground and pad
are planes, so a pixel's colour is a look-up in a texture, and a pad's texture has its gradient.

Coordinates: x to the right and y upwards in the picture of a camera that is not turned; the pad is at the origin, its
sides along the axes; the ground below it is turned and moved.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from robustray.tasks.attacks.search import noise
from robustray.tasks.pad.settings import Flight

TILE, TEXELS = 8.0, 128
"""The ground repeats itself every so many metres, and has so many texels there."""
PAD_TEXELS = 32
PLAIN = 0.75
"""Grey of the plain pad."""
FACTOR = 2
"""Images are drawn larger by this and averaged."""
_LOWEST = 0.2
"""A flight of 30 steps ends at about this share of its first height: training sees all heights of a flight."""


class Scenes(NamedTuple):
    """Several situations, all (batch, ...) float32."""

    place: Tensor
    """(batch, 2): the camera's x and y."""
    height: Tensor
    """(batch,)"""
    yaw: Tensor
    """(batch,): by how many radians the camera is turned to the left."""
    level: Tensor
    """(batch, 3): light, a factor for red, green and blue."""
    turn: Tensor
    """(batch,): by how many radians the ground is turned to the left."""
    shift: Tensor
    """(batch, 2): where the ground's tiles begin, in tiles."""

    def target(self) -> Tensor:
        """(batch, 2): where the pad is, to the right and upwards in the picture, as a share of the height."""
        return turned(-self.place, -self.yaw) / self.height[:, None]


def turned(points: Tensor, angle: Tensor) -> Tensor:
    """Points (batch, ..., 2), turned to the left by angles (batch,)."""
    shape = (-1, *[1] * (points.ndim - 2))
    cosine, sine = angle.cos().view(shape), angle.sin().view(shape)
    x, y = points.unbind(-1)
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y], dim=-1)


def starts(flight: Flight, seed: int, indices: Tensor) -> Scenes:
    """The situations in which flights begin: (seed, index) decides each, indices (batch,) int64."""
    drawn = noise.uniform(seed, "pad-start", 0, indices, (11,), "cpu")
    height = flight.lowest + (flight.highest - flight.lowest) * drawn[:, 0]
    return _scenes(drawn, height, flight.reach)


def anywhere(flight: Flight, seed: int, indices: Tensor) -> Scenes:
    """Situations of whole flights, for training: all heights, the pad anywhere in the view."""
    drawn = noise.uniform(seed, "pad-anywhere", 0, indices, (11,), "cpu")
    low, high = math.log(_LOWEST * flight.lowest), math.log(flight.highest)
    return _scenes(drawn, (low + (high - low) * drawn[:, 0]).exp(), flight.tangent)


def _scenes(drawn: Tensor, height: Tensor, reach: float) -> Scenes:
    direction, yaw, turn = (2 * math.pi * drawn[:, i] for i in (1, 2, 3))
    offset = reach * height * drawn[:, 4].sqrt()
    tint = 1 - 0.15 * drawn[:, 5:8]
    return Scenes(
        place=offset[:, None] * torch.stack([direction.cos(), direction.sin()], dim=1),
        height=height,
        yaw=yaw,
        level=(0.65 + 0.35 * drawn[:, 8:9]) * tint,
        turn=turn,
        shift=drawn[:, 9:11],
    )


# --- Textures ---------------------------------------------------------------------------------------------------------


def grounds(flight: Flight, seed: int, indices: Tensor) -> Tensor:
    """(batch, 3, TEXELS, TEXELS) in [0, 1]: soft and fine stains on a colour, with clutter; without seams."""
    batch = len(indices)
    base = 0.15 + 0.6 * noise.uniform(seed, "ground-base", 0, indices, (3, 1, 1), "cpu")
    texture = base.expand(-1, -1, TEXELS, TEXELS).clone()
    for cells, strength in ((4, 0.2), (16, 0.2), (64, 0.15)):
        stain = noise.uniform(seed, f"ground-{cells}", 0, indices, (1, cells, cells), "cpu") - 0.5
        texture += strength * _periodic(stain, TEXELS // cells)
    place = (torch.arange(TEXELS) + 0.5) / TEXELS
    things = noise.uniform(seed, "ground-clutter", 0, indices, (flight.clutter, 7), "cpu")
    for thing in range(flight.clutter):
        x, y, across, along = (things[:, thing, i, None] for i in range(4))
        colour = things[:, thing, 4:7, None, None]
        columns = _near(place[None] - x, (0.4 + across) * flight.pad / TILE)
        rows = _near(place[None] - y, (0.4 + along) * flight.pad / TILE)
        there = (rows[:, :, None] & columns[:, None]).view(batch, 1, TEXELS, TEXELS)
        texture = torch.where(there, colour, texture)
    return texture.clamp(0, 1)


def _near(apart: Tensor, size: Tensor) -> Tensor:
    """Within a thing of that size, around the edge of the tile too."""
    return (apart - apart.round()).abs() < size / 2


def _periodic(coarse: Tensor, factor: int) -> Tensor:
    """Enlarged bilinearly, without a seam between the last and the first cell."""
    cells = coarse.shape[-1]
    around = functional.pad(coarse, (0, 1, 0, 1), mode="circular")
    size = cells * factor
    return functional.interpolate(around, (size + 1, size + 1), mode="bilinear", align_corners=True)[..., :size, :size]


def plain_pad() -> Tensor:
    """(1, 3, PAD_TEXELS, PAD_TEXELS), all of one grey."""
    return torch.full((1, 3, PAD_TEXELS, PAD_TEXELS), PLAIN)


def random_pads(seed: int, indices: Tensor) -> Tensor:
    """(batch, 3, PAD_TEXELS, PAD_TEXELS) in [0, 1]: squares of random colours, coarse or fine, one or several sizes."""
    pads = torch.zeros(len(indices), 3, PAD_TEXELS, PAD_TEXELS)
    weights = noise.uniform(seed, "pad-weights", 0, indices, (4, 1, 1, 1), "cpu").pow(3) + 1e-3
    weights = weights / weights.sum(1, keepdim=True)
    for number, cells in enumerate((2, 4, 8, 16)):
        colours = noise.uniform(seed, f"pad-{cells}", 0, indices, (3, cells, cells), "cpu")
        pads += weights[:, number] * functional.interpolate(colours, (PAD_TEXELS, PAD_TEXELS), mode="nearest")
    return pads


# --- What is seen -----------------------------------------------------------------------------------------------------


def drawn(flight: Flight, scenes: Scenes, ground: Tensor, pads: Tensor) -> Tensor:
    """Images (batch, 3, side, side) in [0, 1], differentiable by the pads.

    ground: (batch, 3, TEXELS, TEXELS); pads: (1 or batch, 3, rows, columns); row 0 of a texture is its upper edge.
    """
    batch, fine = len(scenes.height), FACTOR * flight.side
    centres = (torch.arange(fine) + 0.5) / fine * 2 - 1
    picture = torch.stack(torch.meshgrid(centres, -centres, indexing="xy"), dim=-1).expand(batch, -1, -1, -1)
    far = scenes.height.view(-1, 1, 1, 1)
    points = scenes.place.view(-1, 1, 1, 2) + far * flight.tangent * turned(picture, scenes.yaw)
    below = _wrapped(ground, turned(points, -scenes.turn) / TILE + scenes.shift.view(-1, 1, 1, 2))
    on_pad = 2 * points / flight.pad
    inside = (on_pad.abs() <= 1).all(3)[:, None]
    above = functional.grid_sample(
        pads.expand(batch, -1, -1, -1),
        (on_pad * torch.tensor([1.0, -1.0])).clamp(-2, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    image = torch.where(inside, above, below) * scenes.level.view(-1, 3, 1, 1)
    return functional.avg_pool2d(image, FACTOR).clamp(0, 1)


def _wrapped(textures: Tensor, uv: Tensor) -> Tensor:
    """Bilinear colours (batch, 3, h, w) at uv (batch, h, w, 2), v upwards, of textures that repeat themselves."""
    size = textures.shape[-1]
    around = functional.pad(textures, (1, 1, 1, 1), mode="circular")
    u, v = (uv - uv.floor()).unbind(-1)
    texel = torch.stack([u, 1 - v], dim=-1) * size + 1
    return functional.grid_sample(around, 2 * texel / (size + 2) - 1, mode="bilinear", align_corners=False)
