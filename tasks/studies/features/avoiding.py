"""Perturbations that fool one network and leave others alone: the objective, and several networks as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustray.tasks.attacks.objective import ModelOutput, OnLogits


class SideBySide(nn.Module):
    """Several networks on the same images: their logits one after the other, (batch, models * classes)."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([model(images) for model in self.models], dim=1)


@dataclass(frozen=True, kw_only=True)
class NotTransferable(OnLogits):
    """Minus the loss of the target on the first network, minus the mean loss of the true label on the others.

    Of the logits of `SideBySide`. `state` holds "target" and "label", (batch,) int64 each.
    """

    num_models: int

    def loss(self, output: ModelOutput, images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        first, *others = output.logits.chunk(self.num_models, dim=1)
        loss = functional.cross_entropy(first, state["target"], reduction="none")
        kept = [functional.cross_entropy(logits, state["label"], reduction="none") for logits in others]
        return -loss - torch.stack(kept).mean(0)

    def success(self, output: ModelOutput, images: Tensor, state: Mapping[str, Tensor]) -> None:
        return None
