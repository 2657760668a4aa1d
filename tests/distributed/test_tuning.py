"""`robustray tune` on a real Ray: cells run once, whatever is edited, fails or is killed."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robustray.distributed import trials, tuning
from robustray.distributed.cli import main
from robustray.tasks.errors import InputError
from robustray.tasks.lab import code
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.policy_gradients import files

ROOT = Path(__file__).resolve().parents[2]
GRID = """\
from pathlib import Path

from robustray.tasks.grids.settings import Cell, Grid, Outcome
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from my_environment import STEPS

SHORT = PolicyGradient(steps_per_stream=32, num_minibatches=2, hidden=(4,))


def cell(environment, seed):
    spec = AgentSpec(environment=f"my_environment:{environment}", settings=SHORT, iterations=STEPS, seed=seed)
    return Cell(levels={"environment": environment, "seed": seed}, settings=spec)


def grid(size):
    return Grid(
        question="Which environment pays more?",
        paper="a test",
        outcomes=[Outcome(name="late_return", words="late return")],
        cells=[cell(name, seed) for name in NAMES for seed in (0, 1)],
    )


"""
ENVIRONMENT = """\
import os
import time
from pathlib import Path

from tests.tasks.rl_environments import Target

STEPS = 4
PAUSE = 0.0


class Counted(Target):
    def step(self, action):
        time.sleep(PAUSE)
        with open("steps.log", "ab", buffering=0) as file:
            file.write(b".")
        return super().step(action)


class Near(Counted):
    pass


class Far(Counted):
    ends = 0.2


class Fails(Counted):
    def step(self, action):
        if not Path("mended").exists():
            raise ValueError("not mended yet")
        return super().step(action)


class Dies(Counted):
    def step(self, action):
        if not Path("mended").exists():
            os.kill(os.getpid(), 9)
        return super().step(action)
"""


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        yield
        ray.shutdown()


class Desk:
    """A folder with a grid of one's own, and the command typed in it."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capfd, self.store = folder, capfd, folder / "store"
        (folder / "my_environment.py").write_text(ENVIRONMENT)

    def names(self, *names: str) -> None:
        """Write, or edit, the grid: two seeds in each of these environments."""
        (self.folder / "my_grids.py").write_text(f"{GRID}NAMES = {names!r}\n")

    def tune(self, flags: str = "") -> tuple[int, dict[str, Any], str]:
        self.forget()
        self.capfd.readouterr()
        ended = main(["tune", "my_grids:grid", "--store", str(self.store), "--json", *shlex.split(flags)])
        said = self.capfd.readouterr()
        return ended, json.loads(said.out) if said.out else {}, said.err

    def forget(self) -> None:
        for name in ("my_grids", "my_environment"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        code.forget()
        code._own_file.cache_clear()

    @property
    def steps(self) -> int:
        """Environment steps so far, of all processes."""
        log = self.folder / "steps.log"
        return log.stat().st_size if log.exists() else 0

    def agents(self) -> dict[str, int]:
        """Finished files of agents -> when they were written."""
        return {str(path): path.stat().st_mtime_ns for path in self.store.rglob("*.safetensors")}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    made = Desk(tmp_path, capfd)
    yield made
    made.forget()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def reports(folder: Path) -> list[list[dict[str, Any]]]:
    """What each trial told Tune, in order."""
    found = sorted((folder / "cache/robustray/tune").rglob("result.json"))
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in found]


def test_a_grid_runs_once_and_an_edited_one_runs_its_new_cells(two_cpus: None, desk: Desk) -> None:
    desk.names("Near", "Far")
    ended, document, said = desk.tune("--workers 2")
    assert ended == 0 and document["counts"] == {"cells": 4, "computed": 4, "failed": 0}, said
    told = reports(desk.folder)
    assert len(told) == 4 and all(trial[0]["items"] == 0 and "late_return" in trial[-1] for trial in told)
    assert len({trial[0]["pid"] for trial in told}) == 2, "two processes, each for several cells"
    assert len(list((desk.folder / "cache").rglob("events.out.tfevents.*"))) == 4
    frame = pd.read_parquet(document["tables"]["cells"])
    assert frame.status.tolist() == ["finished"] * 4 and frame.late_return.notna().all()

    # The same bytes as the plain loop in this process.
    desk.forget()
    grid = tuning.load_grid("my_grids:grid", "quick")
    alone = Store(str(desk.folder / "alone"))
    alone.create()
    learned = SerialLab(store=alone).learn([each.settings for each in grid.cells]).result()
    for each, key in zip(learned, frame.found_in, strict=True):
        assert each.key == key
        for file in files.list_files(alone, key):
            if file.kind == "state":
                assert alone.read(file.name) == Store(str(desk.store)).read(file.name)

    before, steps = desk.agents(), desk.steps
    ended, again, _ = desk.tune()
    assert ended == 0 and again["counts"]["computed"] == 0 and desk.steps == steps
    assert pd.read_parquet(again["tables"]["cells"]).equals(frame)

    desk.names("Near", "Counted", "Far")
    ended, edited, _ = desk.tune("--workers 1")
    assert ended == 0 and edited["counts"] == {"cells": 6, "computed": 2, "failed": 0}
    assert {name: at for name, at in desk.agents().items() if name in before} == before
    kept = pd.read_parquet(edited["tables"]["cells"]).query("environment != 'Counted'").reset_index(drop=True)
    assert kept.equals(frame)


def test_a_cell_that_fails_waits_for_failed(two_cpus: None, desk: Desk) -> None:
    """By an exception, and by the death of its process; the other cells are finished."""
    desk.names("Near", "Fails", "Dies")
    ended, document, said = desk.tune("--workers 1")
    assert ended == 1 and document["counts"] == {"cells": 6, "computed": 2, "failed": 4}
    assert "4 cell(s) are missing" in said and "tune my_grids:grid --size quick --failed --store" in said
    errors = pd.read_parquet(document["tables"]["cells"]).set_index("environment").error
    assert errors["Fails"].str.contains("not mended yet").all() and errors["Dies"].str.contains("process died").all()

    (desk.folder / "mended").touch()
    steps = desk.steps
    ended, document, _ = desk.tune()
    assert ended == 1 and document["counts"] == {"cells": 6, "computed": 0, "failed": 4} and desk.steps == steps

    before = desk.agents()
    ended, document, said = desk.tune("--failed --workers 1")
    assert ended == 0 and document["counts"] == {"cells": 6, "computed": 4, "failed": 0}, said
    assert {file: at for file, at in desk.agents().items() if file in before} == before
    assert not list(desk.store.glob("grids/*/failed/*.json"))


def test_a_request_that_no_node_can_meet_is_refused() -> None:
    def ask(cpus: float, gpus: float) -> None:
        share = trials.Share(cpus=cpus, gpus=gpus, at_once=None, address=None, dashboard=False)
        trials.check_room(share, [{"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}])

    ask(4, 0)
    ask(2, 1)
    for cpus, gpus, flag in ((5, 0, "--cpus-per-trial"), (1, 2, "--gpus-per-trial"), (4, 1, "--gpus-per-trial")):
        with pytest.raises(InputError, match=f"wait for ever; give a smaller {flag}"):
            ask(cpus, gpus)


@pytest.mark.acceptance
def test_after_a_killed_driver_no_finished_cell_is_stepped_again(desk: Desk) -> None:
    """At least one cell finished, one running, one pending; then the undisturbed grid's bytes."""
    names = ("Near", "Far", "Counted")
    desk.names(*names)
    slow = ENVIRONMENT.replace("PAUSE = 0.0", "PAUSE = 0.003").replace("STEPS = 4", "STEPS = 12")
    (desk.folder / "my_environment.py").write_text(slow)
    command = [sys.executable, "-m", "robustray", "tune", "my_grids:grid", "--store", str(desk.store), "--workers", "1"]
    path = os.pathsep.join([str(desk.folder), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as driver:
        deadline = time.monotonic() + 120
        while not (finished := desk.agents()) and time.monotonic() < deadline:
            time.sleep(0.05)
        driver.kill()
    assert finished and driver.returncode == -signal.SIGKILL
    still = -1
    while still != desk.steps:  # Ray's processes end with their driver
        still = desk.steps
        time.sleep(2)
    finished = desk.agents()
    assert 1 <= len(finished) < 5, "something is left to do"

    again = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, timeout=200)
    assert again.returncode == 0, again.stderr
    document = json.loads(again.stdout)
    assert document["counts"] == {"cells": 6, "computed": 6 - len(finished), "failed": 0}
    assert {file: at for file, at in desk.agents().items() if file in finished} == finished
    per_cell = 12 * 32 + 2 * 50  # updates, and the two rollouts that are compared at the start
    assert desk.steps - still <= (6 - len(finished)) * per_cell

    (desk.folder / "my_environment.py").write_text(slow.replace("PAUSE = 0.003", "PAUSE = 0.0"))
    desk.forget()
    alone = Store(str(desk.folder / "alone"))
    alone.create()
    frame = pd.read_parquet(document["tables"]["cells"])
    grid = tuning.load_grid("my_grids:grid", "quick")
    for each in SerialLab(store=alone).learn([c.settings for c in grid.cells]).result():
        assert each.key in set(frame.found_in)
        mine, theirs = (
            {f.update: s.read(f.name) for f in files.list_files(s, each.key) if f.kind == "state"}
            for s in (alone, Store(str(desk.store)))
        )
        assert mine == theirs


@pytest.mark.acceptance
@pytest.mark.parametrize("name", sorted(tuning.grid_names()))
def test_the_quick_form_of_every_grid_finishes(two_cpus: None, desk: Desk, name: str) -> None:
    ended = main(["tune", name, "--store", str(desk.store), "--json"])
    document = json.loads(desk.capfd.readouterr().out)
    assert ended == 0 and document["counts"]["failed"] == 0 and document["counts"]["cells"] >= 4
    for table, path in document["tables"].items():
        frame = pd.read_parquet(path)
        assert len(frame) and (table == "cells" or (frame.seeds >= 2).all())


@pytest.mark.parametrize("name", sorted(tuning.grid_names()))
def test_a_grid_says_what_to_type_and_what_to_expect(name: str) -> None:
    words = tuning.grid_function(name).__doc__ or ""
    assert f"robustray tune {name} --size quick" in words and "expected, " in words and "CPU" in words
    for size in ("quick", "small", "paper"):
        grid = tuning.load_grid(name, size)
        assert len({cell.levels["seed"] for cell in grid.cells}) >= 2, "an interval needs two seeds"
