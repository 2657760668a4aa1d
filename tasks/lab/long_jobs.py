"""One seam for everything that runs long: plan jobs, place them, read back. `lab.train`, `lab.learn` and
`lab.optimise` stand on it.

A verb of the lab brings a job class (`LongJob`), a function that plans a list of them with `plan`, and a handle that
reads the finished ones back (`LongHandle`). From here come: which are there already and by which code, `--fresh`, what
is damaged, counts, progress, the place where each runs, checkpoints (`checkpoints.py`), TensorBoard curves
(`curves.py`), and what a job has to say at its end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from robustray.tasks.lab.handles import Pending
from robustray.tasks.lab.jobs import Job, Receipt
from robustray.tasks.lab.store import Store

Kept = Literal["missing", "old", "current"]
"""What the store has: not all that is asked for; all of it, but made by other code than the present; or all of it."""

_LOG = logging.getLogger(__name__)

CURVE_EVERY_S = 10.0
"""Between two writings of a TensorBoard file, which is written whole each time: hundreds of small trainings would spend
half of their time on it."""

WATCHED: ContextVar[Callable[[Mapping[str, Any]], None] | None] = ContextVar("WATCHED", default=None)
"""Who else in this thread sees each row of a curve as it comes, as a trial does. No result depends on it."""


class LongJob(Job, Protocol):
    """Work for one worker that keeps its state while it runs, and publishes its result itself.

    Its `run` looks first whether somebody published meanwhile: a worker that was slow to answer was taken for dead, the
    job was given out again, and then it came back.
    """

    @property
    def key(self) -> str:
        """Key of the job's result in the store."""
        ...

    def kept(self, store: Store, say: Callable[[str], None]) -> Kept:
        """What the store has. Damaged files are deleted and reported."""
        ...

    def drop(self, store: Store) -> None:
        """Delete everything stored for the job, checkpoints included."""
        ...

    def alone(self) -> Job:
        """The job as one process runs it. Raises: InputError when it wants more."""
        ...


@dataclass(kw_only=True)
class LongHandle(Pending):
    """A request for results of long jobs. The handle of each verb adds `result`."""

    jobs: list[Any]
    """`LongJob`s in the order of what was asked for; the same job may be there several times."""

    def done(self, job: Job, receipt: Receipt) -> None:
        super().done(job, receipt)
        if receipt.message:
            self.lab.journal.note(f"{job.label}: {receipt.message}")
            self.lab.progress.message(f"{job.label}: {receipt.message}")

    def finish(self) -> None:
        """Wait until all are there. Raises: WorkFailed."""
        self.wait()
        for job in self.jobs:
            if job.kept(self.lab.store, self.lab.progress.message) == "missing":
                self.error = f"{job.label} did not finish: it killed its worker or ran out of memory"
                self.wait()
        self.lab.progress.finish(self.step)


def plan(handle: LongHandle, *, check: Callable[[Any], None] = lambda job: None) -> None:
    """Submit those jobs of a handle that are not in the store.

    check: called for each of them, once, before anything starts. Raises: what it raises; InputError for a job that this
    lab has no place for.
    """
    lab, step, count = handle.lab, handle.step, handle.count
    jobs: dict[str, Any] = {job.key: job for job in handle.jobs}
    missing = []
    for key, job in jobs.items():
        lab.journal.step(step, key)
        if step in lab.fresh and key not in lab.journal.dropped:
            job.drop(lab.store)
            lab.journal.drop(key)  # once in this run: a resume doesn't drop what it computed itself
        kept = job.kept(lab.store, lab.progress.message)
        if kept == "missing":
            missing.append(job)
        count.old_blocks += kept == "old"
    for job in missing:
        check(job)
    placed = [lab.place(job) for job in missing]
    count.items += len(jobs)
    count.blocks += len(jobs)
    count.reused_blocks += len(jobs) - len(missing)
    lab.progress.start(step, len(jobs), len(jobs) - len(missing))
    handle.submit(placed)


@dataclass(kw_only=True)
class Diary:
    """Log lines and curve of a running job, and what is reported to its driver at the end.

    Its curve is a TensorBoard file in the store, written now and then; on leaving a `with` block what is missing of it.
    """

    label: str
    key: str
    store: Store
    said: list[str] = field(default_factory=list)
    _curve: Sequence[Mapping[str, Any]] = ()
    """What the TensorBoard file lacks a part of, by its whole number `_by`; empty: nothing."""
    _by: str = ""
    _written: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Diary:
        return self

    def __exit__(self, *error: object) -> None:
        self._write()

    @property
    def words(self) -> str:
        """Words for `Receipt.message`."""
        return "; ".join(self.said)

    def say(self, text: str) -> None:
        """What a person should know."""
        _LOG.warning("%s: %s", self.label, text)
        self.said.append(text)

    def row(self, curve: Sequence[Mapping[str, Any]], *, by: str) -> None:
        """The last row of a curve is new."""
        numbers = ", ".join(f"{n} {v:.4g}" for n, v in curve[-1].items() if isinstance(v, int | float) and v == v)
        _LOG.info("%s: %s", self.label, numbers)
        if (watch := WATCHED.get()) is not None:
            watch(curve[-1])
        self._curve, self._by = curve, by
        if time.monotonic() - self._written >= CURVE_EVERY_S:
            self._write()

    def _write(self) -> None:
        if not self._curve:
            return
        from robustray.tasks.lab.curves import write_curve

        try:
            write_curve(self.store, self.key, self._curve, by=self._by)
        except OSError as error:  # the curve is kept with the result too
            _LOG.warning("%s: no TensorBoard file: %s", self.label, error)
        self._curve, self._written = (), time.monotonic()
