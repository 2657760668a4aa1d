"""The best cell of a grid: chosen by some seeds, judged by others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustray.tasks.grids.effects import NONE, estimate
from robustray.tasks.grids.settings import SEED, Grid, Level, Outcome

if TYPE_CHECKING:
    import pandas as pd

CHOSEN_BY, JUDGED_BY = "choosing_mean", "seeds"
"""Columns beside the factors and the outcome with its interval."""


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """The seeds of a grid, in two parts that share none."""

    choose: tuple[Level, ...]
    judge: tuple[Level, ...]


def split_seeds(grid: Grid, *, asha: bool = False) -> Seeds:
    """The grid's own choosing seeds or, where it names none, the first half of all, rounded down. asha: the first of
    them alone: those that were stopped with one seed need not be those that were stopped with another."""
    every = tuple(dict.fromkeys(cell.levels[SEED] for cell in grid.cells)) if SEED in grid.factors else ()
    choose = tuple(grid.choosing_seeds) or every[: len(every) // 2]
    choose = choose[:1] if asha else choose
    return Seeds(choose=choose, judge=tuple(seed for seed in every if seed not in choose))


def best_cells(
    cells: pd.DataFrame, grid: Grid, outcome: Outcome, seeds: Seeds, *, limits: tuple[float, float] = NONE
) -> pd.DataFrame:
    """For each combination of the factors that nobody chooses, the best levels of those in `grid.choose`.

    cells: one row per cell, with factors and outcomes (NaN: not finished). The best has the best mean over the choosing
    seeds, among the candidates that are finished at all of them; the first one of equals. Its value is the mean over
    the other seeds, on which nothing was chosen, with the interval of Student's t over them. Columns: the factors, the
    outcome, lo, hi, seeds (that judge), choosing_mean (of the seeds that chose: flattered, by as much as luck decided).
    NaN where the best one is not finished at any other seed; no row where no candidate is finished at all that choose.
    """
    import pandas as pd

    choose, given = list(grid.choose), [name for name in grid.factors if name not in (*grid.choose, SEED)]
    rows: list[dict[str, Any]] = []
    if not seeds.choose or not choose:
        return pd.DataFrame(rows)
    for levels, group in cells.groupby(given, sort=False) if given else [((), cells)]:
        choosing = group[group[SEED].isin(seeds.choose)]
        finished = choosing.groupby(choose, sort=False)[outcome.name].agg(["mean", "count"])
        candidates = finished[finished["count"] == len(seeds.choose)]["mean"]
        if candidates.empty:
            continue
        place = candidates.idxmax() if outcome.better == "higher" else candidates.idxmin()
        best = place if isinstance(place, tuple) else (place,)
        judging = group[group[SEED].isin(seeds.judge)]
        for name, level in zip(choose, best, strict=True):
            judging = judging[judging[name] == level]
        judged = judging[outcome.name].dropna()
        found = estimate(judged, limits)
        rows.append(
            dict(zip(given, levels, strict=True))
            | dict(zip(choose, best, strict=True))
            | {outcome.name: found.value, "lo": found.lo, "hi": found.hi}
            | {JUDGED_BY: len(judged), CHOSEN_BY: float(candidates[place])}
        )
    return pd.DataFrame(rows)


def judging_cells(cells: pd.DataFrame, grid: Grid, outcome: Outcome, seeds: Seeds) -> list[int]:
    """Places in the grid of the cells that judge the best ones."""
    best = best_cells(cells, grid, outcome, seeds)
    chosen = {tuple(row) for row in best[_levels(grid)].itertuples(index=False, name=None)} if len(best) else set()
    return [
        place
        for place, cell in enumerate(grid.cells)
        if cell.levels[SEED] in seeds.judge and tuple(cell.levels[name] for name in _levels(grid)) in chosen
    ]


def _levels(grid: Grid) -> list[str]:
    return [name for name in grid.factors if name != SEED]
