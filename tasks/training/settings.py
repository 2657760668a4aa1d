"""What a training is. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from robustray.tasks.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """Standard training of one model on one device by SGD with Nesterov-free momentum."""

    model: str
    """Architecture: a name of the registry ("digits:cnn"), without weights."""
    data: str
    """Training data: "digits:train"."""
    epochs: int
    batch_size: int = 128
    """Images per step; the last, smaller batch of an epoch is left out (batch norm wants full ones)."""
    lr: float = 0.1
    """Peak learning rate."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    """On all parameters, batch norm included (robust_training.md section 4)."""
    schedule: Literal["triangular", "constant"] = "triangular"
    """Per step; triangular rises from 0 to `lr` in the first fifth and falls to 0."""
    label_smoothing: float = 0.0
    seed: int = 0
    """Of initial weights and shuffling."""
    threads: int = 1
    """CPU threads. A field, since one and two threads give different weights."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "momentum", "weight_decay", "label_smoothing"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise InputError(f"{name} must be a finite number of at least 0, got {value}")

    def learning_rate(self, step: int, num_steps: int) -> float:
        """Learning rate of step `step` in 0 .. num_steps - 1."""
        if self.schedule == "constant":
            return self.lr
        where = (step + 0.5) / num_steps
        return self.lr * min(where / 0.2, (1 - where) / 0.8)
