"""Solids from sheets: grids of points whose unfoldings are rectangles, packed into one texture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from robustray.tasks.render.meshes import Floats, Mesh, normalised

MARGIN = 1 / 64
"""Free texture around each sheet: two texels of a texture of 128, so that bilinear sampling meets no neighbour."""
STEP = 0.15
"""Length of a grid's cells, in the units in which parts are given."""


def block(bottom: ArrayLike, top: ArrayLike, *, without: Sequence[str] = (), step: float = STEP) -> list[Floats]:
    """Six sheets between two quadrangles (4, 3), whose corners run back right, front right, front left, back left.

    without: sides that nobody sees, out of bottom, top, back, right, front and left.
    """
    low, high = np.asarray(bottom, dtype=np.float64), np.asarray(top, dtype=np.float64)
    quadrangles = {
        "bottom": low,
        "top": high,
        "back": np.stack([low[3], low[0], high[0], high[3]]),
        "right": np.stack([low[0], low[1], high[1], high[0]]),
        "front": np.stack([low[1], low[2], high[2], high[1]]),
        "left": np.stack([low[2], low[3], high[3], high[2]]),
    }
    return _outwards([_sheet(corners, step) for side, corners in quadrangles.items() if side not in without])


def box(
    low: Sequence[float], high: Sequence[float], *, taper: float = 1.0, without: Sequence[str] = ()
) -> list[Floats]:
    """A block between two opposite corners; `taper` scales its top towards the middle."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    base = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    centre = base.mean(0)
    lid = centre + taper * (base - centre)
    return block(np.c_[base, [z0] * 4], np.c_[lid, [z1] * 4], without=without)


def tube(rings: ArrayLike) -> list[Floats]:
    """A sheet around closed rings (k, m, 3) of points, m a multiple of 4, and one over each end."""
    points = np.asarray(rings, dtype=np.float64)
    around = np.concatenate([points, points[:, :1]], axis=1)
    return _outwards([around, _lid(points[0]), _lid(points[-1])])


def round_tube(
    start: Sequence[float], end: Sequence[float], radii: Sequence[float], *, around: int = 24
) -> list[Floats]:
    """A tube with circular rings of these radii, spaced evenly from `start` to `end`, which lie along one axis."""
    first, last = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    axis = (last - first) / np.linalg.norm(last - first)
    side = np.roll(np.abs(axis), 1)
    up = np.cross(axis, side)
    angle = np.arange(around) * (2 * np.pi / around)
    circle = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * up
    places = np.linspace(first, last, len(radii))
    return tube(places[:, None] + np.asarray(radii)[:, None, None] * circle)


def assembled(name: str, parts: Iterable[Iterable[Floats]]) -> Mesh:
    """All sheets as one mesh of radius 1 around the origin, unfolded without overlaps.

    Each sheet gets a rectangle of the texture of about its own proportions and area.
    """
    sheets = [sheet for part in parts for sheet in part]
    places = _packed(np.array([_extent(sheet) for sheet in sheets]))
    corners, uvs = [], []
    for sheet, (u0, v0, u1, v1) in zip(sheets, places, strict=True):
        rows, columns = sheet.shape[:2]
        flat = np.stack(np.meshgrid(np.linspace(u0, u1, columns), np.linspace(v0, v1, rows)), axis=-1)
        corners.append(_triangles(sheet))
        uvs.append(_triangles(flat))
    return normalised(Mesh(name=name, corners=np.concatenate(corners), uvs=np.concatenate(uvs)))


def _sheet(corners: Floats, step: float) -> Floats:
    """A quadrangle (4, 3) as a bilinear grid."""
    a, b, c, d = corners
    columns = _cells(b - a, c - d, step)
    rows = _cells(d - a, c - b, step)
    s, t = np.linspace(0, 1, columns + 1)[None, :, None], np.linspace(0, 1, rows + 1)[:, None, None]
    return (1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * d + s * c)


def _cells(first: Floats, second: Floats, step: float) -> int:
    """Of two opposite edges, the longer one decides."""
    return max(1, round(float(max(np.linalg.norm(first), np.linalg.norm(second))) / step))


def _lid(ring: Floats) -> Floats:
    """A grid whose border is a ring of 4 n points (a Coons patch)."""
    n = len(ring) // 4
    low, right, high, left = (np.roll(ring, -side * n, axis=0)[: n + 1] for side in range(4))
    high, left = high[::-1], left[::-1]  # both along the directions of their opposite sides
    s, t = np.linspace(0, 1, n + 1)[None, :, None], np.linspace(0, 1, n + 1)[:, None, None]
    ruled = (1 - t) * low[None] + t * high[None] + (1 - s) * left[:, None] + s * right[:, None]
    corners = (1 - t) * ((1 - s) * low[0] + s * low[-1]) + t * ((1 - s) * high[0] + s * high[-1])
    return ruled - corners


def _outwards(sheets: list[Floats]) -> list[Floats]:
    """The sheets of one part that bulges, each turned so that its facets look away from the part's middle."""
    middle = np.concatenate([sheet.reshape(-1, 3) for sheet in sheets]).mean(0)
    turned = []
    for sheet in sheets:
        a, b, c = _triangles(sheet).transpose(1, 0, 2)
        outward = (np.cross(b - a, c - a) * ((a + b + c) / 3 - middle)).sum() > 0
        turned.append(sheet if outward else sheet[:, ::-1])
    return turned


def _triangles(grid: Floats) -> Floats:
    """(rows, columns, d) -> (2 (rows - 1) (columns - 1), 3, d)."""
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
    halves = np.stack([np.stack([a, b, c], axis=2), np.stack([a, c, d], axis=2)], axis=2)
    return halves.reshape(-1, 3, grid.shape[-1])


def _extent(sheet: Floats) -> tuple[float, float]:
    """Mean length along columns and along rows."""
    across = np.linalg.norm(np.diff(sheet, axis=1), axis=2).sum(1).mean()
    along = np.linalg.norm(np.diff(sheet, axis=0), axis=2).sum(0).mean()
    return float(across), float(along)


def _packed(extents: Floats) -> Floats:
    """(n, 2) widths and heights -> (n, 4) places u0, v0, u1, v1 in the unit square, all scaled by one factor.

    Shelves: the highest first, from left to right, one shelf above the other.
    """
    low, high = 0.0, 1 / float(extents.max())
    for _ in range(40):
        scale = (low + high) / 2
        low, high = (scale, high) if _shelves(extents * scale) is not None else (low, scale)
    places = _shelves(extents * low)
    assert places is not None, "nothing fits: more sheets than margins leave room for"
    return places


def _shelves(sizes: Floats) -> Floats | None:
    """The places, or None where they need more than the unit square."""
    places = np.zeros((len(sizes), 4))
    x = y = shelf = 0.0
    for i in np.argsort(-sizes[:, 1], kind="stable"):
        width, height = sizes[i]
        if x + width + MARGIN > 1:
            x, y, shelf = 0.0, y + shelf, 0.0
        shelf = max(shelf, height + MARGIN)
        if x + width + MARGIN > 1 or y + shelf > 1:
            return None
        places[i] = (x + MARGIN / 2, y + MARGIN / 2, x + MARGIN / 2 + width, y + MARGIN / 2 + height)
        x += width + MARGIN
    return places
