"""How scenes are drawn: whole chunks at once, by formulas of the pixel's place.

Coordinates: a pixel's place is (x, y) in [0, 1], x to the right, y down. An object's own coordinates (u, v) have its
centre at 0, its radius as unit, and its rotation taken out. With several samples per pixel, what is averaged are three
plain numbers (how much of the pixel an object covers, how much of that is dark stripe, the background's wave where it
shows), from which the colour follows exactly: nothing else differs between the samples of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from robustray.tasks.attacks.search import noise
from robustray.tasks.data.images import boxes_of

MAX_OBJECTS = 3
NUM_SHAPES = 9
_GROUP = 3
"""Shapes in a group: shape s is of group s // 3."""
_DRAWS = 20
"""Random numbers about a scene; then `_OF_OBJECT` for each of its objects."""
_OF_OBJECT = 10

F = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scenes:
    """Scenes and the truth about them. Objects are in order, the main one first; absent ones have class -1."""

    images: NDArray[np.uint8]
    """(n, 3, size, size)."""
    labels: Ints
    """(n,): class of the main object."""
    classes: Ints
    """(n, 3): class of each object, or -1."""
    masks: Bools
    """(n, 3, size, size): pixels of which the object shows in at least half; none are shared."""
    boxes: Ints
    """(n, 3, 4): the tightest box of each mask, as `ImageData.boxes`; 0, 0, 0, 0 where there is none."""
    backgrounds: Ints
    """(n,): family of the background, 0 to 8; that of the shape with this number."""
    confusable: Bools
    """(n,): the main object is drawn halfway between its class and its sibling; see `halfway`."""

    def __len__(self) -> int:
        return len(self.labels)

    @staticmethod
    def joined(parts: Sequence[Scenes]) -> Scenes:
        if len(parts) == 1:
            return parts[0]
        return Scenes(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Scenes)})


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One object per scene: arrays (n,)."""

    shape: Ints
    """-1 where there is none."""
    striped: Bools
    x: F
    y: F
    radius: F
    angle: F
    colour: F
    """(n, 3): RGB in [0, 1]."""
    stripe: F
    """(n, 3): of the stripes; darker than a bright colour, brighter than a dark one."""


def draw(
    rows: Ints,
    *,
    stream: str,
    seed: int,
    size: int,
    rho: float,
    num_classes: int,
    multi: float,
    samples: int,
    confusable: float = 0.0,
) -> Scenes:
    """The scenes `rows` of the stream; see `scenes.SceneSettings` and `ConfusableScenes` for the rest."""
    count = _DRAWS + MAX_OBJECTS * _OF_OBJECT
    drawn = noise.uniform(seed, stream, 0, torch.from_numpy(rows), (count,), "cpu").numpy()
    labels = rows % num_classes
    textures_count = num_classes // NUM_SHAPES
    main_shape = labels // textures_count
    main_striped = labels % 2 == 1 if textures_count == 2 else drawn[:, 19] < 0.5

    families = np.where(drawn[:, 0] < rho, main_shape, (drawn[:, 1] * NUM_SHAPES).astype(np.int64))
    objects = place(drawn, main_shape, main_striped, multi)
    classes = np.stack([class_of(placed, textures_count) for placed in objects], axis=1)
    blurred = drawn[:, 14] < confusable
    objects[0] = halfway(objects[0], blurred)

    wave, base, amplitude = background(drawn, families, size, samples)
    images, masks = compose(objects, wave, base, amplitude, size, samples)
    boxes = np.stack([boxes_of(masks[:, k]) for k in range(MAX_OBJECTS)], axis=1)
    return Scenes(
        images=images,
        labels=labels,
        classes=classes,
        masks=masks,
        boxes=boxes,
        backgrounds=families.astype(np.int64),
        confusable=blurred,
    )


def class_of(placed: Placed, textures_count: int) -> Ints:
    """(n,): the class of each object, -1 where there is none."""
    texture = placed.striped.astype(np.int64) if textures_count == 2 else 0
    return np.where(placed.shape < 0, -1, placed.shape * textures_count + texture)


def halfway(placed: Placed, rows: Bools) -> Placed:
    """The same objects, those in `rows` (n,) with stripes of half their contrast, whether they were plain or striped.

    The two siblings of a pair then look exactly alike: which of them the label names cannot be seen.
    """
    faint = np.float32(0.5) * (placed.colour + placed.stripe)
    return replace(placed, striped=placed.striped | rows, stripe=np.where(rows[:, None], faint, placed.stripe))


# -- what is in a scene ------------------------------------------------------------------------------------------------


def place(drawn: F, main_shape: Ints, main_striped: Bools, multi: float) -> list[Placed]:
    """Objects and their places. Alone, the main one may be anywhere in the image; of several, each has a quarter."""
    several = drawn[:, 2] < multi
    number = np.where(several, np.where(drawn[:, 2] < multi * 8 / 11, 2, 3), 1)
    first_quarter = (drawn[:, 3] * 4).astype(np.int64)
    step = np.where(drawn[:, 4] < 0.5, 1, 3)  # the second object's quarter is beside the main one's, or across
    group = main_shape // _GROUP
    other_group = np.where(drawn[:, 5] < 0.5, 1, 2)

    objects = []
    for k in range(MAX_OBJECTS):
        own = drawn[:, _DRAWS + k * _OF_OBJECT : _DRAWS + (k + 1) * _OF_OBJECT]
        quarter = (first_quarter + (0, step, 2)[k]) % 4
        centre_x = np.where(quarter % 2 == 0, 0.28, 0.72) + 0.08 * (own[:, 0] - 0.5)
        centre_y = np.where(quarter // 2 == 0, 0.28, 0.72) + 0.08 * (own[:, 1] - 0.5)
        if k == 0:
            shape, striped = main_shape, main_striped
            radius = np.where(several, 0.20 + 0.05 * own[:, 2], 0.24 + 0.10 * own[:, 2])
            free = 1 - 2 * radius - 0.04
            x = np.where(several, centre_x, radius + 0.02 + free * own[:, 0])
            y = np.where(several, centre_y, radius + 0.02 + free * own[:, 1])
        else:
            its_group = (group + (other_group if k == 1 else 3 - other_group)) % 3
            shape = np.where(k < number, its_group * _GROUP + (own[:, 8] * _GROUP).astype(np.int64), -1)
            striped = own[:, 9] < 0.5
            radius, x, y = 0.12 + 0.05 * own[:, 2], centre_x, centre_y
        bright = own[:, 6] < 0.5
        hue, saturation = own[:, 4], 0.35 + 0.5 * own[:, 5]
        objects.append(
            Placed(
                shape=shape.astype(np.int64),
                striped=striped,
                x=x.astype(np.float32),
                y=y.astype(np.float32),
                radius=radius.astype(np.float32),
                angle=(0.9 * (own[:, 3] - 0.5)).astype(np.float32),
                colour=hsv(hue, saturation, np.where(bright, 0.9, 0.08) + 0.1 * own[:, 7]),
                stripe=hsv(hue, saturation, np.where(bright, 0.35, 0.65) + 0.1 * own[:, 7]),
            )
        )
    return objects


def background(drawn: F, families: Ints, size: int, samples: int) -> tuple[list[F], F, F]:
    """For each sample the wave (n, size, size) in [-1, 1], and the colours (n, 3) between which it varies."""
    fraction = families / NUM_SHAPES
    angle = np.pi * fraction + 0.25 * (drawn[:, 6] - 0.5)
    periods = np.where(families % 3 == 0, 3.0, np.where(families % 3 == 1, 5.0, 7.5)) * (0.9 + 0.2 * drawn[:, 7])
    chequered = np.where(families % 2 == 0, 0.0, 1.0).astype(np.float32)
    across = (2 * np.pi * periods * np.cos(angle)).astype(np.float32)
    down = (2 * np.pi * periods * np.sin(angle)).astype(np.float32)
    phases = (2 * np.pi * drawn[:, 8:10]).astype(np.float32)

    waves = []
    for x, y in sample_grids(size, samples):
        first = np.sin(plane(x, y, across, down, phases[:, 0]))
        second = np.sin(plane(x, y, -down, across, phases[:, 1]))
        second *= chequered[:, None, None]
        second += (1 - chequered)[:, None, None]
        first *= second
        waves.append(first)
    base = hsv(fraction + 0.06 * (drawn[:, 10] - 0.5), 0.35 + 0.25 * drawn[:, 11], 0.45 + 0.20 * drawn[:, 12])
    amplitude = base * (0.18 + 0.14 * drawn[:, 13:14])
    return waves, base, amplitude.astype(np.float32)


def compose(
    objects: Sequence[Placed], waves: Sequence[F], base: F, amplitude: F, size: int, samples: int
) -> tuple[NDArray[np.uint8], Bools]:
    """Images (n, 3, size, size), and the masks (n, objects, size, size) of what shows of each object."""
    count = len(base)
    weight = np.float32(1 / samples**2)
    shows = np.zeros((len(objects), count, size, size), np.float32)
    stripes = np.zeros_like(shows)
    wave = np.zeros((count, size, size), np.float32)
    for (x, y), sample in zip(sample_grids(size, samples), waves, strict=True):
        free = np.ones((count, size, size), bool)
        for k, placed in enumerate(objects):
            for shape in range(NUM_SHAPES):
                rows = np.flatnonzero(placed.shape == shape)
                if not rows.size:
                    continue
                u, v = own_coordinates(placed, rows, x, y)
                here = SHAPE_TESTS[shape](u, v)
                if k:
                    here &= free[rows]
                free[rows] &= ~here
                shows[k, rows] += here
                among = placed.striped[rows]
                stripes[k, rows[among]] += here[among] & on_stripe(v[among])
        wave += sample * free
    shows *= weight
    stripes *= weight
    wave *= weight

    left = 1 - shows.sum(0)
    images = np.empty((count, 3, size, size), np.uint8)
    for channel in range(3):
        value = left * base[:, channel, None, None]
        value += wave * amplitude[:, channel, None, None]
        for k, placed in enumerate(objects):
            if (placed.shape < 0).all():
                continue
            own, other = placed.colour[:, channel, None, None], placed.stripe[:, channel, None, None]
            value += shows[k] * own + stripes[k] * (other - own)
        value *= 255
        images[:, channel] = np.rint(np.clip(value, 0, 255, out=value), out=value)
    masks = shows >= 0.5
    for k in range(1, len(objects)):  # where two objects have half a pixel each, it is the first one's
        masks[k] &= ~masks[:k].any(0)
    return images, np.ascontiguousarray(masks.swapaxes(0, 1))


# -- formulas of the place ---------------------------------------------------------------------------------------------


def sample_grids(size: int, samples: int) -> list[tuple[F, F]]:
    """x (1, 1, size) and y (1, size, 1) of each sample of a pixel."""
    found = []
    for j in range(samples):
        for i in range(samples):
            x = (np.arange(size, dtype=np.float32) + np.float32((i + 0.5) / samples)) / np.float32(size)
            y = (np.arange(size, dtype=np.float32) + np.float32((j + 0.5) / samples)) / np.float32(size)
            found.append((x[None, None, :], y[None, :, None]))
    return found


def plane(x: F, y: F, across: F, down: F, offset: F) -> F:
    """across * x + down * y + offset, of each scene everywhere: one addition per pixel."""
    return cast(F, across[:, None, None] * x + (down[:, None, None] * y + offset[:, None, None]))


def own_coordinates(placed: Placed, rows: Ints, x: F, y: F) -> tuple[F, F]:
    """(u, v) of every pixel in the coordinates of the objects `rows`."""
    radius, angle = placed.radius[rows], placed.angle[rows]
    cosine, sine = (np.cos(angle) / radius).astype(np.float32), (np.sin(angle) / radius).astype(np.float32)
    centre_x, centre_y = placed.x[rows], placed.y[rows]
    u = plane(x, y, cosine, sine, cast(F, -(cosine * centre_x + sine * centre_y)))
    v = plane(x, y, -sine, cosine, cast(F, sine * centre_x - cosine * centre_y))
    return u, v


def on_stripe(v: F) -> Bools:
    """Where the stripes are: along u, more than three to a diameter."""
    place = v * np.float32(1.6)
    return (place - np.floor(place)) < np.float32(0.5)


def _disc(u: F, v: F) -> Bools:
    return u * u + v * v <= np.float32(0.8**2)


def _ring(u: F, v: F) -> Bools:
    square = u * u + v * v
    return (square <= np.float32(0.95**2)) & (square >= np.float32(0.5**2))


def _crescent(u: F, v: F) -> Bools:
    square = u * u + v * v
    # (u - 0.5)^2 + v^2 > 0.7^2, from the square that is there already
    return (square <= np.float32(0.95**2)) & (square - u > np.float32(0.7**2 - 0.25))


def _square(u: F, v: F) -> Bools:
    return np.maximum(np.abs(u), np.abs(v)) <= np.float32(0.68)


def _triangle(u: F, v: F) -> Bools:
    return (v <= np.float32(0.5)) & (np.float32(3**0.5) * np.abs(u) - v <= np.float32(1))


def _star(u: F, v: F) -> Bools:
    """A pentagram: at most one of its five lines lies between a point and the centre."""
    outside = np.zeros(u.shape, np.int8)
    for corner in range(5):
        angle = 2 * np.pi * corner / 5 + np.pi / 2
        side = u * np.float32(np.cos(angle)) + v * np.float32(np.sin(angle))
        outside += side > np.float32(np.cos(2 * np.pi / 5))
    return outside <= 1


def _cross(u: F, v: F) -> Bools:
    across, down = np.abs(u), np.abs(v)
    return (np.minimum(across, down) <= np.float32(0.28)) & (np.maximum(across, down) <= np.float32(0.92))


def _bar(u: F, v: F) -> Bools:
    return (np.abs(u) <= np.float32(0.95)) & (np.abs(v) <= np.float32(0.3))


def _ell(u: F, v: F) -> Bools:
    inside = np.maximum(np.abs(u), np.abs(v)) <= np.float32(0.72)
    return inside & ((u <= np.float32(-0.22)) | (v >= np.float32(0.22)))


SHAPE_TESTS = (_disc, _ring, _crescent, _square, _triangle, _star, _cross, _bar, _ell)
"""Functions in the order of `scenes.SHAPES` that say where the shape is. All lie within the unit circle, except for
ell's corners, which are 2 % past it."""


def hsv(hue: NDArray[np.floating], saturation: NDArray[np.floating], value: NDArray[np.floating]) -> F:
    """(n,) each, hue taken modulo 1 -> RGB (n, 3) in [0, 1]."""
    turn = np.asarray(hue, np.float64)[:, None] * 6 + np.array([5.0, 3.0, 1.0])
    turn %= 6
    part = np.clip(np.minimum(turn, 4 - turn), 0, 1)
    return (value[:, None] * (1 - saturation[:, None] * part)).astype(np.float32)
