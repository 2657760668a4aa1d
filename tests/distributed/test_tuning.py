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
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from robustray.distributed import trials, tuning
from robustray.distributed.cli import main
from robustray.tasks.errors import InputError
from robustray.tasks.grids.settings import Outcome
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

    def tune(self, flags: str = "", store: Path | None = None) -> tuple[int, dict[str, Any], str]:
        self.forget()
        self.capfd.readouterr()
        ended = main(["tune", "my_grids:grid", "--store", str(store or self.store), "--json", *shlex.split(flags)])
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
        return {str(path): path.stat().st_mtime_ns for path in self.store.glob("agents/*/*.safetensors")}


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


def test_the_table_shows_each_end_once_and_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    from robustray.distributed.trial_table import TrialTable

    def trial(name: str, status: str, **result: Any) -> Any:
        return SimpleNamespace(config={"cell": name}, status=status, trial_id=name, last_result=result)

    share = Outcome(name="y", words="a share", unit="percent")
    table = TrialTable(lambda config: f"seed={config['cell']}", [share])
    trials = [
        trial("0", "TERMINATED", items=3, items_known=3, y=0.5),
        trial("1", "ERROR"),
        trial("2", "RUNNING", items=1, items_known=4, **{"curve/update": 6.0}),
        trial("3", "PENDING"),
    ]
    assert not table.should_report(trials) and table.should_report(trials, done=True)
    table.report(trials, False)
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert " ".join(said[0][1:]) == "· 4 trials: 1 finished, 1 failed, 1 running, 1 waiting"
    assert said[2:] == [
        ["seed=0", "finished", "3", "of", "3", "50.0", "%"],
        ["seed=1", "failed"],
        ["seed=2", "running", "1", "of", "4", "7"],
    ]
    table.report(trials, False)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["seed=2"]


def test_a_request_that_no_node_can_meet_is_refused() -> None:
    def ask(cpus: float, gpus: float, runners: int = 0) -> None:
        share = trials.Share(cpus=cpus, gpus=gpus, at_once=None, address=None, dashboard=False, runners=runners)
        trials.check_room(share, [{"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}])

    ask(4, 0)
    ask(2, 1)
    ask(4, 0, runners=2)
    with pytest.raises(InputError, match=r"3 env runners, there are 6 in all.*--runners-per-trial"):
        ask(4, 0, runners=3)
    for cpus, gpus, flag in ((5, 0, "--cpus-per-trial"), (1, 2, "--gpus-per-trial"), (4, 1, "--gpus-per-trial")):
        with pytest.raises(InputError, match=f"wait for ever; give a smaller {flag}"):
            ask(cpus, gpus)


# --- A killed driver ----------------------------------------------------------------------------------------------

UPDATES, STEPS, INTERVAL = 8, 32, 2
LOOKED = 2 * 50
"""Steps of the two rollouts that are compared whenever a training starts."""
COUNTED = """\
import time
from pathlib import Path

from robustray.tasks.grids.settings import Cell, Grid, Outcome
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from tests.tasks.rl_environments import Target

HERE = Path(__file__).parent


class Counted(Target):
    def step(self, action):
        with open(HERE / "steps" / type(self).__name__, "ab", buffering=0) as file:
            file.write(b".")
        return super().step(action)


class First(Counted):
    pass


class Second(Counted):
    def step(self, action):
        if (HERE / "slow").exists():
            time.sleep(0.01)
        return super().step(action)


class Third(Counted):
    pass


def cell(environment, step, seed, num_streams=1):
    schedule = {"kl_schedule": "linear", "max_kl_final": 0.2} if step == "trpo" else {}
    settings = PolicyGradient(
        step=step, num_streams=num_streams, steps_per_stream=STEPS, num_minibatches=2, hidden=(4,), **schedule
    )
    spec = AgentSpec(environment=f"my_grids:{environment}", settings=settings, iterations=UPDATES, seed=seed)
    return Cell(levels={"step": step, "seed": seed}, settings=spec)


def grid(size):
    return Grid(
        question="Which step pays more?",
        paper="a test",
        outcomes=[Outcome(name="late_return", words="late return")],
        cells=[cell("First", "ppo", 0), cell("Second", "trpo", 0, STREAMS), cell("Third", "trpo", 1)],
    )


"""


@pytest.mark.acceptance
@pytest.mark.parametrize(("streams", "runners"), [(1, 0), (5, 2)])
def test_after_a_killed_driver_the_grid_is_the_undisturbed_one(
    two_cpus: None, desk: Desk, streams: int, runners: int
) -> None:
    """One cell finished, one in the middle of TRPO's schedule, one pending. Nothing finished is stepped again, at most
    one interval is repeated, and weights and tables have the bytes of a grid that nobody disturbed, without runners."""
    folder, counts = desk.folder, desk.folder / "steps"
    counts.mkdir()
    (folder / "my_grids.py").write_text(f"{COUNTED}STREAMS, UPDATES, STEPS = {streams}, {UPDATES}, {STEPS}\n")
    flags = f"--workers 1 --checkpoint-every {INTERVAL}"
    command = [sys.executable, "-m", "robustray", "tune", "my_grids:grid", *flags.split(), "--json"]
    command += ["--store", str(desk.store), "--runners-per-trial", str(runners)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "OMP_NUM_THREADS": "1"}

    def counted() -> dict[str, int]:
        return {path.name: path.stat().st_size for path in counts.iterdir()}

    def checkpoint() -> int:
        """Updates before the newest one, of the one cell that runs."""
        return max((int(path.name[:9]) for path in desk.store.glob("checkpoints/*/*.safetensors")), default=0)

    (folder / "slow").touch()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as driver:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and driver.poll() is None:
            if desk.agents() and checkpoint() >= INTERVAL and "Second" in counted():
                break
            time.sleep(0.02)
        driver.kill()
    assert driver.returncode == -signal.SIGKILL
    before: dict[str, int] = {}
    while before != (before := counted()):  # Ray's processes end with their driver
        time.sleep(2)
    finished, kept = desk.agents(), checkpoint()
    assert len(finished) == 1 and INTERVAL <= kept < UPDATES and before.keys() == {"First", "Second"}

    (folder / "slow").unlink()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["counts"] == {"cells": 3, "computed": 2, "failed": 0}
    after, per_update = counted(), STEPS * streams
    whole = {name: LOOKED + UPDATES * (per_update if name == "Second" else STEPS) for name in after}
    assert (after["First"], after["Third"]) == (before["First"], whole["Third"]) and before["First"] == whole["First"]
    assert after["Second"] - before["Second"] == LOOKED + (UPDATES - kept) * per_update
    assert after["Second"] <= whole["Second"] + LOOKED + INTERVAL * per_update
    assert {file: at for file, at in desk.agents().items() if file in finished} == finished

    ended, document, said = desk.tune(flags, folder / "undisturbed")
    assert ended == 0 and document["counts"] == {"cells": 3, "computed": 3, "failed": 0}, said
    assert {name: count - after[name] for name, count in counted().items()} == whole
    mine, theirs = (published(store) for store in (desk.store, folder / "undisturbed"))
    assert mine == theirs and len(mine) > 3 * 3
    assert not [*folder.glob("*/checkpoints/*/*.safetensors")]


def published(store: Path) -> dict[str, bytes]:
    """Agents, tables and figures; but for clock columns, which have a table of their own."""
    files = [*store.glob("agents/*/*"), *store.glob("grids/*/tables/*"), *store.glob("grids/*/figures/*")]
    return {str(f.relative_to(store)): f.read_bytes() for f in files if not f.name.startswith("clock-")}


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
