"""One picture of the user's own, made or changed by one network. There is no claim: the page shows the result and how
it came about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.data.views import resize, three_channels
from robustray.tasks.errors import InputError
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.images import NEEDS, model_to_try, opened_now, try_attacks
from robustray.tasks.lab.seeds import stream
from robustray.tasks.report.numbers import format_value
from robustray.tasks.studies.synthesis.doors import FEWEST_SEEDED, check_factor
from robustray.tasks.studies.synthesis.fields import Settings
from robustray.tasks.studies.synthesis.picture_block import ITS_OWN, picture_block
from robustray.tasks.studies.synthesis.scores import probabilities
from robustray.tasks.study import Findings, Table
from robustray.tasks.training.doors import check_training
from robustray.tasks.training.twin_networks import try_network
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab import Lab, Reference

SHOWN = 320
"""CSS pixels of the result, about."""
MOST_CLASSES = 20
"""The most classes that the page lists, those of the highest probability."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The images that the network takes and the classes that it answers."""

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]


# --- At the door ------------------------------------------------------------------------------------------------------


def check(settings: Settings, lab: Lab) -> tuple[dict[str, Reference], tuple[str, ...]]:
    """Open picture, mask and network and try them on each other. Returns: references, and warnings for the page.

    Raises: InputError.
    """
    sources = {role: lab.data(getattr(settings, role)) for role in ("image", "mask") if getattr(settings, role)}
    pictures: dict[str, ImageData] = {role: lab.load(source) for role, source in sources.items()}
    for role, each in pictures.items():
        if len(each) != 1:
            raise InputError(
                f"--{role} {getattr(settings, role)}: {len(each)} images; give one picture (a .png or .jpg file)"
            )
    world = _world(settings, lab)
    if "image" in pictures:
        _check_picture(settings, world, pictures)
    if settings.target and settings.target not in world.classes:
        raise InputError(
            f"--target {settings.target}: no class of {world.name}{nearest(settings.target, world.classes)}"
        )
    if settings.task == "super-resolution":
        check_factor(settings, "factor", world.name, world.shape)
    if _seeds_from_train(settings):
        check_factor(settings, "seed_factor", world.name, world.shape)
        _check_seeded(settings, lab)
    opened = {f"{role} {getattr(settings, role)}": source for role, source in sources.items()}
    if not settings.side:
        opened[f"data {settings.test_data}"] = lab.data(settings.test_data)
    if _seeds_from_train(settings) or not _named(settings):
        train = lab.data(settings.train_data)
        opened[f"data {train.name}"] = train
    networks, warnings = _try_network(settings, lab, world)
    return opened | networks, (*warnings, *small_ball(settings, world))


def small_ball(settings: Settings, world: World) -> tuple[str, ...]:
    """A warning where the ball is too small for images of this size: it grows with the square root of their pixels,
    and a size's settings are made for its own images."""
    task, levels = settings.tasks[0], 255
    ascent, pixels = settings.ascent(task), int(np.prod(world.shape))
    assert ascent.eps is not None
    if ascent.eps * levels >= pixels**0.5:
        return ()
    shape = "x".join(map(str, world.shape[1:]))
    return (
        f"a ball of {ascent.eps:g} lets pixels of {shape} images change by less than one of 256 levels on average "
        f"(root mean square): give a larger {settings.flag(task, 'eps')} and {settings.flag(task, 'step')}",
    )


def _check_picture(settings: Settings, world: World, pictures: dict[str, ImageData]) -> None:
    """Raises: InputError for a picture, hole or mask that does not fit."""
    image, (height, width) = pictures["image"], world.shape[1:]
    if height != width:
        raise InputError(
            f"--image {settings.image}: images of {world.name} are {height}x{width}, a picture of your own is cut "
            "square: give --test-data with square images"
        )
    if world.shape[0] == 1 and image.shape[0] == 3:
        raise InputError(f"--image {settings.image} is in colour, the images of {world.name} are grey: save it as grey")
    if "mask" in pictures and pictures["mask"].shape[1:] != image.shape[1:]:
        sizes = ["x".join(map(str, each.shape[1:])) for each in (pictures["mask"], image)]
        raise InputError(
            f"--mask {settings.mask} has {sizes[0]} pixels, --image {settings.image} {sizes[1]}: the same are needed"
        )
    if "mask" in pictures and not (pictures["mask"].batch([0])[0] > 0.5).any():
        raise InputError(f"--mask {settings.mask} has no white pixel: nothing may change")
    if settings.hole_at:
        row, column, side = settings.hole_at
        if row + side > height or column + side > width:
            raise InputError(f"hole_at {row} {column} {side} leaves the image, {height}x{width} pixels")
    elif settings.task in ("inpaint", "paint") and not settings.mask and settings.hole >= min(height, width):
        raise InputError(f"hole {settings.hole}: the image has {height}x{width} pixels, the hole must be smaller")


def _check_seeded(settings: Settings, lab: Lab) -> None:
    """Raises: InputError where the training images have too few of the class that a seed is drawn for."""
    train: ImageData = lab.load(lab.data(settings.train_data))
    known = train.classes.index(settings.target) if settings.target in train.classes else -1
    count = int((train.labels == known).sum())
    if count < FEWEST_SEEDED:
        raise InputError(
            f"{train.name} has {count} images of class {settings.target!r}, {FEWEST_SEEDED} are needed to draw a seed "
            "from: take other --train-data, or --laws noise"
        )


def _world(settings: Settings, lab: Lab) -> World:
    """The world of the test images; or, with a side, of a network whose classes are numbered."""
    if not settings.side:
        known: ImageData = lab.load(lab.data(settings.test_data))
        return World(name=known.name, shape=known.shape, classes=known.classes)
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    shape = (3, settings.side, settings.side)
    model = model_to_try(lab, settings.model, opened_now(lab, [settings.model]))
    try:
        count = predict_logits(model, torch.full((1, *shape), 0.5)).shape[1]
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{settings.model} takes no images of {'x'.join(map(str, shape))}: {error}") from error
    return World(name=settings.model, shape=shape, classes=tuple(map(str, range(count))))


def _try_network(settings: Settings, lab: Lab, world: World) -> tuple[dict[str, Reference], tuple[str, ...]]:
    """References of what was opened, and warnings. Raises: InputError."""
    ascents = [settings.ascent(settings.tasks[0])]
    painting = settings.task == "paint"
    few = _few(settings, lab, world)
    if name := _named(settings):
        there = opened_now(lab, [name])
        model = model_to_try(lab, name, there)
        try_network(model, name, few, latents=painting, fake_relu=painting)
        if painting:
            _check_unit(settings, name, model, few)
        warnings = try_attacks(lab, {name: ascents}, [few], there)
        return {f"model {name}": each for each in there.values()}, warnings
    check_training(settings.spec("robust", settings.seed), lab.load(lab.data(settings.train_data)))
    if painting:
        _check_unit(
            settings, settings.architecture, model_to_try(lab, settings.architecture, {}, len(world.classes)), few
        )
    return {}, try_attacks(lab, {settings.architecture: ascents}, [few], {})


def _few(settings: Settings, lab: Lab, world: World) -> ImageData:
    """Images on which the network is tried."""
    if not settings.side:
        return lab.load(lab.data(settings.test_data))
    from robustray.tasks.data.images import ImageData

    grey = np.linspace(0.25, 0.75, 2, dtype=np.float32)[:, None, None, None]
    images = np.broadcast_to(grey, (2, *world.shape)).copy()
    return ImageData(name=world.name, images=images, labels=np.zeros(2, np.int64), classes=world.classes)


def _check_unit(settings: Settings, name: str, model: Any, data: ImageData) -> None:
    """Raises: InputError for a coordinate that the latent does not have."""
    from robustray.tasks.latents.cache import look

    width = look(model, data.batch([0])[0])[1].shape[1]
    if settings.unit >= width:
        raise InputError(f"--unit {settings.unit}: the latent of {name} has {width} coordinates, from 0")


# --- In the run -------------------------------------------------------------------------------------------------------


def run(settings: Settings, lab: Lab) -> Findings:
    """The network that was named, or the robust twin of the first seed, trained if it is not there."""
    name, world = _named(settings), _world(settings, lab)
    model = lab.model(name) if name else lab.train([settings.spec("robust", settings.seed)]).result()[0]
    refs: dict[str, Reference] = {"model": model}
    side = world.shape[1] // (settings.factor if settings.task == "super-resolution" else 1)
    for role, source in (("data", settings.image), ("mask", settings.mask)):
        if source:
            view: Reference = resize(lab.data(source), side)
            refs[role] = three_channels(view) if world.shape[0] == 3 else view
    if _seeds_from_train(settings):
        refs["data"] = lab.data(settings.train_data)
    rows = lab.map(
        "picture",
        picture_block,
        [0],
        block=1,
        seed=settings.seed,
        settings={
            "task": settings.task,
            "ascent": settings.ascent(settings.tasks[0]),
            "anchor": settings.paint_anchor if settings.task == "paint" else settings.anchor,
            "factor": settings.factor,
            "hole_at": [] if settings.mask else list(place(settings, world.shape)),
            "target": world.classes.index(settings.target) if settings.target else ITS_OWN,
            "unit": settings.unit,
            "law": settings.laws[0] if _seeds_from_train(settings) else "noise",
            "seed_factor": settings.seed_factor,
            "shape": list(world.shape),
        },
        refs=refs,
        needs=NEEDS,
    ).result()
    return _findings(settings, world, model.name, next(rows.itertuples()))


def _named(settings: Settings) -> str:
    """The network that has a name; "" where one is trained here."""
    return settings.model or settings.named().get(("robust", settings.seed), "")


def _seeds_from_train(settings: Settings) -> bool:
    return settings.task == "generate" and settings.laws[0] == "class" and not settings.side


def place(settings: Settings, shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Row, column and side of the square: as given, or drawn by the seed; () where the task has none."""
    if settings.hole_at or settings.task not in ("inpaint", "paint"):
        return settings.hole_at
    row, column = stream(settings.seed, "hole").integers([length - settings.hole + 1 for length in shape[1:]])
    return int(row), int(column), settings.hole


def _findings(settings: Settings, world: World, name: str, row: Any) -> Findings:
    task = settings.tasks[0]
    steps = row.steps.tolist()
    frames = np.concatenate([row.path, row.image[None]])
    masked = task in ("inpaint", "paint")
    return compose(
        _answer(settings, world, name, row),
        figures.image_grid(
            name="result",
            title="Result",
            caption="Left, where it began; right, the result"
            + (" with everything outside the mask put back." if masked else "."),
            images=np.stack([row.damaged, row.image]),
            rows=[""],
            columns=["start", "result"],
            scale=max(1, SHOWN // world.shape[1]),
        ),
        figures.image_grid(
            name="trajectory",
            title="How it came about",
            caption=f"Iterates of {settings.ascent(task).num_steps} steps of {settings.ascent(task).step_size:g}; the "
            "result is the one of highest objective.",
            images=frames,
            rows=[""],
            columns=[*(f"step {step}" for step in steps), "result"],
            scale=max(1, 96 // world.shape[1]),
        ),
        figures.one_image(
            name="picture",
            title="The picture alone",
            caption="At the network's own size, one pixel for each pixel.",
            image=row.image,
        ),
        Table(
            name="path",
            title="Objective by step",
            caption="What was maximised: minus the cross-entropy with the class, or the coordinate of the latent, "
            "minus what known pixels have moved.",
            frame=pd.DataFrame({"step": range(len(row.path_objective)), "objective": row.path_objective}),
            formats={"objective": ".4f"},
            on_page=False,
        ),
        _classes(world, row),
    )


def _answer(settings: Settings, world: World, name: str, row: Any) -> str:
    done = {
        "generate": "made a picture",
        "inpaint": "filled its hole",
        "super-resolution": f"enlarged it {settings.factor} times",
        "translate": "changed it",
        "sketch": "turned the drawing",
        "paint": "painted in it",
    }[settings.task]
    moved = f"moved by {row.distance:.3g} (l2, n = 1 picture"
    if settings.task == "paint":
        why = "as asked for" if settings.unit >= 0 else "which the picture excites most"
        return (
            f"{name} {done} with coordinate {int(row.wanted)} of its latent, {why}: it is {row.after:.3g} instead of "
            f"{row.before:.3g}, with everything outside the mask put back, and the picture {moved})."
        )
    why = "as asked for" if settings.target else "what it saw itself in the damaged picture"
    return (
        f"{name} {done} towards {world.classes[int(row.wanted)]!r}, {why}: it sees that class with "
        f"{format_value(float(row.after), 'percent')} instead of {format_value(float(row.before), 'percent')}, and "
        f"{moved}; the network's own opinion is no judgement)."
    )


def _classes(world: World, row: Any) -> Table:
    before, after = (probabilities(logits[None])[0] for logits in (row.logits_before, row.logits))
    frame = pd.DataFrame({"class": world.classes, "before": before, "after": after})
    many = len(frame) > MOST_CLASSES
    if many:
        frame = frame.assign(most=np.maximum(before, after)).nlargest(MOST_CLASSES, "most").drop(columns="most")
    return Table(
        name="classes",
        title="What the network sees",
        caption="Its probabilities of each class, before and after"
        + (f"; the {MOST_CLASSES} highest of {len(world.classes):,}." if many else "."),
        frame=frame,
        formats={"before": "percent", "after": "percent"},
    )
