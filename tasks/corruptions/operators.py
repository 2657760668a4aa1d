"""Filters along one axis as matrices, with whatever happens at the border built in; and a zoom into the middle.

A separable filter is two matrix products, rows @ image @ columns.T, exact at every border and for any width.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate


def applied(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    """Images (..., height, width) through `rows` (new height, height) and `columns` (new width, width)."""
    return torch.matmul(rows.to(images.device), images) @ columns.T.to(images.device)


def zoomed(images: Tensor, factor: float) -> Tensor:
    """The middle of images (batch, channels, height, width), enlarged by `factor` to their own size.

    Linear interpolation between the corners of the middle, the smallest that covers all when it is enlarged; what is
    then too much is cut off on all sides.
    """
    size = images.shape[2:]
    kept = [math.ceil(side / factor) for side in size]
    enlarged = [round(few * factor) for few in kept]
    top, left = ((side - few) // 2 for side, few in zip(size, kept, strict=True))
    middle = images[:, :, top : top + kept[0], left : left + kept[1]]
    large = interpolate(middle, enlarged, mode="bilinear", align_corners=True)
    top, left = ((many - side) // 2 for side, many in zip(size, enlarged, strict=True))
    return large[:, :, top : top + size[0], left : left + size[1]]


@functools.lru_cache(maxsize=64)
def gaussian(side: int, sigma: float, *, mode: str, truncate: float) -> Tensor:
    """(side, side): a Gaussian filter of standard deviation `sigma` pixels, cut off at `truncate` of them.

    mode: what is beyond the border, as SciPy calls it ("nearest", "reflect").
    """
    from scipy.ndimage import gaussian_filter1d

    return _tensor(gaussian_filter1d(np.eye(side), sigma, axis=0, mode=mode, truncate=truncate))


@functools.lru_cache(maxsize=64)
def line(side: int, weights: tuple[float, ...]) -> Tensor:
    """(side, side): a filter with these weights, an odd number of them; mirrored at its border pixels."""
    from scipy.ndimage import correlate1d

    return _tensor(correlate1d(np.eye(side), weights, axis=0, mode="mirror"))


@functools.lru_cache(maxsize=64)
def members(side: int, small: int) -> Tensor:
    """(small, side) of 0 and 1: which pixels of an axis a pixel of the axis shrunk to `small` is the mean of.

    Pillow's box filter: a pixel is in where its middle is. Sums of 8-bit values by it are exact.
    """
    scale = side / small
    middles = (np.arange(small) + 0.5) * scale
    offset = (np.arange(side) + 0.5 - middles[:, None]) / scale
    return _tensor((offset > -0.5) & (offset <= 0.5))


def _tensor(matrix: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))
