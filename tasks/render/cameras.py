"""From where a solid is seen, and in what light: drawn by index, the same on any worker.

Cameras look at the origin with z up; the picture is then shifted along its axes, which moves the solid and not the
direction. Images are square, with pixel (0, 0) at the top left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from robustray.tasks.attacks.search import noise
from robustray.tasks.errors import InputError

NEAREST, FARTHEST = 1.1, 100.0
"""Distances from the middle of a solid of radius 1: all of it lies before the camera, and it can be seen."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """What is drawn for a view: a direction uniform on the sphere, a distance, a shift (arXiv:2012.12235, released
    code, whose solids have about radius 10 and are seen from 20 to 40 units)."""

    nearest: float = 2.0
    """Smallest distance from the middle of the solid, in radii."""
    farthest: float = 3.0
    """Largest distance, in radii."""
    shift: float = 0.15
    """Share of the image's side, uniform in ± this, per axis. The release takes 0.4, which cuts off
    part of most solids of this size."""
    angle: float = 45.0
    """Degrees of the field of view."""

    def __post_init__(self) -> None:
        if not NEAREST <= self.nearest <= self.farthest <= FARTHEST:
            raise InputError(
                f"distances must be within {NEAREST:g} and {FARTHEST:g} radii and in order, got {self.nearest:g} and "
                f"{self.farthest:g}"
            )
        if not 0 <= self.shift <= 0.5:
            raise InputError(f"shift must be a share of the side in [0, 0.5], got {self.shift:g}")
        if not 1 <= self.angle <= 120:
            raise InputError(f"the field of view must be within 1 and 120 degrees, got {self.angle:g}")

    def cameras(self, seed: int, indices: Tensor) -> Cameras:
        """One for each index, (batch,) int64; they depend on (seed, index) and on nothing else."""
        drawn = noise.uniform(seed, "camera", 0, indices, (5,), "cpu").double()
        height, turn = 2 * drawn[:, 0] - 1, 2 * math.pi * drawn[:, 1]
        flat = (1 - height**2).sqrt()
        direction = torch.stack([flat * turn.cos(), flat * turn.sin(), height], dim=1)
        distance = self.nearest + (self.farthest - self.nearest) * drawn[:, 2]
        return Cameras(
            eye=distance[:, None] * direction,
            shift=(2 * drawn[:, 3:5] - 1) * self.shift,
            tangent=math.tan(math.radians(self.angle) / 2),
        )


class Cameras(NamedTuple):
    """Several cameras of one field of view."""

    eye: Tensor
    """(batch, 3) float64: where they are."""
    shift: Tensor
    """(batch, 2) float64: shares of the side by which the picture is moved to the right and upwards."""
    tangent: float
    """Of half the field of view."""

    def some(self, first: int, end: int) -> Cameras:
        """Those from number `first` to before `end`."""
        return Cameras(self.eye[first:end], self.shift[first:end], self.tangent)

    def axes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Right, up and forward, (batch, 3) each, of length 1."""
        forward = -self.eye / self.eye.norm(dim=1, keepdim=True)
        up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(forward)
        right = torch.linalg.cross(forward, up)
        length = right.norm(dim=1, keepdim=True)
        sideways = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand_as(right)
        right = torch.where(length > 1e-6, right / length.clamp(min=1e-6), sideways)  # straight up or down
        return right, torch.linalg.cross(right, forward), forward

    def seen(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where points (n, 3) are in the images, (batch, n, 2) with 0 at the left and upper edge and 1 at the others,
        and how deep along the line of sight, (batch, n)."""
        right, up, forward = self.axes()
        apart = points[None] - self.eye[:, None]
        depth = (apart * forward[:, None]).sum(2)
        x = (apart * right[:, None]).sum(2) / (depth * self.tangent)
        y = (apart * up[:, None]).sum(2) / (depth * self.tangent)
        return torch.stack([(1 + x) / 2 + self.shift[:, :1], (1 - y) / 2 - self.shift[:, 1:]], dim=2), depth


@dataclass(frozen=True, kw_only=True)
class Light:
    """A lamp at infinity and an even light from all sides; matt surfaces without highlights."""

    direction: tuple[float, float, float] = (0.3, 0.4, 0.87)
    """Towards the lamp."""
    ambient: tuple[float, float, float] = (0.45, 0.45, 0.45)
    """Red, green and blue that every facet gets."""
    lamp: tuple[float, float, float] = (0.55, 0.55, 0.55)
    """What a facet that looks towards the lamp gets besides. The sum is at most 1: nothing is cut off."""

    def shade(self, normals: Tensor) -> Tensor:
        """(n, 3) of length 1 -> factors (n, 3) for a texture's colours."""
        towards = torch.tensor(self.direction, dtype=normals.dtype)
        towards = towards / towards.norm()
        facing = (normals @ towards).clamp(min=0)[:, None]
        return torch.tensor(self.ambient, dtype=normals.dtype) + facing * torch.tensor(self.lamp, dtype=normals.dtype)


DAY = Light()
