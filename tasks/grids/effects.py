"""Main effects: what each level of a factor gives on average over the others, with an interval over seeds; and two-way
interactions: how far the effect of one factor depends on another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from robustray.tasks.grids.settings import SEED
from robustray.tasks.statistics import Estimate, mean_interval

COLUMNS = ("factor", "level", "mean", "lo", "hi", "difference", "difference_lo", "difference_hi", "seeds", "cells")
PAIR_COLUMNS = ("factor", "level", "other", "other_level", "interaction", "lo", "hi", "seeds", "combinations")
NONE = (-math.inf, math.inf)
"""Limits of an outcome that has none."""


def main_effects(
    cells: pd.DataFrame, factors: Sequence[str], outcome: str, *, limits: tuple[float, float] = NONE
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
    wide, by_seed = _by_seed(cells, factors, {factor: levels}, outcome)
    rows: list[dict[str, Any]] = []
    for place, level in enumerate(levels):
        mean = estimate(by_seed[place], limits)
        most = limits[1] - limits[0]
        difference = estimate(by_seed[place] - by_seed[0] if place else by_seed[0].iloc[:0], (-most, most))
        rows.append(
            {"factor": factor, "level": level}
            | {"mean": mean.value, "lo": mean.lo, "hi": mean.hi}
            | {"difference": difference.value, "difference_lo": difference.lo, "difference_hi": difference.hi}
            | {"seeds": len(by_seed), "cells": wide}
        )
    return rows


def interactions(
    cells: pd.DataFrame, factors: Sequence[str], outcome: str, *, limits: tuple[float, float] = NONE
) -> pd.DataFrame:
    """One row per pair of factors but the seed and per pair of their levels but the first ones, columns `PAIR_COLUMNS`.

    cells, limits: as for `main_effects`. `interaction` is how much more the step from the first level of `factor` to
    `level` gives at `other_level` of the other factor than at its first level: y(level, other_level) - y(first,
    other_level) - y(level, first) + y(first, first), 0 where effects add up. A combination of the remaining factors,
    seed included, counts only if it is finished at all four. Averages are taken by seed, and the interval is Student's
    t over seeds, infinite with one; NaN where no combination is complete.
    """
    most = 2 * (limits[1] - limits[0])
    rows: list[dict[str, Any]] = []
    for first, second in itertools.combinations([name for name in factors if name != SEED], 2):
        (a, *others_a), (b, *others_b) = (list(dict.fromkeys(cells[name])) for name in (first, second))
        for level, other in itertools.product(others_a, others_b):
            count, by_seed = _by_seed(cells, factors, {first: [a, level], second: [b, other]}, outcome)
            found = estimate(by_seed[3] - by_seed[1] - by_seed[2] + by_seed[0], (-most, most))
            rows.append(
                {"factor": first, "level": level, "other": second, "other_level": other}
                | {"interaction": found.value, "lo": found.lo, "hi": found.hi}
                | {"seeds": len(by_seed), "combinations": count}
            )
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


def _by_seed(
    cells: pd.DataFrame, factors: Sequence[str], levels: Mapping[str, Sequence[Any]], outcome: str
) -> tuple[int, pd.DataFrame]:
    """How many combinations of the other factors are finished at all these levels, and their means: one row per seed,
    one column per combination of levels, numbered with the last factor fastest."""
    chosen = cells[np.logical_and.reduce([cells[name].isin(among) for name, among in levels.items()])]
    others = [name for name in factors if name not in levels]
    place = np.zeros(len(chosen), dtype=np.int64)
    for name, among in levels.items():
        place = place * len(among) + pd.Categorical(chosen[name], list(among)).codes
    # One row per combination of the others; those with a hole are left out.
    index = [chosen[name] for name in others] or [pd.Series(0, index=chosen.index)]
    table = pd.DataFrame({"place": place, "value": chosen[outcome].to_numpy(dtype=float)})
    wide = table.set_index(pd.MultiIndex.from_arrays(index)).pivot(columns="place", values="value")
    wide = wide.reindex(columns=range(math.prod(map(len, levels.values())))).dropna()
    seeds = wide.index.get_level_values(others.index(SEED)) if SEED in others else pd.Index([0] * len(wide))
    return len(wide), wide.groupby(seeds).mean()


def estimate(values: pd.Series, limits: tuple[float, float]) -> Estimate:
    """Mean of one number per seed, with the interval of Student's t, cut at the limits; NaN of none."""
    if not len(values):
        nan = float("nan")
        return Estimate(value=nan, lo=nan, hi=nan, n=0)
    found = mean_interval(values.to_numpy())
    if found.n == 1:
        return found
    lo, hi = (float(np.clip(end, *limits)) for end in found.interval)
    return replace(found, lo=lo, hi=hi)
