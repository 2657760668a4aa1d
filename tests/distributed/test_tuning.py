"""`robustray tune` on a real Ray: cells run once, whatever is edited, fails or is killed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from robustray.distributed import tuning
from robustray.distributed.trackers import Tracking
from robustray.tasks.errors import InputError
from robustray.tasks.grids.settings import Cell, Grid, Halving, Outcome
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.policy_gradients import files
from robustray.tasks.training.settings import TrainSpec
from tests.distributed.desk import Desk

ROOT = Path(__file__).resolve().parents[2]


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


# --- Trainings that are stopped early -------------------------------------------------------------------------------

TRAININGS = """\
from robustray.tasks.grids.settings import Cell, Grid, Halving, Outcome
from robustray.tasks.training.settings import TrainSpec


def training(lr, seed):
    return TrainSpec(
        model="digits:mlp", data="digits:train", epochs=3, lr=lr, seed=seed, validation=0.2, attack_precision="fp32"
    )


def grid(size):
    return Grid(
        question="Which rate?",
        paper="a test",
        outcomes=[Outcome(name="clean_accuracy", words="held-out accuracy", unit="percent")],
        choose=("lr",),
        halving=Halving(first=1, factor=2),
        cells=[
            Cell(levels={"lr": lr, "seed": seed}, settings=training(lr, seed))
            for lr in (0.1, 1e-6, 1e-7) for seed in (0, 1)
        ],
    )
"""


def weights_of(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.glob("models/*.safetensors"))}


@pytest.mark.timeout(900)  # four Tuners, one after the other: minutes on a busy machine
def test_a_training_that_was_stopped_is_never_taken_for_finished(two_cpus: None, desk: Desk) -> None:
    """The seed 0 chooses among the rates: two of them are stopped at their first epoch; the seed 1 judges the third."""
    (desk.folder / "my_grids.py").write_text(TRAININGS)
    ended, document, said = desk.tune("--workers 1 --asha")
    assert ended == 0 and document["counts"] == {"cells": 6, "computed": 2, "failed": 0}, said
    frame = pd.read_parquet(document["tables"]["cells"])
    assert frame.status.tolist() == ["finished"] * 2 + ["stopped at epoch 1 of 3", "not chosen"] * 2
    assert frame.clean_accuracy.notna().tolist() == [True, True] + [False] * 4
    best = pd.read_parquet(document["tables"]["best"])
    assert best.lr.tolist() == ["0.1"] and best.seeds.tolist() == [1]
    assert best.clean_accuracy[0] == frame.clean_accuracy[1] and best.choosing_mean[0] == frame.clean_accuracy[0]
    assert "main-effects-clean-accuracy" not in document["tables"] and "2 stopped early by ASHA" in document["answer"]
    kept = weights_of(desk.store)
    finished = {name.partition("run:")[2] for name in frame.found_in if name}
    assert len(finished) == 2 and {name[:16] for name in kept} == finished
    assert {path.parent.name[:16] for path in desk.store.glob("checkpoints/*/*.safetensors")}.isdisjoint(finished)

    ended, again, _ = desk.tune("--workers 1 --asha")
    assert ended == 0 and again["counts"]["computed"] == 0, "what was stopped stays stopped"

    ended, whole, said = desk.tune("--workers 1")
    assert ended == 0 and whole["counts"] == {"cells": 6, "computed": 4, "failed": 0}, said
    assert pd.read_parquet(whole["tables"]["cells"]).status.tolist() == ["finished"] * 6
    assert not list(desk.store.glob("grids/*/stopped/*.json")), "nothing says any more that it was stopped"
    desk.forget()
    alone = Store(str(desk.folder / "alone"))
    alone.create()
    SerialLab(store=alone).train([each.settings for each in tuning.load_grid("my_grids:grid", "quick").cells]).result()
    everything = weights_of(desk.store)
    assert everything == weights_of(desk.folder / "alone") and kept.items() <= everything.items()


def test_asha_competes_only_among_what_is_chosen(tmp_path: Path) -> None:
    """A worse training against larger perturbations goes on, a worse rate at the same size does not."""
    from robustray.distributed.halving import HalvingScheduler

    spec = TrainSpec(model="digits:mlp", data="digits:train", epochs=4, validation=0.2)
    cells = [Cell(levels={"eps": eps, "lr": lr, "seed": 0}, settings=spec) for eps in (1, 2) for lr in (1, 2)]
    outcome = Outcome(name="clean_accuracy", words="accuracy", unit="percent")
    grid = Grid(question="?", paper="a test", outcomes=[outcome], choose=("lr",), halving=Halving(first=2), cells=cells)
    stopped: list[tuple[str, int, int]] = []
    scheduler = HalvingScheduler(grid, lambda config: int(config["cell"]), lambda *what: stopped.append(what))

    def report(cell: int, epoch: int, accuracy: float) -> str:
        trial: Any = SimpleNamespace(trial_id=str(cell), config={"cell": cell})
        row = {"cell": f"key {cell}", "curve/epoch": epoch, "curve/clean_accuracy": accuracy}
        return scheduler.on_trial_result(None, trial, row)

    assert report(0, 1, 0.9) == report(0, 2, 0.9) == scheduler.CONTINUE
    assert report(1, 1, 0.1) == scheduler.CONTINUE, "before the first comparison"
    assert report(2, 2, 0.3) == scheduler.CONTINUE, "the first one of its size"
    assert report(1, 2, 0.8) == scheduler.STOP and report(3, 2, 0.4) == scheduler.CONTINUE
    assert report(2, 4, 0.0) == scheduler.CONTINUE, "the last epoch: it is finished"
    assert stopped == [("key 1", 2, 4)]


# --- Trials in other tools --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flag", "package"), [("wandb", "wandb"), ("mlflow", "mlflow")])
def test_a_tool_that_is_not_installed_is_named_with_its_command(
    flag: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"--{flag} here: {package} is not installed: pip install {package}"):
        Tracking(**{flag: "here"}).check()
    Tracking().check()


def test_trials_are_shown_offline_in_both_tools_and_no_key_is_written(
    two_cpus: None, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="W&B is not installed: pip install 'robustray[track]'")
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'robustray[track]'")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567")
    monkeypatch.setenv("WANDB_MODE", "online")  # a person's usual setting; put back after the test
    desk.names("Near")
    uri = f"sqlite:///{desk.folder}/mlflow.db"
    ended, document, said = desk.tune(f"--workers 1 --wandb my-project --mlflow {uri}")
    assert ended == 0 and document["counts"]["computed"] == 2, said
    returns = sorted(pd.read_parquet(document["tables"]["cells"]).late_return)

    runs = sorted((desk.folder / "cache/robustray/wandb").glob("*/wandb/offline-run-*/*.wandb"))
    assert len(runs) == 2
    assert "wandb sync" in said
    client = mlflow.MlflowClient(tracking_uri=uri)
    (experiment,) = (e for e in client.search_experiments() if e.name == "my_grids.grid-quick")
    logged = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.metrics["late_return"] for run in logged) == pytest.approx(returns)
    assert {run.data.params["levels/seed"] for run in logged} == {"0", "1"}
    for path in (path for path in desk.folder.rglob("*") if path.is_file()):
        assert b"0123456789abcdef" not in path.read_bytes(), path


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


@pytest.mark.parametrize("name", sorted(tuning.grid_names()))
def test_a_grid_says_what_to_type_and_what_to_expect(name: str) -> None:
    words = tuning.grid_function(name).__doc__ or ""
    assert f"robustray tune {name} --size quick" in words and "expected, " in words and "CPU" in words
    for size in ("quick", "small", "paper"):
        grid = tuning.load_grid(name, size)
        assert len({cell.levels["seed"] for cell in grid.cells}) >= 2, "an interval needs two seeds"
