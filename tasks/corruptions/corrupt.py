"""Corruptions of batches, with random numbers that belong to the image: the same in any batch, block and retry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from robustray.tasks.attacks.search import noise
from robustray.tasks.corruptions.tables import CORRUPTIONS, PARAMETERS, SEVERITIES, TABLES, Table
from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest


def corrupt(images: Tensor, name: str, severity: int, *, table: Table, seed: int, indices: Tensor) -> Tensor:
    """Images (batch, channels, height, width) in [0, 1], corrupted; the result lies in [0, 1] and is not rounded.

    severity: 1 to 5. table: whose parameters. indices: (batch,) int64, positions of the images in their split, on which
    random numbers depend (with seed, corruption and severity).

    Raises: InputError for a corruption, severity or table that there is not.
    """
    if name not in CORRUPTIONS:
        raise InputError(f"there is no corruption {name!r}{nearest(name, CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise InputError(f"severity must be 1 to 5, got {severity!r}")
    if table not in TABLES:
        raise InputError(f"there is no table of corruptions {table!r}{nearest(table, TABLES)}")

    def drawn() -> Tensor:
        return noise.normal(seed, f"corruption {name} {severity}", 0, indices, images.shape[1:], images.device)

    return _HOW[name](images, PARAMETERS[name][table][severity - 1], drawn).clamp(0, 1)


Draw = Callable[[], Tensor]


def gaussian_noise(images: Tensor, deviation: float, drawn: Draw) -> Tensor:
    """Independent normal numbers on every entry."""
    return images + deviation * drawn()


def brightness(images: Tensor, added: float, drawn: Draw) -> Tensor:
    """`added` to the value (the largest channel) at equal hue and saturation; black becomes grey."""
    value = images.amax(dim=1, keepdim=True)
    raised = (value + added).clamp(0, 1)
    return torch.where(value > 0, images * (raised / value.clamp_min(1e-12)), raised)


def contrast(images: Tensor, factor: float, drawn: Draw) -> Tensor:
    """Every channel drawn to its own mean over the image."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return mean + factor * (images - mean)


_HOW: Mapping[str, Callable[[Tensor, float, Draw], Tensor]] = {
    "gaussian-noise": gaussian_noise,
    "brightness": brightness,
    "contrast": contrast,
}
