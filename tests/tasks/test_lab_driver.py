"""Two drivers of one run: the second is told, a dead one stops nobody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.execution import Request, execute
from robustray.tasks.lab.driver import PATIENCE_S, check_undriven, driving
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.attack_sweep.settings import SIZES
from robustray.tasks.studies.attack_sweep.study import STUDY

SINCE = "2026-01-01T12:00:00+00:00"
DRIVER = """
import sys, time
from robustray.tasks.lab.driver import driving
from robustray.tasks.lab.store import Store
with driving(Store(sys.argv[1]), "run", since=sys.argv[2]):
    print("driving", flush=True)
    time.sleep(600)
"""


def test_a_living_driver_is_named_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path), SINCE], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "driving\n"
        with pytest.raises(InputError, match=rf"process {process.pid} on .* since {SINCE[:10]}.*--anyway"):
            check_undriven(store, "run")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert (tmp_path / "run" / "driver.json").exists(), "killed, it could not take its note away"
    check_undriven(store, "run")


def test_a_process_with_the_number_of_a_dead_driver_is_not_taken_for_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with driving(store, "run", since=SINCE):
        note = json.loads(store.read("run/driver.json"))
    assert not (tmp_path / "run" / "driver.json").exists()
    store.write(
        "run/driver.json", json.dumps({**note, "pid": os.getppid(), "started": "1"}).encode()
    )  # lives, began later
    check_undriven(store, "run")


@pytest.mark.parametrize("lives", [True, False])
def test_a_driver_of_another_host_is_watched_and_no_clocks_are_compared(lives: bool, tmp_path: Path) -> None:
    store, slept = Store(str(tmp_path)), [0.0]
    note = {"pid": 1, "started": "5", "host": "elsewhere", "since": "2099-01-01T00:00:00+00:00", "count": 0}
    store.write("run/driver.json", json.dumps(note).encode())

    def sleep(seconds: float) -> None:
        slept[0] += seconds
        if lives and slept[0] >= 10:
            store.write("run/driver.json", json.dumps({**note, "count": 1}).encode())

    if lives:
        with pytest.raises(InputError, match="process 1 on elsewhere"):
            check_undriven(store, "run", sleep=sleep)
    else:
        check_undriven(store, "run", sleep=sleep)
    assert slept[0] == (10 if lives else PATIENCE_S)


def test_the_same_command_beside_a_living_one_computes_nothing_unless_anyway(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    inner: list[int] = []

    class Beside(Exception):
        """Stops the outer run when the inner one was tried."""

    def again(settings: Any, lab: Any) -> Any:
        inner.append(1)
        name = next(path for path in tmp_path.iterdir() if (path / "driver.json").exists()).name
        note = json.loads(store.read(f"{name}/driver.json"))
        parent = driver_of(os.getppid())
        store.write(f"{name}/driver.json", json.dumps({**note, **parent}).encode())  # as another process would
        if len(inner) == 1:
            with pytest.raises(InputError, match="is being computed by process"):
                start()
            with pytest.raises(Exception, match="Beside"):
                start(anyway=True)
        raise Beside

    again.__module__ = STUDY.run.__module__
    settings = replace(SIZES["quick"], models=("digits:mlp",), num_images=20)
    request = Request(study=replace(STUDY, run=again), settings=settings, size="custom", command="", options={})

    def start(*, anyway: bool = False) -> None:
        execute(request, store=store, make_lab=lambda store: SerialLab(store=store), anyway=anyway)

    with pytest.raises(Exception, match="Beside"):
        start()
    assert len(inner) == 2, "the outer run, and the one beside it that was asked for"


def driver_of(pid: int) -> dict[str, Any]:
    """What a note says of a living process."""
    from robustray.tasks.lab.driver import _started

    return {"pid": pid, "started": _started(pid)}
