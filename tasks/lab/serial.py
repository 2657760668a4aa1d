"""The lab in this process: for debugging, unit tests, notebooks and `--workers 0`. Same bytes as on Ray."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.executor import Listener, ProgressLike
from robustray.tasks.lab.heap import keep_freed_memory
from robustray.tasks.lab.jobs import Job, Worker
from robustray.tasks.lab.journal import Journal
from robustray.tasks.lab.long_jobs import WATCHED
from robustray.tasks.lab.protocol import Reference
from robustray.tasks.lab.store import Store

if TYPE_CHECKING:
    from robustray.tasks.lab.checkpoints import Interval


SAYS_EVERY_S = 30.0
"""How often a job that takes long says where its curve is."""


class SerialExecutor:
    """Runs jobs one after the other, in the order in which they were submitted.

    say: told where a job that takes long is.
    """

    def __init__(self, worker: Worker, say: Callable[[str], None] = lambda text: None) -> None:
        self.worker = worker
        self.say = say
        self._waiting: deque[tuple[Job, Listener]] = deque()

    def submit(self, jobs: Sequence[Job], listener: Listener) -> None:
        self._waiting.extend((job, listener) for job in jobs)

    def work_until(self, finished: Callable[[], bool]) -> None:
        while not finished():
            job, listener = self._waiting[0]
            # Ctrl-C in a notebook: the job stays first in line until it has an answer
            with self._aloud(job):
                receipt = None if listener.stopped else self.worker.run(job)
            self._waiting.popleft()
            if receipt is None:
                listener.dropped([job])
                continue
            if receipt.outcome == "done":
                listener.done(job, receipt)
            elif receipt.outcome == "error":
                listener.failed(job, receipt)
            elif halves := job.halves():
                listener.retried(job, f"out of memory ({receipt.message}); in halves")
                listener.split(job, len(halves))
                self._waiting.extendleft((half, listener) for half in reversed(halves))
            else:
                listener.poisoned(job, f"out of memory ({receipt.message})")

    @contextlib.contextmanager
    def _aloud(self, job: Job) -> Iterator[None]:
        """Meanwhile the job's curve is told from time to time, unless somebody else in this thread watches it."""
        if WATCHED.get() is not None:
            yield
            return
        said = time.monotonic()

        def row(numbers: Mapping[str, Any]) -> None:
            nonlocal said
            if time.monotonic() - said >= SAYS_EVERY_S:
                said = time.monotonic()
                told = [f"{name} {value:.4g}" for name, value in numbers.items() if isinstance(value, int | float)]
                self.say(f"{job.label}: {', '.join(told[:4])}")

        token = WATCHED.set(row)
        try:
            yield
        finally:
            WATCHED.reset(token)

    def forget(self, content_hashes: Sequence[str]) -> None:
        self.worker.forget(content_hashes)

    def close(self) -> None:
        self._waiting.clear()


class SerialLab(BlockLab):
    """A lab that works in this process."""

    def __init__(
        self,
        *,
        store: Store,
        journal: Journal | None = None,
        progress: ProgressLike | None = None,
        device: str = "cpu",
        data_root: str | None = None,
        fresh: Sequence[str] = (),
        checkpoint_every: Interval | None = None,
    ) -> None:
        keep_freed_memory()
        super().__init__(
            store=store,
            executor=SerialExecutor(
                Worker(store=store, payload=self.payload), lambda text: self.progress.message(text)
            ),
            journal=journal,
            progress=progress,
            device=device,
            data_root=data_root,
            fresh=fresh,
            checkpoint_every=checkpoint_every,
        )

    @property
    def workers(self) -> int:
        """None but this process."""
        return 0

    def load(self, ref: Reference) -> Any:
        """See `Lab.load`. The same object that the blocks use."""
        assert isinstance(self.executor, SerialExecutor)
        return self.executor.worker.load(ref, self.device)
