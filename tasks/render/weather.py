"""Simulated weather, laid over a rendered image by its depth: never used in design.

| weather | what it does | by severity, 1 to 5 |
|---|---|---|
| fog, dust | colour * (1 - exp(-k d)) + image * exp(-k d), d the distance (grey, brown) | k |
| rain, snow | streaks or flakes, smeared along a slanted line, and a veil of light | how many, veil |
| dusk | a low, reddish lamp: drawn again in that light, not laid over | how much light is left |

The strengths are ours, chosen so that 1 is hardly seen and 5 hides most; they were fixed before any design was judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from robustray.tasks.attacks.search import noise
from robustray.tasks.checks import check_choice
from robustray.tasks.errors import InputError
from robustray.tasks.render.cameras import DAY, Light

Weather = Literal["clear", "fog", "dust", "rain", "snow", "dusk"]
WEATHERS: tuple[Weather, ...] = ("fog", "dust", "rain", "snow", "dusk")
"""All but clear."""
STRENGTHS = (1, 2, 3, 4, 5)

_THICKNESS = (0.25, 0.5, 0.9, 1.4, 2.0)
"""k, for distances in units of the one at which things usually are."""
_COLOURS: Mapping[str, tuple[float, float, float]] = {"fog": (0.8, 0.8, 0.82), "dust": (0.75, 0.58, 0.4)}
_PARTICLES = (0.01, 0.02, 0.04, 0.06, 0.09)
"""Share of pixels where a drop or a flake begins."""
_VEIL: Mapping[str, tuple[float, ...]] = {"rain": (0.05, 0.1, 0.15, 0.2, 0.25), "snow": (0.08, 0.16, 0.25, 0.35, 0.45)}
_STREAK: Mapping[str, float] = {"rain": 0.16, "snow": 0.05}
"""Length of what a particle leaves, as a share of the image's side."""
_BRIGHT: Mapping[str, float] = {"rain": 0.6, "snow": 1.0}
_DAYLIGHT = (0.8, 0.65, 0.5, 0.35, 0.2)
"""Of a noon's light, what dusk leaves."""


def light_in(weather: Weather, severity: int, day: Light = DAY) -> Light:
    """In what light a scene is drawn: the day's, but for dusk."""
    _check(weather, severity)
    if weather != "dusk":
        return day
    left = _DAYLIGHT[severity - 1]
    return Light(
        direction=(0.9, 0.3, 0.3),
        ambient=(left * day.ambient[0], left * day.ambient[1], left * day.ambient[2]),
        lamp=(left * day.lamp[0], 0.75 * left * day.lamp[1], 0.5 * left * day.lamp[2]),
    )


def weathered(
    images: Tensor, depth: Tensor, weather: Weather, severity: int, *, unit: float, seed: int, indices: Tensor
) -> Tensor:
    """The images (batch, channels, height, width) in that weather, in [0, 1]; as they are when it is clear, and in
    dusk, which is drawn.

    depth: (batch, height, width), along the line of sight. unit: the depth at which things usually are. indices:
    (batch,) int64; drops and flakes depend on (seed, weather, index) and on the severity, never on the batch.

    Raises: InputError for a weather or a severity that there is not.
    """
    _check(weather, severity)
    if weather in ("clear", "dusk"):
        return images
    if weather in ("fog", "dust"):
        clear = torch.exp(-_THICKNESS[severity - 1] * depth / unit)[:, None]
        colour = torch.tensor(_COLOURS[weather], dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
        return (images * clear + colour * (1 - clear)).clamp(0, 1)
    veil = _VEIL[weather][severity - 1]
    falling = _BRIGHT[weather] * _particles(images, weather, severity, seed, indices)
    veiled = images * (1 - veil) + 0.85 * veil
    return (veiled * (1 - falling) + falling).clamp(0, 1)


def _particles(images: Tensor, weather: str, severity: int, seed: int, indices: Tensor) -> Tensor:
    """(batch, 1, height, width) in [0, 1]: how much of each pixel something falling covers."""
    batch, _, height, width = images.shape
    drawn = noise.uniform(seed, f"weather-{weather}", severity, indices, (height * width + 1,), images.device)
    begins = (drawn[:, 1:] < _PARTICLES[severity - 1]).to(images.dtype).view(1, batch, height, width)
    slant = (drawn[:, 0] - 0.5) * (math.pi / 3)  # up to 30 degrees from the vertical, either way
    reach = max(1, round(_STREAK[weather] * height / 2))
    line = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    across = slant.tan()[:, None, None] * line[None, :, None]  # (batch, rows of the kernel, 1)
    kernels = (1 - (line[None, None, :] - across).abs()).clamp(min=0)
    covered = functional.conv2d(begins, kernels[:, None], padding=reach, groups=batch)
    return covered.view(batch, 1, height, width).clamp(max=1)


def _check(weather: str, severity: int) -> None:
    check_choice("weather", weather, ("clear", *WEATHERS))
    if weather != "clear" and severity not in STRENGTHS:
        raise InputError(f"the severity of {weather} must be 1 to 5, got {severity}")
