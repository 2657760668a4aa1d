"""All that a training is at one moment: written down and read back, it goes on as if nothing had happened.

Random numbers are functions of (seed, what is drawn, epoch or step, image index), so no generator is part of it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from robustray.tasks.lab import seeds
from robustray.tasks.lab.resumable import below
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.sgd import SGD

Row = dict[str, Any]
"""One epoch of a learning curve; its columns: `loop.train_model`."""

WEIGHTS, EMA = "weights", "ema"
"""The weights themselves, and their running average."""


class TrainingDiverged(RuntimeError):
    """A loss or a weight was not finite."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """Weights of one epoch."""

    epoch: int
    """Counted from 1."""
    score: float
    """Held-out accuracy that they are judged by: robust, or clean where eps is 0; 0 where nothing was held out."""
    tensors: Mapping[str, Tensor]
    """A state dict, on the CPU."""


@dataclass(kw_only=True, eq=False)
class TrainState:
    """Model, optimizer, average, position, learning curve and the best weights so far."""

    spec: TrainSpec
    model: nn.Module
    optimizer: SGD
    ema: nn.Module | None
    loss_sum: Tensor
    """Over the steps of the present epoch, float64."""
    num_correct: Tensor
    first_bad: Tensor
    """int64: the first step whose loss was not finite, -1 if there is none. On the device: looking at it waits."""
    step: int = 0
    """Steps that were taken."""
    curve: list[Row] = field(default_factory=list)
    best: dict[str, Snapshot] = field(default_factory=dict)
    """Of `WEIGHTS` and `EMA`."""

    @staticmethod
    def start(spec: TrainSpec, model: nn.Module, device: str) -> TrainState:
        """`model` is moved to `device`, into channels_last if it convolves; its modes stay as they are."""
        model = model.to(device)
        if any(isinstance(module, nn.Conv2d) for module in model.modules()):
            model = model.to(memory_format=torch.channels_last)
        return TrainState(
            spec=spec,
            model=model,
            optimizer=SGD(dict(model.named_parameters()), momentum=spec.momentum, weight_decay=spec.weight_decay),
            ema=copy.deepcopy(model) if spec.ema_decay else None,
            loss_sum=torch.zeros((), dtype=torch.float64, device=device),
            num_correct=torch.zeros((), dtype=torch.float64, device=device),
            first_bad=torch.full((), -1, dtype=torch.int64, device=device),
        )

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What is checked and kept: `WEIGHTS`, and `EMA` if there is one."""
        return {WEIGHTS: self.model} | ({EMA: self.ema} if self.ema is not None else {})

    def snapshot(self, name: str, *, epoch: int, score: float) -> Snapshot:
        """The present weights of a network, copied."""
        tensors = {key: value.detach().cpu().clone() for key, value in self.networks[name].state_dict().items()}
        return Snapshot(epoch=epoch, score=score, tensors=tensors)

    def update_ema(self) -> None:
        """Follow the weights of the step that was just taken. Counters (batch norm's) are copied."""
        if self.ema is None:
            return
        decay = min(self.spec.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mine, theirs in zip(_numbers(self.ema), _numbers(self.model), strict=True):
                if mine.is_floating_point():
                    mine.lerp_(theirs, 1 - decay)
                else:
                    mine.copy_(theirs)

    def refuse_non_finite(self, *, weights: bool = False) -> None:
        """Raises: TrainingDiverged, naming the first step whose loss was not finite; or, if `weights` are to be looked
        at, the step after which they were not. Waits for the device."""
        remedy = f"lower lr ({self.spec.lr:g})"
        if (bad := int(self.first_bad)) >= 0:
            raise TrainingDiverged(f"{self.spec.model}: the loss is not finite in {self._where(bad)}; {remedy}")
        if weights and not _all_finite(_numbers(self.model)):
            where = self._where(self.step - 1)
            raise TrainingDiverged(f"{self.spec.model}: weights are not finite after {where}; {remedy}")

    def _where(self, step: int) -> str:
        return f"step {step + 1}, epoch {len(self.curve) + 1} of {self.spec.epochs}"

    # --- Written down -------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is numbers, by name, on the CPU."""
        found = {"loss_sum": self.loss_sum, "num_correct": self.num_correct, "first_bad": self.first_bad}
        for name, network in self.networks.items():
            found |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
        found |= {f"momentum/{name}": momentum for name, momentum in self.optimizer.momenta.items()}
        for name, snapshot in self.best.items():
            found |= {f"best-{name}/{key}": value for key, value in snapshot.tensors.items()}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}

    def record(self) -> dict[str, Any]:
        """Everything else, as JSON values."""
        best = {name: {"epoch": found.epoch, "score": found.score} for name, found in self.best.items()}
        return {"step": self.step, "curve": self.curve, "best": best}

    def load(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Become what was written down by `tensors` and `record` of a state of the same spec."""
        for mine, name in (
            (self.loss_sum, "loss_sum"),
            (self.num_correct, "num_correct"),
            (self.first_bad, "first_bad"),
        ):
            mine.copy_(tensors[name])
        for name, network in self.networks.items():
            network.load_state_dict(below(f"{name}/", tensors))
        self.optimizer.load(below("momentum/", tensors))
        self.step, self.curve = record["step"], list(record["curve"])
        self.best = {
            name: Snapshot(tensors=below(f"best-{name}/", tensors), **about) for name, about in record["best"].items()
        }


def initial_model(spec: TrainSpec, num_classes: int, initial: nn.Module | None = None) -> nn.Module:
    """The model before its first step: its weights depend on the seed, and on those of `initial` where the spec has
    one. Modules that it builds in evaluation mode stay so; parts to be frozen are.

    Raises: InputError for an `initial` of another architecture, and for `frozen` parts that the model lacks.
    """
    from robustray.tasks.models.registry import build_model
    from robustray.tasks.training.parts import freeze, start_from

    torch.manual_seed(seeds.integer(spec.seed, "initial weights"))
    model = build_model(spec.model, num_classes=num_classes)
    assert (initial is None) == (spec.initial is None), "the model behind spec.initial, loaded"
    if initial is not None:
        start_from(model, initial, spec)
    freeze(model, spec)
    return model


def _numbers(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _all_finite(tensors: list[Tensor]) -> bool:
    """Asked once for all of them: a network of many small tensors is looked at in two calls."""
    numbers = [tensor.detach().reshape(-1) for tensor in tensors if tensor.is_floating_point()]
    return not numbers or bool(torch.isfinite(torch.cat(numbers)).all())
