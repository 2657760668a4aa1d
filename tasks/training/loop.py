"""The training loop: plain PyTorch, one device, deterministic on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from robustray.tasks.lab import seeds
from robustray.tasks.training.settings import TrainSpec

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData


class TrainingDiverged(RuntimeError):
    """A loss was not finite."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained model with its learning curve."""

    model: torch.nn.Module
    curve: tuple[dict[str, float], ...]
    """One row per epoch: epoch, loss, accuracy (both on the training batches as they came), lr."""


def train_model(spec: TrainSpec, data: ImageData, device: str) -> Trained:
    """Train `spec.model` from its seed on all of `data`.

    Raises: TrainingDiverged, naming epoch and steps. InputError when the data are fewer than one batch.
    """
    from robustray.tasks.errors import InputError

    if len(data) < spec.batch_size:
        raise InputError(f"batch_size {spec.batch_size} is larger than the {len(data)} training images")
    with torch.random.fork_rng(devices=[]):  # leave the worker's generator alone, and don't depend on it
        return _train(spec, data, device)


def _train(spec: TrainSpec, data: ImageData, device: str) -> Trained:
    from robustray.tasks.models.registry import build_model

    steps_per_epoch = len(data) // spec.batch_size
    torch.manual_seed(seeds.integer(spec.seed, "initial weights"))
    model = build_model(spec.model, num_classes=data.num_classes).to(device)
    torch.manual_seed(seeds.integer(spec.seed, "dropout"))  # whatever a network draws while it trains
    optimizer = torch.optim.SGD(model.parameters(), lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
    num_steps = spec.epochs * steps_per_epoch
    curve = []
    model.train()
    for epoch in range(spec.epochs):
        order = seeds.stream(spec.seed, "shuffle", epoch).permutation(len(data))
        total_loss = torch.zeros((), device=device)
        num_correct = torch.zeros((), device=device)
        for i in range(steps_per_epoch):
            step = epoch * steps_per_epoch + i
            for group in optimizer.param_groups:
                group["lr"] = spec.learning_rate(step, num_steps)
            images, labels = data.batch(order[i * spec.batch_size : (i + 1) * spec.batch_size])
            images, labels = images.to(device), labels.to(device)
            logits = model(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=spec.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total_loss += loss.detach()
            num_correct += (logits.detach().argmax(1) == labels).sum()
        if not torch.isfinite(total_loss):
            raise TrainingDiverged(
                f"{spec.model}: the loss is not finite in {_where(epoch, steps_per_epoch)}; lower lr ({spec.lr:g})"
            )
        curve.append(
            {
                "epoch": epoch + 1.0,
                "loss": float(total_loss) / steps_per_epoch,
                "accuracy": float(num_correct) / (steps_per_epoch * spec.batch_size),
                "lr": spec.learning_rate((epoch + 1) * steps_per_epoch - 1, num_steps),
            }
        )
    if not all(torch.isfinite(tensor).all() for tensor in model.state_dict().values()):  # the last step did it
        raise TrainingDiverged(
            f"{spec.model}: weights are not finite after {_where(spec.epochs - 1, steps_per_epoch)}; "
            f"lower lr ({spec.lr:g})"
        )
    return Trained(model=model.eval(), curve=tuple(curve))


def _where(epoch: int, steps_per_epoch: int) -> str:
    return f"epoch {epoch + 1} (steps {epoch * steps_per_epoch + 1} to {(epoch + 1) * steps_per_epoch})"
