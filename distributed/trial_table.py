"""The table of a grid's trials in the terminal, in the place of Ray Tune's own: that one repeats every trial each time,
or writes sixty lines for each that ends, and names folders that are gone soon after."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray import tune
from rich.console import Console
from rich.table import Table

from robustray.tasks.grids.settings import Outcome
from robustray.tasks.kit.words import plural
from robustray.tasks.report.numbers import format_value

EVERY_S = 30.0
STATES = {"TERMINATED": "finished", "ERROR": "failed", "RUNNING": "running", "PENDING": "waiting"}
"""Tune's word -> ours. Others (PAUSED) do not occur: nothing here pauses a trial."""
STOPPED = "stopped early"


class TrialTable(tune.ProgressReporter):
    """Every half minute, and at the end: how many cells are where, and a row for each that runs or has ended since."""

    def __init__(self, words: Callable[[Mapping[str, Any]], str], outcomes: Sequence[Outcome]) -> None:
        """words: the name of a cell, from its trial's configuration."""
        self._words, self._outcomes = words, outcomes
        self._began = self._told = time.monotonic()
        self._ended: set[str] = set()

    def should_report(self, trials: Sequence[Any], done: bool = False) -> bool:
        """Whether to print now; called by Tune."""
        return done or time.monotonic() - self._told >= EVERY_S

    def report(self, trials: Sequence[Any], done: bool, *sys_info: str) -> None:
        """Print the trials; called by Tune."""
        self._told = time.monotonic()
        counts = Counter(map(self._state, trials))
        said = ", ".join(f"{counts[word]} {word}" for word in (*STATES.values(), STOPPED) if counts[word])
        seconds = int(self._told - self._began)
        table = Table("cell", "", "items", "update", *(o.words for o in self._outcomes), box=None, pad_edge=False)
        for trial in trials:
            if trial.status in ("TERMINATED", "ERROR") and trial.trial_id not in self._ended:
                self._ended.add(trial.trial_id)
            elif trial.status != "RUNNING":
                continue
            table.add_row(self._words(trial.config), self._state(trial), *self._row(trial.last_result or {}))
        console = Console(soft_wrap=False)
        console.print(f"{seconds // 60}:{seconds % 60:02} · {plural(len(trials), 'trial')}: {said}", highlight=False)
        if table.row_count:
            console.print(table)

    def _state(self, trial: Any) -> str:
        """A trial that ended without its outcomes was stopped early."""
        ended = trial.status == "TERMINATED" and not any(o.name in (trial.last_result or {}) for o in self._outcomes)
        return STOPPED if ended else STATES[trial.status]

    def _row(self, result: Mapping[str, Any]) -> list[str]:
        """Items, updates of an agent, outcomes; "" for what it has not said yet."""
        items = f"{result['items']} of {result['items_known']}" if result.get("items_known") else ""
        update = f"{result['curve/update'] + 1:.0f}" if "curve/update" in result else ""
        outcomes = [format_value(result[o.name], o.unit) if o.name in result else "" for o in self._outcomes]
        return [items, update, *outcomes]
