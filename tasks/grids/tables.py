"""The tables of a grid's page: main effects, two-way interactions, the best cell, all cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from robustray.tasks.grids.best import CHOSEN_BY, JUDGED_BY, Seeds
from robustray.tasks.grids.settings import SEED, Grid, Level, Outcome
from robustray.tasks.kit.frames import shown
from robustray.tasks.report.numbers import format_value
from robustray.tasks.study import Table

if TYPE_CHECKING:
    import pandas as pd

FOUND_IN = {
    "agent": "agents/ of the store",
    "training": "the name by which any command takes the weights",
    "study": "that folder of the store, with a page of its own",
}
"""What a cell is -> where the rest of it lies."""


def effects_table(grid: Grid, outcome: Outcome, effects: pd.DataFrame) -> Table:
    """Main effects of an outcome (`effects.main_effects`)."""
    unit = "points" if outcome.unit == "percent" else outcome.unit
    words = effects.assign(level=[level_words(grid, row.factor, row.level) for row in effects.itertuples()])
    return Table(
        name=f"main-effects-{outcome.name.replace('_', '-')}",
        title=f"Main effects: {outcome.words}",
        caption="Mean over all combinations of the other factors that are finished at every level (cells), and the "
        "difference to the factor's first level, paired by seed. 95 % intervals are Student's t over seeds, each by "
        "itself: of many intervals some miss; with one seed they are infinite.",
        frame=words,
        formats=shown("mean", outcome.unit) | shown("difference", unit, "difference_lo", "difference_hi"),
    )


def interactions_table(grid: Grid, outcome: Outcome, pairs: pd.DataFrame) -> Table:
    """Two-way interactions of an outcome (`effects.interactions`)."""
    unit = "points" if outcome.unit == "percent" else outcome.unit
    words = pairs.assign(
        level=[level_words(grid, row.factor, row.level) for row in pairs.itertuples()],
        other_level=[level_words(grid, row.other, row.other_level) for row in pairs.itertuples()],
    )
    return Table(
        name=f"interactions-{outcome.name.replace('_', '-')}",
        title=f"Two-way interactions: {outcome.words}",
        caption="How much more the step from the factor's first level to this one gives at this level of the other "
        "factor than at that one's first level; 0 where effects add up. Mean over all combinations of the remaining "
        "factors that are finished at all four. 95 % intervals are Student's t over seeds, each by itself.",
        frame=words,
        formats=shown("interaction", unit),
    )


def best_table(grid: Grid, outcome: Outcome, best: pd.DataFrame, seeds: Seeds) -> Table:
    """The best cells by an outcome (`best.best_cells`), of which there is at least one."""
    given = [name for name in grid.factors if name not in (*grid.choose, SEED)]
    each = f" for each {' and '.join(name.replace('_', ' ') for name in given)}" if given else ""
    named = best.assign(**{f: [level_words(grid, f, level) for level in best[f]] for f in (*given, *grid.choose)})
    return Table(
        name="best",
        title=f"The best {' and '.join(name.replace('_', ' ') for name in grid.choose)}{each}",
        caption=f"Chosen by {outcome.words}, its mean over {_seed_words(seeds.choose)} (choosing mean: flattered by "
        f"the choice), and judged by {_seed_words(seeds.judge)} alone. 95 % intervals are Student's t over those; of "
        "a single one it is infinite.",
        frame=named,
        formats={**shown(outcome.name, outcome.unit), CHOSEN_BY: outcome.unit, JUDGED_BY: "d"},
        lead=True,
    )


def _seed_words(seeds: Sequence[Level]) -> str:
    return f"the {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def cells_table(grid: Grid, frame: pd.DataFrame) -> Table:
    """All cells."""
    return Table(
        name="cells",
        title="The cells",
        caption=f"One row per cell. Found in: {FOUND_IN[grid.kind]}.",
        frame=frame,
        formats={**grid.formats, SEED: "d", **{outcome.name: outcome.unit for outcome in grid.outcomes}},
    )


def level_words(grid: Grid, factor: str, level: Any) -> str:
    """A level as the page shows it."""
    return format_value(level, grid.formats.get(factor, ""))
