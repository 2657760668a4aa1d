"""Triangles with a flat unfolding: what both renderers draw."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.errors import InputError

Floats = NDArray[np.float64]
MAX_TRIANGLES = 500_000
SMALLEST_AREA = 1e-12
"""Of a triangle of a solid of radius 1, and of its image in the texture: below it is no triangle."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mesh:
    """Flat facets, each with its place in the texture. Seen from outside, corners run counterclockwise.

    Raises: InputError for shapes that do not fit, numbers that are not finite, UVs outside [0, 1], triangles without
    area (in space or in the texture), and more than `MAX_TRIANGLES`.
    """

    name: str
    corners: Floats
    """(f, 3, 3): x, y, z of the three corners of each facet; z is up, and x is forward."""
    uvs: Floats
    """(f, 3, 2): u, v of the corners; v points up, so that row 0 of a texture is v = 1."""

    def __post_init__(self) -> None:
        count = len(self.corners)
        if not count or self.corners.shape != (count, 3, 3) or self.uvs.shape != (count, 3, 2):
            raise InputError(
                f"{self.name}: expected corners (f, 3, 3) and UVs (f, 3, 2), got {self.corners.shape} and "
                f"{self.uvs.shape}"
            )
        if count > MAX_TRIANGLES:
            raise InputError(
                f"{self.name} has {count:,} triangles, at most {MAX_TRIANGLES:,} can be drawn: simplify it"
            )
        if not (np.isfinite(self.corners).all() and np.isfinite(self.uvs).all()):
            raise InputError(f"{self.name}: positions and UVs must be finite numbers")
        if self.uvs.min() < 0 or self.uvs.max() > 1:
            raise InputError(
                f"{self.name}: UVs from {self.uvs.min():g} to {self.uvs.max():g}: a texture covers [0, 1] once; unwrap "
                "the mesh into that square"
            )
        _refuse_degenerate(self.name, "has no area", np.linalg.norm(self.areas, axis=1), self.size**2)
        _refuse_degenerate(self.name, "has no area in its UVs", np.abs(uv_areas(self.uvs)), 1.0)

    def __len__(self) -> int:
        """Number of facets."""
        return len(self.corners)

    @property
    def size(self) -> float:
        """Radius of a ball around the middle of its box that holds it."""
        return float(np.linalg.norm(self.corners.reshape(-1, 3) - middle(self.corners), axis=1).max())

    @property
    def areas(self) -> Floats:
        """(f, 3): outward normals whose length is twice the facet's area."""
        a, b, c = self.corners.transpose(1, 0, 2)
        return np.cross(b - a, c - a)

    @property
    def normals(self) -> Floats:
        """(f, 3): outward, of length 1."""
        return self.areas / np.linalg.norm(self.areas, axis=1, keepdims=True)

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of corners and UVs."""
        digest = hashlib.sha256()
        for array in (self.corners, self.uvs):
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return digest.hexdigest()


def _refuse_degenerate(name: str, what: str, areas: Floats, unit: float) -> None:
    wrong = np.flatnonzero(areas <= SMALLEST_AREA * unit)
    if wrong.size:
        raise InputError(
            f"{name}: triangle {wrong[0]} {what} ({wrong.size} of {len(areas)} triangles): remove degenerate triangles "
            "and unwrap the rest"
        )


def middle(corners: Floats) -> Floats:
    """(3,): the centre of the box around all corners."""
    points = corners.reshape(-1, 3)
    return (points.min(0) + points.max(0)) / 2


def uv_areas(uvs: Floats) -> Floats:
    """(f,): twice the signed area of each facet's image in the texture."""
    a, b, c = uvs.transpose(1, 0, 2)
    (x1, y1), (x2, y2) = (b - a).T, (c - a).T
    return x1 * y2 - x2 * y1


def normalised(mesh: Mesh) -> Mesh:
    """The mesh around the origin with radius 1, its facets turned outwards (a file may have all of them inside out).

    Sizes differ by file; what covers more of the image is recognised more easily, so all solids get one size.
    """
    corners = (mesh.corners - middle(mesh.corners)) / mesh.size
    inside_out = _signed_volume(corners) < 0
    order = [0, 2, 1] if inside_out else [0, 1, 2]
    return Mesh(name=mesh.name, corners=corners[:, order], uvs=mesh.uvs[:, order])


def _signed_volume(corners: NDArray[Any]) -> float:
    a, b, c = corners.transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)
