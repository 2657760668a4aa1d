"""Targets from outside all training classes, drawn by (seed, kind, number): no class code can describe them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from robustray.tasks.lab.seeds import stream
from robustray.tasks.studies.representations.kinds import STRANGE

GRID = 4


def strange_image(kind: str, number: int, shape: Sequence[int], *, seed: int) -> Tensor:
    """(channels, height, width) float32 in [0, 1]."""
    generator = stream(seed, "strange", STRANGE.index(kind), number)
    channels, height, width = shape
    if kind == "noise":
        return torch.from_numpy(generator.uniform(size=tuple(shape))).float()
    if kind == "texture":
        coarse = torch.from_numpy(generator.uniform(size=(1, channels, GRID, GRID))).float()
        smooth = functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
        return smooth[0].clamp(0, 1)
    colors = torch.from_numpy(generator.uniform(size=(2, channels, 1, 1))).float()
    image = colors[0].expand(channels, height, width).clone()
    across = bool(generator.integers(2))
    length = height if across else width
    thick = max(1, length // 8)
    for start in generator.integers(0, length - thick + 1, size=int(generator.integers(3, 6))).tolist():
        if across:
            image[:, start : start + thick] = colors[1]
        else:
            image[:, :, start : start + thick] = colors[1]
    return image
