"""One picture of one's own, mended or enlarged by one network: no study, no claim, a result and how it came about."""

from __future__ import annotations

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
from robustray.tasks.studies.synthesis.blocks import picture_block
from robustray.tasks.studies.synthesis.scores import probabilities
from robustray.tasks.studies.synthesis.settings import Settings
from robustray.tasks.study import Findings, Table
from robustray.tasks.training.doors import check_training
from robustray.tasks.training.twin_networks import try_network
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab import Lab, Reference

SHOWN = 320
"""CSS pixels of the result, about."""


def check(settings: Settings, lab: Lab) -> tuple[dict[str, Reference], tuple[str, ...]]:
    """Open picture and network and try them on each other. Returns: references, and warnings for the page.

    Raises: InputError.
    """
    test = lab.data(settings.test_data)
    known: ImageData = lab.load(test)
    source = lab.data(settings.image)
    pictures: ImageData = lab.load(source)
    if len(pictures) != 1:
        raise InputError(f"--image {settings.image}: {len(pictures)} images; give one picture (a .png or .jpg file)")
    if known.shape[0] == 1 and pictures.shape[0] == 3:
        raise InputError(f"--image {settings.image} is in colour, the images of {test.name} are grey: save it as grey")
    if settings.target and settings.target not in known.classes:
        raise InputError(
            f"--target {settings.target}: no class of {test.name}{nearest(settings.target, known.classes)}"
        )
    sides = min(known.shape[1:])
    if settings.task == "super-resolution" and (sides % settings.factor or settings.factor >= sides):
        raise InputError(f"factor {settings.factor} does not divide the sides of {test.name}'s images, {sides}")
    if settings.hole_at:
        row, column, side = settings.hole_at
        height, width = known.shape[1:]
        if row + side > height or column + side > width:
            raise InputError(f"hole_at {row} {column} {side} leaves the image, {height}x{width} pixels")
    opened = {f"image {settings.image}": source, f"data {test.name}": test}
    ascents = [settings.ascent(settings.tasks[0])]
    if name := _named(settings):
        there = opened_now(lab, [name])
        try_network(model_to_try(lab, name, there), name, known, latents=False)
        warnings = try_attacks(lab, {name: ascents}, [known], there)
        return opened | {f"model {name}": model for model in there.values()}, warnings
    train = lab.data(settings.train_data)
    check_training(settings.spec("robust", settings.seed), lab.load(train))
    warnings = try_attacks(lab, {settings.architecture: ascents}, [known], {})
    return opened | {f"data {train.name}": train}, warnings


def run(settings: Settings, lab: Lab) -> Findings:
    """The network that was named, or the robust twin of the first seed, trained if it is not there."""
    known: ImageData = lab.load(lab.data(settings.test_data))
    name = _named(settings)
    model = lab.model(name) if name else lab.train([settings.spec("robust", settings.seed)]).result()[0]
    side = known.shape[1] if settings.task == "inpaint" else known.shape[1] // settings.factor
    view: Reference = resize(lab.data(settings.image), side)
    if known.shape[0] == 3:
        view = three_channels(view)
    rows = lab.map(
        "picture",
        picture_block,
        [0],
        block=1,
        seed=settings.seed,
        settings={
            "task": settings.task,
            "ascent": settings.ascent(settings.tasks[0]),
            "anchor": settings.anchor,
            "factor": settings.factor,
            "hole_at": list(place(settings, known)),
            "target": known.classes.index(settings.target) if settings.target else -1,
        },
        refs={"model": model, "data": view},
        needs=NEEDS,
    ).result()
    return _findings(settings, known, model.name, next(rows.itertuples()))


def _named(settings: Settings) -> str:
    """The network that has a name; "" where one is trained here."""
    return settings.model or settings.named().get(("robust", settings.seed), "")


def place(settings: Settings, known: ImageData) -> tuple[int, int, int]:
    """Row, column and side of the hole: as given, or drawn by the seed."""
    if settings.hole_at:
        row, column, side = settings.hole_at
        return row, column, side
    row, column = stream(settings.seed, "hole").integers([length - settings.hole + 1 for length in known.shape[1:]])
    return int(row), int(column), settings.hole


def _findings(settings: Settings, known: ImageData, name: str, row: Any) -> Findings:
    wanted = int(row.wanted)
    before, after = (probabilities(logits[None])[0] for logits in (row.logits_before, row.logits))
    word = {"inpaint": "filled its hole", "super-resolution": f"enlarged it {settings.factor} times"}[settings.task]
    why = "as asked for" if settings.target else "what it saw itself in the damaged picture"
    steps = row.steps.tolist()
    scale = max(1, SHOWN // known.shape[1])
    small = max(1, 96 // known.shape[1])
    task = settings.tasks[0]
    frames = np.concatenate([row.path, row.image[None]])
    return compose(
        f"{name} {word} towards {known.classes[wanted]!r}, {why}: it sees that class with "
        f"{format_value(float(after[wanted]), 'percent')} instead of {format_value(float(before[wanted]), 'percent')}, "
        f"and moved by {row.distance:.3g} (l2, n = 1 picture; the network's own opinion is no judgement).",
        figures.image_grid(
            name="result",
            title="Result",
            caption="Left, the damaged picture; right, the result"
            + (" with its known pixels put back." if task == "inpaint" else "."),
            images=np.stack([row.damaged, row.image]),
            rows=[""],
            columns=["damaged", "result"],
            scale=scale,
        ),
        figures.image_grid(
            name="trajectory",
            title="How it came about",
            caption=f"Iterates of {settings.ascent(task).num_steps} steps of {settings.ascent(task).step_size:g}; the "
            "result is the one of highest objective.",
            images=frames,
            rows=[""],
            columns=[*(f"step {step}" for step in steps), "result"],
            scale=small,
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
            caption="What was maximised: minus the cross-entropy with the class, minus what known pixels have moved.",
            frame=pd.DataFrame({"step": range(len(row.path_objective)), "objective": row.path_objective}),
            formats={"objective": ".4f"},
            on_page=False,
        ),
        Table(
            name="classes",
            title="What the network sees",
            caption="Its probabilities of each class, before and after.",
            frame=pd.DataFrame({"class": known.classes, "before": before, "after": after}),
            formats={"before": "percent", "after": "percent"},
        ),
    )
