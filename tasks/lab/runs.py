"""Runs: one folder per run, `STUDY-DATE-HASH8/`, with what was asked, what happened and what was found.

`run.json` is small and rewritten whole; `blocks.jsonl` is the sidecar (times, workers) on which no result depends;
`run.log` holds tracebacks and notes. Pieces belong to the store, not to a run.
"""

from __future__ import annotations

import contextlib
import datetime
import difflib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from robustray.tasks.errors import InputError
from robustray.tasks.lab.jobs import BlockJob, Job, Receipt
from robustray.tasks.lab.journal import Journal
from robustray.tasks.lab.store import Store

Status = Literal["running", "interrupted", "failed", "finished"]
_SAVE_EVERY_S = 2.0
_FEW = 5
"""Names of runs in a message."""


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What makes two commands the same run."""

    study: str
    size: str
    settings: dict[str, Any]
    seed: int
    hash8: str
    code: str
    """Hash of the code behind the study; not part of `hash8`: a run whose code changed is walked through again."""


@dataclass(kw_only=True)
class RunFile:
    """The content of `run.json`."""

    id: str
    identity: RunIdentity
    status: Status
    created: str
    command: str
    options: dict[str, Any]
    """What `resume` needs beside the settings: workers, device, data root, address."""
    attempts: int = 1
    updated: str = ""
    wall_seconds: float = 0.0
    environment: dict[str, Any] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    step_keys: dict[str, list[str]] = field(default_factory=dict)
    unrepeatable: list[str] = field(default_factory=list)
    error: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    """The `--json` document of a finished run."""
    figure: dict[str, str] = field(default_factory=dict)
    """Words of the main figure (name, title, caption, alt), for an index page."""


class Run(Journal):
    """A run in a store."""

    def __init__(self, store: Store, file: RunFile) -> None:
        super().__init__()
        self.store = store
        self.file = file
        self.step_keys = file.step_keys
        self.failures = file.failures
        self.dropped = file.dropped
        self.unrepeatable = file.unrepeatable
        self._began = time.monotonic()
        self._before = file.wall_seconds
        self._saved = 0.0
        self._lines: dict[str, list[str]] = {}
        self._unwritten: set[str] = set()
        """Files whose newest lines are in `_lines` only, until the next `save`."""
        for line in self._read_blocks():
            count = self.count(line["step"])
            count.seconds += line["seconds"]
            count.computed_items += line["items"]

    @property
    def id(self) -> str:
        return self.file.id

    @property
    def wall_seconds(self) -> float:
        """Seconds of all attempts, until now; `file.wall_seconds` is as old as the last `save`."""
        return round(self._before + time.monotonic() - self._began, 2)

    def path(self, name: str = "") -> str:
        return self.store.path(f"{self.id}/{name}" if name else self.id)

    def write(self, name: str, data: bytes) -> str:
        """Write a file of this run. Returns its full name."""
        self.store.write(f"{self.id}/{name}", data)
        return self.path(name)

    def save(self, status: Status | None = None) -> None:
        """Write `run.json` whole."""
        self.file.status = status or self.file.status
        self.file.updated = now()
        self.file.wall_seconds = self.wall_seconds
        for name in sorted(self._unwritten):
            self._write_lines(name)
        self.write("run.json", (json.dumps(asdict(self.file), indent=1) + "\n").encode())
        self._saved = time.monotonic()

    def _save_soon(self) -> None:
        if time.monotonic() - self._saved > _SAVE_EVERY_S:
            self.save()

    def step(self, step: str, key: str) -> None:
        """Written before the step's pieces are looked for: `prune` removes what no run names."""
        known = key in self.step_keys.get(step, ())
        super().step(step, key)
        if not known:
            self.save()

    def block(self, job: Job, receipt: Receipt) -> None:
        first = job.first if isinstance(job, BlockJob) else 0
        line = {
            "step": job.step,
            "first": first,
            "items": job.num_items,
            "seconds": round(receipt.seconds, 4),
            "worker": receipt.worker,
            "file": receipt.name,
            "at": now(),
        }
        self._append("blocks.jsonl", json.dumps(line), soon=True)
        self._save_soon()

    def failure(self, job: Job, reason: str) -> None:
        super().failure(job, reason)
        self.note(f"{job.label}: given up: {reason}")
        self.save()

    @property
    def again(self) -> str:
        return f"`robustray resume {self.id} --failed` tries them again"

    def forget_failures(self) -> int:
        """Try failed items again (`resume --failed`). Returns how many items."""
        num = len(self.failures)
        self.failures.clear()
        self.save()
        return num

    def drop(self, step_key: str) -> None:
        super().drop(step_key)
        self.save()

    def note(self, text: str) -> None:
        self._append("run.log", f"{now()} {text}")

    def log(self, text: str) -> str:
        self.note(text)
        return self.path("run.log")

    def _append(self, name: str, line: str, *, soon: bool = False) -> None:
        """Add a line. A local file is appended to; elsewhere there is no append, and the file is written whole: at
        once, or `soon`, with the next save. (One that is written for every block costs as the square of their
        number.)"""
        if self.store.local:
            with open(self.path(name), "ab+") as file:
                torn = file.tell() > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"
                file.write(("\n" if torn else "").encode() + line.encode() + b"\n")
            return
        if name not in self._lines:
            self._lines[name] = self._read_lines(name)
        self._lines[name].append(line)
        if soon:
            self._unwritten.add(name)
        else:
            self._write_lines(name)

    def _write_lines(self, name: str) -> None:
        self.write(name, ("\n".join(self._lines[name]) + "\n").encode())
        self._unwritten.discard(name)

    def _read_lines(self, name: str) -> list[str]:
        try:
            return self.store.read(f"{self.id}/{name}").decode(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def _read_blocks(self) -> list[dict[str, Any]]:
        """The sidecar's records."""
        found = []
        for line in self._read_lines("blocks.jsonl"):
            with contextlib.suppress(json.JSONDecodeError):  # torn: its driver was killed while it wrote
                found.append(json.loads(line))
        return found


def now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def create(store: Store, identity: RunIdentity, *, command: str, options: dict[str, Any]) -> Run:
    """Open a new run."""
    date, taken = datetime.datetime.now(), set(store.folders())
    while (name := f"{_folder_part(identity.study)}-{date:%Y%m%d-%H%M%S}-{identity.hash8}") in taken:
        date += datetime.timedelta(seconds=1)  # one that failed within this second keeps its folder
    file = RunFile(id=name, identity=identity, status="running", created=now(), command=command, options=options)
    run = Run(store, file)
    run.save()
    return run


def _folder_part(study: str) -> str:
    """The study in the name of a run. The user's own is "my_pkg.my_mod:function", which is no good name for a
    folder."""
    return study.replace(":", "-").replace(".", "-")


def find(store: Store, study: str, hash8: str) -> Run | None:
    """The newest run of this hash, whatever its status."""
    names = [n for n in store.folders() if n.startswith(f"{_folder_part(study)}-") and n.endswith(f"-{hash8}")]
    for name in sorted(names, reverse=True):
        run = _load(store, name)
        if run is not None:
            return run
    return None


def load(store: Store, name: str) -> Run:
    """A run by its id, or by an unambiguous beginning or end of it. Raises: InputError."""
    known = _names(store)
    matches = [n for n in known if n == name] or [n for n in known if n.startswith(name) or n.endswith(name)]
    run = _load(store, matches[0]) if len(matches) == 1 else None
    if run is not None:
        return run
    lists_all = f"`robustray status --store {store.url}` lists them all"
    if len(matches) == 1:
        raise InputError(
            f"{store.path(matches[0])}/run.json is missing, damaged or of another version: what this run is cannot be "
            "read; delete its folder, and the same command begins it anew"
        )
    if len(matches) > 1:
        raise InputError(f"{name!r} is the beginning or end of {len(matches)} runs: {_few(matches)}; {lists_all}")
    if not known:
        raise InputError(f"there is no run {name!r} in {store.url}: it holds none")
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f": did you mean {close[0]!r}?" if close else "."
    raise InputError(
        f"there is no run {name!r} in {store.url}{guess} The newest of {len(known)}: {_few(known)}; {lists_all}"
    )


def _names(store: Store) -> list[str]:
    """Folders with the name of a run, the newest first."""
    names = [name for name in store.folders() if name.count("-") >= 3]
    return sorted(names, key=lambda name: name.rsplit("-", 3)[1:], reverse=True)


def _few(names: list[str]) -> str:
    return ", ".join(names[:_FEW]) + (", …" if len(names) > _FEW else "")


def all_runs(store: Store) -> list[Run]:
    """Every readable run of a store, oldest first."""
    runs = [run for name in _names(store) if (run := _load(store, name)) is not None]
    return sorted(runs, key=lambda run: run.file.created)


def _load(store: Store, name: str) -> Run | None:
    """None for a folder that is no run (yet): its `run.json` is missing or not ours."""
    try:
        content = json.loads(store.read(f"{name}/run.json"))
        identity = RunIdentity(**content.pop("identity"))
        return Run(store, RunFile(identity=identity, **content))
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None
