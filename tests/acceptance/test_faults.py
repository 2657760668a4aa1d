"""Kill whatever runs, damage whatever lies there, and type the same command again: the tables are those of a calm run.

Everything goes through the real command, on the digits, with an attack of one's own that misbehaves when a file tells
it to. That file is no part of any key, so a calm run and a disturbed one ask for the same pieces.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0
"""How long to wait for something to happen. Nothing is concluded from a time."""
NUM_IMAGES = 120

UNRULY = '''
"""PGD that obeys orders.json: {"kill": [images], "memory": [images], "fail": [images], "seconds": per block}."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from robustray.tasks.attacks import PGD

ORDERS = Path(__file__).with_name("orders.json")


@dataclass(frozen=True, kw_only=True)
class Unruly:
    norm: str
    eps: float

    def __call__(self, model, images, labels, *, seed=0, indices=None, **other):
        orders = json.loads(ORDERS.read_text()) if ORDERS.exists() else {}
        met = {name: sorted(set(indices) & set(orders.get(name, ()))) for name in ("kill", "memory", "fail")}
        if met["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if met["memory"]:
            raise MemoryError
        if met["fail"]:
            raise ValueError(f"images {met['fail']} are not to my taste")
        time.sleep(orders.get("seconds", 0))
        return PGD(norm=self.norm, eps=self.eps, num_steps=5)(model, images, labels, seed=seed, indices=indices)


def make(norm, eps):
    return Unruly(norm=norm, eps=eps)
'''


@dataclass
class Bench:
    """A folder in which the command is typed, with a store of its own."""

    folder: Path
    flags: tuple[str, ...] = ("--num-images", str(NUM_IMAGES), "--eps-linf", "0.05", "0.1")
    block: int = 16

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "unruly.py").write_text(UNRULY)

    @property
    def store(self) -> Path:
        return self.folder / "runs"

    def order(self, **orders: Any) -> None:
        (self.folder / "orders.json").write_text(json.dumps(orders))

    def start(self, *words: str, workers: int = 2, anyway: bool = False) -> subprocess.Popen[str]:
        """Type a command, by default the sweep of these tests."""
        sweep = [
            "run",
            "attack-sweep",
            "--models",
            "digits:mlp",
            "--attacks",
            "unruly:make",
            "noise",
            "--norms",
            "linf",
        ]
        typed = [*(words or [*sweep, *self.flags, "--block", str(self.block)]), *(["--anyway"] if anyway else [])]
        return subprocess.Popen(
            [sys.executable, "-m", "robustray", *typed, "--workers", str(workers), "--json"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a process group of its own, as a terminal gives to a command
            preexec_fn=heed_ctrl_c,
        )

    def finish(self, driver: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
        """Wait for the end. Returns the document; with another exit code than 0 its key "stderr" too."""
        out, err = driver.communicate(timeout=PATIENCE_S)
        assert driver.returncode == code, f"exit code {driver.returncode}\n{out}\n{err}"
        assert out or code, "a run that ends well says so"
        return {**(json.loads(out) if out else {}), "stderr": err}

    def run(self, *words: str, workers: int = 2, code: int = 0) -> dict[str, Any]:
        return self.finish(self.start(*words, workers=workers), code)

    # what lies in the store

    def run_folders(self) -> list[Path]:
        return sorted(self.store.glob("attack-sweep-*"))

    def status(self) -> dict[str, Any]:
        return json.loads((self.run_folders()[-1] / "run.json").read_text())

    def pieces(self) -> list[Path]:
        return sorted(self.store.glob("pieces/*/*.parquet"))

    def contents(self) -> dict[str, bytes]:
        """Of all pieces, by their names without CODE: the sources may change while these tests run."""
        return {"-".join(p.name.split("-")[i] for i in (0, 1, 3)): p.read_bytes() for p in self.pieces()}

    def tables(self) -> dict[str, bytes]:
        """Of the newest run."""
        folder = self.run_folders()[-1] / "tables"
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}

    def wait_for_pieces(self, num_more: int, driver: subprocess.Popen[str]) -> None:
        """Until the sweep is that much further: in its middle, by construction."""
        wanted = len(self.pieces()) + num_more
        wait_until(lambda: len(self.pieces()) >= wanted, driver)


def wait_until(happened: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def actors_of(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """The living workers of a driver."""
    return [p for p in psutil.Process(driver.pid).children(recursive=True) if "ray::BlockActor" in _command(p)]


def heed_ctrl_c() -> None:
    """These tests may themselves be a job in the background, for which the shell has Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The undisturbed run, in one process."""
    bench = Bench(tmp_path_factory.mktemp("calm") / "bench")
    bench.run(workers=0)
    assert {"images.parquet", "worst-case.parquet"} <= set(bench.tables())
    return bench


@pytest.fixture
def bench(calm: Bench, tmp_path: Path) -> Iterator[Bench]:
    """A new store that has the trained model already."""
    made = Bench(tmp_path / "bench")
    shutil.copytree(calm.store / "models", made.store / "models")
    yield made


def no_one_left(processes: list[psutil.Process]) -> bool:
    """Do the actors end? Ray's own agents may linger for half a minute; they write nothing."""
    _, alive = psutil.wait_procs([p for p in processes if "ray::BlockActor" in _command(p)], timeout=30)
    return not alive


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


# -- what dies ---------------------------------------------------------------------------------------------------------


def test_an_actor_is_killed_in_the_middle(bench: Bench, calm: Bench) -> None:
    """The one fault test of `make test`; the others belong to `make acceptance`."""
    bench.order(seconds=0.1)
    driver = bench.start()
    bench.wait_for_pieces(12, driver)  # 8 of clean predictions, and some of the first attack
    victim = actors_of(driver)[0]
    victim.kill()
    found = bench.finish(driver)
    assert bench.tables() == calm.tables()
    assert "tried again" in found["stderr"]
    assert not bench.status()["failures"] and bench.status()["status"] == "finished"


@pytest.mark.acceptance
def test_actors_are_killed_again_and_again(bench: Bench, calm: Bench) -> None:
    bench.order(seconds=0.2)
    driver = bench.start()
    for _ in range(2):
        bench.wait_for_pieces(3, driver)
        wait_until(lambda: bool(actors_of(driver)), driver)
        for victim in actors_of(driver):
            victim.kill()
    bench.finish(driver)
    assert bench.tables() == calm.tables()
    assert not bench.status()["failures"]


@pytest.mark.acceptance
def test_the_driver_is_killed_again_and_again(calm: Bench, tmp_path: Path) -> None:
    """Once while it trains the model, twice while it attacks."""
    bench = Bench(tmp_path / "bench")
    bench.order(seconds=0.2)
    for attempt in range(3):
        driver = bench.start()
        if attempt == 0:
            wait_until(lambda: bool(bench.run_folders()), driver)
        else:
            bench.wait_for_pieces(4, driver)
        started = actors_of(driver)
        driver.kill()
        driver.communicate()
        assert no_one_left(started), "no actor outlives its driver"
    (bench.folder / "orders.json").unlink()
    bench.run(workers=0)
    assert bench.tables() == calm.tables()
    assert len(bench.run_folders()) == 1 and bench.status()["attempts"] == 4
    lines = (bench.run_folders()[0] / "blocks.jsonl").read_text().splitlines()
    done = [(line["step"], line["file"]) for line in map(json.loads, lines)]
    assert len(done) == len(set(done)), "no block that an attempt had finished was computed by a later one"


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("how", "workers"),
    [("ctrl-c", 0), ("ctrl-c twice", 2), ("terminate", 2), ("at the start", 2)],
)
def test_an_interrupted_run_ends_cleanly_and_goes_on(how: str, workers: int, bench: Bench, calm: Bench) -> None:
    bench.order(seconds=0.2)
    driver = bench.start(workers=workers)
    if how == "at the start":
        wait_until(lambda: bool(bench.run_folders()), driver)
    else:
        bench.wait_for_pieces(11, driver)
    started = actors_of(driver)
    if how == "terminate":
        driver.terminate()
    else:
        os.killpg(driver.pid, signal.SIGINT)  # Ctrl-C reaches every process of the group
        if how == "ctrl-c twice":  # the second while the first still ends the actors, or at the very end
            wait_until(lambda: bench.status()["status"] == "interrupted", driver)
            os.killpg(driver.pid, signal.SIGINT)
    out, words = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 130, f"{out}\n{words}"
    assert "everything finished is kept" in words and "Traceback" not in words
    assert no_one_left(started)
    assert bench.status()["status"] == "interrupted"
    (bench.folder / "orders.json").unlink()
    bench.run(workers=0)
    assert bench.tables() == calm.tables()
    assert len(bench.run_folders()) == 1 and bench.status()["status"] == "finished"


# -- what can't be computed --------------------------------------------------------------------------------------------


def _rows(tables: dict[str, bytes], tmp_path: Path) -> pd.DataFrame:
    path = tmp_path / "images.parquet"
    path.write_bytes(tables["images.parquet"])
    return pd.read_parquet(path)


def _survivor(calm: Bench, tmp_path: Path) -> int:
    """An image in the middle that is attacked at every size."""
    rows = _rows(calm.tables(), tmp_path)
    rows = rows[(rows["attack"] == "unruly:make") & ~rows["carried"]]
    times = rows.groupby("index").size()
    return int(times[times == 2].index[len(times) // 4])


@pytest.mark.acceptance
@pytest.mark.parametrize(("fault", "again"), [("kill", "the same command"), ("memory", "resume --failed")])
def test_an_item_that_cannot_be_computed(fault: str, again: str, bench: Bench, calm: Bench, tmp_path: Path) -> None:
    item = _survivor(calm, tmp_path)
    bench.block = 4  # an actor dies at each halving
    bench.order(**{fault: [item]})
    failed = bench.run(code=1)
    assert "1 item(s) were given up" in failed["stderr"] and "--failed" in failed["stderr"]
    (failure, *_) = bench.status()["failures"]
    assert failure["item"] == item and bench.status()["status"] == "failed"

    # Everything else is there, and equal.
    found, expected = _rows(bench.tables(), tmp_path), _rows(calm.tables(), tmp_path)
    others = expected[(expected["index"] != item) | (expected["attack"] == "noise")]
    key = ["attack", "eps", "index"]
    assert (
        found.merge(others[key], on=key)
        .sort_values(key)
        .reset_index(drop=True)
        .equals(others.sort_values(key).reset_index(drop=True))
    )

    # Resumed, it is not tried again. Told to, or as a new run, it is.
    bench.run("resume", failed["run"], workers=0, code=1)
    (bench.folder / "orders.json").unlink()
    before, kept = len(bench.pieces()), {path.name: path.stat().st_mtime_ns for path in bench.pieces()}
    if again == "the same command":
        bench.run(workers=0)
        assert len(bench.run_folders()) == 2
    else:
        bench.run("resume", failed["run"], "--failed", workers=0)
        assert len(bench.run_folders()) == 1
    assert bench.tables() == calm.tables()
    assert not bench.status()["failures"] and bench.status()["status"] == "finished"
    assert len(bench.pieces()) > before
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in bench.pieces()}.items(), "the rest was kept"


@pytest.mark.acceptance
@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_in_ones_own_attack(workers: int, bench: Bench, calm: Bench, tmp_path: Path) -> None:
    item = _survivor(calm, tmp_path)
    bench.order(fail=[item])
    words = bench.run(workers=workers, code=1)["stderr"]
    (line,) = [line for line in words.splitlines() if line.startswith("robustray: failed:")]
    assert f"ValueError: images [{item}] are not to my taste" in line and "attack, items" in line
    log = Path(line.rpartition("traceback in ")[2].rstrip(")"))
    assert "unruly.py" in log.read_text()
    assert bench.status()["status"] == "failed"
    assert len(bench.pieces()) >= 8, "what was finished is kept"
    kept = {path.name: path.stat().st_mtime_ns for path in bench.pieces()}
    (bench.folder / "orders.json").unlink()
    bench.run(workers=0)
    assert bench.tables() == calm.tables()
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in bench.pieces()}.items()


# -- what is damaged ---------------------------------------------------------------------------------------------------


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    bit = random.Random(path.name).randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(data))


@pytest.mark.acceptance
def test_damaged_pieces_and_weights(calm: Bench, tmp_path: Path) -> None:
    """A flipped bit, a torn and a missing file, in every third piece and in the weights."""
    bench = Bench(tmp_path / "bench")
    shutil.copytree(calm.store, bench.store)
    for folder in bench.run_folders():
        shutil.rmtree(folder)  # a finished run would only be shown again
    damages: list[Callable[[Path], object]] = [
        _flip,
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
    ]
    for i, path in enumerate(bench.pieces()[::3]):
        damages[i % 4](path)
    _flip(*bench.store.glob("models/*"))
    (bench.pieces()[0].parent / "000000000-torn.parquet.123-abcd.tmp").write_bytes(b"PAR1")
    bench.run()
    assert bench.tables() == calm.tables()
    assert bench.contents() == calm.contents(), "every piece is whole again"


# -- who else is there -------------------------------------------------------------------------------------------------


@pytest.mark.acceptance
def test_two_drivers_at_once(calm: Bench, tmp_path: Path) -> None:
    """On a store that neither finds: both make it, both train, both attack."""
    bench = Bench(tmp_path / "bench")
    bench.order(seconds=0.05)
    drivers = [bench.start(workers=1, anyway=True), bench.start(workers=1, anyway=True)]
    documents = [bench.finish(driver) for driver in drivers]
    for document in documents:
        tables = {f"{name}.parquet": Path(path).read_bytes() for name, path in document["tables"].items()}
        assert tables == calm.tables()
    assert bench.contents() == calm.contents()
    assert bench.run(workers=0)["tables"], "and the store can be used"


@pytest.mark.acceptance
def test_one_of_two_drivers_is_killed(bench: Bench, calm: Bench) -> None:
    bench.order(seconds=0.1)
    first, second = bench.start(workers=1), bench.start(workers=0, anyway=True)
    bench.wait_for_pieces(10, first)
    first.kill()
    first.communicate()
    bench.finish(second)
    assert bench.tables() == calm.tables()
    bench.run(workers=0)
    assert bench.tables() == calm.tables()


# -- how many there are ------------------------------------------------------------------------------------------------


@pytest.mark.acceptance
@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_no_bit(workers: int, calm: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "bench")
    bench.run(workers=workers)
    assert bench.tables() == calm.tables()
    assert {path.name: path.read_bytes() for path in bench.store.glob("models/*")} == {
        path.name: path.read_bytes() for path in calm.store.glob("models/*")
    }


@pytest.mark.acceptance
@pytest.mark.parametrize("num_images", [1, 17])
def test_awkward_numbers_of_images(num_images: int, calm: Bench, tmp_path: Path) -> None:
    """Fewer than two workers; one above a block of 16. At the last size no image is left to attack."""
    flags = ("--num-images", str(num_images), "--eps-linf", "0.02", "0.9", "1")
    tables = []
    for workers in (0, 2):
        bench = Bench(tmp_path / f"bench-{workers}", flags)
        shutil.copytree(calm.store / "models", bench.store / "models")
        bench.run(workers=workers)
        tables.append(bench.tables())
    assert tables[0] == tables[1]
    assert set(_rows(tables[0], tmp_path)["index"]) == set(range(num_images))
