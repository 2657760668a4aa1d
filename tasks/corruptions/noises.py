"""Noise on every entry of an image by itself: Gaussian, shot (photon) and impulse (salt and pepper)."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from robustray.tasks.corruptions.draws import Draws

LEVELS = 256
"""Values of a pixel before shot noise: the benchmark counts photons of 8-bit images."""


def gaussian_noise(images: Tensor, draws: Draws, deviation: float) -> Tensor:
    """Independent normal numbers on every entry."""
    return images + deviation * draws.normal(*images.shape[1:])


def impulse_noise(images: Tensor, draws: Draws, share: float) -> Tensor:
    """Every entry becomes black or white, each with half the probability `share`."""
    drawn = draws.uniform(*images.shape[1:])
    return images.masked_fill(drawn < share, 0).masked_fill_(drawn < share / 2, 1)


def shot_noise(images: Tensor, draws: Draws, photons: float) -> Tensor:
    """Each entry, rounded to 8 bits, is replaced by Poisson(photons × value) / photons.

    Drawn by Walker's alias method (Electronics Letters 10, 1974): one uniform number chooses a column of the entry's
    level and, with what is left of it, between the column's own value and its alias.
    """
    chance, alias = (table.to(images.device) for table in _columns(int(photons)))
    width = chance.shape[1]
    drawn = draws.uniform(*images.shape[1:]).mul_(width)
    column = drawn.floor()
    place = (images * (LEVELS - 1)).round_().mul_(width).add_(column).to(torch.int32)
    own = drawn.sub_(column) < chance.view(-1)[place]
    return torch.where(own, column / photons, alias.view(-1)[place])


@functools.lru_cache(maxsize=16)
def _columns(photons: int) -> tuple[Tensor, Tensor]:
    """Alias tables (levels, columns), float32: the probability of a column's own value, and its other value.

    Counts from `photons` up are all white. The probabilities are right to the resolution of the draws, 2^-24.
    """
    from scipy.special import gammaln, xlogy

    width = 1 << photons.bit_length()
    counts = np.arange(photons)
    rate = photons * np.arange(LEVELS)[:, None] / (LEVELS - 1)
    mass = np.zeros((LEVELS, width))
    mass[:, :photons] = np.exp(xlogy(counts, rate) - rate - gammaln(counts + 1))
    mass[:, photons] = np.maximum(0, 1 - mass[:, :photons].sum(axis=1))
    mass *= width
    chance, alias = np.ones_like(mass), np.tile(np.arange(width), (LEVELS, 1))
    rows, open_ = np.arange(LEVELS), np.ones(mass.shape, dtype=bool)
    for _ in range(width - 1):  # the poorest column is filled up to 1 by the richest one
        poor = np.where(open_, mass, np.inf).argmin(axis=1)
        rich = np.where(open_, mass, -np.inf).argmax(axis=1)
        chance[rows, poor], alias[rows, poor] = mass[rows, poor], rich
        mass[rows, rich] -= 1 - mass[rows, poor]
        open_[rows, poor] = False
    values = np.minimum(alias, photons) / photons
    return torch.from_numpy(chance.astype(np.float32)), torch.from_numpy(values.astype(np.float32))
