"""`lab.learn` on a local Ray: the bytes of a serial lab, errors that arrive whole, workers that die."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from robustray.tasks.errors import WorkFailed
from robustray.tasks.lab.checkpoints import Interval
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.policy_gradients import files
from robustray.tasks.policy_gradients.loop import train_agent
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from tests.distributed.rllib_agents import SMALL, spec_of
from tests.tasks.rl_environments import HERE


@pytest.mark.acceptance
def test_a_ray_lab_keeps_the_bytes_of_a_serial_one(eight_cpus: Path, tmp_path: Path) -> None:
    from robustray.distributed.lab import RayLab

    specs = [
        dataclasses.replace(spec_of(step, 2), seed=seed, milestones=(0, 2))
        for step in ("ppo", "trpo")
        for seed in (0, 1)
    ]
    kept = []
    labs: list[tuple[str, Any, dict[str, Any]]] = [("serial", SerialLab, {}), ("ray", RayLab, {"workers": 2})]
    for name, kind, options in labs:
        store = Store(str(tmp_path / name))
        store.create()
        lab = kind(store=store, **options)
        learned = lab.learn(specs).result()
        lab.close()
        kept.append(
            {
                f.name: store.read(f.name)
                for each in learned
                for f in files.list_files(store, each.key)
                if f.kind != "clock"
            }
        )
    assert kept[0] == kept[1] and len(kept[0]) == 4 * (3 + 2)


@pytest.mark.acceptance
def test_an_agent_that_breaks_in_a_worker_is_not_tried_again(eight_cpus: Path, tmp_path: Path) -> None:
    """The words arrive whole; no retry, and nothing in the store."""
    from robustray.distributed.lab import RayLab

    settings = PolicyGradient(**{**SMALL, "steps_per_stream": 1024})
    store = Store(str(tmp_path / "store"))
    store.create()
    lab = RayLab(store=store, workers=1)
    with pytest.raises(WorkFailed, match=rf"environment {HERE}:RaisesAt777, step 777 after the reset with seed \d+"):
        lab.learn([AgentSpec(environment=f"{HERE}:RaisesAt777", settings=settings, iterations=2)]).result()
    assert lab.journal.count("learn").retried == 0
    lab.close()
    assert not [path for path in Path(store.url).rglob("*") if path.is_file()]


@pytest.mark.acceptance
def test_an_agent_whose_worker_is_killed_goes_on_from_its_checkpoint(eight_cpus: Path, tmp_path: Path) -> None:
    from robustray.distributed.lab import RayLab

    spec = spec_of("ppo", 2, environment=f"{HERE}:Slow", iterations=5, milestones=(3,))
    store = Store(str(tmp_path / "store"))
    store.create()

    def kill() -> None:
        """The worker, once it has written its second checkpoint."""
        while not any(
            name.startswith("000000002")
            for key in store.folders("checkpoints")
            for name in store.list(f"checkpoints/{key}")
        ):
            time.sleep(0.05)
        (worker,) = [p for p in psutil.Process().children(recursive=True) if "BlockActor.run" in " ".join(p.cmdline())]
        worker.kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    lab = RayLab(store=store, workers=1, checkpoint_every=Interval(steps=1, seconds=None))
    (found,) = lab.learn([spec]).result()
    killer.join(timeout=10)
    assert lab.journal.count("learn").retried == 1 and not killer.is_alive()
    lab.close()
    assert found.final.fetch() == files.state_bytes(train_agent(spec).state)
    assert sorted(found.states) == [3, 5]
