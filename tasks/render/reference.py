"""Meshes as a lab refers to them: by content, wherever they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robustray.tasks.errors import InputError
from robustray.tasks.render.meshes import Mesh, normalised
from robustray.tasks.render.obj import read_obj
from robustray.tasks.render.solids import solid


@dataclass(frozen=True, kw_only=True)
class MeshRef:
    """A `robustray.tasks.lab.protocol.Reference` whose object is a `Mesh` of radius 1 around the origin."""

    name: str
    """A solid of `render.solids`, or the path of an .obj file, which only the driver reads."""
    content_hash: str

    @property
    def modules(self) -> tuple[str, ...]:
        """Roots of CODE: how a mesh is put together. Its content is in the hash."""
        return (f"{__name__}:{MeshRef.__name__}",)

    def fetch(self) -> Mapping[str, Any]:
        """Raises: InputError for a file that was changed since it was opened."""
        mesh = opened(self.name)
        if mesh.content_hash != self.content_hash:
            raise InputError(f"{self.name} was changed while the run was in progress: start it again")
        return {"corners": mesh.corners, "uvs": mesh.uvs}

    def build(self, payload: Mapping[str, Any], device: str) -> Mesh:
        return Mesh(name=self.name, corners=payload["corners"].copy(), uvs=payload["uvs"].copy())


def opened(name: str) -> Mesh:
    """A solid by name, or the mesh of an .obj file, of radius 1. Raises: InputError."""
    return normalised(read_obj(name)) if name.lower().endswith(".obj") else solid(name)


def mesh_reference(name: str) -> MeshRef:
    """Open and check. Raises: InputError."""
    return MeshRef(name=name, content_hash=opened(name).content_hash)
