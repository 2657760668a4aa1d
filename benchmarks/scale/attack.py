"""One attack on the same images by everybody on two cores: a bare loop, plain processes, the lab, and Ray Data.

Images are attacked in blocks of 32, by the same function, with the same settings. Everybody is warm: the model is
loaded and has attacked one block in each process before the clock starts.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load import ForeignLoad
from benchmarks.scale.items import start_ray_data, two_actors
from benchmarks.scale.records import Case
from robustray.tasks.attacks import PGD
from robustray.tasks.attacks.blocks import attack_block
from robustray.tasks.data.reference import open_data
from robustray.tasks.lab.jobs import fix_kernels, numerics
from robustray.tasks.lab.protocol import Context
from robustray.tasks.models.reference import open_model

BLOCK = 32
ATTACK = PGD(norm="linf", eps=8 / 255, num_steps=5, exit_rule="last", attack_misclassified=True, precision="fp32")
MODEL, DATA = "cifar:resnet20", "cifar10:test"


class Attacker:
    """The block function with model and data, in this process, without a lab."""

    def __init__(self, data_root: str, threads: int = 1) -> None:
        fix_kernels()
        self._threads = threads
        refs = {"model": open_model(MODEL, data_root=data_root), "data": open_data(DATA, data_root=data_root)}
        built = {role: ref.build(ref.fetch(), "cpu") for role, ref in refs.items()}
        self._context = Context(settings=ATTACK, seed=0, device="cpu", load=built.__getitem__)

    def __call__(self, items: Sequence[int]) -> dict[str, np.ndarray]:
        with numerics(self._threads):
            return {name: np.asarray(values) for name, values in attack_block(items, self._context).items()}


class BatchAttacker:
    """The same as Ray Data wants it."""

    def __init__(self, data_root: str) -> None:
        self._attacker = Attacker(data_root)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._attacker(batch["id"].tolist())


def blocks(count: int) -> list[list[int]]:
    return [list(range(first, first + BLOCK)) for first in range(0, count, BLOCK)]


def in_process(threads: int) -> Callable[[int, str], tuple[float, float]]:
    def measure(count: int, data_root: str) -> tuple[float, float]:
        attack = Attacker(data_root, threads)
        attack(blocks(BLOCK)[0])
        foreign, began = ForeignLoad(), time.perf_counter()
        found = [attack(block) for block in blocks(count)]
        return _check(found, count, time.perf_counter() - began), foreign.cpus()

    return measure


_attacker: list[Attacker] = []
"""Of a process of the pool."""


def _start(data_root: str, barrier: Any) -> None:
    _attacker.append(Attacker(data_root))
    _attacker[0](blocks(BLOCK)[0])
    barrier.wait()


def _attack(block: list[int]) -> dict[str, np.ndarray]:
    return _attacker[0](block)


def in_pool(count: int, data_root: str) -> tuple[float, float]:
    """`multiprocessing.Pool` of two processes that take one block after the other."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    with context.Pool(2, initializer=_start, initargs=(data_root, barrier)) as pool:
        barrier.wait()
        foreign, began = ForeignLoad(), time.perf_counter()
        found = list(pool.imap(_attack, blocks(count)))
        return _check(found, count, time.perf_counter() - began), foreign.cpus()


def in_lab(count: int, data_root: str) -> tuple[float, float]:
    """`lab.map` on two actors: rows checked, in the store, and read back."""
    from robustray.distributed.lab import RayLab
    from robustray.tasks.lab.store import Store

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.create()
        lab = RayLab(store=store, workers=2, data_root=data_root)
        refs = {"model": lab.model(MODEL), "data": lab.data(DATA)}

        def run(step: str, images: int) -> int:
            return len(lab.map(step, attack_block, range(images), settings=ATTACK, refs=refs, block=BLOCK).result())

        run("warm-up", 6 * BLOCK)  # the first actor may take several before the second is there
        foreign, began = ForeignLoad(), time.perf_counter()
        assert run("attack", count) == count
        seconds, load = time.perf_counter() - began, foreign.cpus()
        lab.close()
    return seconds, load


def in_ray_data(count: int, data_root: str) -> tuple[float, float]:
    """`map_batches` on two actors: from the eighth block of rows that arrives, when both are there, to the last."""
    import ray

    start_ray_data()
    wanted, before = count, 8 * BLOCK
    images = count + before
    data: Any = ray.data.range(images, override_num_blocks=images // BLOCK)
    attacked = data.map_batches(
        BatchAttacker, fn_constructor_args=(data_root,), batch_size=BLOCK, compute=two_actors()
    )  # fmt: skip
    arrived, foreign, began = 0, None, 0.0
    for rows in attacked.iter_batches(batch_size=None, batch_format="pandas"):
        arrived += len(rows)
        if foreign is None and arrived >= before:
            foreign, began = ForeignLoad(), time.perf_counter()
            count = images - arrived
    assert foreign is not None and arrived == images
    seconds, load = time.perf_counter() - began, foreign.cpus()
    ray.shutdown()
    return seconds * wanted / count, load


def _check(found: list[dict[str, np.ndarray]], count: int, seconds: float) -> float:
    assert sum(len(rows["index"]) for rows in found) == count
    return seconds


CONTENDERS: dict[str, Callable[[int, str], tuple[float, float]]] = {
    "one process, 1 thread": in_process(1),
    "one process, 2 threads": in_process(2),
    "multiprocessing, 2 processes": in_pool,
    "robustray, 2 workers": in_lab,
    "Ray Data, 2 actors": in_ray_data,
}
"""Case -> (seconds, foreign load) of so many images."""


def measure(name: str, count: int, data_root: str) -> Case:
    case = Case(part="attack", case=name, size=count)
    seconds, load = CONTENDERS[name](count, data_root)
    case.add("images per second", count / seconds, "1/s", load)
    return case
