"""What a training is. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest

Schedule = Literal["triangular", "constant"]


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
    schedule: Schedule = "triangular"
    """Per step; triangular rises from 0 to `lr` in the first fifth and falls to 0."""
    label_smoothing: float = 0.0
    seed: int = 0
    """Of initial weights and shuffling."""
    threads: int = 1
    """CPU threads. A field, since one and two threads give different weights."""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("threads", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")
        for name, below in (("lr", math.inf), ("momentum", 1.0), ("weight_decay", math.inf), ("label_smoothing", 1.0)):
            value = getattr(self, name)
            if not 0 <= value < below:
                raise InputError(f"{name} must be at least 0 and below {below:g}, got {value!r}")
        if self.schedule not in get_args(Schedule):
            raise InputError(f"schedule: there is no {self.schedule!r}{nearest(self.schedule, get_args(Schedule))}")

    def learning_rate(self, step: int, num_steps: int) -> float:
        """Learning rate of step `step` in 0 .. num_steps - 1."""
        if self.schedule == "constant":
            return self.lr
        where = (step + 0.5) / num_steps
        return self.lr * min(where / 0.2, (1 - where) / 0.8)
