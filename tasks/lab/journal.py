"""What happens while a lab works: counts per step, items that failed for good, and what was dropped. A run stores
it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robustray.tasks.lab.jobs import BlockJob, Job, Receipt


@dataclass(kw_only=True)
class StepCount:
    """What happened in all handles of one step name."""

    items: int = 0
    blocks: int = 0
    computed_blocks: int = 0
    computed_items: int = 0
    reused_blocks: int = 0
    old_blocks: int = 0
    retried: int = 0
    failed_items: int = 0
    seconds: float = 0.0
    """Summed over the blocks that this run computed."""


class Journal:
    """What happens in a run, as the lab reports it. This class forgets it when the process ends; `Run` writes it to the
    store."""

    def __init__(self) -> None:
        self.counts: dict[str, StepCount] = {}
        self.step_keys: dict[str, list[str]] = {}
        self.failures: list[dict[str, Any]] = []
        self.dropped: list[str] = []
        self.unrepeatable: list[str] = []
        """What was seen to give other numbers for the same seed: nothing that rests on it can be promised again."""

    def count(self, step: str) -> StepCount:
        return self.counts.setdefault(step, StepCount())

    def step(self, step: str, key: str) -> None:
        known = self.step_keys.setdefault(step, [])
        if key not in known:
            known.append(key)

    def block(self, job: Job, receipt: Receipt) -> None:
        """A block was computed."""

    def failure(self, job: Job, reason: str) -> None:
        """An item failed for good. It is not tried again in this run, until `resume --failed`."""
        key, first = (job.step_key, job.first) if isinstance(job, BlockJob) else ("", 0)
        item = job.items[0] if isinstance(job, BlockJob) else None
        self.failures.append({"step": job.step, "step_key": key, "index": first, "item": item, "reason": reason})

    @property
    def again(self) -> str:
        """How items that were given up are tried again, in words."""
        return "a new lab tries them again"

    def num_failures(self, step: str) -> int:
        """Items of this step that failed for good, in all its handles and all attempts of the run."""
        return sum(failure["step"] == step for failure in self.failures)

    def holds_failed_item(self, job: BlockJob) -> bool:
        """Whether one of its items failed for good, by index and content: a step key may be that of several lists of
        items."""
        return any(
            f["step_key"] == job.step_key
            and 0 <= f["index"] - job.first < job.num_items
            and f["item"] == job.items[f["index"] - job.first]
            for f in self.failures
        )

    def drop(self, step_key: str) -> None:
        """The pieces of this step were deleted (`--fresh`), which is done once in a run."""
        self.dropped.append(step_key)

    def cannot_repeat(self, what: str) -> None:
        """Results rest on something that does not repeat itself."""
        if what not in self.unrepeatable:
            self.unrepeatable.append(what)

    def note(self, text: str) -> None:
        """Something worth a line in the log."""

    def log(self, text: str) -> str:
        """Store a long text. Returns where a person finds it, or "" if it was not stored."""
        return ""
