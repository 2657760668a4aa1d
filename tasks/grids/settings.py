"""What a grid is. Imports nothing heavy: `tune_configs/` is made of these, and the command line reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from robustray.tasks.errors import InputError
from robustray.tasks.policy_gradients.settings import AgentSpec
from robustray.tasks.study import Unit
from robustray.tasks.training.settings import TrainSpec

Level: TypeAlias = "str | int | float | bool"

SEED = "seed"
"""The factor that repeats everything else: intervals are over its levels."""
LATE_RETURN = "late_return"
"""Outcome of an agent: mean raw return of the episodes that ended in the last quarter of its updates."""
CLEAN_ACCURACY, ROBUST_ACCURACY = "clean_accuracy", "robust_accuracy"
"""Outcomes of a training: accuracy of the weights of its last epoch on the images that it held out, as they are and
under the PGD of its own check."""
SINGLE = (AgentSpec, TrainSpec)
"""What a cell can be beside settings of a study."""
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
    better: Literal["higher", "lower"] = "higher"
    """Which end is the good one, where a best cell is chosen."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of a grid: complete settings of its study, one agent, or one training."""

    levels: Mapping[str, Level]
    """Factor -> level: {"model": "digits:cnn", "eps": 0.1, "seed": 0}. The same factors, in one order, in all cells."""
    settings: Any
    """The study's settings, an `AgentSpec`, or a `TrainSpec` that holds images out."""
    reads: Mapping[str, Read] = field(default_factory=dict)
    """Outcome -> where it is in the study's tables. Outcomes of agents and of trainings need none."""

    @property
    def words(self) -> str:
        """`"model=digits:cnn, eps=0.1, seed=0"`."""
        return ", ".join(f"{factor}={level:.4g}" if isinstance(level, float) else f"{factor}={level}" for factor, level
                         in self.levels.items())  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Halving:
    """When trainings of a grid may be stopped early: asynchronous successive halving (ASHA, arXiv:1810.05934)."""

    first: int = 1
    """Epoch of the first comparison; the next ones are `factor` times as late each."""
    factor: int = 2
    """Of the trainings that were compared, the best one in `factor` goes on."""

    def __post_init__(self) -> None:
        if self.first < 1 or self.factor < 2:
            raise InputError(f"halving: first from 1 and factor from 2, got {self.first} and {self.factor}")


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
    """Name of the study that the cells are settings of; None: they are agents, or trainings."""
    formats: Mapping[str, str] = field(default_factory=dict)
    """Factor -> how its levels are shown ("eps"), as in `Table.formats`."""
    choose: Sequence[str] = ()
    """Factors whose levels one would choose by the first outcome (a learning rate, not the size that is attacked): the
    best ones are named for each combination of the others. (): no best cell."""
    choosing_seeds: Sequence[Level] = ()
    """Levels of the seed by which the best is chosen; the others judge it. (): the first half of them."""
    halving: Halving | None = None
    """For a grid of trainings: what `--asha` does. Trainings that differ in the factors of `choose` compete."""

    def __post_init__(self) -> None:
        if not self.cells:
            raise InputError("a grid needs at least one cell")
        if not self.outcomes:
            raise InputError("a grid needs at least one outcome")
        if not self.factors:
            raise InputError("cells need levels: {'eps': 0.1, 'seed': 0}")
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
        if unknown := [name for name in self.choose if name not in self.factors or name == SEED]:
            raise InputError(f"choose: {unknown[0]!r} is no factor that can be chosen ({', '.join(self.factors)})")
        if self.halving is not None and (self.kind != "training" or not self.choose):
            raise InputError("halving is for grids of trainings that have factors to choose")
        seeds = {cell.levels.get(SEED) for cell in self.cells}
        if unknown_seeds := [seed for seed in self.choosing_seeds if seed not in seeds]:
            raise InputError(f"choosing_seeds: no cell has the seed {unknown_seeds[0]!r}")

    def _check(self, cell: Cell, names: Sequence[str]) -> None:
        if tuple(cell.levels) != self.factors:
            raise InputError(f"cells with other factors: {', '.join(self.factors)}, and {', '.join(cell.levels)}")
        single = type(self.cells[0].settings) if isinstance(self.cells[0].settings, SINGLE) else SINGLE
        if isinstance(cell.settings, single) == (self.study is not None):
            raise InputError(
                f"cell {cell.words}: settings are {type(cell.settings).__name__}; a grid of agents has AgentSpecs, a "
                "grid of trainings TrainSpecs, and both no study; any other names its study"
            )
        wanted = set(cell.reads)
        if isinstance(cell.settings, AgentSpec):
            wanted = {LATE_RETURN}
        elif isinstance(cell.settings, TrainSpec):
            wanted = {CLEAN_ACCURACY, *([ROBUST_ACCURACY] if cell.settings.eps else [])}
            if not cell.settings.validation:
                raise InputError(f"cell {cell.words}: outcomes are of held-out images: give `validation` above 0")
        if lacking := [name for name in names if name not in wanted]:
            raise InputError(f"cell {cell.words}: nothing says where the outcome {lacking[0]!r} is read")

    @property
    def kind(self) -> Literal["study", "agent", "training"]:
        """What a cell is."""
        if self.study is not None:
            return "study"
        return "agent" if isinstance(self.cells[0].settings, AgentSpec) else "training"

    @property
    def factors(self) -> tuple[str, ...]:
        return tuple(self.cells[0].levels)
