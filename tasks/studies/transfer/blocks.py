"""Logistic heads on the latents of a source, and attacks on a source with such a head, as block functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustray.tasks.attacks.blocks import load_images, refuse_stochastic
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.latents.head import fit_head
from robustray.tasks.studies.transfer.worlds import shots

if TYPE_CHECKING:
    from robustray.tasks.attacks.settings import PGD

HEAD_COLUMNS = ("mean", "scale", "weights", "bias")
"""Those of `head_block` that `attack_head_block` needs."""


@block_function(
    version=2,
    columns={
        "strength": pa.float64(),
        "validation": pa.float64(),
        "converged": pa.bool_(),
        "prediction": Tensor("int64"),
        "mean": Tensor("float64"),
        "scale": Tensor("float64"),
        "weights": Tensor("float64"),
        "bias": Tensor("float64"),
    },
)
def head_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """A head for each (images of a class, draw): fitted on the few latents of that draw, out of the pool behind
    "train"; its predictions on "test" (n,).

    Settings: the share of the few latents on which C is chosen. validation: accuracy there, at the chosen C. No label
    of a test image is looked at. mean, scale (w,), weights (classes, w), bias (classes,): the head itself.
    """
    train, test = context.load("train"), context.load("test")
    heads = []
    for per_class, draw in items:
        few = shots(train["label"], per_class, seed=context.seed, draw=draw)
        heads.append(fit_head(train["latent"][few], train["label"][few], seed=context.seed, held_out=context.settings))
    return {
        "strength": [head.strength for head in heads],
        "validation": [head.held_out_accuracy[head.strength] for head in heads],
        "converged": [head.converged for head in heads],
        "prediction": [head.predict(test["latent"]) for head in heads],
    } | {name: [getattr(head, name) for head in heads] for name in HEAD_COLUMNS}


@dataclass(frozen=True, kw_only=True)
class HeadAttack:
    """An attack on a source under one of its heads."""

    attack: PGD
    head: int
    """Row of the heads."""


@block_function(
    version=1,
    columns={"index": pa.int64(), "label": pa.int16(), "clean_prediction": pa.int16(), "prediction": pa.int16()},
)
def attack_head_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Attack images of "data" through the features of "model" and a head of "head" (columns of `head_block`); settings:
    a `HeadAttack`. Gradients go through both, as if they were one network."""
    images, labels = load_images(indices, context)
    chosen: HeadAttack = context.settings
    head = {name: context.load("head")[name][chosen.head] for name in HEAD_COLUMNS}
    model = under_head(context.load("model"), device=context.device, **head)
    result = chosen.attack(model, images, labels, seed=context.seed, indices=indices)
    refuse_stochastic(result)
    return {
        "index": indices,
        "label": labels,
        "clean_prediction": result.clean_predictions,
        "prediction": result.predictions,
    }


def under_head(model: Any, *, device: str, mean: Any, scale: Any, weights: Any, bias: Any) -> Any:
    """A network of the latents of `model` and a linear layer, fp32: what `LogisticHead.logits` computes, with the
    standardisation multiplied out. Arrays as in `LogisticHead`."""
    import torch
    from torch import nn

    class UnderHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = model
            slopes = weights / scale
            self.head = nn.Linear(slopes.shape[1], slopes.shape[0])
            with torch.no_grad():
                self.head.weight.copy_(torch.as_tensor(slopes))
                self.head.bias.copy_(torch.as_tensor(bias - slopes @ mean))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.features.forward_with_latent(images)[1].float())
            return logits

    return UnderHead().to(device)
