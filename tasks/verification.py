"""Is what a run found still what its code computes? Some of its blocks, drawn at random, are computed again.

The study is walked through once more over the finished pieces, which tells every block the run rests on: nothing
is computed then, and what is missing is an error. Of these blocks a share is drawn, without replacement, and each of
them is computed by a worker as it was then, beside the store, and compared with the piece that is there, row by row.
Nothing is written.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robustray.tasks.errors import InputError
from robustray.tasks.execution import Request, identify
from robustray.tasks.lab import pieces
from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.handles import MapHandle, Pending
from robustray.tasks.lab.jobs import BlockJob, Job, Receipt, Worker
from robustray.tasks.lab.journal import Journal
from robustray.tasks.lab.protocol import Needs, Reference
from robustray.tasks.lab.runs import Run
from robustray.tasks.lab.store import Store

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class StepVerdict:
    """What became of the blocks of one step."""

    step: str
    blocks: int
    """Finished blocks of the step."""
    checked: int
    """Of them, computed again."""
    rows: int
    """Rows of the checked blocks."""
    other_code: int
    """Checked blocks that were computed by other code than that of this version."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One column of one block that came out differently."""

    step: str
    first: int
    """Index of the block's first item."""
    items: int
    column: str
    """A column, or "" where the rows themselves are others: another number of them, or other columns."""
    rows: int
    """Rows that differ."""
    largest: float | None
    """Largest absolute difference; None where the column holds no numbers."""
    same_code: bool
    """Whether the same code computed both."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` found."""

    run: str
    share: float
    seed: int
    steps: Sequence[StepVerdict]
    differences: Sequence[Difference]
    num_different: int
    """Checked blocks with a difference."""
    not_checked: Mapping[str, int]
    """Steps of trainings, agents and optimisations -> how many; these are read, and not computed again."""
    code_changed: bool
    """Whether the study's code is another than when the run was finished."""

    @property
    def num_blocks(self) -> int:
        """Finished blocks of the run."""
        return sum(step.blocks for step in self.steps)

    @property
    def num_checked(self) -> int:
        """Blocks that were computed again."""
        return sum(step.checked for step in self.steps)

    @property
    def at_most(self) -> float:
        """Upper end of the one-sided 95 % Clopper-Pearson interval of the share of the run's blocks that differ.

        0 with no difference once all are checked. Drawing without replacement makes it larger than it need be.
        """
        from scipy.stats import beta

        if self.num_checked == self.num_blocks:
            return self.num_different / max(1, self.num_blocks)
        if self.num_different == self.num_checked:
            return 1.0
        return float(beta.ppf(LEVEL, self.num_different + 1, self.num_checked - self.num_different))

    @property
    def answer(self) -> str:
        """One sentence."""
        drawn = f"{self.num_checked:,} of {self.num_blocks:,} blocks were computed again (seed {self.seed})"
        if not self.num_blocks:
            return "The run has no blocks to compute again."
        if self.num_different:
            return f"{drawn}: {self.num_different:,} of them came out differently."
        rest = "" if self.num_checked == self.num_blocks else f"; at most {self.at_most:.1%} of all differ (95 %)"
        return f"{drawn}: every row is the same{rest}."


def verify(request: Request, run: Run, lab: BlockLab, *, share: float, seed: int) -> Verification:
    """Compute a random share of the blocks of a finished run again, at least one, and compare.

    lab: over the run's store; it is closed here. Raises: InputError where the run is not finished, what it names has
    another content now, or a block is missing; WorkFailed where a block fails or its worker dies.
    """
    try:
        if run.file.status != "finished":
            raise InputError(
                f"{run.id} is {run.file.status}, not finished; `robustray resume {run.id}` goes on with it"
            )
        opened = request.study.door(request.settings, lab)
        identity = identify(request, opened, lab)
        if identity.hash8 != run.file.identity.hash8:
            raise InputError(
                f"{run.id}: data, models, device ({lab.device}) or versions of block functions are no longer those of "
                "the run; `robustray run --config` of its run.json makes the run of the present ones"
            )
        blocks, not_checked = _walk(request, run, lab)
        drawn = _draw(blocks, share, seed)
        handle = _Recomputed(lab=lab, step="verify", count=lab.journal.count("verify"))
        lab.progress.start("verify", sum(block.num_items for block, _ in drawn), 0)
        handle.submit([_RecomputeJob(block=block, piece=piece) for block, piece in drawn])
        handle.wait()
        lab.progress.finish("verify")
    finally:
        lab.close()
    return Verification(
        run=run.id,
        share=share,
        seed=seed,
        steps=_by_step(blocks, drawn),
        differences=sorted(handle.differences, key=lambda each: (each.step, each.first, each.column)),
        num_different=handle.num_different,
        not_checked=not_checked,
        code_changed=identity.code != run.file.identity.code,
    )


# -- which blocks ------------------------------------------------------------------------------------------------------

_Block = tuple[BlockJob, pieces.Piece]


def _walk(request: Request, run: Run, lab: BlockLab) -> tuple[list[_Block], Mapping[str, int]]:
    """All finished blocks of the run, each once, in the order of their names, and the long jobs by step."""
    found = _Finished(run.id)
    lab.journal = Journal()  # what the run wrote about itself stays as it is
    lab.journal.failures = list(run.failures)
    lab.declared, lab.partial = request.study.declared, request.study.partial
    lab.observer = found
    try:
        request.study.run(request.settings, lab)
    finally:
        lab.observer = None
    blocks = {piece.name: (block, piece) for handle in found.maps for block, piece in handle}
    mapped = {block.step for block, _ in blocks.values()}
    long_jobs = {step: count.items for step, count in lab.journal.counts.items() if step not in mapped and count.items}
    return [blocks[name] for name in sorted(blocks)], long_jobs


@dataclass
class _Finished:
    """Collects the maps of a study that only reads."""

    run: str
    maps: list[list[_Block]] = field(default_factory=list)

    def planned(self, handle: MapHandle) -> None:
        self.maps.append(list(handle.finished()))

    def missing(self, jobs: Sequence[Job]) -> None:
        raise InputError(
            f"{self.run}: {jobs[0].label} is missing in the store or damaged: there is nothing to compare with. "
            "`robustray run --config` of its run.json computes it again"
        )


def _draw(blocks: Sequence[_Block], share: float, seed: int) -> list[_Block]:
    """A simple random sample without replacement: `share` of the blocks, rounded up."""
    if not 0 < share <= 1:
        raise InputError(f"share {share:g}: more than 0 and at most 1 of the blocks can be computed again")
    chosen = np.random.default_rng(seed).permutation(len(blocks))[: math.ceil(share * len(blocks))]
    return [blocks[i] for i in sorted(chosen)]


def _by_step(blocks: Sequence[_Block], drawn: Sequence[_Block]) -> list[StepVerdict]:
    return [
        StepVerdict(
            step=step,
            blocks=sum(block.step == step for block, _ in blocks),
            checked=sum(block.step == step for block, _ in drawn),
            rows=sum(block.num_items for block, _ in drawn if block.step == step),
            other_code=sum(block.step == step and block.code != piece.code for block, piece in drawn),
        )
        for step in sorted({block.step for block, _ in blocks})
    ]


# -- a block again -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _RecomputeJob:
    """Computes a block beside the store, and tells in `Receipt.message` what differs from the piece that is there."""

    block: BlockJob
    piece: pieces.Piece

    @property
    def step(self) -> str:
        return "verify"

    @property
    def needs(self) -> Needs:
        return self.block.needs

    @property
    def refs(self) -> Mapping[str, Reference]:
        return self.block.refs

    @property
    def num_items(self) -> int:
        return self.block.num_items

    @property
    def label(self) -> str:
        return self.block.label

    def halves(self) -> tuple[Job, ...]:
        return ()

    def run(self, worker: Worker) -> Receipt:
        with tempfile.TemporaryDirectory(prefix="robustray-verify-") as folder:
            receipt = self.block.run(dataclasses.replace(worker, store=Store(folder)))
            again = Store(folder).read(receipt.name)
        if receipt.name == self.piece.name:  # code and hash of the bytes are in the name
            found: list[dict[str, Any]] = []
        else:
            table = pieces.read(worker.store, self.piece)
            if table is None:
                raise InputError(f"{self.piece.name} is gone or damaged: there is nothing to compare with")
            found = differences(table, pq.read_table(io.BytesIO(again)))
        return dataclasses.replace(receipt, message=json.dumps(found))


@dataclass(kw_only=True)
class _Recomputed(Pending):
    """The blocks that are being computed again, and what was found."""

    differences: list[Difference] = field(default_factory=list)
    num_different: int = 0

    def done(self, job: Job, receipt: Receipt) -> None:
        super().done(job, receipt)
        assert isinstance(job, _RecomputeJob)
        found = json.loads(receipt.message)
        self.num_different += bool(found)
        block, piece = job.block, job.piece
        self.differences += [
            Difference(
                step=block.step, first=block.first, items=block.num_items, same_code=block.code == piece.code, **each
            )
            for each in found
        ]

    def poisoned(self, job: Job, reason: str) -> None:
        super().poisoned(job, reason)
        self.error = self.error or f"{job.label} could not be computed again: {reason}"


def differences(then: pa.Table, now: pa.Table) -> list[dict[str, Any]]:
    """Column, number of differing rows and largest absolute difference, of each column that is not the same to the bit.

    NaN equals NaN. Empty for the same rows in other bytes, as another release of pyarrow writes them.
    """
    if then.num_rows != now.num_rows or then.schema != now.schema:
        return [{"column": "", "rows": max(then.num_rows, now.num_rows), "largest": None}]
    found = []
    for name in then.column_names:
        a, b = (_values(table, name) for table in (then, now))
        if a.dtype == object:
            differ = np.array([x != y for x, y in zip(a, b, strict=True)])
            largest = None
        else:
            a, b = (values.reshape(len(values), -1) for values in (a, b))
            other = a != b
            if a.dtype.kind == "f":
                other &= ~(np.isnan(a) & np.isnan(b))
            differ = other.any(axis=1)
            distance = np.abs(a[other].astype(np.float64) - b[other].astype(np.float64))
            largest = float(distance.max()) if distance.size and np.isfinite(distance).all() else None
        if differ.any():
            found.append({"column": name, "rows": int(differ.sum()), "largest": largest})
    return found


def _values(table: pa.Table, name: str) -> np.ndarray:
    """A column as an array (rows, ...); as objects where it holds text, lists or gaps."""
    column = table.column(name)
    if isinstance(column.type, pa.FixedShapeTensorType):
        return pieces.tensor_column(table, name)
    if pa.types.is_nested(column.type) or pa.types.is_string(column.type) or column.null_count:
        return np.array([*column.to_pylist(), None], dtype=object)[:-1]
    return column.to_numpy()
