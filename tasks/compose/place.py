"""Things on images: one affine map per image, the same for a canvas and its mask, with gradients to the canvas.

As arXiv:2012.12235 places its patches: rotation, shift and scale drawn uniformly, bilinear. Draws depend on (seed,
draw, image index), never on a batch; `draw` counts the times an image is placed (steps of a design).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from robustray.tasks.attacks.search import noise
from robustray.tasks.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a thing may land. Defaults: those of the paper's release, for CIFAR-10 and ImageNet alike."""

    rotation: float = 45.0
    """Degrees, uniform in ± this."""
    shift: float = 0.3
    """Share of the image's side, uniform in ± this, per axis. With 0.3 a thing is partly cut off in some draws."""
    scale: tuple[float, float] = (0.9, 1.1)
    """Uniform between these; 1 is the size in the canvas."""

    def __post_init__(self) -> None:
        if not (0 <= self.rotation <= 180 and math.isfinite(self.rotation)):
            raise InputError(f"rotation must be within 0 and 180 degrees, got {self.rotation:g}")
        if not 0 <= self.shift <= 1:
            raise InputError(f"shift must be a share of the side in [0, 1], got {self.shift:g}")
        low, high = self.scale
        if not 0 < low <= high or not math.isfinite(high):
            raise InputError(f"scale must be (smallest, largest), both above 0, got {self.scale}")

    def maps(self, seed: int, draw: int | Tensor, indices: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """(batch, 2, 3): for each image the map from its places to those of the canvas, in [-1, 1] coordinates.

        indices: (batch,) int64, positions of the images in their split.
        """
        drawn = noise.uniform(seed, "placement", draw, indices, (4,), device)
        angle = (2 * drawn[:, 0] - 1) * math.radians(self.rotation)
        shift = (2 * drawn[:, 1:3] - 1) * (2 * self.shift)  # the side is 2 in these coordinates
        low, high = self.scale
        size = low + (high - low) * drawn[:, 3]
        cosine, sine = angle.cos() / size, angle.sin() / size
        # a place p of the image shows the canvas at R(-angle) (p - shift) / size
        rows = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)
        return torch.cat([rows, -rows @ shift[:, :, None]], dim=2)


FIXED = Placement(rotation=0.0, shift=0.0, scale=(1.0, 1.0))
"""The thing stays where the canvas has it."""


def placed(canvases: Tensor, masks: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Canvases (batch or 1, channels, height, width) and masks (1 or as many, 1, height, width) through the maps.

    Images are square, or rotations shear. Both are sampled bilinearly at the same places, with nothing outside: a
    nearest mask beside a bilinear canvas leaves dark rims. Canvases are weighted by their mask first, so that what lies
    beside a thing on its canvas never shines through at its edge (the paper's release weights afterwards). Returns:
    weighted canvases, and masks in [0, 1].
    """
    batch = len(maps)
    both = torch.cat([canvases * masks, masks.expand(len(canvases), -1, -1, -1)], dim=1).expand(batch, -1, -1, -1)
    grid = functional.affine_grid(maps, [batch, *both.shape[1:]], align_corners=False)
    moved = functional.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved[:, :-1], moved[:, -1:]


def blended(images: Tensor, weighted: Tensor, masks: Tensor) -> Tensor:
    """What `placed` gives, on images (batch, channels, height, width) in [0, 1]; the result stays there."""
    return (weighted + (1 - masks) * images).clamp(0, 1)


def centred_square(height: int, width: int, side: int) -> Tensor:
    """A mask (1, 1, height, width) that is 1 on the central square of `side` pixels. Raises: InputError."""
    if not 1 <= side <= min(height, width):
        raise InputError(f"a square of {side} pixels does not fit into images of {height}x{width}")
    mask = torch.zeros(1, 1, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    mask[:, :, top : top + side, left : left + side] = 1
    return mask


def as_canvas(patches: Sequence[Tensor] | Tensor, height: int, width: int) -> Tensor:
    """Square patches (k, channels, side, side) in the centre of canvases (k, channels, height, width) of zeros."""
    stack = torch.stack(list(patches))
    side = stack.shape[-1]
    canvas = torch.zeros(*stack.shape[:2], height, width, dtype=stack.dtype, device=stack.device)
    top, left = (height - side) // 2, (width - side) // 2
    canvas[:, :, top : top + side, left : left + side] = stack
    return canvas
