"""Textures of solids: designed on rendered views, made otherwise, and shown to classifiers by two renderers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.lab.optimise import optimisation
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.render.cameras import Cameras, Light, Views
from robustray.tasks.render.weather import Weather, light_in
from robustray.tasks.studies.unadversarial.design import START_MEAN, noise_canvas

if TYPE_CHECKING:
    import torch

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.inputs.shared import SharedParameter
    from robustray.tasks.render.meshes import Mesh

Renderer = Literal["torch", "mujoco"]
FACTOR = 2
"""Views are rendered larger than images by this and averaged."""
BEHIND = 2.0
"""A background is as far behind a solid's middle, in radii: fog hides it more."""
GREY, NOISE = -1, -2


class Condition(NamedTuple):
    """A weather and its severity; "clear" and 0 for none."""

    weather: Weather
    severity: int


CLEAR = Condition("clear", 0)


@dataclass(frozen=True, kw_only=True)
class Scenery:
    """From where solids are seen, and on what."""

    elsewhere: tuple[int, ...]
    """Classes of no background: those of all solids, so that none is recognised by what lies behind it."""
    views: Views
    texture_side: int


@dataclass(frozen=True, kw_only=True)
class TextureSettings:
    """How a texture is designed."""

    scenery: Scenery
    label: int
    """The class that the solid is to be recognised as."""
    ascent: SharedAscent
    num_views: int


@dataclass(frozen=True, kw_only=True)
class Seen:
    """By which renderer, and in what air, a solid is seen."""

    scenery: Scenery
    renderer: Renderer
    conditions: tuple[Condition, ...] = (CLEAR,)


@optimisation(version=1)
def texture_design(context: Context) -> SharedParameter:
    """A texture (1, 3, rows, columns) that lowers the cross-entropy with the class it is for.

    settings: `TextureSettings`; "mesh", "model", and "data", the training images, as backgrounds. Each step pairs its
    backgrounds with views out of `num_views`, drawn by (step, image).
    """
    import torch

    from robustray.tasks.attacks.objective import CrossEntropy
    from robustray.tasks.attacks.search import noise
    from robustray.tasks.compose.place import blended
    from robustray.tasks.inputs.shared import Design, SharedParameter, box
    from robustray.tasks.render.raster import Geometry, Surface, rasterise, reduced, textured

    settings: TextureSettings = context.settings
    data: ImageData = context.load("data")
    scenery, seed, device = settings.scenery, context.seed, context.device
    cameras = scenery.views.cameras(seed, torch.arange(settings.num_views))
    surface = rasterise(Geometry(context.load("mesh")), cameras, FACTOR * data.shape[1])

    def place(step: int, indices: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        drawn = noise.uniform(seed, "texture-view", step, indices, (1,), "cpu")[:, 0]
        return (drawn * settings.num_views).long()

    def apply(parameter: torch.Tensor, images: torch.Tensor, placements: Any) -> torch.Tensor:
        seen = Surface(*(part[placements.cpu()] for part in surface))
        colours, masks = reduced(textured(parameter, seen), seen.mask.to(device), FACTOR)
        return blended(images, colours, masks)

    indices = np.flatnonzero(~np.isin(data.labels, scenery.elsewhere)).tolist()
    return SharedParameter(
        name="texture",
        ascent=settings.ascent,
        model=context.load("model"),
        design=Design(apply=apply, place=place, project=box, objective=CrossEntropy(targeted=True)),
        data=data,
        indices=indices,
        parameter=_noise(seed, "texture-start", scenery.texture_side).to(device),
        targets=torch.full((len(indices),), settings.label),
    )


def _noise(seed: int, what: str, side: int) -> torch.Tensor:
    """(1, 3, side, side): textures begin as patches do."""
    return noise_canvas(seed, what, 1, (3, side, side), "cpu")


@block_function(version=1, columns={"item": pa.int64(), "texture": Tensor("float32")})
def texture_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Textures (3, side, side) that nobody designed; settings: their side. Items: `GREY`, `NOISE`, or the index of a
    training image, which is enlarged."""
    import torch
    from torch.nn import functional

    side: int = context.settings
    made = []
    for item in items:
        if item == GREY:
            made.append(torch.full((3, side, side), START_MEAN))
        elif item == NOISE:
            made.append(_noise(context.seed, "texture-random", side)[0])
        else:
            images, _ = load_images([item], context)
            made.append(functional.interpolate(images.cpu(), (side, side), mode="bicubic").clamp(0, 1)[0])
    return {"item": items, "texture": torch.stack(made)}


@block_function(
    version=1,
    columns={"view": pa.int64(), "background": pa.int64(), "predictions": Tensor("int16"), "covers": pa.float32()},
)
def seen_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """What a classifier says of a solid in views `items`, in each condition: predictions (conditions,).

    settings: `Seen`; "mesh", "texture", "model", and "data", the test images, as backgrounds. Camera, background and
    weather follow from the seed and the view's number alone: every texture is seen in the same views. covers: the share
    of the image that the solid covers.
    """
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    seen: Seen = context.settings
    images, covers, chosen = shown(items, context)
    model = context.load("model")
    predictions = torch.stack(
        [predict_logits(model, images[c].to(context.device)).argmax(1) for c in seen.conditions], 1
    )
    return {"view": items, "background": chosen, "predictions": predictions.short(), "covers": covers}


@block_function(version=1, columns={"view": pa.int64(), "images": Tensor("float32")})
def view_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """The images of `seen_block`, (conditions, 3, side, side) in [0, 1], for pictures."""
    import torch

    images, _, _ = shown(items, context)
    return {"view": items, "images": torch.stack(list(images.values()), dim=1)}


def shown(items: Sequence[int], context: Context) -> tuple[dict[Condition, torch.Tensor], torch.Tensor, np.ndarray]:
    """Images by condition, how much of each the solid covers, and the backgrounds' indices."""
    import torch
    from torch.nn import functional

    from robustray.tasks.attacks.search import noise
    from robustray.tasks.compose.place import blended
    from robustray.tasks.render.weather import weathered

    seen: Seen = context.settings
    data: ImageData = context.load("data")
    scenery, indices = seen.scenery, torch.tensor(list(items))
    allowed = np.flatnonzero(~np.isin(data.labels, scenery.elsewhere))
    drawn = noise.uniform(context.seed, "texture-background", 0, indices, (1,), "cpu")[:, 0].numpy()
    chosen = allowed[(drawn * len(allowed)).astype(np.int64)]
    backgrounds, _ = data.batch(chosen)
    large = functional.interpolate(backgrounds, scale_factor=FACTOR, mode="nearest")
    cameras = scenery.views.cameras(context.seed, indices)
    texture = np.array(context.load("texture")["texture"], dtype=np.float32).reshape(
        3, scenery.texture_side, scenery.texture_side
    )
    lights = {light_in(*condition): None for condition in seen.conditions}
    pictures = _rendered(seen.renderer, context.load("mesh"), texture, cameras, large.shape[2], list(lights))
    behind = (cameras.eye.norm(dim=1) + BEHIND).float()[:, None, None]
    unit = (scenery.views.nearest + scenery.views.farthest) / 2
    images = {}
    covers = torch.zeros(len(items))
    for condition in seen.conditions:
        light = light_in(*condition)
        colours, mask, depth = pictures[light]
        whole = blended(large * _level(light), colours, mask)
        far = torch.where(mask[:, 0] > 0, depth, behind)
        whole = weathered(whole, far, *condition, unit=unit, seed=context.seed, indices=indices)
        images[condition] = functional.avg_pool2d(whole, FACTOR)
        covers = mask.mean((1, 2, 3))
    return images, covers, chosen


def _level(light: Light) -> torch.Tensor:
    """How bright a photograph behind the solid is in that light, (3, 1, 1): as what faces the lamp, by day 1."""
    import torch

    return torch.tensor([a + b for a, b in zip(light.ambient, light.lamp, strict=True)]).view(3, 1, 1)


def _rendered(
    renderer: Renderer, mesh: Mesh, texture: np.ndarray, cameras: Cameras, side: int, lights: Sequence[Light]
) -> dict[Light, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """By light: colours (batch, 3, side, side) that are 0 beside the solid, masks (batch, 1, side, side), depths."""
    import torch

    if renderer == "torch":
        from robustray.tasks.render.raster import Geometry, rasterise, textured

        geometry, textures, found = Geometry(mesh), torch.from_numpy(texture)[None], {}
        for light in lights:
            surface = rasterise(geometry, cameras, side, light=light)
            found[light] = (textured(textures, surface), surface.mask, surface.depth)
        return found
    from robustray.tasks.render.simulator import FAR, Stage, as_frames

    found = {}
    with Stage({"solid": mesh}, texture_sides={"solid": len(texture[0])}, side=side) as stage:
        stage.texture("solid", texture)
        for light in lights:
            stage.light(light)
            colours, depth = (torch.from_numpy(array) for array in as_frames(stage, cameras))
            mask = (depth < 0.9 * FAR)[:, None].float()
            found[light] = (colours * mask, mask, depth)
    return found
