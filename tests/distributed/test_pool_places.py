"""The pool on several pretended GPUs, on a cluster that loses a node, and on none at all."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.executor import Silent
from robustray.tasks.lab.journal import Journal
from robustray.tasks.lab.protocol import Needs
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))
blocks: Any = importlib.import_module("block_functions")


@pytest.fixture(autouse=True)
def own_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts the Ray that it needs; it ends here."""
    import ray

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.shutdown()
    yield
    ray.shutdown()


def test_finished_pieces_start_no_ray(tmp_path: Path) -> None:
    """A run whose pieces are there already, whoever computed them, needs no workers."""
    import ray

    from robustray.distributed.lab import RayLab

    does = blocks.Behaviour(folder=str(tmp_path))
    store = Store(str(tmp_path / "store"))
    SerialLab(store=store).map("step", blocks.work, range(10), block=4, settings=does).result()
    lab = RayLab(store=store, workers=2)
    assert len(lab.map("step", blocks.work, range(10), block=4, settings=does).result()) == 10
    lab.close()
    assert not ray.is_initialized()


def test_shares_of_gpus(tmp_path: Path) -> None:
    """Workers that take a half and a quarter of a GPU: never more at a time than one GPU holds."""
    import ray

    from robustray.distributed.pool import Pool

    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    store = Store(str(tmp_path / "store"))
    pool = Pool(
        store=store, payload=lambda ref: None, message=lambda text: None, cpus=3, gpus=2, use_gpus=True, quantum_s=1.0
    )
    lab = BlockLab(store=store, executor=pool)
    handles = {
        share: lab.map(f"share {share}", blocks.where, range(6), block=1, settings=0.2, needs=Needs(gpus=share))
        for share in (0.5, 0.25)
    }
    rows = pd.concat([handle.result().assign(share=share) for share, handle in handles.items()], ignore_index=True)
    pool.close()
    assert len(rows) == 12
    assert (rows["visible"] == rows["ids"]).all()
    assert set(rows["ids"]) <= {"0", "1"}, "each sees one GPU"
    assert (rows.groupby("pid")["share"].nunique() == 1).all(), "a worker has one share as long as it lives"
    for _, on_it in rows.groupby("ids"):
        for moment in on_it["begin"]:
            at_once = on_it[(on_it["begin"] <= moment) & (moment < on_it["end"])]
            assert at_once["share"].sum() <= 1.0


class Ask(Silent):
    """Progress that calls `action` once `items` are done."""

    def __init__(self, items: int, action: Callable[[], None]) -> None:
        self.items, self.action, self.done = items, action, 0

    def advance(self, step: str, n: int, seconds: float) -> None:
        if self.done < self.items <= self.done + n:
            self.action()
        self.done += n


@pytest.mark.acceptance
def test_a_node_that_dies(tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    from robustray.distributed.lab import RayLab

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        folder = tmp_path / "blocks"
        folder.mkdir()
        does = blocks.Behaviour(folder=str(folder), seconds=0.05)
        journal = Journal()
        progress = Ask(60, lambda: cluster.remove_node(node, allow_graceful=False))
        lab = RayLab(store=Store(str(tmp_path / "store")), journal=journal, progress=progress)
        found = lab.map("step", blocks.work, range(200), block=2, settings=does).result()
        lab.close()
        expected = SerialLab(store=Store(str(tmp_path / "serial"))).map(
            "step", blocks.work, range(200), block=2, settings=blocks.Behaviour(folder=str(tmp_path))
        )
        assert found.drop(columns="image").equals(expected.result().drop(columns="image"))
        assert len({pid for pid, _ in blocks.ran(str(folder))}) >= 2, "both nodes worked"
        assert not journal.failures
    finally:
        ray.shutdown()
        cluster.shutdown()
