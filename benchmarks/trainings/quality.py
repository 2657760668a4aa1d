"""Does a training in bf16 end at the robust accuracy of one in fp32? Pairs of trainings that differ in nothing else."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.trainings.records import Outcome
from robustray.tasks.attacks import PGD
from robustray.tasks.attacks.precision import Arithmetic
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.lab.checkpoints import Checkpoints, Interval
from robustray.tasks.lab.store import Store
from robustray.tasks.models.registry import build_model
from robustray.tasks.training.loop import train_model
from robustray.tasks.training.reference import reference_specs
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.state import TrainState

ARMS: Mapping[str, tuple[Arithmetic, Arithmetic]] = {
    "fp32": ("fp32", "fp32"),
    "mixed": ("fp32", "bf16"),
    "bf16": ("bf16", "bf16"),
}
"""Precision of update and attack."""
JUDGE = PGD(norm="linf", eps=8 / 255, num_steps=20, precision="fp32")
"""The attack that judges all arms, from a random start."""
_CHUNK = 1000


class Paused(Exception):
    """Raised when the given time is over; the state has been saved."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The reference twin "linf8" (network "S", PGD-3, batch 256, triangular learning rate), perhaps shorter."""

    epochs: int
    train_images: int
    test_images: int

    def __str__(self) -> str:
        return (
            f"small:s, linf 8/255, PGD-3, {self.epochs} epochs of {self.train_images} images, "
            f"PGD-20 on {self.test_images}"
        )

    def spec(self, arm: str, seed: int, threads: int) -> TrainSpec:
        update, attack = ARMS[arm]
        return dataclasses.replace(
            reference_specs(seed)["linf8"],
            epochs=self.epochs,
            validation=0,
            precision=update,
            attack_precision=attack,
            threads=threads,
        )


@dataclass(frozen=True, kw_only=True)
class _Until:
    """A `loop.Keeper` that also saves a state when the time is over, and then stops the training."""

    checkpoints: Checkpoints
    deadline: float
    """Deadline as a value of `time.monotonic()`."""

    def restore(self, state: TrainState) -> None:
        self.checkpoints.restore(state)

    def due(self, step: int) -> bool:
        return self.checkpoints.due(step) or time.monotonic() > self.deadline

    def save(self, state: TrainState) -> None:
        self.checkpoints.save(state)
        if time.monotonic() > self.deadline:
            raise Paused(f"after step {state.step}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """Everything that one training and its judgement need."""

    protocol: Protocol
    train: ImageData
    test: ImageData
    threads: int
    scratch: Path
    """Folder of checkpoints."""
    code: str
    """States of other code are not continued."""

    def run(self, arm: str, seed: int, deadline: float) -> Outcome:
        """Train, or go on; then judge. Raises: Paused when the time was over before the training."""
        spec = self.protocol.spec(arm, seed, self.threads)
        checkpoints = Checkpoints(
            store=Store(str(self.scratch)),
            key=f"{arm}-{seed}-{self.protocol.epochs}-{self.protocol.train_images}-{self.threads}",
            code=self.code,
            interval=Interval(seconds=60.0),
        )
        trained = train_model(
            spec,
            first_images(self.train, self.protocol.train_images),
            "cpu",
            keeper=_Until(checkpoints=checkpoints, deadline=deadline),
        )
        model = build_model(spec.model, num_classes=self.train.num_classes)
        model.load_state_dict(dict(trained.weights["last"].tensors))
        clean, robust = judge(model, self.test, self.protocol.test_images)
        checkpoints.clear()
        return Outcome(
            protocol=str(self.protocol),
            arm=arm,
            seed=seed,
            images=self.protocol.test_images,
            clean=clean,
            robust=robust,
            code=self.code,
        )


def judge(model: torch.nn.Module, data: ImageData, count: int) -> tuple[int, int]:
    """How many of the first `count` images are right as they are, and after the attack. Verdicts are fp32."""
    model.eval()
    clean = robust = 0
    for start in range(0, count, _CHUNK):
        chosen = torch.arange(start, min(start + _CHUNK, count))
        images, labels = data.batch(chosen.numpy())
        result = JUDGE(model, images, labels, indices=chosen)
        clean += int((result.clean_predictions == labels).sum())
        robust += int((~result.success).sum())
    return clean, robust


def first_images(data: ImageData, count: int) -> ImageData:
    """Raises: InputError if there are fewer."""
    if count > len(data):
        raise InputError(f"{data.name} has {len(data)} images, {count} were asked for")
    return dataclasses.replace(data, images=data.images[:count], labels=data.labels[:count])
