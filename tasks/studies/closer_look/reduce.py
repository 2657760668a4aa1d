"""From curves, value errors and rewards to estimates. Nothing here computes through the lab, runs an agent or
draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from robustray.tasks.kit.frames import at, columns
from robustray.tasks.policy_gradients.curves import final_return
from robustray.tasks.statistics import Estimate, clustered_mean, mean_interval, welch, welch_contrast

Key = tuple[str, int, int]
"""Algorithm, number of the agent, update before which it is looked at."""
UNKNOWN = Estimate(value=math.nan, lo=-math.inf, hi=math.inf, n=0)


# --- Over agents ------------------------------------------------------------------------------------------------------


def over_agents(values: Sequence[float]) -> Estimate:
    """Mean over independent agents; NaN where an agent has no such number."""
    return mean_interval(values) if len(values) and np.isfinite(values).all() else UNKNOWN


def final_returns(curves: pd.DataFrame, arm: str, algorithm: str) -> NDArray[np.float64]:
    """`final_return` of each of an arm's agents (agents,), without those that ended no episode in those updates."""
    by_agent = at(curves, arm=arm, algorithm=algorithm).sort_values("update").groupby("agent")
    found = np.asarray([final_return(rows) for _, rows in by_agent], dtype=np.float64)
    return found[np.isfinite(found)]


def difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> Estimate:
    """Mean of a minus that of b (Welch); NaN where one is empty."""
    return welch(a, b) if len(a) and len(b) else UNKNOWN


def arm_table(curves: pd.DataFrame) -> pd.DataFrame:
    """Final returns of each arm over agents, and the difference to the first arm (Welch)."""
    rows = []
    arms = list(dict.fromkeys(curves.arm))
    for algorithm in dict.fromkeys(curves.algorithm):
        first = final_returns(curves, arms[0], algorithm)
        for arm in arms:
            mine = final_returns(curves, arm, algorithm)
            change = difference(mine, first) if arm != arms[0] else UNKNOWN
            rows.append(
                {"algorithm": algorithm, "arm": arm}
                | columns("final", mean_interval(mine) if len(mine) else UNKNOWN, "final_lo", "final_hi")
                | columns("difference", change)
                | {"n": len(mine)}
            )
    return pd.DataFrame(rows)


TRUST = ("kl", "kl_max", "ratio_max", "ratio_outside", "heldout_kl", "heldout_kl_max", "heldout_ratio_max")


def trust_table(curves: pd.DataFrame) -> pd.DataFrame:
    """One row for each arm, over agents: means over updates of the mean KL and of the share of ratios outside the
    bound, and the largest KL of a state and the largest ratio over all updates."""
    rows = []
    for (algorithm, arm), mine in curves.groupby(["algorithm", "arm"], sort=False):
        by_agent = mine.groupby("agent")
        row: dict[str, object] = {"algorithm": algorithm, "arm": arm}
        for name in TRUST:
            each = (by_agent[name].max() if "max" in name else by_agent[name].mean()).to_numpy(np.float64)
            row |= columns(name, over_agents(each.tolist()), f"{name}_lo", f"{name}_hi")
        rows.append(row | {"n": len(by_agent)})
    return pd.DataFrame(rows)


# --- Landscapes -------------------------------------------------------------------------------------------------------


def returns_at(landscape: pd.DataFrame, along: float, aside: float) -> NDArray[np.float64]:
    """Returns of the episodes at a point."""
    rows = landscape[(landscape.along == along) & (landscape.aside == aside)]
    return np.concatenate([np.asarray(x, dtype=np.float64) for x in rows.episode_returns]) if len(rows) else np.zeros(0)


def step_gain(landscape: pd.DataFrame) -> Estimate:
    """Mean return after the step that is taken minus that before it, over episodes (Welch); NaN where none ended."""
    after, before = returns_at(landscape, 1.0, 0.0), returns_at(landscape, 0.0, 0.0)
    return difference(after, before)


def agreement(landscape: pd.DataFrame, surrogate: str = "surrogate") -> float:
    """Spearman's correlation of surrogate and mean return over the points of a grid; NaN where either is constant."""
    known = landscape.dropna(subset=["mean_return"])
    if known.mean_return.nunique() < 2 or known[surrogate].nunique() < 2:
        return math.nan
    return float(stats.spearmanr(known[surrogate], known.mean_return).statistic)


def slope(line: pd.DataFrame) -> Estimate:
    """Slope of the true reward along the step, per step: least squares through the mean returns at the places, with a
    Welch interval over episodes; NaN where no episode ended at a place."""
    places = line.along.to_numpy(np.float64)
    centred = places - places.mean()
    samples = [np.asarray(each, dtype=np.float64) for each in line.episode_returns]
    if any(not len(each) for each in samples):
        return UNKNOWN
    return welch_contrast(samples, (centred / float(centred @ centred)).tolist())


def landscape_table(landscapes: Mapping[Key, pd.DataFrame]) -> pd.DataFrame:
    """One row per look and source of the step: what the step gives, the slope of the reward along it, what the
    surrogates promise, and, where there is a grid, their agreement with the reward at both scales."""
    rows = []
    for (algorithm, agent, update), found in landscapes.items():
        for source in dict.fromkeys(found.source):
            mine = at(found, source=source)
            line = mine[mine.aside == 0]
            gain, along = step_gain(line), slope(line)
            taken = line[line.along == 1.0].iloc[0]
            row: dict[str, object] = {"algorithm": algorithm, "agent": agent, "update": update, "step from": source}
            row |= columns("gain", gain) | columns("slope", along, "slope_lo", "slope_hi")
            row |= {name: taken[name] for name in ("surrogate", "unclipped", "heldout_surrogate")}
            for scale, words in enumerate(("own", "papers")):
                grid = mine[(mine.aside == 0) | (mine["scale"] == scale)]
                whole = len(grid) > len(line)
                row[f"agreement_{words}"] = agreement(grid) if whole else math.nan
                row[f"heldout_agreement_{words}"] = agreement(grid, "heldout_surrogate") if whole else math.nan
            rows.append(row | {"n": gain.n})
    return pd.DataFrame(rows)


def sign_table(steps: pd.DataFrame) -> pd.DataFrame:
    """One row for each algorithm and source, over looks: how often the step lowered the mean return although the
    surrogate rose, and the mean slope of the reward. Intervals are over agents, since the looks at one agent are not
    independent."""
    rows = []
    for (algorithm, source), mine in steps.groupby(["algorithm", "step from"], sort=False):
        known = mine.dropna(subset=["gain", "slope"])
        promised = known[known.surrogate > 0]
        lowered = clustered_mean((promised.gain < 0).to_numpy(np.float64), promised.agent) if len(promised) else UNKNOWN
        slopes = clustered_mean(known.slope, known.agent) if len(known) else UNKNOWN
        rows.append(
            {"algorithm": algorithm, "step from": source, "looks": len(promised)}
            | columns("lowered", lowered)
            | columns("slope", slopes, "slope_lo", "slope_hi")
            | {"n": slopes.n}
        )
    return pd.DataFrame(rows)
