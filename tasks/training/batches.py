"""Which images a step sees, and how they come: held-out images are taken away here, once and for all."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustray.tasks.data.images import ImageData
from robustray.tasks.lab import seeds
from robustray.tasks.training.augment import crop_flip
from robustray.tasks.training.settings import TrainSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What one rank sees in one step. b = batch_size / ranks."""

    images: Tensor
    """(b, channels, height, width) float32 in [0, 1], augmented."""
    labels: Tensor
    """(b,) int64"""
    indices: Tensor
    """(b,) int64: positions in the data set."""
    step: int
    epoch: int
    """Counted from 0."""


class Batches:
    """The batches of a training, by step. Nothing depends on which were asked for before.

    rank, num_ranks: this process gets the rank-th of num_ranks equal parts of every batch.
    """

    def __init__(self, spec: TrainSpec, data: ImageData, device: str, *, rank: int = 0, num_ranks: int = 1) -> None:
        self._spec, self._data, self._device = spec, data, device
        self.held_out, self.training = split(spec, len(data))
        self.steps_per_epoch = len(self.training) // spec.batch_size
        self.num_steps = spec.epochs * self.steps_per_epoch
        size = spec.batch_size // num_ranks
        self._first, self._size = rank * size, size
        self._order = functools.lru_cache(maxsize=1)(self._shuffled)

    def __getitem__(self, step: int) -> Batch:
        """step: 0 .. num_steps - 1."""
        epoch, position = divmod(step, self.steps_per_epoch)
        begin = position * self._spec.batch_size + self._first
        chosen = self._order(epoch)[begin : begin + self._size]
        pixels = self._data.images[chosen]  # a copy: the array may be shared memory
        if self._spec.augmentation == "crop-flip":
            pixels = crop_flip(pixels, seed=self._spec.seed, epoch=epoch, indices=chosen)
        # A fresh tensor with the ordinary strides, as `ImageData.batch` makes and for the same reason.
        images = torch.empty(pixels.shape, dtype=torch.float32)
        images.copy_(torch.from_numpy(pixels))
        if self._data.images.dtype == np.uint8:
            images.div_(255)
        return Batch(
            images=images.to(self._device),
            labels=torch.from_numpy(self._data.labels[chosen]).to(self._device),
            indices=torch.from_numpy(chosen).to(self._device),
            step=step,
            epoch=epoch,
        )

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return self.training[seeds.stream(self._spec.seed, "shuffle", epoch).permutation(len(self.training))]


def split(spec: TrainSpec, num_images: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(held out, training): positions, each in rising order; together all of them, fixed by the seed."""
    order = seeds.stream(spec.seed, "validation").permutation(num_images).astype(np.int64)
    count = spec.num_validation(num_images)
    return np.sort(order[:count]), np.sort(order[count:])
