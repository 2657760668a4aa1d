"""Ctrl-C, and Ctrl-C again while the first is still cleaning up: through the real command, in a process of its own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import FIRST, ids, outside, run_file

PATIENCE_S = 120.0
"""How long to wait for something to happen. Nothing is concluded from a time."""

SLOW = """
import atexit
import time
from dataclasses import dataclass
from pathlib import Path

from robustray.tasks.lab.serial import SerialExecutor


def stay(name, seconds):
    Path(name).touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)


if Path("slow close").exists():
    SerialExecutor.close = lambda executor: stay("closing", 600)
if Path("slow exit").exists():
    atexit.register(stay, "leaving", 1)


@dataclass(frozen=True)
class Slow:
    norm: str
    eps: float

    def __call__(self, *given, **named):
        stay("attacking", 600)


def slow(norm, eps):
    return Slow(norm, eps)
"""


@pytest.fixture
def driver(runs: Path, repository: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A run that has come to an attack which never ends."""
    folder = runs.parent
    (folder / "my_slow.py").write_text(SLOW)
    (folder / request.param).touch()
    # A process group of its own, as a terminal gives to a command.
    with subprocess.Popen(
        [sys.executable, "-m", "robustray", *shlex.split(FIRST.replace("--attack fgsm", "--attack my_slow:slow"))],
        cwd=folder,
        env=outside(repository),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    ) as process:
        wait_for(folder / "attacking", process)
        yield process
        process.kill()


def heed_ctrl_c() -> None:
    """These tests may themselves be a job in the background, for which the shell has Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"no {path.name}"
        time.sleep(0.02)


def ended_well(process: subprocess.Popen[str], runs: Path) -> str:
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, said
    assert "Traceback" not in said and "Exception ignored" not in said
    assert sorted(run_file(runs, run)["status"] for run in ids(runs)) == ["finished", "interrupted"]
    return said


@pytest.mark.parametrize("driver", ["slow close"], indirect=True)
@pytest.mark.parametrize(("first", "second"), [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)])
def test_a_second_signal_does_not_wait_for_the_end_of_the_first(
    first: int, second: int, driver: subprocess.Popen[str], runs: Path
) -> None:
    os.killpg(driver.pid, first)
    wait_for(runs.parent / "closing", driver)
    os.killpg(driver.pid, second)
    assert "ended at once; everything finished is kept" in ended_well(driver, runs)


@pytest.mark.parametrize("driver", ["slow exit"], indirect=True)
def test_a_second_signal_at_the_very_end_changes_nothing(driver: subprocess.Popen[str], runs: Path) -> None:
    os.killpg(driver.pid, signal.SIGINT)
    wait_for(runs.parent / "leaving", driver)
    os.killpg(driver.pid, signal.SIGINT)
    assert "interrupted; everything finished is kept" in ended_well(driver, runs)
