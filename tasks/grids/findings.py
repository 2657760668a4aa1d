"""What a grid found: its table of cells, main effects, and the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustray.tasks.grids.effects import main_effects
from robustray.tasks.grids.settings import SEED, Cell, Grid, Outcome
from robustray.tasks.kit.frames import shown
from robustray.tasks.kit.words import plural
from robustray.tasks.report.numbers import format_value
from robustray.tasks.study import Figure, Findings, Table

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.lab.store import Store
    from robustray.tasks.report.facts import RunFacts


NONE = (-math.inf, math.inf)
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
    computed: bool = False
    """Number of cells computed by this command and not before."""
    unrepeatable: tuple[str, ...] = ()
    """What in it gives other numbers for the same seed."""


def find(grid: Grid, standings: Sequence[Standing]) -> Findings:
    """Tables, figure and answer. The same standings give the same."""
    frame = cells_frame(grid, standings)
    effects = {
        o.name: main_effects(frame, grid.factors, o.name, limits=LIMITS.get(o.unit, NONE)) for o in grid.outcomes
    }
    finished = sum(standing.outcomes is not None for standing in standings)
    warnings = [f"cell {each.cell.words} is missing: {each.error}" for each in standings if each.outcomes is None]
    figures = [_figure(grid, grid.outcomes[0], effects[grid.outcomes[0].name])] if finished else []
    return Findings(
        answer=_answer(grid, frame, effects[grid.outcomes[0].name], finished),
        tables=tuple(
            [*(_effects_table(grid, each, effects[each.name]) for each in grid.outcomes), _cells(grid, frame)]
        ),
        figures=tuple(figure for figure in figures if figure is not None),
        warnings=tuple(warnings),
    )


def cells_frame(grid: Grid, standings: Sequence[Standing]) -> pd.DataFrame:
    """One row per cell, in the grid's order: factors, outcomes, status, run or agent, error."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                **each.cell.levels,
                **{o.name: (each.outcomes or {}).get(o.name, float("nan")) for o in grid.outcomes},
                "status": "finished" if each.outcomes is not None else "failed",
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


def _effects_table(grid: Grid, outcome: Outcome, effects: pd.DataFrame) -> Table:
    unit = "points" if outcome.unit == "percent" else outcome.unit
    words = effects.assign(level=[_level(grid, row.factor, row.level) for row in effects.itertuples()])
    return Table(
        name=f"main-effects-{outcome.name.replace('_', '-')}",
        title=f"Main effects: {outcome.words}",
        caption="Mean over all combinations of the other factors that are finished at every level (cells), and the "
        "difference to the factor's first level, paired by seed. 95 % intervals are Student's t over seeds, each by "
        "itself: of many intervals some miss; with one seed they are infinite. No best cell is named: the seeds that "
        "chose it could not say how good it is.",
        frame=words,
        formats=shown("mean", outcome.unit) | shown("difference", unit, "difference_lo", "difference_hi"),
    )


def _cells(grid: Grid, frame: pd.DataFrame) -> Table:
    return Table(
        name="cells",
        title="The cells",
        caption="One row per cell. Found in: "
        + ("agents/ of the store." if grid.study is None else "that folder of the store, with a page of its own."),
        frame=frame,
        formats={**grid.formats, SEED: "d", **{outcome.name: outcome.unit for outcome in grid.outcomes}},
    )


def _figure(grid: Grid, outcome: Outcome, effects: pd.DataFrame) -> Figure | None:
    from robustray.tasks.figures import Row, dot_rows

    rows = [
        Row(
            label=f"{row.factor} {_level(grid, row.factor, row.level)}".replace("_", " "),
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


def _level(grid: Grid, factor: str, level: Any) -> str:
    return format_value(level, grid.formats.get(factor, ""))


# -- the page ----------------------------------------------------------------------------------------------------------


def publish(store: Store, folder: str, grid: Grid, findings: Findings, facts: RunFacts) -> dict[str, Any]:
    """Tables, figures and page in `folder` of the store. Returns the `--json` document."""
    from robustray.tasks.outputs import write_tables
    from robustray.tasks.report.page import render_page
    from robustray.tasks.report.terminal import json_document

    def write(name: str, data: bytes) -> str:
        store.write(f"{folder}/{name}", data)
        return store.path(f"{folder}/{name}")

    tables = write_tables(write, findings)
    for figure in findings.figures:
        write(f"figures/{figure.name}.svg", figure.svg.encode())
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
    failed = sum(each.outcomes is None for each in standings)
    step = StepFacts(
        name="cells",
        items=len(standings),
        blocks=len(standings),
        computed_blocks=computed,
        reused_blocks=len(standings) - computed - failed,
        failed_items=failed,
    )
    levels = {factor: list(dict.fromkeys(each.cell.levels[factor] for each in standings)) for factor in grid.factors}
    unrepeatable = tuple(dict.fromkeys(what for each in standings for what in each.unrepeatable))
    tables = ["cells", *(f"main-effects-{outcome.name.replace('_', '-')}" for outcome in grid.outcomes)]
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
        settings={"study": grid.study or "agents", **levels},
        versions=versions(),
        hardware=hardware(device),
        steps=(step,),
        warnings=tuple(unrepeatable_words(what) for what in unrepeatable),
        unrepeatable=unrepeatable,
        tables={table: f"tables/{table}.parquet" for table in tables},
    )
