"""Patches on images, as `compose.place` puts whole canvases there, sampled from the square alone.

Beside its square a canvas is empty, and beside its canvas too: the same picture comes from the square by itself, with
half of the work, and most of a step's that the network does not do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from robustray.tasks.compose.place import blended


def central(canvases: Tensor, side: int) -> Tensor:
    """The squares (k, channels, side, side) of canvases (k, channels, height, width)."""
    top, left = ((length - side) // 2 for length in canvases.shape[2:])
    return canvases[:, :, top : top + side, left : left + side]


def stamped(images: Tensor, squares: Tensor, slots: Tensor, maps: Tensor) -> Tensor:
    """Images (batch, channels, side, side) in [0, 1], each with one of the squares (k, channels, s, s) at its place.

    slots: (batch,) int64, which square. maps: (batch, 2, 3), of `Placement.maps`: from places of the image to those of
    a canvas of its size, of which the square is the centre. Gradients reach the squares.
    """
    length, side = images.shape[-1], squares.shape[-1]
    start = (length - side) // 2
    centre = (2 * start + side) / length - 1  # of the square, in coordinates of the canvas: not 0 where it can't be
    offset = maps.new_tensor([[0.0, 0.0, centre], [0.0, 0.0, centre]])
    grid = functional.affine_grid((maps - offset) * (length / side), list(images.shape), align_corners=False)
    chosen = squares.index_select(0, slots)  # its gradient adds up faster than that of indexing
    moved = functional.grid_sample(chosen, grid, align_corners=False)
    with torch.no_grad():
        whole = squares.new_ones(1, 1, side, side).expand(len(images), -1, -1, -1)
        masks = functional.grid_sample(whole, grid, align_corners=False)
    return blended(images, moved, masks)
