"""Crops and mirror images, for a whole batch at once and by position instead of by history."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robustray.tasks.attacks.search import noise


def crop_flip(pixels: NDArray[Any], *, seed: int, epoch: int, indices: NDArray[np.int64]) -> NDArray[Any]:
    """Each image moved by up to an eighth of its size, black where nothing is left, and mirrored in half of the cases.

    pixels: (b, channels, height, width), any dtype; the result is a new, contiguous array of that dtype.
    indices: (b,) the images' positions in their split: draws depend on (seed, epoch, position), not on the batch.
    """
    height, width = pixels.shape[2:]
    pad_y, pad_x = height // 8, width // 8
    draws = noise.uniform(seed, "crop-flip", epoch, torch.from_numpy(indices), (3,), "cpu").numpy()
    top = (draws[:, 0] * (2 * pad_y + 1)).astype(np.int64)
    left = (draws[:, 1] * (2 * pad_x + 1)).astype(np.int64)
    padded = np.pad(pixels, ((0, 0), (0, 0), (pad_y, pad_y), (pad_x, pad_x)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    moved = windows[np.arange(len(pixels)), :, top, left]  # (b, channels, height, width), a copy
    mirrored = np.flatnonzero(draws[:, 2] < 0.5)
    moved[mirrored] = moved[mirrored, :, :, ::-1]
    return np.ascontiguousarray(moved)
