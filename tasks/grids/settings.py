"""What a grid is. Imports nothing heavy: `tune_configs/` is made of these, and the command line reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from robustray.tasks.errors import InputError
from robustray.tasks.policy_gradients.settings import AgentSpec
from robustray.tasks.study import Unit

Level: TypeAlias = "str | int | float | bool"

SEED = "seed"
"""The factor that repeats everything else: intervals are over its levels."""
LATE_RETURN = "late_return"
"""Outcome of an agent: mean raw return of the episodes that ended in the last quarter of its updates."""
RESERVED = ("status", "found_in", "error")
"""Columns of the table of cells, beside factors and outcomes."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """Where an outcome is among a study's findings: one number of one row of one table."""

    table: str
    column: str
    row: Mapping[str, Level] = field(default_factory=dict)
    """Column -> value; exactly one row must have all of them (floats to rounding)."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A number that every cell gives."""

    name: str
    """Column of the table of cells."""
    words: str
    """"Robust accuracy at 8/255"."""
    unit: Unit = "number"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of a grid: complete settings of its study, or one agent."""

    levels: Mapping[str, Level]
    """Factor -> level: {"model": "digits:cnn", "eps": 0.1, "seed": 0}. The same factors, in one order, in all cells."""
    settings: Any
    """The study's settings, or an `AgentSpec`."""
    reads: Mapping[str, Read] = field(default_factory=dict)
    """Outcome -> where it is in the study's tables. Outcomes of agents need none."""

    @property
    def words(self) -> str:
        """`"model=digits:cnn, eps=0.1, seed=0"`."""
        return ", ".join(f"{factor}={level:.4g}" if isinstance(level, float) else f"{factor}={level}" for factor, level
                         in self.levels.items())  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What a function of `tune_configs/` returns. Raises: InputError for cells that do not belong together."""

    question: str
    """The question in one sentence, the heading of the page."""
    paper: str
    """"arXiv:1234.56789", or the name of a library or article."""
    outcomes: Sequence[Outcome]
    """The first one is drawn."""
    cells: Sequence[Cell]
    study: str | None = None
    """Name of the study that the cells are settings of; None: they are agents."""
    formats: Mapping[str, str] = field(default_factory=dict)
    """Factor -> how its levels are shown ("eps"), as in `Table.formats`."""

    def __post_init__(self) -> None:
        if not self.cells:
            raise InputError("a grid needs at least one cell")
        if not self.outcomes:
            raise InputError("a grid needs at least one outcome")
        names = [outcome.name for outcome in self.outcomes]
        columns = Counter([*self.factors, *names, *RESERVED])
        if twice := [name for name, count in columns.items() if count > 1]:
            raise InputError(f"{twice[0]!r} is the name of two columns among factors, outcomes and {RESERVED}")
        seen: dict[tuple[Level, ...], None] = {}
        for cell in self.cells:
            self._check(cell, names)
            levels = tuple(cell.levels.values())
            if levels in seen:
                raise InputError(f"two cells have the levels {cell.words}")
            seen[levels] = None
        if not self.factors:
            raise InputError("cells need levels: {'eps': 0.1, 'seed': 0}")

    def _check(self, cell: Cell, names: Sequence[str]) -> None:
        if tuple(cell.levels) != self.factors:
            raise InputError(f"cells with other factors: {', '.join(self.factors)}, and {', '.join(cell.levels)}")
        if isinstance(cell.settings, AgentSpec) == (self.study is not None):
            raise InputError(
                f"cell {cell.words}: settings are {type(cell.settings).__name__}; a grid of agents has AgentSpecs "
                "and no study, any other names its study"
            )
        wanted = {LATE_RETURN} if self.study is None else set(cell.reads)
        if lacking := [name for name in names if name not in wanted]:
            raise InputError(f"cell {cell.words}: nothing says where the outcome {lacking[0]!r} is read")

    @property
    def factors(self) -> tuple[str, ...]:
        return tuple(self.cells[0].levels)
