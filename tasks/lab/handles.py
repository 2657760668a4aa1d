"""Work that was asked for: which blocks are missing, what was found, what failed, and the rows at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from robustray.tasks.errors import WorkFailed
from robustray.tasks.lab import pieces
from robustray.tasks.lab.jobs import BlockJob, Job, Receipt
from robustray.tasks.lab.journal import StepCount
from robustray.tasks.lab.protocol import BlockFunction, Tensor

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.lab.base import BlockLab

MAX_FAILED_ITEMS = 10
"""More items of a step than this, over all its handles in a run, that fail even alone end it: it is not the items."""


@dataclass(kw_only=True)
class Pending:
    """Shared by all handles: the jobs that were submitted and not answered. A `Listener`."""

    lab: BlockLab
    step: str
    count: StepCount
    open_jobs: int = 0
    error: str = ""

    @property
    def stopped(self) -> bool:
        return bool(self.error)

    def submit(self, jobs: Sequence[Job]) -> None:
        if jobs and self.lab.observer is not None:
            self.lab.observer.missing(jobs)
        self.open_jobs += len(jobs)
        for job in jobs:
            self.lab.payloads.open(job.refs.values())
        self.lab.executor.submit(jobs, self)

    def wait(self) -> None:
        self.lab.executor.work_until(lambda: self.open_jobs == 0)
        if self.error:
            raise WorkFailed(self.error)

    def done(self, job: Job, receipt: Receipt) -> None:
        self._settled([job])
        self.count.computed_blocks += 1
        self.count.seconds += receipt.seconds
        self.count.computed_items += job.num_items
        self.lab.journal.block(job, receipt)
        self.lab.progress.advance(self.step, job.num_items, receipt.seconds)

    def failed(self, job: Job, receipt: Receipt) -> None:
        self._settled([job])
        log = self.lab.journal.log(f"{job.label}\n{receipt.traceback}")
        self.error = f"{job.label} failed: {receipt.message}" + (f" (traceback in {log})" if log else "")

    def dropped(self, jobs: Sequence[Job]) -> None:
        self._settled(jobs)

    def poisoned(self, job: Job, reason: str) -> None:
        self._settled([job])
        self.count.failed_items += job.num_items
        self.lab.journal.failure(job, reason)
        self.lab.progress.message(f"{job.label}: given up ({reason}); the rest goes on")
        if self.lab.journal.num_failures(self.step) > MAX_FAILED_ITEMS and not self.error:
            self.error = f"{self.step}: more than {MAX_FAILED_ITEMS} items failed even alone, the last one: {reason}"

    def retried(self, job: Job, reason: str) -> None:
        self.count.retried += 1
        self.lab.journal.note(f"{job.label}: {reason}; tried again")
        self.lab.progress.message(f"{job.label}: {reason}; tried again")

    def split(self, job: Job, into: int) -> None:
        self.open_jobs += into - 1
        self.lab.payloads.open(job.refs.values(), into - 1)

    def _settled(self, jobs: Sequence[Job]) -> None:
        self.open_jobs -= len(jobs)
        for job in jobs:
            self.lab.payloads.close(job.refs.values())


class Observer(Protocol):
    """Who watches what is asked of a lab."""

    def planned(self, handle: MapHandle) -> None:
        """A map was planned: what the store has of it was found."""
        ...

    def missing(self, jobs: Sequence[Job]) -> None:
        """These are about to be computed. Raises: to prevent it."""
        ...


@dataclass(kw_only=True)
class MapHandle(Pending):
    """The rows of one submitted `lab.map`; `result` waits for them."""

    function: BlockFunction
    blocks: list[BlockJob]
    found: dict[int, pieces.Piece] = field(default_factory=dict)
    """Finished pieces by the index of their first item; together they cover all items that did not fail."""
    _computed: set[int] = field(default_factory=set)
    """Those of `found`, by the index of their first item, that this run computed; the others were in the store."""
    _frame: pd.DataFrame | None = None
    _shown: bool = False
    """Whether the end of the step was reported to progress."""

    def plan(self) -> None:
        """List what is there and submit what is not."""
        listed: Mapping[str, list[pieces.Piece]] = {}
        if self.blocks:
            listed = pieces.listing(self.lab.store, self.blocks[0].step_key)
        if self.blocks and self.step in self.lab.fresh:
            listed = self.lab.drop(self.blocks[0].step_key, listed)
        starts = {piece.first for versions in listed.values() for piece in versions}
        missing: list[BlockJob] = []
        for block in self.blocks:
            self._find(block, listed, starts, missing)
        self.count.blocks += len(self.blocks)
        self.count.reused_blocks += len(self.found)
        total = sum(b.num_items for b in self.blocks)
        self.count.items += total
        self.lab.progress.start(self.step, total, total - sum(b.num_items for b in missing))
        if missing:
            self.lab.store.sweep(pieces.folder(missing[0].step_key))
        self.submit(missing)

    def _find(
        self, block: BlockJob, listed: Mapping[str, list[pieces.Piece]], starts: set[int], missing: list[BlockJob]
    ) -> None:
        """Look for a block as a whole, else in halves (it was divided once, or must be, to separate a failed item)."""
        versions = listed.get(block.block_key, [])
        if versions:
            piece = next((p for p in versions if p.code == block.code), versions[-1])
            if piece.code != block.code:
                self.count.old_blocks += 1
            self.found[block.first] = piece
            return
        last = block.first + block.num_items
        known_bad = self.lab.journal.holds_failed_item(block)
        if known_bad and block.num_items == 1:
            self.count.failed_items += 1
            return
        if block.num_items > 1 and (known_bad or not starts.isdisjoint(range(block.first + 1, last))):
            inner: list[BlockJob] = []
            num_before = len(self.found)
            for half in block.halves():
                self._find(half, listed, starts, inner)
            if known_bad or len(self.found) > num_before:
                missing.extend(inner)
                return
        missing.append(block)

    def done(self, job: Job, receipt: Receipt) -> None:
        assert isinstance(job, BlockJob)
        code, sha = receipt.name.removesuffix(".parquet").split("-")[-2:]
        self.found[job.first] = pieces.Piece(
            step_key=job.step_key, first=job.first, block_key=job.block_key, code=code, sha=sha
        )
        self._computed.add(job.first)
        super().done(job, receipt)

    def result(self) -> pd.DataFrame:
        """One row per item, in their order.

        Raises: WorkFailed, also when items were given up and the study needs a row of every item (`BlockLab.partial`).
        """
        if self._frame is not None:
            return self._frame
        tables: dict[int, Any] = {}
        while True:
            self.wait()
            damaged = []
            for first, piece in sorted(self.found.items()):
                if first not in tables:
                    table = pieces.read(self.lab.store, piece)
                    if table is None:
                        damaged.append(piece)
                    else:
                        tables[first] = table
            if not damaged:
                break
            self._repair(damaged)
        self._end()
        ordered = [tables[first] for first in sorted(tables)]
        if self.lab.partial is not None and self.step not in self.lab.partial:
            self.check_whole(sum(table.num_rows for table in ordered))
        if len({table.schema for table in ordered}) > 1:  # only the shape of a tensor is not declared
            kinds = ", ".join(sorted({str(t.schema.types) for t in ordered}))
            raise WorkFailed(
                f"{self.step}: {self.function.qualified_name} returned arrays of different shapes: {kinds}"
            )
        self._frame = pieces.to_frame(ordered) if ordered else _no_rows(self.function)
        return self._frame

    def whole(self) -> tuple[list[pieces.Piece], int]:
        """Wait; the finished pieces in the order of their rows, each found whole, and the number of rows in them.

        Unlike `result` it keeps no rows. Raises: WorkFailed.
        """
        rows: dict[pieces.Piece, int] = {}
        while True:
            self.wait()
            damaged = []
            for piece in self.found.values():
                if piece not in rows:
                    table = pieces.read(self.lab.store, piece)
                    if table is None:
                        damaged.append(piece)
                    else:
                        rows[piece] = table.num_rows
            if not damaged:
                break
            self._repair(damaged)
        self._end()
        ordered = [self.found[first] for first in sorted(self.found)]
        return ordered, sum(rows[piece] for piece in ordered)

    def check_whole(self, num_rows: int, name: str = "") -> None:
        """Raises: WorkFailed when these are fewer rows than items: some were given up. name: what is made of them."""
        num_items = sum(block.num_items for block in self.blocks)
        if num_rows < num_items:
            raise WorkFailed(
                f"{f'{name}: ' if name else ''}{num_items - num_rows} of {num_items} items of {self.step} were given "
                f"up; what is made of all of them can't go on ({self.lab.journal.again})"
            )

    def finished(self) -> Iterator[tuple[BlockJob, pieces.Piece]]:
        """Every finished piece so far, with the block, or the part of one, that it holds."""
        waiting = list(reversed(self.blocks))
        while waiting:
            block = waiting.pop()
            piece = self.found.get(block.first)
            if piece is not None and piece.block_key == block.block_key:
                yield block, piece
            else:
                waiting.extend(reversed(block.halves()))

    def _end(self) -> None:
        if not self._shown:
            self.lab.progress.finish(self.step)
        self._shown = True

    def _repair(self, damaged: Sequence[pieces.Piece]) -> None:
        """Compute again what can't be read; the damaged file goes, or the next listing would offer it again."""
        jobs = [next(job for block in self.blocks if (job := _part(block, piece)) is not None) for piece in damaged]
        if self.lab.observer is not None:
            self.lab.observer.missing(jobs)
        for piece, job in zip(damaged, jobs, strict=True):
            self.lab.progress.message(f"{self.step}: {piece.name} is missing or damaged and is computed again")
            self.lab.journal.note(f"{self.step}: {piece.name} missing or damaged; computed again")
            self.lab.store.delete(piece.name)
            del self.found[piece.first]
            self.lab.progress.advance(self.step, -job.num_items, 0.0)
            self.count.reused_blocks -= piece.first not in self._computed
            self.count.old_blocks -= piece.code != job.code
        self.count.retried += len(jobs)
        self.submit(jobs)


def _part(block: BlockJob, piece: pieces.Piece) -> BlockJob | None:
    """The part of a block (itself, or a half of a half ...) that a piece holds."""
    if not block.first <= piece.first < block.first + block.num_items:
        return None
    if block.block_key == piece.block_key:
        return block
    return next((part for half in block.halves() if (part := _part(half, piece)) is not None), None)


def _no_rows(function: BlockFunction) -> pd.DataFrame:
    import pyarrow as pa

    fields = [(name, pa.null() if isinstance(kind, Tensor) else kind) for name, kind in function.columns.items()]
    return pieces.to_frame([pa.schema(fields).empty_table()])
