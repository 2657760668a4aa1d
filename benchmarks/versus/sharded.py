"""Two one-thread actors of the real lab against the best that one machine does without a lab on the same two cores."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import psutil

from benchmarks.load import ForeignLoad
from benchmarks.versus.records import OURS, Cell, Record

CELL = Cell("sharded", "cifar:resnet20", "linf")
CORES = 2
BLOCK = 128
"""Images of a block: as many as travel together in one process."""


@dataclass(frozen=True, kw_only=True)
class Case:
    images: int
    data_root: str
    lab: Any
    store: Any
    """Temporary store, which exists as long as the lab."""


def open_case(cell: Cell, count: int, data_root: str, batch_size: int) -> Case:
    from robustray.distributed.lab import RayLab
    from robustray.tasks.lab.store import Store

    folder = tempfile.TemporaryDirectory()
    lab = RayLab(store=Store(folder.name), workers=CORES, data_root=data_root)
    return Case(images=count, data_root=data_root, lab=lab, store=folder)


def warm_up(cell: Cell, case: Case) -> None:
    """Let both actors start, load the model and the data, and choose their kernels."""
    _in_the_lab(case, step="warm-up", count=4 * CORES * BLOCK)


def run_round(cell: Cell, case: Case, number: int, threads: int, code: str) -> Iterator[Record]:
    contenders = {
        OURS: lambda: _in_the_lab(case, step=f"round-{number}", count=case.images),
        "1 process, 2 threads": lambda: _in_processes(case, processes=1, threads=CORES),
        "2 processes, 1 thread": lambda: _in_processes(case, processes=CORES, threads=1),
    }
    names = list(contenders)
    start = number % len(names)
    for name in names[start:] + names[:start]:
        foreign, spent = ForeignLoad(), _cpu_seconds()
        wall = contenders[name]()
        yield Record(
            kind=cell.kind, model=cell.model, norm=cell.norm, contender=name, precision="bf16", round=number,
            images=case.images, threads=threads, wall=round(wall, 3), cpu=round(_cpu_seconds() - spent, 3),
            foreign_load=foreign.cpus(), standing="", code=code,
        )  # fmt: skip


def _attack() -> Any:
    from robustray.tasks.attacks import PGD

    return PGD(norm="linf", eps=8 / 255, num_steps=20, exit_rule="last", attack_misclassified=True, precision="bf16")


def _in_the_lab(case: Case, *, step: str, count: int) -> float:
    """Seconds of one `lab.map`, rows in the store and read back. A step of another name finds nothing in the store."""
    from robustray.tasks.attacks.blocks import attack_block

    lab = case.lab
    refs = {"model": lab.model(CELL.model), "data": lab.data("cifar10:test")}
    began = time.perf_counter()
    rows = lab.map(step, attack_block, range(count), settings=_attack(), refs=refs, block=BLOCK).result()
    seconds = time.perf_counter() - began
    assert len(rows) == count
    return seconds


def _in_processes(case: Case, *, processes: int, threads: int) -> float:
    """Seconds from the moment all of them are warm until the last one is done."""
    context, ends = multiprocessing.get_context("spawn"), []
    share = case.images // processes
    workers = []
    for rank in range(processes):
        ours, theirs = context.Pipe()
        arguments = (theirs, range(rank * share, (rank + 1) * share), threads, case.data_root)
        workers.append(context.Process(target=_worker, args=arguments))
        workers[-1].start()
        ends.append(ours)
    for end in ends:
        assert end.recv() == "warm"
    began = time.perf_counter()
    for end in ends:
        end.send("go")
    for end in ends:
        assert end.recv() == "done"
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.join()
    return seconds


def _worker(end: Connection, indices: range, threads: int, data_root: str) -> None:
    import torch

    from robustray.tasks.data.reference import open_data
    from robustray.tasks.models.reference import open_model

    torch.set_num_threads(threads)
    model_ref, data_ref = open_model(CELL.model, data_root=data_root), open_data("cifar10:test", data_root=data_root)
    model = model_ref.build(model_ref.fetch(), "cpu")
    images, labels = data_ref.build(data_ref.fetch(), "cpu").batch(indices)
    _attack()(model, images[: 2 * BLOCK], labels[: 2 * BLOCK])
    end.send("warm")
    assert end.recv() == "go"
    _attack()(model, images, labels, indices=indices)
    end.send("done")


def _cpu_seconds() -> float:
    """CPU-seconds of this process and its descendants, including those that have ended."""
    total = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            spent = process.cpu_times()
        except psutil.NoSuchProcess:  # ended between being listed and being asked
            continue
        total += spent.user + spent.system + spent.children_user + spent.children_system
    return total
