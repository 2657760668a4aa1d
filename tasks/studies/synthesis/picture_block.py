"""The one block of work for a picture of the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.lab.protocol import Context, Tensor, block_function

if TYPE_CHECKING:
    import torch

    from robustray.tasks.studies.synthesis.edits import Made

SHOWN_STEPS = 7
"""Number of iterates of a picture's path that are recorded, start and end included."""
ITS_OWN = -1
"""Value of "target" for the class that the model sees in the damaged picture, and of "unit" for the coordinate that the
picture excites most."""


@block_function(
    version=2,
    columns={
        "wanted": pa.int64(),
        "damaged": Tensor("float32"),
        "image": Tensor("float32"),
        "path": Tensor("float32"),
        "steps": Tensor("int64"),
        "path_objective": Tensor("float32"),
        "distance": pa.float32(),
        "before": pa.float32(),
        "after": pa.float32(),
        "logits_before": Tensor("float32"),
        "logits": Tensor("float32"),
    },
)
def picture_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """One picture, made, mended or changed, with the iterates on the way: items are [0].

    settings: {"task", "ascent", "anchor", "factor", "hole_at", "target", "unit", "law", "seed_factor", "shape"}, each
    where its task needs it. "data": the picture; for super-resolution the small one; for a generation the training
    images that its seed comes from (law "class"), else none. "mask": a picture, 1 where it is bright, instead of the
    square "hole_at". `image` of a task with a mask has its known pixels put back. before, after: the probability of the
    class wanted, or the activation of the coordinate wanted, in `damaged` and in `image`.
    """
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    model = context.load("model")
    steps = torch.linspace(0, context.settings["ascent"].num_steps, SHOWN_STEPS).round().long().unique()
    made = _made(items, context, model, steps.tolist())
    before, after = _wanted(context, model, made)
    return {
        "wanted": made.wanted,
        "damaged": made.start,
        "image": made.mended,
        "path": made.found.path,
        "steps": steps[None],
        "path_objective": made.found.path_loss,
        "distance": made.found.distance,
        "before": before,
        "after": after,
        "logits_before": predict_logits(model, made.start),
        "logits": predict_logits(model, made.mended),
    }


def _made(items: Sequence[int], context: Context, model: Any, record: Sequence[int]) -> Made:
    from robustray.tasks.latents.cache import look
    from robustray.tasks.studies.synthesis import edits

    settings, ascent = context.settings, context.settings["ascent"]
    target: Any = None if settings["target"] == ITS_OWN else settings["target"]
    if settings["task"] == "generate":
        return edits.generate(model, _seed(context), target, ascent, record=record)
    images, _ = load_images(items, context)
    if settings["task"] == "inpaint":
        hole = _mask(images, context)
        return edits.inpaint(model, images, hole, target, ascent, anchor=settings["anchor"], record=record)
    if settings["task"] == "super-resolution":
        return edits.enlarge(model, images, settings["factor"], target, ascent, record=record)
    if settings["task"] == "paint":
        unit = settings["unit"]
        excited = look(model, images)[1].argmax(1) if unit == ITS_OWN else unit
        mask = _mask(images, context)
        return edits.paint(model, images, mask, excited, ascent, anchor=settings["anchor"], record=record)
    towards = {"translate": edits.translate, "sketch": edits.from_sketch}[settings["task"]]
    return towards(model, images, target, ascent, record=record)


def _seed(context: Context) -> torch.Tensor:
    import torch

    from robustray.tasks.inputs.starts import grey_noise
    from robustray.tasks.studies.synthesis.damage import seed_images

    settings = context.settings
    if settings["law"] == "noise":
        seed = grey_noise(context.seed, "seed image", torch.tensor([0]), settings["shape"])
    else:
        item, factor = [settings["target"], 0], settings["seed_factor"]
        seed = seed_images(context.load("data"), settings["law"], [item], factor=factor, seed=context.seed)
    return seed.to(context.device)


def _mask(images: torch.Tensor, context: Context) -> torch.Tensor:
    import numpy as np

    from robustray.tasks.studies.synthesis.damage import holes

    if context.settings["hole_at"]:
        top, left, side = context.settings["hole_at"]
        return holes(np.array([[top, left]]), images.shape[1:], side).to(images.device)
    mask, _ = context.load("mask").batch([0])
    return (mask.mean(1, keepdim=True) > 0.5).to(images)


def _wanted(context: Context, model: Any, made: Made) -> tuple[torch.Tensor, torch.Tensor]:
    from robustray.tasks.attacks.gradient.verdicts import predict_logits
    from robustray.tasks.latents.cache import look

    wanted, both = made.wanted[:, None], (made.start, made.mended)
    if context.settings["task"] == "paint":
        before, after = (look(model, each)[1].gather(1, wanted)[:, 0] for each in both)
    else:
        before, after = (predict_logits(model, each).softmax(1).gather(1, wanted)[:, 0] for each in both)
    return before, after
