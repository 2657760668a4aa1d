"""What the study maps: generations from seeds, edits of test images towards a class, and paintings with features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.seeds import stream

if TYPE_CHECKING:
    import torch

    from robustray.tasks.studies.synthesis.edits import Made


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
    from robustray.tasks.studies.synthesis.damage import seed_images
    from robustray.tasks.studies.synthesis.edits import generate

    law, factor = context.settings["law"], context.settings["factor"]
    model = context.load("model")
    start = seed_images(context.load("data"), law, items, factor=factor, seed=context.seed).to(context.device)
    labels = torch.tensor([label for label, _ in items], device=context.device)
    found = generate(model, start, labels, context.settings["ascent"]).found
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
_PLACED = {**_EDITED, "top": pa.int16(), "left": pa.int16()}


@block_function(version=1, columns=_PLACED)
def inpaint_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Test images in which a square is lost and filled again towards a class; known pixels are softly tied to what they
    were.

    settings: {"ascent", "labels", "hole", "anchor"}. wanted: the class that was asked for, by the rule `labels`:
    "true", "predicted" (by this model from the damaged picture), or "wrong" (a random other one, by image). top, left:
    place of the square. `image` is the result as it is, `mended` has its known pixels put back; prediction: what the
    model itself sees in it.
    """
    from robustray.tasks.studies.synthesis.edits import inpaint

    images, labels = load_images(indices, context)
    hole, places = _squares(indices, images, context)
    settings = context.settings
    target = _target(indices, labels, context)
    made = inpaint(context.load("model"), images, hole, target, settings["ascent"], anchor=settings["anchor"])
    return _columns(indices, labels, made, context) | places


@block_function(version=1, columns=_EDITED)
def enlarge_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Test images averaged over squares, enlarged by repeating pixels (`damaged`), and sharpened towards a class.

    settings: {"ascent", "labels", "factor"}; `labels` and wanted as in `inpaint_block`. `mended` is `image`.
    """
    from robustray.tasks.studies.synthesis.damage import reduced
    from robustray.tasks.studies.synthesis.edits import enlarge

    images, labels = load_images(indices, context)
    factor = context.settings["factor"]
    target = _target(indices, labels, context)
    made = enlarge(context.load("model"), reduced(images, factor), factor, target, context.settings["ascent"])
    return _columns(indices, labels, made, context)


@block_function(version=1, columns=_EDITED)
def translate_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Test images (`damaged`: as they are) turned into ones of another class: settings {"ascent", "labels"}."""
    from robustray.tasks.studies.synthesis.edits import translate

    images, labels = load_images(indices, context)
    target = _target(indices, labels, context)
    assert target is not None, "a translation is asked for another class than the picture shows"
    made = translate(context.load("model"), images, target, context.settings["ascent"])
    return _columns(indices, labels, made, context)


@block_function(version=1, columns=_EDITED)
def sketch_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Outlines of test images (`damaged`) turned into pictures of their class: settings {"ascent", "labels"}."""
    from robustray.tasks.studies.synthesis.damage import outlines
    from robustray.tasks.studies.synthesis.edits import from_sketch

    images, labels = load_images(indices, context)
    target = _target(indices, labels, context)
    assert target is not None, "a sketch comes with what it is meant to be"
    made = from_sketch(context.load("model"), outlines(images), target, context.settings["ascent"])
    return _columns(indices, labels, made, context)


@block_function(
    version=2,
    columns={
        **{name: kind for name, kind in _PLACED.items() if name not in ("wanted", "objective_before", "objective")},
        "unit": pa.int64(),
        "activation_before": pa.float32(),
        "activation_free": pa.float32(),
        "activation": pa.float32(),
    },
)
def paint_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Test images with a random coordinate of the latent painted into a random square.

    settings: {"ascent", "anchor", "hole", "units"}: among these units one is drawn for each image. activation: of the
    unit in the picture as it was, in the result (free), and in the result with everything else put back (`mended`).
    """
    import torch

    from robustray.tasks.latents.cache import look
    from robustray.tasks.studies.synthesis.edits import paint

    settings, model = context.settings, context.load("model")
    images, labels = load_images(indices, context)
    mask, places = _squares(indices, images, context)
    among = settings["units"]
    units = [among[int(stream(context.seed, "painted unit", index).integers(len(among)))] for index in indices]
    drawn = torch.tensor(units, device=images.device)
    made = paint(model, images, mask, drawn, settings["ascent"], anchor=settings["anchor"])
    seen = {
        name: look(model, each)[1].gather(1, drawn[:, None])[:, 0]
        for name, each in (("_before", images), ("_free", made.found.images), ("", made.mended))
    }
    columns = _columns(indices, labels, made, context) | places | {"unit": drawn}
    for name in ("wanted", "objective_before", "objective"):
        del columns[name]
    return columns | {f"activation{name}": values for name, values in seen.items()}


EDIT_BLOCKS = {
    "inpaint": inpaint_block,
    "super-resolution": enlarge_block,
    "translate": translate_block,
    "sketch": sketch_block,
}


def other_label(label: int, num_classes: int, seed: int, index: int) -> int:
    """A random class that is not `label`; decided by seed and index."""
    return (label + 1 + int(stream(seed, "wrong label", index).integers(num_classes - 1))) % num_classes


def _squares(indices: Sequence[int], images: torch.Tensor, context: Context) -> tuple[torch.Tensor, dict[str, Any]]:
    """Masks of each image's square, and where it is."""
    from robustray.tasks.studies.synthesis.damage import hole_places, holes

    side = context.settings["hole"]
    places = hole_places(indices, images.shape[1:], side, seed=context.seed)
    mask = holes(places, images.shape[1:], side).to(images.device)
    return mask, {"top": places[:, 0], "left": places[:, 1]}


def _target(indices: Sequence[int], labels: torch.Tensor, context: Context) -> torch.Tensor | None:
    """The classes asked for, by the rule; None: what the model sees itself."""
    import torch

    rule = context.settings["labels"]
    if rule == "true":
        return labels
    if rule == "predicted":
        return None
    num_classes = context.load("data").num_classes
    wrong = [
        other_label(label, num_classes, context.seed, index)
        for index, label in zip(indices, labels.tolist(), strict=True)
    ]
    return torch.tensor(wrong, device=labels.device)


def _columns(indices: Sequence[int], labels: torch.Tensor, made: Made, context: Context) -> dict[str, Any]:
    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    return {
        "index": indices,
        "label": labels,
        "wanted": made.wanted,
        "damaged": made.start,
        "image": made.found.images,
        "mended": made.mended,
        "objective_before": made.found.path_loss[:, 0],
        "objective": made.found.loss,
        "distance": made.found.distance,
        "prediction": predict_logits(context.load("model"), made.mended).argmax(1),
    }
