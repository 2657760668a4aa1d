"""Procedural textures: ten families of patterns that fill the image, of any colours; a target that is all texture.

    textures:train    textures:test,n=500,size=32,seed=1

A family is a kind of pattern and can be told by its form alone: colours, direction, phase and period are drawn anew for
every image. Image i depends on (seed, split, i) and the size only, never on how many there are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.lab.seeds import stream
from robustray.tasks.words import nearest

NUM_IMAGES: Mapping[str, int] = {"train": 2_000, "test": 1_000}
PERIODS = (4.0, 8.0)
"""Least and greatest period of a pattern, in pixels of an image of 32 pixels a side."""
NOISE = 0.04
"""Standard deviation of the noise on every pixel."""

F = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TexturesSource:
    """`textures:SPLIT,option=value,...` as a data set. Raises: InputError for a value that can't be drawn."""

    split: Literal["train", "test"]
    n: int
    """Images; the families take turns."""
    size: int = 32
    """Pixels of a side."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("n", len(FAMILIES), 1_000_000), ("size", 12, 1024), ("seed", 0, 2**32 - 1)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"textures: {name} must be a whole number from {low} to {high:,}, got {value}")

    @property
    def modules(self) -> tuple[str, ...]:
        return ()

    def fingerprint(self) -> tuple[object, ...]:
        return dataclasses.astuple(self)

    def fetch(self, name: str) -> ImageData:
        labels = np.arange(self.n, dtype=np.int64) % len(FAMILIES)
        images = np.stack([draw(self, index) for index in range(self.n)])
        return ImageData(name=name, images=images, labels=labels, classes=tuple(FAMILIES))


def open_source(name: str, rest: str, data_root: str | None) -> TexturesSource:
    """See `data.sources`. Raises: InputError naming the option that can't be read."""
    split, *options = rest.split(",")
    if split not in NUM_IMAGES:
        raise InputError(f"{f'{name}:{rest}'!r} names no split of textures{nearest(split, NUM_IMAGES)}")
    found: dict[str, int] = {"n": NUM_IMAGES[split]}
    for option in options:
        key, _, value = option.partition("=")
        if key not in ("n", "size", "seed"):
            raise InputError(f"there is no option {key!r} of textures{nearest(key, ('n', 'size', 'seed'))}")
        if not value.isdecimal():
            raise InputError(f"textures: {option}: give a whole number")
        found[key] = int(value)
    return TexturesSource(split=cast(Literal["train", "test"], split), **found)


def draw(source: TexturesSource, index: int) -> NDArray[np.uint8]:
    """One image: (3, size, size)."""
    rng = stream(source.seed, f"textures {source.split}", index)
    angle, period = rng.uniform(0, np.pi), rng.uniform(*PERIODS)
    offset = rng.uniform(0, 100, size=2)
    y, x = np.mgrid[: source.size, : source.size] * (32 / source.size)
    u = (np.cos(angle) * x + np.sin(angle) * y + offset[0]) / period
    v = (-np.sin(angle) * x + np.cos(angle) * y + offset[1]) / period
    form = list(FAMILIES.values())[index % len(FAMILIES)](u, v, rng)
    dark, light = rng.uniform(0, 1, size=(2, 3))
    while np.abs(dark - light).max() < 0.35:  # else nothing could be seen
        dark, light = rng.uniform(0, 1, size=(2, 3))
    pixels = dark[:, None, None] + (light - dark)[:, None, None] * form
    pixels = pixels + rng.normal(0, NOISE, size=pixels.shape)
    return cast("NDArray[np.uint8]", np.rint(255 * pixels.clip(0, 1)).astype(np.uint8))


# -- families: places (u along a direction, v across), in periods, each (size, size) -> values in [0, 1] ---------------


def _wave(u: F) -> F:
    return 0.5 + 0.5 * np.sin(2 * np.pi * u)


def _on(condition: NDArray[Any]) -> F:
    return np.asarray(condition, dtype=np.float64)


def stripes(u: F, v: F, rng: np.random.Generator) -> F:
    return _wave(u)


def zigzags(u: F, v: F, rng: np.random.Generator) -> F:
    return _wave(u + 1.2 * np.abs(v / 2 % 1 - 0.5))


def chequers(u: F, v: F, rng: np.random.Generator) -> F:
    return _on((np.floor(u) + np.floor(v)) % 2 < 1)


def grids(u: F, v: F, rng: np.random.Generator) -> F:
    return _on((u % 1 < 0.25) | (v % 1 < 0.25))


def bricks(u: F, v: F, rng: np.random.Generator) -> F:
    shifted = u / 2 + 0.5 * (np.floor(v) % 2)
    return _on((v % 1 > 0.2) & (shifted % 1 > 0.12))


def dots(u: F, v: F, rng: np.random.Generator) -> F:
    return _on((u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.3**2)


def scattered(u: F, v: F, rng: np.random.Generator) -> F:
    """Discs at places of their own."""
    number, width = 14, max(np.ptp(u), np.ptp(v))
    centres = rng.uniform(-0.05, 1.05, size=(number, 2)) * width + [u.min(), v.min()]
    inside = [(u - a) ** 2 + (v - b) ** 2 < 0.42**2 for a, b in centres]
    return _on(np.any(inside, axis=0))


def rings(u: F, v: F, rng: np.random.Generator) -> F:
    a, b = rng.uniform(0.2, 0.8, size=2)
    radius = np.hypot(u - (u.min() + a * np.ptp(u)), v - (v.min() + b * np.ptp(v)))
    return _wave(radius)


def clouds(u: F, v: F, rng: np.random.Generator) -> F:
    """A sum of slow waves of all directions."""
    return _waves(u, v, rng, low=0.25, high=0.5)


def grain(u: F, v: F, rng: np.random.Generator) -> F:
    """A sum of fast waves of all directions."""
    return _waves(u, v, rng, low=1.0, high=1.6)


def _waves(u: F, v: F, rng: np.random.Generator, *, low: float, high: float) -> F:
    angles, phases = rng.uniform(0, 2 * np.pi, size=(2, 12))
    frequencies = rng.uniform(low, high, size=12)
    parts = [
        np.sin(2 * np.pi * f * (np.cos(a) * u + np.sin(a) * v) + p)
        for a, p, f in zip(angles, phases, frequencies, strict=True)
    ]
    total = np.sum(parts, axis=0)
    return cast(F, (total - total.min()) / max(np.ptp(total), 1e-9))


FAMILIES: Mapping[str, Callable[[F, F, np.random.Generator], F]] = {
    family.__name__: family
    for family in (stripes, zigzags, chequers, grids, bricks, dots, scattered, rings, clouds, grain)
}
