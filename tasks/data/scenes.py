"""Procedural scenes: objects with a shape and a texture on textured backgrounds, with exact masks and boxes.

    scenes:train    scenes:test,rho=0.9    scenes:test,n=900,size=64,multi=0.22,classes=18
    scenes:test,classes=18,confusable=0.3

Made for questions about what a classifier looks at (arXiv:2006.09994), what people call the main object
(arXiv:2005.11295) and objects that can be designed (arXiv:2012.12235): the truth about every scene is known. There are
nine shapes in three groups and nine families of backgrounds, gratings and chequers of their own direction, period and
hue, one for each shape. With correlation rho, a scene has the background of its own class with probability rho, and one
of any family otherwise (so that a share rho + (1 - rho) / 9 is consistent).

Scene i depends on (seed, split, i) and the options only, never on how many there are, and the draws behind it are the
same for every option: two values of rho show the same objects. Drawing: `scenes_draw.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from robustray.tasks.data.images import ImageData
from robustray.tasks.data.scenes_draw import Scenes, draw
from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest

SHAPES = ("disc", "ring", "crescent", "square", "triangle", "star", "cross", "bar", "ell")
GROUPS: Mapping[str, tuple[str, ...]] = {"round": SHAPES[:3], "cornered": SHAPES[3:6], "barred": SHAPES[6:]}
"""Superclasses of the shapes."""
TEXTURES = ("plain", "striped")
NUM_IMAGES: Mapping[str, int] = {"train": 3_600, "test": 1_800}
_CHUNK = 128
"""Scenes drawn at a time: what fits into a core's cache (measured: 32 to 256 are alike, 1,024 is a third slower)."""


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """What `scenes:SPLIT,option=value,...` may say. Raises: InputError for a value that can't be drawn."""

    split: Literal["train", "test"]
    n: int
    """Scenes; their classes take turns: scene i is of class i modulo the number of classes."""
    size: int = 32
    """Pixels of a side."""
    rho: float = 0.0
    """Probability that a scene has its own class's background by design."""
    classes: Literal[9, 18] = 9
    """9: the shapes, plain or striped by chance. 18: shape and texture; 2i and 2i + 1 are siblings."""
    multi: float = 0.0
    """Share of scenes with several objects of different groups: two of them in 8 of 11 such scenes, else three. The
    first is the main one: the largest, in front, and the one the label names."""
    aa: Literal[1, 2] = 2
    """Samples per pixel and side: 2 smooths edges, 1 draws hard ones in a third of the time."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("n", 1, 10_000_000), ("size", 12, 1024), ("seed", 0, 2**32 - 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise InputError(f"scenes: {name} must be a whole number from {low} to {high}, got {value!r}")
        for name in ("rho", "multi"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"scenes: {name} must be within [0, 1], got {getattr(self, name)!r}")
        for name, known in (("classes", (9, 18)), ("aa", (1, 2))):
            if getattr(self, name) not in known:
                raise InputError(f"scenes: {name} must be {known[0]} or {known[1]}, got {getattr(self, name)!r}")

    @property
    def class_names(self) -> tuple[str, ...]:
        if self.classes == len(SHAPES):
            return SHAPES
        return tuple(f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES)

    @property
    def superclasses(self) -> Mapping[str, tuple[str, ...]]:
        """Group of shapes -> its classes: what `merge_classes` takes."""
        return {
            group: tuple(name for name in self.class_names if name.split()[-1] in shapes)
            for group, shapes in GROUPS.items()
        }


@dataclass(frozen=True, kw_only=True)
class ConfusableScenes(SceneSettings):
    """Scenes of 18 classes in some of which nobody can tell the main object from its sibling.

    A class of its own, so that scenes without this option keep their names in stores. Raises: InputError.
    """

    classes: Literal[9, 18] = 18
    confusable: float
    """Share of scenes whose main object has stripes of half the contrast, whichever of the two siblings the label
    names. Every classifier gets at most half of them right on average, so at most 1 - confusable / 2 of all scenes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.confusable <= 1:
            raise InputError(f"scenes: confusable must be within [0, 1], got {self.confusable!r}")
        if self.classes != 18:
            raise InputError("scenes: confusable needs classes=18: pairs of classes that differ in their stripes")


def parse_scenes(text: str) -> SceneSettings:
    """`scenes:test,rho=0.9,size=48` -> settings; with `confusable=`, a `ConfusableScenes`.

    Raises: InputError naming the option that can't be read.
    """
    split, *options = text.removeprefix("scenes:").split(",")
    if split not in NUM_IMAGES:
        raise InputError(f"{text!r} names no split of scenes{nearest(split, NUM_IMAGES)}")
    kinds = {field.name: float if field.name in _SHARES else int for field in _OPTIONS}
    found: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if name not in kinds:
            raise InputError(f"{text!r}: there is no option {name!r} of scenes{nearest(name, kinds)}")
        if name in found:
            raise InputError(f"{text!r} gives {name} twice")
        try:
            found[name] = kinds[name](value)
        except ValueError as error:
            wanted = "a number" if kinds[name] is float else "a whole number"
            raise InputError(f"{text!r}: {name}{equals}{value}: give {wanted}") from error
    kind = ConfusableScenes if "confusable" in found else SceneSettings
    return kind(**{"split": split, "n": NUM_IMAGES[split], **found})


_OPTIONS = [field for field in dataclasses.fields(ConfusableScenes) if field.name != "split"]
_SHARES = ("rho", "multi", "confusable")


def render(settings: SceneSettings, indices: Any) -> Scenes:
    """The scenes `indices` (whole numbers below 2^32) with all that is true of them."""
    rows = np.asarray(indices, dtype=np.int64).reshape(-1)
    parts = [_draw(settings, rows[start : start + _CHUNK]) for start in range(0, max(1, len(rows)), _CHUNK)]
    return Scenes.joined(parts)


def _draw(settings: SceneSettings, rows: Any) -> Scenes:
    return draw(
        rows,
        stream=f"scenes {settings.split}",
        seed=settings.seed,
        size=settings.size,
        rho=settings.rho,
        num_classes=settings.classes,
        multi=settings.multi,
        samples=settings.aa,
        confusable=settings.confusable if isinstance(settings, ConfusableScenes) else 0.0,
    )


def facts(settings: SceneSettings, indices: Any) -> dict[str, list[Any]]:
    """What is true of the scenes `indices` beside their labels, masks and boxes, a column each.

    Returns: "objects": the class names of all objects of a scene, the main one first; "background": the shape whose
    family of backgrounds it has; and for `ConfusableScenes` "confusable": whether nobody can tell the main object from
    its sibling.
    """
    # What is in a scene does not depend on its size: the truth is read off the smallest.
    scenes = render(dataclasses.replace(settings, size=12, aa=1), indices)
    names = settings.class_names
    found: dict[str, list[Any]] = {
        "objects": [[names[label] for label in row if label >= 0] for row in scenes.classes.tolist()],
        "background": [SHAPES[family] for family in scenes.backgrounds.tolist()],
    }
    return found | ({"confusable": scenes.confusable.tolist()} if isinstance(settings, ConfusableScenes) else {})


@dataclass(frozen=True, kw_only=True)
class ScenesSource:
    """Scenes as a data set: masks and boxes are those of the main object."""

    settings: SceneSettings

    @property
    def modules(self) -> tuple[str, ...]:
        return ()

    def fingerprint(self) -> tuple[object, ...]:
        return dataclasses.astuple(self.settings)

    def fetch(self, name: str) -> ImageData:
        scenes = render(self.settings, np.arange(self.settings.n))
        return ImageData(
            name=name,
            images=scenes.images,
            labels=scenes.labels,
            classes=self.settings.class_names,
            masks=np.ascontiguousarray(scenes.masks[:, 0]),
            boxes=np.ascontiguousarray(scenes.boxes[:, 0]),
        )

    def facts(self) -> dict[str, list[Any]]:
        """See `facts`: of every scene of the data set."""
        return facts(self.settings, np.arange(self.settings.n))


def open_source(name: str, rest: str, data_root: str | None) -> ScenesSource:
    """See `data.sources`. Raises: InputError as `parse_scenes`."""
    return ScenesSource(settings=parse_scenes(f"{name}:{rest}"))
