"""Landing on a pad as a Gymnasium environment: MuJoCo draws what the camera sees, the flight itself is two lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from robustray.tasks.errors import InputError
from robustray.tasks.pad.scenes import FACTOR, PAD_TEXELS, TEXELS, TILE, Scenes, grounds, plain_pad, starts, turned
from robustray.tasks.pad.settings import Flight
from robustray.tasks.render.cameras import Light
from robustray.tasks.render.meshes import Floats, Mesh
from robustray.tasks.render.simulator import NEAR, Stage
from robustray.tasks.render.weather import Weather, light_in, weathered

_TILES = 6
_ABOVE = 0.02
"""Height of the pad's surface: two surfaces at one depth would flicker."""
_STEPS_APART = 1_000
"""Between the numbers of two episodes' images, by which drops and flakes are drawn."""
Observation = NDArray[np.uint8]


class Site:
    """Pad and ground in MuJoCo. It may serve several environments in turn. Raises: NoGl."""

    def __init__(self, flight: Flight, pad: Tensor | None = None) -> None:
        """pad: its texture, (3, PAD_TEXELS, PAD_TEXELS) in [0, 1]; the plain one if None."""
        self.flight = flight
        self.stage = Stage(
            {"pad": _tiles(flight.pad, 1), "ground": _tiles(TILE, _TILES)},
            texture_sides={"pad": PAD_TEXELS, "ground": TEXELS},
            side=FACTOR * flight.side,
        )
        self.stage.texture("pad", (plain_pad()[0] if pad is None else pad).cpu().numpy())
        self.stage.move("pad", (0.0, 0.0, _ABOVE), 0.0)
        self._below: object = None

    def image(self, scene: Scenes, ground: Tensor, weather: Weather, severity: int) -> tuple[Tensor, Tensor]:
        """What the camera of one situation sees, (1, 3, side, side) in [0, 1], and how deep, (1, side, side);
        before fog, dust, rain and snow, in the light of the weather."""
        if self._below is not ground:  # the same tensor for all steps of a flight
            self.stage.texture("ground", ground.numpy())
            self._below = ground
        level = scene.level[0].tolist()
        half = Light(direction=(0, 0, 1), ambient=_scaled(level, 0.5), lamp=_scaled(level, 0.5))
        self.stage.light(light_in(weather, severity, half))
        x, y = turned(-scene.shift * TILE, scene.turn)[0].tolist()
        self.stage.move("ground", (x, y, 0.0), float(scene.turn[0]))
        up = turned(torch.tensor([[0.0, 1.0]]), scene.yaw)[0].tolist()
        colours, depth = self.stage.see(
            np.array([*scene.place[0].tolist(), float(scene.height[0])]),
            np.array([0.0, 0.0, -1.0]),
            np.array([*up, 0.0]),
            NEAR * self.flight.tangent,
        )
        image = torch.from_numpy(colours)[None].float() / 255
        deep = torch.from_numpy(depth)[None]
        return functional.avg_pool2d(image, FACTOR), functional.avg_pool2d(deep, FACTOR)

    def close(self) -> None:
        self.stage.close()


def _scaled(level: list[float], factor: float) -> tuple[float, float, float]:
    red, green, blue = level
    return red * factor, green * factor, blue * factor


def _tiles(size: float, count: int) -> Mesh:
    """count x count squares of that size around the origin that look upwards, with the whole texture each."""
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])[[[0, 1, 2], [0, 2, 3]]]
    first = np.arange(count) - count // 2 if count > 1 else np.array([-0.5])
    places = np.stack(np.meshgrid(first, first), axis=-1).reshape(-1, 1, 1, 2)
    flat = (size * (places + square)).reshape(-1, 3, 2)
    corners: Floats = np.concatenate([flat, np.zeros_like(flat[..., :1])], axis=2, dtype=np.float64)
    return Mesh(name="tiles", corners=corners, uvs=np.tile(square, (count**2, 1, 1)))


class LandingPad(gymnasium.Env[Observation, NDArray[np.float32]]):
    """A camera above a pad. An observation is its picture, (side, side, 3) uint8.

    An action (2,) says where the pad is, to the right and upwards in the picture, in shares of the height; the camera
    flies `gain` of the way, and descends. The reward of a step is by how many metres the offset falls; an episode ends
    after `num_steps`, landed (`info["success"]`) or not. Everything of an episode (start, ground, light, weather)
    follows from (seed, number of the episode): `reset(options={"episode": 7})`, else a number is drawn by
    `reset(seed=...)`.

    Raises: NoGl where there is no OpenGL.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012  Gymnasium declares it so

    def __init__(
        self,
        flight: Flight | None = None,
        *,
        pad: Tensor | None = None,
        weather: Weather = "clear",
        severity: int = 0,
        seed: int = 0,
        site: Site | None = None,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """site: one that others use too; then it has the pad, and is not closed here."""
        self.flight = flight or (site.flight if site is not None else Flight())
        light_in(weather, severity)  # refuses what there is not
        if render_mode not in (None, "rgb_array"):
            raise InputError(f"render_mode cannot be {render_mode!r}: rgb_array or None")
        self.render_mode = render_mode
        self.weather: Weather = weather
        self.severity, self._seed = severity, seed
        self._own, self._site = site is None, site or Site(self.flight, pad)
        side = self.flight.side
        self.observation_space = Box(0, 255, (side, side, 3), np.uint8)
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        number = (options or {}).get("episode")
        self.episode = int(self.np_random.integers(2**31)) if number is None else int(number)
        index = torch.tensor([self.episode])
        self.scene = starts(self.flight, self._seed, index)
        self._ground = grounds(self.flight, self._seed, index)[0]
        self.step_number = 0
        return self._observation(), self._info()

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        scene, before = self.scene, self.offset
        said = torch.from_numpy(np.clip(np.asarray(action, dtype=np.float32), -1, 1))[None]
        place = scene.place + self.flight.gain * scene.height * turned(said, scene.yaw)
        self.scene = scene._replace(place=place, height=(1 - self.flight.descent) * scene.height)
        self.step_number += 1
        over = self.step_number >= self.flight.num_steps
        return self._observation(), before - self.offset, over, False, self._info()

    def render(self) -> Observation:  # type: ignore[override]  # the base class leaves its kind open
        """The last observation."""
        return self._seen

    def close(self) -> None:
        if self._own:
            self._site.close()

    @property
    def offset(self) -> float:
        """Metres to the middle of the pad, over ground."""
        return float(self.scene.place.norm())

    def _info(self) -> dict[str, Any]:
        return {
            "episode": self.episode,
            "offset": self.offset,
            "height": float(self.scene.height[0]),
            "target": self.scene.target()[0].numpy(),
            "success": self.offset < self.flight.landed,
        }

    def _observation(self) -> Observation:
        image, depth = self._site.image(self.scene, self._ground, self.weather, self.severity)
        image = weathered(
            image,
            depth,
            self.weather,
            self.severity,
            unit=self.flight.highest,
            seed=self._seed,
            indices=torch.tensor([_STEPS_APART * self.episode + self.step_number]),
        )
        self._seen = np.rint(image[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        return self._seen
