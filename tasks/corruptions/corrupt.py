"""Corruptions of batches, with random numbers that belong to the image: the same in any batch, block and retry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from robustray.tasks.corruptions import blurs, digital, noises, weather
from robustray.tasks.corruptions.draws import Draws
from robustray.tasks.corruptions.tables import ALL, FROST, PARAMETERS, SEVERITIES, TABLES, Table
from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest

SMALLEST = 8
"""Pixels of the shorter side from which on every corruption is defined."""
CHUNK = 64 * 32 * 32
"""Pixels that are corrupted at once: many small images together, large ones one by one. No result depends on it."""


@torch.no_grad()
def corrupt(images: Tensor, name: str, severity: int, *, table: Table, seed: int, indices: Tensor) -> Tensor:
    """Images (batch, 1 or 3, height, width) in [0, 1], corrupted, float32; in [0, 1] as well, and not rounded.

    name: one of `tables.ALL`. severity: 1 to 5. table: whose parameters, "imagenet-c" (made for images of about 224
    pixels) or "cifar10-c" (about 32). indices: (batch,) int64, positions of the images in their split, on which random
    numbers depend (with seed, corruption and severity).

    Definitions: Hendrycks and Dietterich, arXiv:1903.12261, section 3, and their generators; where those go through
    8-bit values (shot noise, glass blur, snow's flakes, pixelate, JPEG), so does this. No gradient flows through.

    Raises: InputError for a corruption, severity or table that there is not, and for what are no images in [0, 1].
    """
    if name not in ALL:
        raise InputError(f"there is no corruption {name!r}{nearest(name, ALL)}")
    if severity not in SEVERITIES:
        raise InputError(f"severity must be 1 to 5, got {severity!r}")
    if table not in TABLES:
        raise InputError(f"there is no table of corruptions {table!r}{nearest(table, TABLES)}")
    _check(images, indices)
    images = images.to(torch.float32)
    indices = indices.to(images.device)
    parameters = PARAMETERS[name][table][severity - 1]
    done = torch.empty_like(images, memory_format=torch.contiguous_format)
    size = max(1, CHUNK // (images.shape[2] * images.shape[3]))
    for first in range(0, len(images), size):
        part = slice(first, first + size)
        draws = Draws(seed, f"corruption {name} {severity}", indices[part])
        torch.clamp(_HOW[name](images[part], draws, *parameters), 0, 1, out=done[part])
    return done


def _check(images: Tensor, indices: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
        raise InputError(
            f"images to corrupt must be floats (batch, 1 or 3, height, width), got {images.dtype} {tuple(images.shape)}"
        )
    if min(images.shape[2:]) < SMALLEST:
        raise InputError(f"images of {images.shape[2]}x{images.shape[3]} are too small to be corrupted: {SMALLEST} up")
    if len(images) and not (images.amin() >= 0 and images.amax() <= 1):
        raise InputError(
            f"images to corrupt must be in [0, 1], got {float(images.min()):g} to {float(images.max()):g}: divide "
            "8-bit ones by 255, and corrupt before any normalisation"
        )
    if indices.shape != (len(images),) or indices.dtype != torch.int64:
        raise InputError(f"indices must be int64 ({len(images)},), got {indices.dtype} {tuple(indices.shape)}")


_HOW: Mapping[str, Callable[..., Tensor]] = {
    "gaussian-noise": noises.gaussian_noise,
    "shot-noise": noises.shot_noise,
    "impulse-noise": noises.impulse_noise,
    "defocus-blur": blurs.defocus_blur,
    "glass-blur": blurs.glass_blur,
    "motion-blur": blurs.motion_blur,
    "zoom-blur": blurs.zoom_blur,
    "snow": weather.snow,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic-transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg-compression": digital.jpeg_compression,
    FROST: weather.procedural_frost,
}
"""Corruption -> function of images, draws and the parameters of a severity; what it returns may leave [0, 1]."""
