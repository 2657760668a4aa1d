"""Items without work of their own, in blocks of 1,000: by the lab in process and on actors, and by Ray Data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from noop import hold_block, noop_block

from benchmarks.load import ForeignLoad
from benchmarks.scale.records import Case, PeakMemory
from robustray.distributed.lab import RayLab
from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store

BLOCK = 1_000
LABS = {"in process": 0, "1 actor": 1, "2 actors": 2}
"""Case -> workers."""
RAY_DATA = {"Ray Data, 2 actors, its own blocks": None, "Ray Data, 2 actors, blocks of 1,000": BLOCK}
"""Case -> rows of a block; None: Ray Data decides."""


def open_lab(case: str, folder: Path) -> BlockLab:
    store = Store(folder)
    store.create()
    return RayLab(store=store, workers=LABS[case]) if LABS[case] else SerialLab(store=store)


def compute(name: str, size: int, folder: Path) -> Case:
    """Compute all items, with the actors there from the start, and read their rows into one frame."""
    case = Case(part="items", case=name, size=size)
    lab = open_lab(name, folder)
    lab.map("first", hold_block, range(4 * max(LABS[name], 1)), block=1).result()
    foreign, began = ForeignLoad(), time.perf_counter()
    with PeakMemory() as memory:
        _all_rows(lab, size)
    seconds, load = time.perf_counter() - began, foreign.cpus()
    case.add("items per second", size / seconds, "1/s", load)
    case.add("driver's memory above its start", memory.growth, "MiB", load)
    lab.close()
    return case


def resume(name: str, size: int, folder: Path) -> Case:
    """The same again in a new process: every block is in the store."""
    case = Case(part="items", case=name, size=size)
    lab = open_lab(name, folder)
    with case.timed("resume, all blocks there"):
        _all_rows(lab, size)
    lab.close()
    return case


def _all_rows(lab: BlockLab, size: int) -> None:
    rows = lab.map("many", noop_block, range(size), block=BLOCK).result()
    assert len(rows) == size and rows["value"].iloc[-1] == (size - 1) * 0.5


class Noop:
    """`noop_block` as Ray Data wants it."""

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"index": batch["id"], "value": batch["id"] * 0.5}


def ray_data(name: str, size: int) -> Case:
    """Rows into one frame, nothing stored. The seconds of two batches, in which its actors start, are taken off."""
    import ray

    case = Case(part="items", case=name, size=size)
    start_ray_data()

    def seconds(count: int) -> float:
        blocks = None if RAY_DATA[name] is None else count // BLOCK
        data: Any = ray.data.range(count, override_num_blocks=blocks)
        began = time.perf_counter()
        assert len(all_rows(data.map_batches(Noop, batch_size=BLOCK, compute=two_actors()))) == count
        return time.perf_counter() - began

    seconds(2 * BLOCK)  # the first one of a process imports and starts more
    start = seconds(2 * BLOCK)
    foreign = ForeignLoad()
    with PeakMemory() as memory:
        whole = seconds(size)
    load = foreign.cpus()
    case.add("items per second", (size - 2 * BLOCK) / max(whole - start, 1e-3), "1/s", load)
    case.add("driver's memory above its start", memory.growth, "MiB", load)
    case.add("its actors' start, taken off", start, "s", load)
    ray.shutdown()
    return case


def two_actors() -> Any:
    from ray.data import ActorPoolStrategy

    return ActorPoolStrategy(size=2)


def all_rows(data: Any) -> pd.DataFrame:
    """The rows of a data set of Ray Data, in this process."""
    return pd.concat(list(data.iter_batches(batch_size=None, batch_format="pandas")))


def start_ray_data() -> None:
    """Ray of its own, without progress bars. Four CPUs are declared where there are two: its actors occupy two of them,
    and the tasks that make its input wait for a third one for ever."""
    import ray
    from ray.data import DataContext

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    DataContext.get_current().enable_progress_bars = False
