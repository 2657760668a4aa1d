"""What the study maps: inversions of latents, syntheses of a class from the same start, and visualised units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.seeds import stream

if TYPE_CHECKING:
    import torch

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.inputs.items import Ascended

NO_IMAGE = -1
"""Value of `start_index` for an inversion that started at noise."""
POINTS = 10
"""Number of points of a path, besides its start, at which the objective is recorded."""

_OPTIMISED = {
    "index": pa.int64(),
    "label": pa.int16(),
    "start_index": pa.int64(),
    "start": Tensor("float32"),
    "image": Tensor("float32"),
    "path": Tensor("float32"),
    "objective": pa.float32(),
    "distance": pa.float32(),
    "prediction": pa.int16(),
}


@block_function(version=1, columns=_OPTIMISED)
def invert_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Images whose latent is that of test images `indices`, from noise or from an image of another class.

    settings: {"ascent", "start"}. objective: minus the relative distance to the target's latent (`path` at
    POINTS + 1 evenly spaced steps); the optimised branch has the fake ReLU, the target's latent has not. prediction: of
    the model itself on the result.
    """
    from robustray.tasks.attacks.objective import LatentMatching
    from robustray.tasks.inputs.items import ascend
    from robustray.tasks.latents.cache import look

    model = context.load("model")
    targets, labels = load_images(indices, context)
    start, start_index = _starts(context, indices, labels)
    latents = look(model, targets)[1]
    found = ascend(context.settings["ascent"], model, start, latents, objective=LatentMatching(fake_relu=True))
    return {"index": indices, "label": labels, "start_index": start_index, "start": start} | _columns(model, found)


@block_function(version=1, columns=_OPTIMISED)
def class_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Like `invert_block`, but for the class of the image alone: minus the cross-entropy with its label, from the same
    start.

    This is the baseline that knows the class of a target and nothing else about it.
    """
    from robustray.tasks.attacks.objective import CrossEntropy
    from robustray.tasks.inputs.items import ascend

    model = context.load("model")
    _, labels = load_images(indices, context)
    start, start_index = _starts(context, indices, labels)
    found = ascend(context.settings["ascent"], model, start, labels, objective=CrossEntropy(targeted=True))
    return {"index": indices, "label": labels, "start_index": start_index, "start": start} | _columns(model, found)


@block_function(
    version=1,
    columns={
        "unit": pa.int64(),
        "number": pa.int64(),
        "start_index": pa.int64(),
        "label": pa.int16(),
        "start": Tensor("float32"),
        "image": Tensor("float32"),
        "activation_before": pa.float32(),
        "activation": pa.float32(),
        "distance": pa.float32(),
    },
)
def unit_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """Images that excite one coordinate of the latent: items are [unit, number of the start].

    Even numbers start at noise, odd ones at a random test image; the start of a number is the same for all units and
    networks. settings: {"ascent"}. label: 0, so that the rows can be data to a judge.
    """
    import torch

    from robustray.tasks.inputs.items import ascend
    from robustray.tasks.inputs.objectives import Unit
    from robustray.tasks.inputs.starts import grey_noise

    data: ImageData = context.load("data")
    units = torch.tensor([unit for unit, _ in items], device=context.device)
    numbers = [number for _, number in items]
    start = grey_noise(context.seed, "unit start", torch.tensor(numbers), data.shape)
    start_index = [NO_IMAGE] * len(items)
    for row, number in enumerate(numbers):
        if number % 2:
            start_index[row] = int(stream(context.seed, "unit start", number).integers(len(data)))
            start[row] = data.batch([start_index[row]])[0][0]
    start = start.to(context.device)
    found = ascend(context.settings["ascent"], context.load("model"), start, units, objective=Unit())
    return {
        "unit": units,
        "number": numbers,
        "start_index": start_index,
        "label": torch.zeros_like(units),
        "start": start,
        "image": found.images,
        "activation_before": found.path_loss[:, 0],
        "activation": found.loss,
        "distance": found.distance,
    }


def other_class(data: ImageData, seed: int, index: int) -> int:
    """A random image of another class than that of image `index`; decided by seed and index."""
    others = (data.labels != data.labels[index]).nonzero()[0]
    return int(others[stream(seed, "start image", index).integers(len(others))])


def _starts(context: Context, indices: Sequence[int], labels: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """Starts (b, ...) and the indices of the images they are."""
    import torch

    from robustray.tasks.inputs.starts import grey_noise

    data: ImageData = context.load("data")
    if context.settings["start"] == "image":
        others = [other_class(data, context.seed, index) for index in indices]
        return data.batch(others)[0].to(context.device), others
    noise = grey_noise(context.seed, "inversion start", torch.as_tensor(list(indices)), data.shape)
    return noise.to(context.device), [NO_IMAGE] * len(indices)


def _columns(model: Any, found: Ascended) -> dict[str, Any]:
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    steps = found.path_loss.shape[1] - 1
    at = torch.linspace(0, steps, POINTS + 1).round().long()
    return {
        "image": found.images,
        "path": found.path_loss[:, at.to(found.images.device)],
        "objective": found.loss,
        "distance": found.distance,
        "prediction": predict_logits(model, found.images).argmax(1),
    }
