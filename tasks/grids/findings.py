"""What a grid found: its table of cells, main effects, and the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from robustray.tasks.grids.best import JUDGED_BY, best_cells, split_seeds
from robustray.tasks.grids.effects import NONE, interactions, main_effects
from robustray.tasks.grids.settings import SEED, Cell, Grid, Outcome
from robustray.tasks.grids.tables import best_table, cells_table, effects_table, interactions_table, level_words
from robustray.tasks.kit.words import plural
from robustray.tasks.report.numbers import format_interval, format_value
from robustray.tasks.study import Figure, Findings

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.lab.store import Store
    from robustray.tasks.report.facts import RunFacts


LEAST_LINES = 4
"""Combinations from which on they are drawn."""
LIMITS: Mapping[str, tuple[float, float]] = {"percent": (0.0, 1.0), "points": (-1.0, 1.0)}
"""Unit -> between which an outcome lies."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a cell ended."""

    cell: Cell
    outcomes: Mapping[str, float] | None
    """None: not finished."""
    found_in: str = ""
    error: str = ""
    waits: str = ""
    """Why it is not finished although nothing failed: "stopped at epoch 3 of 8", "not chosen"."""
    computed: bool = False
    """By this command, and not before."""
    unrepeatable: tuple[str, ...] = ()
    """What in it gives other numbers for the same seed."""

    @property
    def failed(self) -> bool:
        return self.outcomes is None and not self.waits

    @property
    def status(self) -> str:
        """In the table of cells."""
        return "finished" if self.outcomes is not None else self.waits or "failed"


def find(grid: Grid, standings: Sequence[Standing], *, asha: bool = False) -> Findings:
    """Tables, figures and answer. The same standings give the same.

    asha: only what was not stopped early is finished, so that averages over it would flatter: there are no effects.
    """
    if asha:
        return _find_survivors(grid, standings)
    frame = cells_frame(grid, standings)
    effects = {
        o.name: main_effects(frame, grid.factors, o.name, limits=LIMITS.get(o.unit, NONE)) for o in grid.outcomes
    }
    first = grid.outcomes[0]
    pairs = {o.name: interactions(frame, grid.factors, o.name, limits=LIMITS.get(o.unit, NONE)) for o in grid.outcomes}
    seeds = split_seeds(grid)
    best = best_cells(frame, grid, first, seeds, limits=LIMITS.get(first.unit, NONE))
    finished = sum(standing.outcomes is not None for standing in standings)
    warnings = [f"cell {each.cell.words} is missing: {each.error}" for each in standings if each.failed]
    figures = [_figure(grid, first, effects[first.name]), _parallel(grid, first, frame)] if finished else []
    tables = [
        *([best_table(grid, first, best, seeds)] if len(best) else []),
        *(effects_table(grid, each, effects[each.name]) for each in grid.outcomes),
        *(interactions_table(grid, each, pairs[each.name]) for each in grid.outcomes if len(pairs[each.name])),
        cells_table(grid, frame),
    ]
    return Findings(
        answer=_answer(grid, frame, effects[first.name], finished) + _best_words(grid, first, best),
        tables=tuple(tables),
        figures=tuple(figure for figure in figures if figure is not None),
        warnings=tuple(warnings),
    )


def _find_survivors(grid: Grid, standings: Sequence[Standing]) -> Findings:
    frame, first, seeds = cells_frame(grid, standings), grid.outcomes[0], split_seeds(grid, asha=True)
    best = best_cells(frame, grid, first, seeds, limits=LIMITS.get(first.unit, NONE))
    stopped = sum("stopped" in each.waits for each in standings)
    waiting = sum(bool(each.waits) for each in standings) - stopped
    return Findings(
        answer=f"{int(frame[first.name].notna().sum())} of {plural(len(frame), 'cell')} finished, {stopped} stopped "
        f"early by ASHA, {waiting} not trained because their levels were not chosen." + _best_words(grid, first, best),
        tables=tuple(
            [*([best_table(grid, first, best, seeds)] if len(best) else []), cells_table(grid, frame)],
        ),
        figures=(),
        warnings=(
            *(f"cell {each.cell.words} is missing: {each.error}" for each in standings if each.failed),
            *([SURVIVORS] if stopped or waiting else []),
        ),
    )


SURVIVORS = (
    "Main effects and interactions are left out: what was stopped early has no outcome, and averages over the rest "
    "would flatter. Which trainings are stopped depends on which come first. The same command without --asha runs all "
    "to their end"
)


def cells_frame(grid: Grid, standings: Sequence[Standing]) -> pd.DataFrame:
    """One row per cell, in the grid's order: factors, outcomes, status, where the rest is found, error."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                **each.cell.levels,
                **{o.name: (each.outcomes or {}).get(o.name, float("nan")) for o in grid.outcomes},
                "status": each.status,
                "found_in": each.found_in,
                "error": each.error,
            }
            for each in standings
        ]
    )


def _answer(grid: Grid, frame: pd.DataFrame, effects: pd.DataFrame, finished: int) -> str:
    outcome = grid.outcomes[0]
    values = frame[outcome.name].dropna()
    seeds = frame[SEED].nunique() if SEED in frame else 1
    of = f"{finished} of {plural(len(frame), 'cell')} finished, {plural(seeds, 'seed')}"
    if values.empty:
        return f"{of}: no {outcome.words} yet."
    low, high = (format_value(value, outcome.unit) for value in (values.min(), values.max()))
    found = f"{of}: {outcome.words} from {low} to {high} over the cells."
    known = effects[(effects.difference_hi - effects.difference_lo).map(math.isfinite)]
    if known.empty:
        return found
    clear = int(((known.difference_lo > 0) | (known.difference_hi < 0)).sum())
    return f"{found} Differences between levels whose interval excludes 0: {clear} of {len(known)}."


def _best_words(grid: Grid, outcome: Outcome, best: pd.DataFrame) -> str:
    """One sentence where there is one best cell; the table tells of several."""
    if len(best) != 1 or not best.iloc[0][JUDGED_BY]:
        return ""
    row = best.iloc[0]
    levels = ", ".join(f"{name.replace('_', ' ')} {level_words(grid, name, row[name])}" for name in grid.choose)
    said = format_value(row[outcome.name], outcome.unit)
    if math.isfinite(row.lo):
        said += f" {format_interval(row.lo, row.hi, outcome.unit)}"
    return f" Best by the choosing seeds: {levels}; {said} on the {plural(int(row[JUDGED_BY]), 'seed')} that judge."


def _figure(grid: Grid, outcome: Outcome, effects: pd.DataFrame) -> Figure | None:
    from robustray.tasks.figures import Row, dot_rows

    rows = [
        Row(
            label=f"{str(row.factor).replace('_', ' ')} {level_words(grid, row.factor, row.level)}",
            value=float(row.mean),
            lo=float(row.lo) if math.isfinite(row.lo) else None,
            hi=float(row.hi) if math.isfinite(row.hi) else None,
            color_by=str(row.factor),
        )
        for row in effects.itertuples()
        if math.isfinite(row.mean)
    ]
    if not rows:
        return None
    seeds = int(effects.seeds.max())
    return dot_rows(
        name="main-effects",
        title=f"Main effects: {outcome.words}",
        caption="Each row averages over the other factors. "
        + (f"95 % intervals over {plural(seeds, 'seed')}." if seeds > 1 else "One seed: no intervals."),
        rows=rows,
        x_label=outcome.words,
        percent=outcome.unit == "percent",
    )


def _parallel(grid: Grid, outcome: Outcome, frame: pd.DataFrame) -> Figure | None:
    """Means over the seeds of each combination that is finished at all of them; None where there is little to see."""
    from robustray.tasks.figures import Combination, parallel

    factors = [name for name in grid.factors if name != SEED]
    if len(factors) < 2:
        return None
    levels = {name: [level_words(grid, name, level) for level in dict.fromkeys(frame[name])] for name in factors}
    found = [
        Combination(
            levels={name: level_words(grid, name, rows[name].iloc[0]) for name in factors},
            value=float(rows[outcome.name].mean()),
        )
        for _, rows in frame.groupby(factors, sort=False)
        if rows[outcome.name].notna().all()
    ]
    if len(found) < LEAST_LINES:
        return None
    seeds = frame[SEED].nunique() if SEED in frame else 1
    lower = outcome.better == "lower"
    return parallel(
        name="parallel",
        title=f"All combinations: {outcome.words}",
        caption=f"One line per combination, from its levels to its {outcome.words}, the mean of "
        f"{plural(seeds, 'seed')}; {'lower' if lower else 'higher'} is better. Lines through the same level are moved "
        "apart. All seeds are in it: it is to look at, not to choose by.",
        axes_of=levels,
        combinations=found,
        value_label=outcome.words,
        percent=outcome.unit == "percent",
        lower_is_better=lower,
    )


# -- the page ----------------------------------------------------------------------------------------------------------


def publish(store: Store, folder: str, findings: Findings, facts: RunFacts) -> dict[str, Any]:
    """Tables, figures and page in `folder` of the store. Returns the `--json` document."""
    from robustray.tasks.outputs import write_drawings, write_tables, writing_into
    from robustray.tasks.report.page import render_page
    from robustray.tasks.report.terminal import json_document

    write = writing_into(store, folder)
    facts = replace(facts, tables={table.name: f"tables/{table.name}.parquet" for table in findings.tables})
    tables = write_tables(write, findings)
    write_drawings(write, findings)
    page = write("report.html", render_page(findings, facts).encode())
    return json_document(findings, facts, page, tables)


def facts_of(
    grid: Grid, standings: Sequence[Standing], *, name: str, size: Any, run: str, command: str, device: str, date: str
) -> RunFacts:
    """What the page says beside the findings."""
    from robustray.tasks.environment import hardware, versions
    from robustray.tasks.outputs import unrepeatable_words
    from robustray.tasks.report.facts import RunFacts, StepFacts

    computed = sum(each.computed and each.outcomes is not None for each in standings)
    failed = sum(each.failed for each in standings)
    step = StepFacts(
        name="cells",
        items=len(standings),
        blocks=len(standings),
        computed_blocks=computed,
        reused_blocks=sum(each.outcomes is not None for each in standings) - computed,
        failed_items=failed,
    )
    levels = {factor: list(dict.fromkeys(each.cell.levels[factor] for each in standings)) for factor in grid.factors}
    unrepeatable = tuple(dict.fromkeys(what for each in standings for what in each.unrepeatable))
    return RunFacts(
        study=name,
        question=grid.question,
        paper=grid.paper,
        size=size,
        run=run,
        command=command,
        seeds=tuple(level for level in levels.get(SEED, []) if isinstance(level, int)),
        seed=min((level for level in levels.get(SEED, []) if isinstance(level, int)), default=0),
        date=date,
        status="finished" if not failed else f"{plural(failed, 'cell')} failed",
        settings={"study": grid.study or f"{grid.kind}s", **levels},
        versions=versions(),
        hardware=hardware(device),
        steps=(step,),
        warnings=tuple(unrepeatable_words(what) for what in unrepeatable),
        unrepeatable=unrepeatable,
    )
