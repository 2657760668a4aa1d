"""Who drives a run: a note in the run's folder that its driver renews, so that a second one does not compute it twice.

The note, `driver.json`, says process, host, since when, and carries a number that rises with each renewal. Whether a
driver lives is decided without comparing the clocks of two machines: on the same host by asking for the process; from
another host by watching whether the note changes. A driver that was killed renews nothing, so that its note stops
nobody for longer than `PATIENCE_S`. Where two begin in the same instant both may go on; pieces are published
atomically, so that the price is time and no result.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from robustray.tasks.errors import InputError
from robustray.tasks.lab.store import Store

RENEWED_EVERY_S = 10.0
PATIENCE_S = 35.0
"""A note of another host that does not change for so long is that of a dead driver: three renewals, and some."""
_NAME = "driver.json"


@contextlib.contextmanager
def driving(store: Store, run: str, *, since: str) -> Iterator[None]:
    """Be the driver of `run` inside: leave a note, renew it from a thread, and take it away at the end."""
    name, stop = f"{run}/{_NAME}", threading.Event()
    mine = {"pid": os.getpid(), "started": _started(os.getpid()), "host": socket.gethostname(), "since": since}

    def renew() -> None:
        count = 0
        while not stop.wait(RENEWED_EVERY_S):
            count += 1
            with contextlib.suppress(OSError, InputError):  # the next renewal may reach the store again
                store.write(name, json.dumps({**mine, "count": count}).encode())

    store.write(name, json.dumps({**mine, "count": 0}).encode())
    thread = threading.Thread(target=renew, name="driver note", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        found = _read(store, name)
        if found is not None and (found.get("pid"), found.get("host")) == (mine["pid"], mine["host"]):
            with contextlib.suppress(OSError, InputError):
                store.delete(name)


def check_undriven(
    store: Store, run: str, *, sleep: Callable[[float], None] = time.sleep, say: Callable[[str], None] = lambda _: None
) -> None:
    """Raises: InputError when another living driver has `run`, with who and since when.

    For a note of another host this takes up to `PATIENCE_S`; `say` is told before. sleep: for tests.
    """
    name = f"{run}/{_NAME}"
    note = _read(store, name)
    if note is None:
        return
    who = f"process {note.get('pid')} on {note.get('host')} since {note.get('since')}"
    if note.get("host") == socket.gethostname():
        alive = note.get("pid") != os.getpid() and _started(note.get("pid")) == note.get("started") is not None
    else:
        say(f"{run} may be driven by {who}: watching for {PATIENCE_S:g} s whether it lives")
        alive = _changes(store, name, note, sleep)
    if alive:
        raise InputError(
            f"{run} is being computed by {who}: wait until it is done (the same command then shows its result), "
            "or give --anyway to compute beside it"
        )


def _changes(store: Store, name: str, note: dict[str, Any], sleep: Callable[[float], None]) -> bool:
    waited = 0.0
    while waited < PATIENCE_S:
        sleep(1.0)
        waited += 1.0
        now = _read(store, name)
        if now is None:
            return False
        if now != note:
            return True
    return False


def _read(store: Store, name: str) -> dict[str, Any] | None:
    try:
        found = json.loads(store.read(name))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _started(pid: Any) -> str | None:
    """The start of a process in ticks since boot, which distinguishes it from a later one of the same number; None if
    it has ended.

    Without /proc: "unknown" for a process that answers, so that a number that was given anew counts as alive.
    """
    if not isinstance(pid, int):
        return None
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()  # the name of a command may hold blanks and brackets
        except OSError:
            return None
        return None if fields[0] in ("Z", "X") else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "unknown"
    return "unknown"
