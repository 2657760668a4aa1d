"""Three solids modelled on a class from blocks and tubes. Lengths are in arbitrary units: x forward, y left, z up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from robustray.tasks.errors import InputError
from robustray.tasks.render.meshes import Floats, Mesh
from robustray.tasks.render.parts import assembled, block, box, round_tube, tube
from robustray.tasks.words import nearest


def car() -> Mesh:
    """A saloon: body, cabin, mirrors, four wheels."""
    lower = box((-2.1, -0.9, 0.3), (2.1, 0.9, 0.55), without=("top",))
    upper = block(
        [[-2.1, -0.9, 0.55], [2.1, -0.9, 0.55], [2.1, 0.9, 0.55], [-2.1, 0.9, 0.55]],
        [[-2.0, -0.8, 0.9], [1.9, -0.75, 0.78], [1.9, 0.75, 0.78], [-2.0, 0.8, 0.9]],
        without=("bottom",),
    )
    cabin = block(
        [[-1.7, -0.78, 0.88], [0.95, -0.76, 0.8], [0.95, 0.76, 0.8], [-1.7, 0.78, 0.88]],
        [[-1.15, -0.6, 1.42], [0.2, -0.6, 1.42], [0.2, 0.6, 1.42], [-1.15, 0.6, 1.42]],
        without=("bottom",),
    )
    mirrors = [box((0.55, y - 0.1, 0.85), (0.7, y + 0.1, 1.0)) for y in (-0.9, 0.9)]
    wheels = [
        round_tube((x, y - 0.14, 0.36), (x, y + 0.14, 0.36), (0.32, 0.36, 0.36, 0.32))
        for x in (-1.3, 1.3)
        for y in (-0.82, 0.82)
    ]
    return assembled("car", [lower, upper, cabin, *mirrors, *wheels])


def airplane() -> Mesh:
    """An airliner: fuselage, swept wings with two engines, tail."""
    along = np.linspace(0, 1, 41)
    nose, tail = np.clip(along / 0.12, 0, 1), np.clip((1 - along) / 0.35, 0, 1)
    radii = 0.3 * np.sqrt(1 - (1 - nose) ** 2 + 1e-3) * (0.12 + 0.88 * np.sin(tail * np.pi / 2))
    fuselage = round_tube((2.2, 0, 0), (-2.2, 0, 0), radii.tolist(), around=28)
    parts = [fuselage]
    for side in (-1, 1):
        parts.append(_fin([0.7, -0.35, -0.75, -0.4], side * 0.2, side * 2.1, (-0.1, 0.0), (0.1, 0.03)))
        parts.append(_fin([-1.6, -2.05, -2.2, -2.0], side * 0.08, side * 0.8, (0.05, 0.1), (0.06, 0.02)))
        parts.append(round_tube((0.55, side * 0.75, -0.2), (-0.15, side * 0.75, -0.2), (0.11, 0.14, 0.14, 0.1)))
    upright = _fin([-1.55, -2.1, -2.25, -2.0], 0.15, 0.95, (0.0, 0.0), (0.06, 0.02))
    parts.append([sheet[:, ::-1, [0, 2, 1]] for sheet in upright])  # y and z change places, which turns facets over
    return assembled("airplane", parts)


def _fin(
    ends: list[float], root: float, tip: float, heights: tuple[float, float], thick: tuple[float, float]
) -> list[Floats]:
    """A wing: x of its front and back at the root, then of its back and front at the tip; y of root and tip."""
    front, back, tip_back, tip_front = ends
    low, high = (
        [
            [back, root, heights[0] + sign * thick[0] / 2],
            [front, root, heights[0] + sign * thick[0] / 2],
            [tip_front, tip, heights[1] + sign * thick[1] / 2],
            [tip_back, tip, heights[1] + sign * thick[1] / 2],
        ]
        for sign in (-1, 1)
    )
    return block(low, high)


def ship() -> Mesh:
    """A container ship: hull, deckhouse with bridge and funnel, three stacks of containers, a mast."""
    stations = np.linspace(-2.2, 2.2, 45)
    hull = tube([_section(x) for x in stations])
    house = box((-1.95, -0.42, 0.3), (-1.35, 0.42, 0.95), without=("bottom",))
    bridge = box((-1.75, -0.55, 0.95), (-1.4, 0.55, 1.12))
    funnel = round_tube((-1.82, 0, 0.95), (-1.82, 0, 1.4), (0.12, 0.12, 0.1))
    stacks = [
        box((x, -0.45, 0.3), (x + 0.75, 0.45, top), without=("bottom",))
        for x, top in ((-1.15, 0.85), (-0.3, 0.75), (0.55, 0.65))
    ]
    mast = round_tube((1.75, 0, 0.35), (1.75, 0, 1.0), (0.04, 0.03, 0.02), around=12)
    return assembled("ship", [hull, house, bridge, funnel, *stacks, mast])


def _section(x: float) -> Floats:
    """(32, 3): the hull's ring at x, from the middle of the deck over starboard and keel to port."""
    fore, aft = max(0.0, x - 0.8) / 1.4, max(0.0, -x - 1.7) / 0.5
    half = 0.55 * (1 - 0.94 * fore**2) * (1 - 0.25 * aft**2)
    sheer = 0.3 + 0.16 * fore**2
    keel = -0.45 + 0.25 * aft**2 + 0.12 * fore**3
    angle = np.linspace(0, np.pi, 17)
    y, z = -half * np.cos(angle), np.sin(angle)
    y = np.sign(y) * half * np.abs(y / half) ** 0.45  # a flat bottom with round bilges
    below = np.stack([y, sheer + (keel - sheer) * z**0.6], axis=1)
    across = np.linspace(1, -1, 17)[1:-1]
    deck = np.stack([half * across, sheer + 0.05 * half * (1 - across**2)], axis=1)
    ring = np.concatenate([below, deck])
    return np.c_[np.full(len(ring), x), ring]


SOLIDS: Mapping[str, Callable[[], Mesh]] = {"car": car, "airplane": airplane, "ship": ship}


@cache
def solid(name: str) -> Mesh:
    """One of `SOLIDS`, of radius 1. Raises: InputError for another name."""
    if name not in SOLIDS:
        raise InputError(f"there is no solid {name!r}{nearest(name, SOLIDS)}, or a file of your own: my.obj")
    return SOLIDS[name]()
