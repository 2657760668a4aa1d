"""Who runs jobs, who hears what became of them, who shows it: the contracts between a lab and its executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from robustray.tasks.lab.jobs import Job, Receipt


class Listener(Protocol):
    """Who asked for a job and hears what became of it."""

    @property
    def stopped(self) -> bool:
        """True once the step has failed: its waiting jobs are dropped, those in flight still finish and count."""
        ...

    def done(self, job: Job, receipt: Receipt) -> None: ...
    def failed(self, job: Job, receipt: Receipt) -> None:
        """An ordinary exception."""
        ...

    def poisoned(self, job: Job, reason: str) -> None:
        """A job that can't be divided killed its worker, or ran out of memory, even alone."""
        ...

    def retried(self, job: Job, reason: str) -> None: ...

    def split(self, job: Job, into: int) -> None:
        """A job was replaced by `into` smaller ones."""
        ...

    def dropped(self, jobs: Sequence[Job]) -> None:
        """Jobs of a stopped step that never started were dropped."""
        ...


class ProgressLike(Protocol):
    """Who shows how far the work is."""

    def start(self, step: str, total: int, done: int) -> None: ...
    def advance(self, step: str, n: int, seconds: float) -> None: ...
    def finish(self, step: str) -> None: ...
    def message(self, text: str) -> None: ...
    def close(self) -> None: ...


class Silent:
    """Shows nothing."""

    def start(self, step: str, total: int, done: int) -> None:
        del step, total, done

    def advance(self, step: str, n: int, seconds: float) -> None:
        del step, n, seconds

    def finish(self, step: str) -> None:
        del step

    def message(self, text: str) -> None:
        del text

    def close(self) -> None:
        pass


class Executor(Protocol):
    """Runs jobs somewhere."""

    def submit(self, jobs: Sequence[Job], listener: Listener) -> None: ...
    def work_until(self, finished: Callable[[], bool]) -> None:
        """Work until `finished()`; returns at once when it is true already."""
        ...

    def forget(self, content_hashes: Sequence[str]) -> None:
        """No open job needs the payloads of these: let go what is held of them."""
        ...

    def close(self) -> None: ...
