"""What the study maps: generations from seeds, and damaged pictures mended by descending a classifier's loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.seeds import stream

if TYPE_CHECKING:
    import torch

    from robustray.tasks.inputs.items import Ascended

SHOWN_STEPS = 7
"""Iterates of a picture's path that are kept, start and end included."""


@block_function(
    version=1,
    columns={
        "label": pa.int16(),
        "number": pa.int64(),
        "start": Tensor("float32"),
        "image": Tensor("float32"),
        "objective_before": pa.float32(),
        "objective": pa.float32(),
        "distance": pa.float32(),
        "prediction": pa.int16(),
    },
)
def generate_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """Images of a class from seeds: items are [class, number]; "data" are the training images that seeds come from.

    settings: {"ascent", "law", "factor"}. objective: minus the cross-entropy with the class. prediction: of the model
    itself, which says little: it is what was optimised.
    """
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits
    from robustray.tasks.attacks.objective import CrossEntropy
    from robustray.tasks.inputs.items import ascend
    from robustray.tasks.studies.synthesis.damage import seed_images

    law, factor = context.settings["law"], context.settings["factor"]
    model = context.load("model")
    start = seed_images(context.load("data"), law, items, factor=factor, seed=context.seed).to(context.device)
    labels = torch.tensor([label for label, _ in items], device=context.device)
    found = ascend(context.settings["ascent"], model, start, labels, objective=CrossEntropy(targeted=True))
    return {
        "label": labels,
        "number": [number for _, number in items],
        "start": start,
        "image": found.images,
        "objective_before": found.path_loss[:, 0],
        "objective": found.loss,
        "distance": found.distance,
        "prediction": predict_logits(model, found.images).argmax(1),
    }


_EDITED = {
    "index": pa.int64(),
    "label": pa.int16(),
    "wanted": pa.int16(),
    "damaged": Tensor("float32"),
    "image": Tensor("float32"),
    "mended": Tensor("float32"),
    "objective_before": pa.float32(),
    "objective": pa.float32(),
    "distance": pa.float32(),
    "prediction": pa.int16(),
}


@block_function(version=1, columns={**_EDITED, "top": pa.int16(), "left": pa.int16()})
def inpaint_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Test images with a square lost and filled again: towards a class, known pixels softly tied to what they were.

    settings: {"ascent", "labels", "hole", "anchor"}. wanted: the class that was asked for, by the rule `labels`:
    "true", "predicted" (by this model from the damaged picture), or "wrong" (a random other one, by image). top, left:
    place of the square. `image` is the result as it is, `mended` has its known pixels put back; prediction: of the
    model itself on that.
    """
    from robustray.tasks.studies.synthesis.damage import filled, hole_places, holes, pasted

    images, labels = load_images(indices, context)
    places = hole_places(indices, images.shape[1:], context.settings["hole"], seed=context.seed)
    hole = holes(places, images.shape[1:], context.settings["hole"]).to(images.device)
    damaged = filled(images, hole)
    wanted = _wanted(indices, labels, damaged, context)
    found = inpaint(context.settings, context.load("model"), damaged, hole, wanted)
    mended = pasted(found.images, damaged, hole)
    columns = _columns(indices, labels, wanted, damaged, mended, found, context)
    return columns | {"top": places[:, 0], "left": places[:, 1]}


@block_function(version=1, columns=_EDITED)
def enlarge_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Test images averaged over squares, enlarged by repeating pixels (`damaged`), and sharpened towards a class.

    settings: {"ascent", "labels", "factor"}; `labels` and wanted as in `inpaint_block`. `mended` is `image`.
    """
    from robustray.tasks.studies.synthesis.damage import enlarged, reduced

    images, labels = load_images(indices, context)
    factor = context.settings["factor"]
    damaged = enlarged(reduced(images, factor), factor)
    wanted = _wanted(indices, labels, damaged, context)
    found = enlarge(context.settings, context.load("model"), damaged, wanted)
    return _columns(indices, labels, wanted, damaged, found.images, found, context)


@block_function(
    version=1,
    columns={
        "wanted": pa.int16(),
        "damaged": Tensor("float32"),
        "image": Tensor("float32"),
        "path": Tensor("float32"),
        "steps": Tensor("int64"),
        "path_objective": Tensor("float32"),
        "distance": pa.float32(),
        "logits_before": Tensor("float32"),
        "logits": Tensor("float32"),
    },
)
def picture_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """One picture of one's own, mended or enlarged, with the iterates on the way: items are [0].

    settings: {"task", "ascent", "anchor", "factor", "hole_at", "target"}; target -1: what the model sees in the damaged
    picture. For super-resolution the picture is the small one. `image` of an inpainting has its known pixels put back.
    """
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits
    from robustray.tasks.studies.synthesis.damage import enlarged, filled, holes, pasted

    settings, model = context.settings, context.load("model")
    images, _ = load_images(items, context)
    hole = None
    if settings["task"] == "inpaint":
        top, left, side = settings["hole_at"]
        hole = holes(torch.tensor([[top, left]]).numpy(), images.shape[1:], side).to(images.device)
        damaged = filled(images, hole)
    else:
        damaged = enlarged(images, settings["factor"])
    before = predict_logits(model, damaged)
    wanted = before.argmax(1) if settings["target"] < 0 else torch.full_like(before.argmax(1), settings["target"])
    steps = torch.linspace(0, settings["ascent"].num_steps, SHOWN_STEPS).round().long().unique()
    record = steps.tolist()
    if hole is None:
        found = enlarge(settings, model, damaged, wanted, record)
        image = found.images
    else:
        found = inpaint(settings, model, damaged, hole, wanted, record)
        image = pasted(found.images, damaged, hole)
    return {
        "wanted": wanted,
        "damaged": damaged,
        "image": image,
        "path": found.path,
        "steps": steps[None],
        "path_objective": found.path_loss,
        "distance": found.distance,
        "logits_before": before,
        "logits": predict_logits(model, image),
    }


def inpaint(
    settings: Mapping[str, Any],
    model: Any,
    damaged: torch.Tensor,
    hole: torch.Tensor,
    wanted: torch.Tensor,
    record: Sequence[int] = (),
) -> Ascended:
    """Cross-entropy of `wanted` plus the weighted mean squared change of known pixels, descended within the ball."""
    from robustray.tasks.attacks.objective import CrossEntropy
    from robustray.tasks.inputs.items import ascend
    from robustray.tasks.inputs.objectives import Anchored

    objective = Anchored(objective=CrossEntropy(targeted=True), weight=settings["anchor"])
    state = {"goal": wanted, "known": damaged, "hole": hole}
    return ascend(settings["ascent"], model, damaged, state, objective=objective, record=record)


def enlarge(
    settings: Mapping[str, Any], model: Any, damaged: torch.Tensor, wanted: torch.Tensor, record: Sequence[int] = ()
) -> Ascended:
    """Cross-entropy of `wanted`, descended within a small ball."""
    from robustray.tasks.attacks.objective import CrossEntropy
    from robustray.tasks.inputs.items import ascend

    return ascend(settings["ascent"], model, damaged, wanted, objective=CrossEntropy(targeted=True), record=record)


def other_label(label: int, num_classes: int, seed: int, index: int) -> int:
    """A random class that is not `label`; decided by seed and index."""
    return (label + 1 + int(stream(seed, "wrong label", index).integers(num_classes - 1))) % num_classes


def _wanted(indices: Sequence[int], labels: torch.Tensor, damaged: torch.Tensor, context: Context) -> torch.Tensor:
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    rule = context.settings["labels"]
    if rule == "true":
        return labels
    if rule == "predicted":
        return predict_logits(context.load("model"), damaged).argmax(1)
    num_classes = context.load("data").num_classes
    wrong = [
        other_label(label, num_classes, context.seed, index)
        for index, label in zip(indices, labels.tolist(), strict=True)
    ]
    return torch.tensor(wrong, device=labels.device)


def _columns(
    indices: Sequence[int],
    labels: torch.Tensor,
    wanted: torch.Tensor,
    damaged: torch.Tensor,
    mended: torch.Tensor,
    found: Ascended,
    context: Context,
) -> dict[str, Any]:
    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    return {
        "index": indices,
        "label": labels,
        "wanted": wanted,
        "damaged": damaged,
        "image": found.images,
        "mended": mended,
        "objective_before": found.path_loss[:, 0],
        "objective": found.loss,
        "distance": found.distance,
        "prediction": predict_logits(context.load("model"), mended).argmax(1),
    }
