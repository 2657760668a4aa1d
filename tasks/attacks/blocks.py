"""What a lab maps over the images of a data set: predictions, attacks, and adversarial images to look at.

Items are image indices, one row each. A model `lab.model(name)` and a data set `lab.data(name)` are passed as
`refs={"model": ..., "data": ...}`, the attack as `settings`. Rows do not depend on how indices were cut into blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context, Tensor, block_function

if TYPE_CHECKING:
    import torch

    from robustray.tasks.attacks.result import AttackResult


@block_function(
    version=1,
    columns={
        "index": pa.int64(),
        "label": pa.int16(),
        "prediction": pa.int16(),
        "loss": pa.float32(),
        "correct": pa.bool_(),
    },
)
def predict_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Predictions on the images as they are; loss is cross-entropy with the label. Needs no settings and no seed."""
    from torch.nn import functional

    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    images, labels = load_images(indices, context)
    logits = predict_logits(context.load("model"), images)
    return {
        "index": indices,
        "label": labels,
        "prediction": logits.argmax(1),
        "loss": functional.cross_entropy(logits, labels, reduction="none"),
        "correct": logits.argmax(1) == labels,
    }


@block_function(version=1, columns=predict_block.columns)
def vote_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """As `predict_block`, by the majority of `context.settings.num_draws` draws of a random model (`Votes`); loss is
    the share of draws that are wrong minus that of those that are right."""
    from robustray.tasks.attacks.search.voting import voted

    images, labels = load_images(indices, context)
    num_draws = context.settings.num_draws
    found = voted(context.load("model"), images, labels, num_draws=num_draws, seed=context.seed)
    return {
        "index": indices,
        "label": labels,
        "prediction": found["predictions"],
        "loss": found["loss"],
        "correct": found["loss"] < 0,
    }


@block_function(
    version=2,
    columns={
        "index": pa.int64(),
        "label": pa.int16(),
        "clean_prediction": pa.int16(),
        "prediction": pa.int16(),
        "success": pa.bool_(),
        "loss": pa.float32(),
        "distance": pa.float32(),
        "evaluations": pa.int32(),
        "first_gradient": pa.float32(),
    },
)
def attack_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """The attack `context.settings` on each image; the columns are those of `AttackResult`."""
    images, labels = load_images(indices, context)
    result = _attack(images, labels, indices, context)
    return {
        "index": indices,
        "label": labels,
        "clean_prediction": result.clean_predictions,
        "prediction": result.predictions,
        "success": result.success,
        "loss": result.loss,
        "distance": result.distance,
        "evaluations": result.num_evaluations,
        "first_gradient": [math.nan] * len(indices) if result.first_gradient is None else result.first_gradient,
    }


@block_function(
    version=1,
    columns={
        "index": pa.int64(),
        "label": pa.int16(),
        "clean_prediction": pa.int16(),
        "prediction": pa.int16(),
        "success": pa.bool_(),
        "clean_image": Tensor("float32"),
        "adversarial_image": Tensor("float32"),
    },
)
def example_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Like `attack_block`, with the images (channels, height, width) in [0, 1]: for pictures, not for whole data
    sets."""
    images, labels = load_images(indices, context)
    result = _attack(images, labels, indices, context)
    return {
        "index": indices,
        "label": labels,
        "clean_prediction": result.clean_predictions,
        "prediction": result.predictions,
        "success": result.success,
        "clean_image": images,
        "adversarial_image": result.images,
    }


def load_images(indices: Sequence[int], context: Context) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of the data set behind "data", on the device of the block."""
    images, labels = context.load("data").batch(indices)
    return images.to(context.device), labels.to(context.device)


def refuse_stochastic(result: AttackResult) -> None:
    """Raises: InputError for a stochastic model whose rows could not be computed again."""
    if result.warnings:
        raise InputError("; ".join(result.warnings))


def _attack(images: torch.Tensor, labels: torch.Tensor, indices: Sequence[int], context: Context) -> AttackResult:
    result: AttackResult = context.settings(context.load("model"), images, labels, seed=context.seed, indices=indices)
    refuse_stochastic(result)
    return result
