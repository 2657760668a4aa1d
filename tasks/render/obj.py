"""Wavefront .obj files: positions, texture coordinates and faces; everything else in them is skipped."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from robustray.tasks.errors import InputError
from robustray.tasks.render.meshes import MAX_TRIANGLES, Mesh

MAX_BYTES = 200_000_000


def read_obj(path: str | Path) -> Mesh:
    """The mesh in a file, as it stands there: any unit, any place; polygons are cut into fans.

    Every corner of every face needs a texture coordinate ("f 1/1 2/2 3/3"), within [0, 1]. Normals, materials, groups
    and lines are not read: facets are flat, and the texture is what is designed.

    Raises: InputError, with the number of the line where there is one.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"{file} has {file.stat().st_size / 1e6:,.0f} MB, at most {MAX_BYTES / 1e6:,.0f} are read")
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
    positions: list[list[float]] = []
    coordinates: list[list[float]] = []
    triangles: list[tuple[tuple[int, int], ...]] = []
    for number, line in enumerate(lines, start=1):
        kind, *words = line.split("#", 1)[0].split() or [""]
        where = f"{file}, line {number}"
        if kind == "v":
            positions.append(_numbers(words, 3, where))
        elif kind == "vt":
            coordinates.append(_numbers(words, 2, where))
        elif kind == "f":
            corners = [_corner(word, len(positions), len(coordinates), where) for word in words]
            triangles += _fan(corners, where)
            if len(triangles) > MAX_TRIANGLES:
                raise InputError(f"{where}: more than {MAX_TRIANGLES:,} triangles: simplify the mesh")
    if not triangles:
        raise InputError(f"{file} holds no faces: a mesh needs lines 'v x y z', 'vt u v' and 'f 1/1 2/2 3/3'")
    index = np.array(triangles)
    return Mesh(
        name=file.stem,
        corners=np.array(positions, dtype=np.float64)[index[..., 0]],
        uvs=np.array(coordinates, dtype=np.float64)[index[..., 1]],
    )


def obj_text(mesh: Mesh) -> str:
    """The mesh as an .obj file."""
    corners, uvs = mesh.corners.reshape(-1, 3), mesh.uvs.reshape(-1, 2)
    lines = [f"# {mesh.name}: {len(mesh):,} triangles"]
    lines += [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in corners]
    lines += [f"vt {u:.9g} {v:.9g}" for u, v in uvs]
    lines += ["f " + " ".join(f"{n}/{n}" for n in range(3 * i + 1, 3 * i + 4)) for i in range(len(mesh))]
    return "\n".join(lines) + "\n"


def _numbers(words: list[str], count: int, where: str) -> list[float]:
    try:
        found = [float(word) for word in words[:count]]
    except ValueError:
        found = []
    if len(found) < count:
        raise InputError(f"{where}: expected {count} numbers, got {' '.join(words) or 'none'}")
    return found


def _corner(word: str, num_positions: int, num_coordinates: int, where: str) -> tuple[int, int]:
    """ "12/7/3" -> (11, 6); negative ones count from the end."""
    parts = word.split("/")
    if len(parts) < 2 or not parts[1]:
        raise InputError(
            f"{where}: the corner {word} has no texture coordinate: unwrap the mesh and export it with UVs"
        )
    return _place(parts[0], num_positions, where), _place(parts[1], num_coordinates, where)


def _place(word: str, count: int, where: str) -> int:
    try:
        given = int(word)
    except ValueError as error:
        raise InputError(f"{where}: {word!r} is no index") from error
    place = given - 1 if given > 0 else count + given
    if given == 0 or not 0 <= place < count:
        raise InputError(f"{where}: index {given}, but there are {count} before this line")
    return place


def _fan(corners: list[tuple[int, int]], where: str) -> Iterator[tuple[tuple[int, int], ...]]:
    if len(corners) < 3:
        raise InputError(f"{where}: a face of {len(corners)} corners")
    for second, third in itertools.pairwise(corners[1:]):
        yield corners[0], second, third
