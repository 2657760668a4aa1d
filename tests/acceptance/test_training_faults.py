"""Kill whatever trains, damage its checkpoints, fill its disk, and start the same program again.

One device ends with the weights of a calm training, to the bit; so do two ranks on CPUs. Every kill costs at most one
interval between checkpoints: the network of `training_driver.py` counts its steps.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load

from robustray.tasks.training.settings import LARGEST_RATE
from tests.acceptance.training_driver import FOLDER, INTERVAL, NUM_STEPS

HERE = Path(__file__).resolve().parent
PROGRAM = "import sys, json, training_driver; training_driver.main(sys.argv[1], **json.loads(sys.argv[2]))"
PATIENCE_S = 240.0
"""How long to wait for something to happen. Nothing is concluded from a time."""
TOLERANCE = 1e-5
"""Of two ranks against one device after 60 steps: of every number, relative to the largest of its tensor or to 0.1.
Measured: 1.2e-6."""

ACTOR, PROCESS = "ray::BlockActor", "ray::RayTrainWorker"


@dataclass
class Bench:
    """A folder in which the program trains, with a store of its own."""

    folder: Path
    ranks: int = 1

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def order(self, name: str, number: int) -> None:
        (self.folder / name).write_text(str(number))

    def until_step(self, number: int, **options: Any) -> subprocess.Popen[str]:
        """Start the program; each process stops in its `number`-th step, until `go_on`."""
        self.order("hold", number)
        driver = self.start(**options)
        wanted = self.steps() + number * self.ranks
        wait_until(lambda: self.steps() >= wanted, driver)
        return driver

    def go_on(self) -> None:
        (self.folder / "hold").unlink()

    def start(self, *, workers: int = 2, **more: Any) -> subprocess.Popen[str]:
        options = {"workers": workers, "ranks": self.ranks, **more}
        path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.store), json.dumps(options)],
            env={**os.environ, "PYTHONPATH": path, FOLDER: str(self.folder)},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, driver: subprocess.Popen[str], code: int = 0) -> str:
        """Wait for the end. Returns what it said."""
        out, err = driver.communicate(timeout=PATIENCE_S)
        assert driver.returncode == code, f"exit code {driver.returncode}\n{out}\n{err}"
        return err

    def run(self, code: int = 0, **options: Any) -> str:
        return self.finish(self.start(**options), code)

    def steps(self) -> int:
        """How many were taken by all processes together, one count for each rank."""
        return sum(len(path.read_text().splitlines()) for path in self.folder.glob("steps-*"))

    def repeated(self) -> int:
        """Steps that were taken more than once."""
        return self.steps() // self.ranks - NUM_STEPS

    def checkpoints(self) -> list[Path]:
        return sorted(self.store.glob("checkpoints/*/*.safetensors"))

    def weights(self) -> dict[str, bytes]:
        """Of all that was published, by its kind (best, last, ema)."""
        return {
            path.name.partition("-")[0].partition("@")[2]: path.read_bytes() for path in self.store.glob("models/*")
        }

    def numbers(self) -> dict[str, torch.Tensor]:
        return {f"{kind}/{k}": v for kind, data in self.weights().items() for k, v in load(data).items()}


def wait_until(happened: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def children(driver: subprocess.Popen[str], name: str) -> list[psutil.Process]:
    """The living processes of a driver that do this."""
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def kill_driver(driver: subprocess.Popen[str]) -> None:
    workers = children(driver, ACTOR) + children(driver, PROCESS)
    driver.kill()
    driver.communicate()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive, "no worker outlives its driver"


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One device, undisturbed, in one process."""
    bench = Bench(tmp_path_factory.mktemp("calm") / "bench")
    bench.run(workers=0)
    assert bench.repeated() == 0 and set(bench.weights()) == {"", "best", "ema"} and not bench.checkpoints()
    return bench


@pytest.fixture(scope="module")
def calm_pair(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two ranks, undisturbed."""
    bench = Bench(tmp_path_factory.mktemp("pair") / "bench", ranks=2)
    words = bench.run()
    assert "trained by 2 processes" in words and bench.repeated() == 0 and not bench.checkpoints()
    return bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "bench")


@pytest.fixture
def pair(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "bench", ranks=2)


# -- one device --------------------------------------------------------------------------------------------------------


@pytest.mark.acceptance
def test_the_actor_is_killed(bench: Bench, calm: Bench) -> None:
    driver = bench.until_step(27)
    (victim,) = children(driver, ACTOR)
    victim.kill()
    bench.go_on()
    words = bench.finish(driver)
    assert bench.weights() == calm.weights()
    assert 0 < bench.repeated() <= INTERVAL
    assert "tried again" in words and "goes on from its checkpoint after step 20" in words


@pytest.mark.acceptance
@pytest.mark.parametrize(("workers", "kills"), [(0, 2), (2, 1)])
def test_the_driver_is_killed(workers: int, kills: int, bench: Bench, calm: Bench) -> None:
    for _ in range(kills):
        kill_driver(bench.until_step(17, workers=workers))
        bench.go_on()
    words = bench.run(workers=workers)
    assert bench.weights() == calm.weights()
    assert 0 < bench.repeated() <= kills * INTERVAL
    assert f"goes on from its checkpoint after step {kills * 10}" in words and not bench.checkpoints()


@pytest.mark.acceptance
def test_the_newest_checkpoint_is_damaged(bench: Bench, calm: Bench) -> None:
    kill_driver(bench.until_step(25, workers=0))
    bench.go_on()
    before, newest = bench.checkpoints()
    newest.write_bytes(newest.read_bytes()[:-100])
    words = bench.run(workers=0)
    assert bench.weights() == calm.weights()
    assert f"{newest.name} is damaged and is not used; the one before it is" in words
    assert before.name.startswith("000000010") and "goes on from its checkpoint after step 10" in words
    assert 0 < bench.repeated() <= 2 * INTERVAL


@pytest.mark.acceptance
def test_the_disk_is_full_while_it_trains(bench: Bench, calm: Bench) -> None:
    """That of an actor. Of what is written, only a state with its momentum and average is too large."""
    bench.order("full", 2 * max(map(len, calm.weights().values())))
    words = bench.run()
    assert bench.weights() == calm.weights() and bench.repeated() == 0
    assert "no checkpoint at step 10: " in words and "the work goes on and tries again" in words


# -- several ranks -----------------------------------------------------------------------------------------------------


@pytest.mark.acceptance
def test_two_ranks_train_the_model_of_one_device(calm: Bench, calm_pair: Bench) -> None:
    expected, found = calm.numbers(), calm_pair.numbers()
    assert set(found) == set(expected)
    gaps = [(found[k].double() - v.double()).abs().max() / v.abs().max().clamp_min(0.1) for k, v in expected.items()]
    print(f"two ranks against one device: {max(gaps):.1e}")
    assert max(gaps) < TOLERANCE


@pytest.mark.acceptance
@pytest.mark.parametrize(("first", "second"), [(PROCESS, "ray::TrainController"), (ACTOR, "driver")])
def test_parts_of_a_pair_are_killed(first: str, second: str, pair: Bench, calm_pair: Bench) -> None:
    """One of the two processes, then Ray Train's own actor; or the actor that waits for them, then the driver."""
    driver = pair.until_step(27)
    kill_part(first, driver)
    wait_until(lambda: pair.steps() >= 2 * 27 * pair.ranks, driver)  # the new ones go on at 20 and are held at 47
    kill_part(second, driver)
    pair.go_on()
    if second == "driver":
        driver = pair.start()
    words = pair.finish(driver)
    assert pair.weights() == calm_pair.weights(), "to the bit: the same ranks have the same parts of every batch"
    assert 0 < pair.repeated() <= 2 * INTERVAL
    assert "goes on from its checkpoint after step 40" in words and "trained by 2 processes" in words
    assert not pair.checkpoints()


def kill_part(what: str, driver: subprocess.Popen[str]) -> None:
    """Kill it while both processes are held in a step, and wait until the news has ended these too: otherwise they
    might take more steps, and write the next checkpoint, before it reaches them."""
    if what == "driver":
        kill_driver(driver)
        return
    both = children(driver, PROCESS)
    children(driver, what)[0].kill()
    _, alive = psutil.wait_procs(both, timeout=PATIENCE_S)
    assert not alive, "no process trains on alone"


@pytest.mark.acceptance
def test_a_pair_that_diverges_ends_at_once(tmp_path: Path) -> None:
    """As one device does, at the same step, and nobody tries again."""
    said = []
    for ranks, workers in ((1, 0), (2, 2)):
        bench = Bench(tmp_path / f"bench-{ranks}", ranks=ranks)
        words = bench.run(code=1, workers=workers, lr=LARGEST_RATE)
        said.append(re.search(r"TrainingDiverged: .* the loss is not finite in step \d+", words))
        assert bench.steps() <= ranks * 10
    assert said[0] and said[1] and said[0][0] == said[1][0]


@pytest.mark.acceptance
def test_a_pair_does_not_starve_beside_other_work(tmp_path: Path, calm_pair: Bench) -> None:
    """Both CPUs are busy with blocks for longer than the pair would wait; they go on afterwards."""
    pair = Bench(tmp_path / "bench", ranks=2)
    driver = pair.start(beside=250)
    out, err = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["beside"] < 250, "the pair did not wait for all of it"
    assert pair.weights() == calm_pair.weights()


@pytest.mark.acceptance
def test_ranks_that_there_is_no_room_for_are_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "bench", ranks=64)
    words = bench.run(code=2)
    assert "ranks=64 needs 64 processes with 1 CPU each, but there is room for" in words
    assert "this lab trains in one process" in bench.run(code=2, workers=0)
    assert bench.steps() == 0


@pytest.mark.acceptance
def test_a_range_takes_the_ranks_that_there_are(tmp_path: Path, calm_pair: Bench) -> None:
    """Ray Train decides: with two CPUs there is room for both."""
    bench = Bench(tmp_path / "bench", ranks=2)
    words = bench.run(ranks=[1, 2])
    assert "trained by 2 processes" in words
    found, expected = bench.numbers(), calm_pair.numbers()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
