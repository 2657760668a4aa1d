"""The renderer that judges: MuJoCo's, which knows nothing of ours and has a depth buffer for the weather.

It draws by OpenGL, without a display through EGL (`PACKAGES`: Mesa's software renderer needs no GPU). A context belongs
to the process that made it, so a `Stage` is made where it draws and does not travel. Anti-aliasing and shadows are off:
they cost a factor of 7 to 20 without a GPU, and images are rendered larger and averaged instead.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.errors import InputError
from robustray.tasks.render.cameras import DAY, Cameras, Light
from robustray.tasks.render.meshes import Mesh

PACKAGES = "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"
NEAR, FAR = 0.02, 50.0
"""Nothing nearer or farther is drawn, in the units of the meshes."""
Bytes = NDArray[np.uint8]


class NoGl(InputError):
    """There is nothing that MuJoCo could draw by."""


def require_gl() -> None:
    """Make a context of OpenGL and give it back. Raises: NoGl, with what to install."""
    _context(16).free()


class Stage:
    """Meshes with textures that MuJoCo draws: `frame(camera...)` as often as one likes, `close()` at the end.

    Raises: NoGl where there is no OpenGL.
    """

    def __init__(self, meshes: Mapping[str, Mesh], *, texture_sides: Mapping[str, int], side: int) -> None:
        """texture_sides: mesh -> texels of a side of its texture, black at first. Images are `side` x `side` pixels."""
        mujoco = _mujoco()
        self.side, self._mujoco = side, mujoco
        self._model = _model(meshes, texture_sides, side)
        self._data = mujoco.MjData(self._model)
        mujoco.mj_forward(self._model, self._data)
        self._names = tuple(meshes)
        self._gl: Any = None
        self._gl = _context(side)
        with self._current():
            self._scene = mujoco.MjvScene(self._model, maxgeom=len(meshes) + 10)
            self._drawn = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._drawn)
            self._drawn.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._update()

    def texture(self, name: str, texture: NDArray[Any]) -> None:
        """Give a mesh another texture: (3, rows, columns) float in [0, 1], rounded to 256 levels; row 0 is v = 1."""
        number = self._names.index(name)
        wanted = np.rint(np.moveaxis(np.asarray(texture, dtype=np.float64), 0, 2) * 255).astype(np.uint8)
        self._model.tex(number).data[:] = wanted[::-1]  # its row 0 is v = 0
        with self._current():
            self._mujoco.mjr_uploadTexture(self._model, self._drawn, number)

    def light(self, light: Light) -> None:
        """Draw in this light from now on."""
        self._model.vis.headlight.ambient[:] = light.ambient
        self._model.light_diffuse[0] = light.lamp
        towards = np.asarray(light.direction)
        self._model.light_dir[0] = -towards / np.linalg.norm(towards)
        self._update()

    def move(self, name: str, position: tuple[float, float, float], turn: float) -> None:
        """Put a mesh elsewhere, turned by `turn` radians about the vertical."""
        self._data.mocap_pos[self._names.index(name)] = position
        self._data.mocap_quat[self._names.index(name)] = (np.cos(turn / 2), 0.0, 0.0, np.sin(turn / 2))
        self._update()

    def frame(self, cameras: Cameras, number: int) -> tuple[Bytes, NDArray[np.float32]]:
        """What camera `number` sees: colours (3, side, side), and depth along the line of sight (side, side), `FAR`
        where there is nothing."""
        _, up, forward = (axis[number].numpy() for axis in cameras.axes())
        half = NEAR * cameras.tangent
        across, upwards = (-2 * half * cameras.shift[number]).tolist()
        return self.see(cameras.eye[number].numpy(), forward, up, half, across, upwards)

    def see(
        self,
        eye: NDArray[Any],
        forward: NDArray[Any],
        up: NDArray[Any],
        half: float,
        across: float = 0.0,
        upwards: float = 0.0,
    ) -> tuple[Bytes, NDArray[np.float32]]:
        """As `frame`. half: half of the side of the image on the near plane, whose middle is moved by the last two."""
        mujoco = self._mujoco
        for camera in self._scene.camera:
            camera.pos[:], camera.forward[:], camera.up[:] = eye, forward, up
            camera.orthographic = 0
            camera.frustum_near, camera.frustum_far = NEAR, FAR
            camera.frustum_center, camera.frustum_width = across, half
            camera.frustum_bottom, camera.frustum_top = upwards - half, upwards + half
        rect = mujoco.MjrRect(0, 0, self.side, self.side)
        colours = np.empty((self.side, self.side, 3), dtype=np.uint8)
        buffer = np.empty((self.side, self.side), dtype=np.float32)
        with self._current():
            mujoco.mjr_render(rect, self._scene, self._drawn)
            mujoco.mjr_readPixels(colours, buffer, rect, self._drawn)
        depth = NEAR * FAR / (NEAR + buffer.astype(np.float64) * (FAR - NEAR))  # the buffer is 0 far away, 1 near
        return np.moveaxis(colours[::-1], 2, 0).copy(), depth[::-1].astype(np.float32)

    def close(self) -> None:
        """Give the context back; a second time does nothing."""
        if self._gl is not None:
            with self._current():
                self._drawn.free()
            self._gl.free()
            self._gl = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Several stages may be open in one process."""
        assert self._gl is not None, "a stage that was closed draws nothing"
        self._gl.make_current()
        yield

    def _update(self) -> None:
        mujoco = self._mujoco
        mujoco.mj_forward(self._model, self._data)
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            mujoco.MjvOption(),
            None,
            mujoco.MjvCamera(),
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        for flag in ("SHADOW", "REFLECTION", "FOG", "HAZE", "SKYBOX"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0


def as_frames(stage: Stage, cameras: Cameras) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """All cameras: colours (batch, 3, side, side) in [0, 1] and depths (batch, side, side)."""
    frames = [stage.frame(cameras, number) for number in range(len(cameras.eye))]
    colours = np.stack([colours for colours, _ in frames]).astype(np.float32) / np.float32(255)
    return colours, np.stack([depth for _, depth in frames])


# --- MuJoCo -----------------------------------------------------------------------------------------------------------


def _model(meshes: Mapping[str, Mesh], texture_sides: Mapping[str, int], side: int) -> Any:
    mujoco = _mujoco()
    spec = mujoco.MjSpec()
    spec.visual.global_.offwidth = spec.visual.global_.offheight = side
    spec.visual.quality.offsamples = spec.visual.quality.shadowsize = 0
    spec.visual.headlight.diffuse, spec.visual.headlight.specular = [0.0] * 3, [0.0] * 3
    spec.visual.headlight.ambient = list(DAY.ambient)
    direction = -np.asarray(DAY.direction) / np.linalg.norm(DAY.direction)
    spec.worldbody.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        dir=direction,
        diffuse=list(DAY.lamp),
        ambient=[0.0] * 3,
        specular=[0.0] * 3,
        castshadow=False,
    )
    for name, mesh in meshes.items():
        texels = texture_sides[name]
        texture = spec.add_texture(
            name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=texels, height=texels, nchannel=3
        )
        texture.data = bytes(3 * texels**2)
        material = spec.add_material(name=name, specular=0.0, shininess=0.0, reflectance=0.0)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
        count = 3 * len(mesh)
        spec.add_mesh(
            name=name,
            uservert=mesh.corners.reshape(-1).tolist(),
            usernormal=np.repeat(mesh.normals, 3, axis=0).reshape(-1).tolist(),
            usertexcoord=mesh.uvs.reshape(-1).tolist(),
            userface=list(range(count)),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        body = spec.worldbody.add_body(name=name, mocap=True)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, material=name, contype=0, conaffinity=0, mass=0.0)
    return spec.compile()


def _load_compilers() -> None:
    """Load triton, where there is one, before any context. Mesa's software renderer and triton bring an LLVM each, and
    a process with both has ended with a segmentation fault (triton 3.8.0, Mesa 22.3.6); in this order both work."""
    with contextlib.suppress(ImportError):  # builds of torch for CPUs only may come without
        importlib.import_module("triton")


def _mujoco() -> Any:
    import mujoco

    return mujoco


def _context(side: int) -> Any:
    """A context of the kind that MUJOCO_GL names, EGL where it names none. Chosen here: mujoco itself chooses when it
    is imported, which somebody else may have done before. Raises: NoGl."""
    _load_compilers()
    named = os.environ.get("MUJOCO_GL", "").lower()
    if sys.platform == "linux" and not named:
        os.environ["MUJOCO_GL"] = named = "egl"
    try:
        if named == "egl":
            from mujoco.egl import GLContext
        elif named == "osmesa":
            from mujoco.osmesa import GLContext
        elif named in ("", "glfw", "cgl", "wgl"):
            from mujoco.gl_context import GLContext
        else:
            raise NoGl(f"MUJOCO_GL cannot be {named!r}: egl, osmesa or glfw")
        return GLContext(side, side)
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        raise NoGl(
            f"MuJoCo cannot draw here (MUJOCO_GL is {named or 'not set'!r}: {type(error).__name__}: {error}): "
            f"{PACKAGES}, and leave MUJOCO_GL unset or set it to egl"
        ) from error
