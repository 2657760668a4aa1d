"""A round: everybody trains once, in turn, from the same weights and on the same images."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from benchmarks.load import ForeignLoad
from benchmarks.trainings.contenders import BATCH_SIZE, CONTENDERS, Case
from benchmarks.trainings.records import TAKING_PART, Record
from robustray.tasks import attacks

STEPS: Mapping[str, int] = {"adversarial": 4, "standard": 12}
"""Timed steps of a contender; one more before them chooses kernels and is not timed."""
MODULES: Mapping[str, tuple[str, ...]] = {
    "attacks": ("folding", "fusing", "noise", "norms", "objective"),
    "models": ("blocks", "normalised", "resnet_cifar", "resnet_stem"),
    "training": ("adversary", "augment", "batches", "schedules", "state", "step"),
}
"""Modules of `tasks` that decide speed."""


def run_round(case: Case, loss: str, number: int, threads: int, code: str) -> Iterator[Record]:
    """Every contender once; the order moves on by one each round."""
    names = TAKING_PART[loss]
    start, num_steps = number % len(names), len(case.batches) - 1
    for name in names[start:] + names[:start]:
        run = CONTENDERS[name](case)
        first_loss = run(range(1))
        foreign, wall, cpu = ForeignLoad(), time.perf_counter(), time.process_time()
        run(range(1, 1 + num_steps))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        load = foreign.cpus()
        yield Record(
            loss=loss,
            model=case.spec.model,
            contender=name,
            round=number,
            images=num_steps * BATCH_SIZE,
            threads=threads,
            wall=round(wall, 4),
            cpu=round(cpu, 4),
            foreign_load=load,
            first_loss=round(first_loss, 5),
            code=code,
        )


def code_hash() -> str:
    """Hash of the modules that decide speed and of torch's version."""
    digest = hashlib.sha256(torch.__version__.encode())
    tasks = Path(next(iter(attacks.__path__))).parent
    for folder, names in MODULES.items():
        for name in names:
            digest.update((tasks / folder / f"{name}.py").read_bytes())
    return digest.hexdigest()[:12]
