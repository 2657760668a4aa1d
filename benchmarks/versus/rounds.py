"""Who takes part in a cell, and a round: everybody once, in turn, each on the same images."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from benchmarks.load import ForeignLoad
from benchmarks.versus import bound, constructing, peers
from benchmarks.versus.records import CONSTRUCTED, FIRST, LAST, OURS, PASSES, ROBUST, STANDARD, Cell, Record, standing
from robustray.tasks.attacks import PGD, ApgdCE, Attack, AutoAttack
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.precision import Arithmetic
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.data.reference import open_data
from robustray.tasks.models.reference import open_model

EPS: Mapping[str, float] = {"linf": 8 / 255, "l2": 0.5}
STEP_SIZE: Mapping[str, float] = {"linf": 2 / 255, "l2": 0.1}
"""Step sizes of PGD with which the aims were measured."""
PRECISIONS: tuple[Arithmetic, ...] = ("fp32", "bf16")
CELLS: Mapping[str, tuple[tuple[str, ...], bool]] = {
    # kind: (models, only at the model's own norm)
    "pgd": (STANDARD + ROBUST, False),
    "apgd": (ROBUST, False),
    "autoattack": (ROBUST, True),
    "bound": (STANDARD + ROBUST, False),
    "strength": (ROBUST, True),
    "construct": (CONSTRUCTED, False),
}
IMAGES: Mapping[str, int] = {
    "pgd": 256, "apgd": 256, "autoattack": 48, "bound": 128, "strength": 500, "sharded": 2048,
    "construct": 128,
}  # fmt: skip
MANY = 512
"""Images of PGD on standard models. Most are done after two steps, so that fewer images would not fill the batches."""
OWN_NORM: Mapping[str, str] = {"small:linf8": "linf", "small:l2_05": "l2"}
MODULES = ("attacks/gradient", "attacks/search", "attacks/objective.py", "attacks/objectives_dlr.py", "inputs/items.py")
"""What decides speed, below `tasks`."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """The images and the model of a cell, and what is asked of the attacks."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    norm: Norm
    batch_size: int
    """Batch size of the other libraries; ours is 128."""

    @property
    def eps(self) -> float:
        return EPS[self.norm]

    def budget(self, num_steps: int) -> peers.Budget:
        return peers.Budget(
            norm=self.norm,
            eps=self.eps,
            num_steps=num_steps,
            step_size=STEP_SIZE[self.norm],
            batch_size=self.batch_size,
        )


THEIRS: dict[str, Mapping[str, peers.Adapter]] = {
    "pgd": peers.PGD,
    "apgd": {"pyautoattack": peers.pyautoattack_apgd},
    "autoattack": {"pyautoattack": peers.pyautoattack_standard},
    "strength": {name: peers.PGD[name] for name in ("foolbox", "robustness")},
}

Contender = Callable[[], Tensor | None]
"""One run; returns the images it made, None where there are none."""


def cells(kind: str) -> list[Cell]:
    """All cells of a kind."""
    models, own = CELLS[kind]
    norms = ("l2",) if kind == "construct" else tuple(EPS)
    return [Cell(kind, m, norm) for m in models for norm in norms if not own or OWN_NORM[m] == norm]


def num_images(cell: Cell) -> int:
    return MANY if cell.kind == "pgd" and cell.model in STANDARD else IMAGES[cell.kind]


def open_case(cell: Cell, count: int, data_root: str, batch_size: int) -> Case:
    """The first images of the CIFAR-10 test set."""
    model, data = open_model(cell.model, data_root=data_root), open_data("cifar10:test", data_root=data_root)
    images, labels = data.build(data.fetch(), "cpu").batch(range(count))
    return Case(
        model=model.build(model.fetch(), "cpu").eval(),
        images=images,
        labels=labels,
        norm=cast(Norm, cell.norm),
        batch_size=batch_size,
    )


def contenders(kind: str, case: Case, num_steps: int | None = None) -> dict[tuple[str, str], Contender]:
    """Contenders by name and precision. num_steps: fewer than the kind's own, to warm up; whole cascades take no
    number."""
    if kind == "bound":
        return _bound(case, num_steps or PASSES[kind])
    if kind == "construct":
        return _constructing(case, num_steps or constructing.STEPS)
    steps = num_steps or _steps(kind)
    found: dict[tuple[str, str], Contender] = {}
    # whole cascades take minutes, and only bf16 has an aim there
    for precision in PRECISIONS[1:] if kind == "autoattack" else PRECISIONS:
        for name, attack in _ours(kind, case, steps, precision).items():
            found[name, precision] = lambda run=attack: run(case.model, case.images, case.labels).images  # type: ignore[misc]
    for name, adapter in THEIRS[kind].items():
        found[name, "fp32"] = _theirs(adapter(case.model, case.budget(steps)), case)
    return found


def _steps(kind: str) -> int:
    return 100 if kind == "apgd" else 20


def _ours(kind: str, case: Case, steps: int, precision: Arithmetic) -> dict[str, Attack]:
    norm, eps = case.norm, case.eps
    if kind == "apgd":
        return {OURS: ApgdCE(norm=norm, eps=eps, num_steps=steps, precision=precision)}
    if kind == "autoattack":
        return {OURS: AutoAttack(norm=norm, eps=eps, precision=precision)}
    first = PGD(norm=norm, eps=eps, num_steps=steps, step_size=case.budget(steps).step_size, precision=precision)
    return {LAST: replace(first, exit_rule="last", attack_misclassified=True), FIRST: first}


def _theirs(attack: peers.Attack, case: Case) -> Contender:
    return lambda: attack(case.images, case.labels)


def _constructing(case: Case, steps: int) -> dict[tuple[str, str], Contender]:
    starts, goal = constructing.pairs(case.model, case.images)
    model, size = case.model, case.batch_size
    found: dict[tuple[str, str], constructing.Construction] = {
        **{(OURS, precision): constructing.ours(model, steps, precision) for precision in PRECISIONS},
        (constructing.PLAIN, "fp32"): constructing.plain(model, steps, size, autocast=False),
        (constructing.AUTOCAST, "bf16"): constructing.plain(model, steps, size, autocast=True),
        (constructing.ROBUSTNESS, "fp32"): constructing.robustness(model, steps, size),
    }
    return {key: lambda run=run: run(starts, goal) for key, run in found.items()}  # type: ignore[misc]


def _bound(case: Case, times: int) -> dict[tuple[str, str], Contender]:
    found: dict[tuple[str, str], Contender] = {}
    for precision in PRECISIONS:
        steps = bound.gradient_steps(case.model, case.images, case.labels, case.norm, case.eps, precision)
        alone = bound.convolutions(case.model, case.images, precision)
        found[OURS, precision] = lambda run=steps: run(times)  # type: ignore[misc]
        found["its convolutions", precision] = lambda run=alone: run(times)  # type: ignore[misc]
    return found


def run_round(cell: Cell, case: Case, number: int, threads: int, code: str) -> Iterator[Record]:
    """Every contender once; the order moves on by one each round."""
    everybody = list(contenders(cell.kind, case).items())
    start = number % len(everybody)
    for (name, precision), run in everybody[start:] + everybody[:start]:
        foreign, wall, cpu = ForeignLoad(), time.perf_counter(), time.process_time()
        images = run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        load = foreign.cpus()
        yield Record(
            kind=cell.kind,
            model=cell.model,
            norm=cell.norm,
            contender=name,
            precision=precision,
            round=number,
            images=len(case.images),
            threads=threads,
            wall=round(wall, 4),
            cpu=round(cpu, 4),
            foreign_load=load,
            standing="" if images is None else standing(_stand(cell.kind, case, images)),
            code=code,
        )


def warm_up(cell: Cell, case: Case) -> None:
    """The first pass of a shape chooses kernels, the first attack folds the model."""
    kind = "apgd" if cell.kind == "autoattack" else cell.kind
    for run in contenders(kind, case, num_steps=3).values():
        run()


def _stand(kind: str, case: Case, images: Tensor) -> list[bool]:
    """Where the contender has not done what it was to do."""
    if kind == "construct":
        return constructing.farther(case.model, images, constructing.pairs(case.model, case.images)[1])
    return (predict_logits(case.model, images).argmax(1) == case.labels).tolist()


def code_hash() -> str:
    """Hash of the modules that decide speed and of torch's version."""
    from robustray.tasks import attacks

    tasks = Path(os.fspath(attacks.__path__[0])).parent
    digest = hashlib.sha256(torch.__version__.encode())
    for name in MODULES:
        for file in sorted((tasks / name).glob("*.py")) or [tasks / name]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
