"""Settings of what is rendered: textures of solids, and a landing pad. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from robustray.tasks.attacks.precision import Precision
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.kit import checks

Task = Literal["patches", "objects", "landing"]
TASKS: tuple[Task, ...] = ("patches", "objects", "landing")


@dataclass(frozen=True, kw_only=True)
class ObjectFields:
    """Textures of three solids, or of one of your own, for classifiers that are trained as for patches."""

    mesh: str = ""
    """An .obj file with UVs, instead of the three solids; --mesh alone means --task objects."""
    mesh_class: str = ""
    """The class that your mesh is to be recognised as."""
    solid_classes: tuple[str, str, str] = ("automobile", "airplane", "ship")
    """Classes that the car, the airplane and the ship are to be recognised as."""
    texture_side: int = 128
    """Texels of a side of a texture."""
    num_design_views: int = 400
    """Views that a texture is designed on."""
    texture_steps: int = 300
    """Steps of a texture's design, each on a batch of views and backgrounds."""
    texture_step: float = 0.01
    """Change of a texel in a step."""
    texture_batch: int = 32
    """Images per step of a texture's design."""
    num_views: int = 500
    """Held-out views of each solid, on backgrounds of the test images."""
    num_weather_views: int = 150
    """Of these, the ones that MuJoCo judges, in clear air and in five weathers of five severities; 0: no judge, and no
    OpenGL is needed."""


@dataclass(frozen=True, kw_only=True)
class LandingFields:
    """A landing pad, for a network that is trained to see where it is."""

    regressor_steps: int = 6_000
    """Steps of the network's training, on 64 images each."""
    num_pads: int = 3
    """Designed pads, with seeds of their own."""
    num_random_pads: int = 5
    """Pads of random texture."""
    pad_steps: int = 400
    """Steps of a pad's design, on 64 situations each."""
    pad_step: float = 0.02
    """Change of a texel in the first step; it falls to a tenth."""
    num_episodes: int = 200
    """Flights in each weather; every pad flies the same ones."""
    landing_severity: int = 3
    """Severity of the five weathers, 1 to 5."""


_TRAINING = ("arch", "num_classifiers", "epochs", "batch_size", "lr", "augmentation")
_FOR_OBJECTS = frozenset({"models", "data", "train_data", "test_data", "seed", "precision", "block", *_TRAINING})
"""Settings of patches that textures read too."""


@dataclass(frozen=True, kw_only=True)
class Rendered(ObjectFields, LandingFields):
    """Both, with what is checked of them."""

    task: Task = "patches"
    """patches: on images, without a renderer. objects: textures of three solids; their judge, and landing, a pad in
    a simulator, are drawn by MuJoCo and need OpenGL (apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri)."""

    @property
    def doing(self) -> Task:
        """What is done: a mesh of one's own is an object."""
        return "objects" if self.mesh else self.task

    def check_rendered(self) -> None:
        """Raises: InputError."""
        checks.choices(TASKS, task=self.task)
        checks.counts(
            at_least=1,
            texture_side=self.texture_side,
            num_design_views=self.num_design_views,
            texture_steps=self.texture_steps,
            texture_batch=self.texture_batch,
            num_views=self.num_views,
            regressor_steps=self.regressor_steps,
            num_pads=self.num_pads,
            num_random_pads=self.num_random_pads,
            pad_steps=self.pad_steps,
            num_episodes=self.num_episodes,
        )
        checks.counts(num_weather_views=self.num_weather_views)
        checks.positive(texture_step=self.texture_step, pad_step=self.pad_step)
        if not 1 <= self.landing_severity <= 5:
            raise InputError(f"landing_severity must be 1 to 5, got {self.landing_severity}")
        if self.num_weather_views > self.num_views:
            raise InputError(
                f"num_weather_views {self.num_weather_views}: they are some of the num_views, {self.num_views}"
            )
        if self.mesh and self.task == "landing":
            raise InputError("mesh: a landing pad has no mesh; leave --task out, or take --task objects")
        if self.mesh and Path(self.mesh).suffix.lower() != ".obj":
            raise InputError(f"mesh {self.mesh}: only .obj files are read; export the mesh as one, with UVs")
        if bool(self.mesh) != bool(self.mesh_class):
            raise InputError("mesh and mesh_class go together: --mesh my.obj --mesh-class NAME")

    def rendered_idle(self, every: Iterable[str]) -> dict[str, str]:
        """Settings that the task does not read, out of all of them, with the reason."""
        objects, landing = ({field.name for field in fields(part)} for part in (ObjectFields, LandingFields))
        shared = set(every) - objects - landing - {"task"}
        unused = {
            "patches": objects | landing,
            "objects": landing | (shared - _FOR_OBJECTS),
            "landing": objects | (shared - {"seed"}),
        }[self.doing]
        return dict.fromkeys(sorted(unused - {"mesh", "mesh_class"}), f"--task {self.doing} does not read it")

    def texture_ascent(self, seed: int, precision: Precision) -> SharedAscent:
        """How a texture moves."""
        return SharedAscent(
            norm="linf",
            step_size=self.texture_step,
            num_steps=self.texture_steps,
            batch_size=self.texture_batch,
            seed=seed,
            precision=precision,
        )

    def pad_ascent(self, seed: int) -> SharedAscent:
        """How a pad moves."""
        return SharedAscent(
            norm="linf",
            step_size=self.pad_step,
            final_step_size=self.pad_step / 10,
            num_steps=self.pad_steps,
            batch_size=64,
            seed=seed,
            precision="fp32",
        )
