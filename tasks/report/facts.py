"""What a run knows about itself, beside what it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustray.tasks.study import Scale

SCALES: Mapping[Scale, str] = {
    "quick": "embedded data: shows that it works, proves nothing",
    "small": "reduced scale: the effect is tested",
    "paper": "the paper's protocol",
    "custom": "settings of your own",
}
"""What the badge says about a scale."""


@dataclass(frozen=True, kw_only=True)
class StepFacts:
    """What happened to one step of a run, over all its handles."""

    name: str
    items: int
    blocks: int
    computed_blocks: int = 0
    reused_blocks: int = 0
    """Read from the store."""
    old_blocks: int = 0
    """Reused although code they depend on has changed since, under the same declared version."""
    retried: int = 0
    """Blocks that were started again after a dead worker or for want of memory."""
    failed_items: int = 0
    """Items without a row: each killed its worker even alone."""
    seconds: float | None = None
    """Sum over the computed blocks; more than the time that passed when several ran at once."""
    items_per_second: float | None = None
    """Per worker: computed items / `seconds`."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Everything that a page and the terminal show beside `Findings`. Plain values only: it is saved as JSON."""

    study: str
    question: str
    paper: str
    """"arXiv:1234.56789", or the name of a library or article."""
    size: Scale
    run: str
    """Its id: the name of its folder."""
    command: str
    """What one types to get this page again."""
    seed: int
    date: str
    """ISO 8601."""
    seeds: tuple[int, ...] = ()
    """Seeds of a grid, whose cells have several; `seed` is the first."""
    status: str = "finished"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Resolved settings, nested."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """What it depends on -> SHA-256: data, weights, code."""
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)
    """cpu, threads, gpus, memory; never the name of a machine."""
    steps: tuple[StepFacts, ...] = ()
    warnings: tuple[str, ...] = ()
    """Stand at the top of the page: what could mislead a reader of the results."""
    notes: tuple[str, ...] = ()
    """Stand beside the steps: what concerns who runs it again."""
    unrepeatable: tuple[str, ...] = ()
    """What was seen to give other numbers for the same seed: the page does not promise itself again."""
    tables: Mapping[str, str] = field(default_factory=dict)
    """Name -> path relative to the page."""
    wall_seconds: float | None = None
