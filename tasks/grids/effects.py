"""Main effects: what each level of a factor gives on average over the others, with an interval over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from robustray.tasks.grids.settings import SEED
from robustray.tasks.statistics import Estimate, mean_interval

COLUMNS = ("factor", "level", "mean", "lo", "hi", "difference", "difference_lo", "difference_hi", "seeds", "cells")


def main_effects(
    cells: pd.DataFrame, factors: Sequence[str], outcome: str, *, limits: tuple[float, float] = (-math.inf, math.inf)
) -> pd.DataFrame:
    """One row per level of every factor but the seed, columns `COLUMNS`.

    cells: one row per cell, with the factors and the outcome (NaN: not finished, or none was found). limits: between
    which the outcome lies; intervals over several seeds are cut there.

    Levels are compared on the same footing: a combination of the other factors, seed included, counts only if it is
    finished at all levels of the factor, so that what is missing at one level cannot move the others. `mean` is the
    average over these combinations; its interval is Student's t over the seeds' own averages. `difference` is to the
    factor's first level, paired by seed. With one seed the intervals are infinite: nothing is known of other seeds.
    The first level has no difference, and a factor without any complete combination has nothing: NaN.
    """
    rows = [row for factor in factors if factor != SEED for row in _of_factor(cells, factors, factor, outcome, limits)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _of_factor(
    cells: pd.DataFrame, factors: Sequence[str], factor: str, outcome: str, limits: tuple[float, float]
) -> list[dict[str, object]]:
    levels = list(dict.fromkeys(cells[factor]))
    others = [name for name in factors if name != factor]
    # One row per combination of the others, one column per level; those with a hole are left out.
    index = [cells[name] for name in others] or [pd.Series(0, index=cells.index)]
    table = pd.DataFrame({"level": pd.Categorical(cells[factor], levels).codes, "value": cells[outcome].astype(float)})
    wide = table.set_index(pd.MultiIndex.from_arrays(index)).pivot(columns="level", values="value").dropna()
    wide = wide.reindex(columns=range(len(levels)))
    seeds = wide.index.get_level_values(others.index(SEED)) if SEED in others else pd.Index([0] * len(wide))
    by_seed = wide.groupby(seeds).mean()
    rows: list[dict[str, Any]] = []
    for place, level in enumerate(levels):
        mean = _estimate(by_seed[place], limits)
        most = limits[1] - limits[0]
        difference = _estimate(by_seed[place] - by_seed[0] if place else by_seed[0].iloc[:0], (-most, most))
        rows.append(
            {"factor": factor, "level": level}
            | {"mean": mean.value, "lo": mean.lo, "hi": mean.hi}
            | {"difference": difference.value, "difference_lo": difference.lo, "difference_hi": difference.hi}
            | {"seeds": len(by_seed), "cells": len(wide)}
        )
    return rows


def _estimate(values: pd.Series, limits: tuple[float, float]) -> Estimate:
    if not len(values):
        nan = float("nan")
        return Estimate(value=nan, lo=nan, hi=nan, n=0)
    found = mean_interval(values.to_numpy())
    if found.n == 1:
        return found
    lo, hi = (float(np.clip(end, *limits)) for end in found.interval)
    return replace(found, lo=lo, hi=hi)
