"""From gradients, value errors and rewards to estimates. Nothing here computes through the lab, runs an agent or
draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special, stats

from robustray.tasks.kit.frames import at, columns
from robustray.tasks.statistics import Estimate, clustered_mean, mean_interval, welch, welch_contrast

Vectors = NDArray[np.float64]
Key = tuple[str, int, int]
"""Algorithm, number of the agent, update before which it is looked at."""
LAST = 5
"""Updates whose mean return is an agent's final one."""
UNKNOWN = Estimate(value=math.nan, lo=-math.inf, hi=math.inf, n=0)


# --- Concentration of gradients ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Estimates of one gradient: of an agent before one of its updates."""

    by_size: Mapping[int, Vectors]
    """Steps behind an estimate -> (repeats, parameters); a repeat's estimates share their first steps, different
    repeats share none."""
    truth: Vectors
    """(parameters,) from many more steps, none of which is in a repeat."""
    halves: Vectors
    """(2, parameters) from the two halves of the truth's steps."""

    @property
    def sizes(self) -> list[int]:
        return list(self.by_size)


def cosines(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    """(len(a), len(b)) of the rows; NaN for a row of zeros."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


def mean_pairwise(found: Vectors) -> float:
    """Mean cosine over the pairs of different rows."""
    upper = np.triu_indices(len(found), 1)
    return float(cosines(found, found)[upper].mean())


def jackknife(statistic: Callable[[NDArray[np.intp]], float], num: int) -> Estimate:
    """A statistic of the units 0 .. num - 1 with Student's t interval from its values without each of them.

    Pairs of n gradients are not independent, gradients are: leaving one out takes all its pairs. The jackknife's
    variance is never too small on average (Efron and Stein, Annals of Statistics 9 (1981) 586-596).
    """
    units = np.arange(num)
    value = statistic(units)
    without = np.array([statistic(np.delete(units, unit)) for unit in units])
    if num < 3 or not np.isfinite([value, *without]).all():
        return Estimate(value=value, lo=-math.inf, hi=math.inf, n=num)
    error = math.sqrt((num - 1) / num * float(np.square(without - without.mean()).sum()))
    half = float(special.stdtrit(num - 1, 0.975)) * error
    return Estimate(value=value, lo=value - half, hi=value + half, n=num)


def pairwise(found: Gradients, size: int) -> Estimate:
    """Mean cosine between independent estimates of a size, with an interval over these."""
    rows = found.by_size[size]
    mean = jackknife(lambda units: mean_pairwise(rows[units]), len(rows))
    return Estimate(value=mean.value, lo=max(mean.lo, -1.0), hi=min(mean.hi, 1.0), n=mean.n)


def with_truth(found: Gradients, size: int) -> Estimate:
    """Mean cosine of the estimates of a size with the truth."""
    each = cosines(found.by_size[size], found.truth[None])[:, 0]
    return mean_interval(each) if np.isfinite(each).all() else UNKNOWN


def rise(found: Gradients) -> Estimate:
    """Mean pairwise cosine at the largest size minus that at the smallest; repeats are left out at both at once."""
    small, large = found.by_size[found.sizes[0]], found.by_size[found.sizes[-1]]
    return jackknife(lambda units: mean_pairwise(large[units]) - mean_pairwise(small[units]), len(small))


def half_size(sizes: Sequence[int], means: Sequence[float]) -> float:
    """N1/2 of c(N) = N / (N + N1/2), by least squares on the mean pairwise cosines: the steps at which two estimates
    have the cosine 0.5.

    The law is that of estimates with a common mean m and independent noise of variance s^2 / N: N1/2 = s^2 / |m|^2.
    Infinite where no mean is above 0.
    """
    n, c = np.asarray(sizes, dtype=np.float64), np.asarray(means, dtype=np.float64)
    if not np.isfinite(c).all() or (c <= 0).all():
        return math.nan if not np.isfinite(c).all() else math.inf

    def squares(log_half: float) -> float:
        return float(np.square(n / (n + math.exp(log_half)) - c).sum())

    grid = np.linspace(math.log(n[0]) - 12, math.log(n[-1]) + 12, 97)
    best = grid[np.argmin([squares(each) for each in grid])]
    return math.exp(optimize.minimize_scalar(squares, bounds=(best - 0.5, best + 0.5), method="bounded").x)


def log_half_size(found: Gradients) -> Estimate:
    """log2 of N1/2, with an interval over repeats."""

    def statistic(units: NDArray[np.intp]) -> float:
        means = [mean_pairwise(rows[units]) for rows in found.by_size.values()]
        return math.log2(half_size(found.sizes, means))

    return jackknife(statistic, len(next(iter(found.by_size.values()))))


def concentration_table(gradients: Mapping[tuple[str, int, int], Gradients]) -> pd.DataFrame:
    """(algorithm, agent, update) -> one row per size: pairwise cosine, cosine with the truth, with intervals."""
    rows = []
    for (algorithm, agent, update), found in gradients.items():
        split = float(cosines(found.halves[:1], found.halves[1:])[0, 0])
        for size in found.sizes:
            pairs, truth = pairwise(found, size), with_truth(found, size)
            rows.append(
                {"algorithm": algorithm, "agent": agent, "update": update, "steps": size}
                | columns("pairwise", pairs)
                | columns("to_truth", truth, "to_truth_lo", "to_truth_hi")
                | {"truth_halves": split, "n": pairs.n}
            )
    return pd.DataFrame(rows)


def half_size_table(gradients: Mapping[tuple[str, int, int], Gradients]) -> pd.DataFrame:
    """N1/2 by agent and milestone, with an interval over repeats (on the logarithm)."""
    rows = []
    for (algorithm, agent, update), found in gradients.items():
        log = log_half_size(found)
        rows.append(
            {"algorithm": algorithm, "agent": agent, "update": update}
            | {name: _power(x) for name, x in (("half_size", log.value), ("lo", log.lo), ("hi", log.hi))}
            | {"n": log.n}
        )
    return pd.DataFrame(rows)


def _power(exponent: float) -> float:
    return math.inf if exponent > 1000 else 2.0**exponent


# --- Over agents ------------------------------------------------------------------------------------------------------


def over_agents(values: Sequence[float]) -> Estimate:
    """Mean over independent agents; NaN where an agent has no such number."""
    return mean_interval(values) if len(values) and np.isfinite(values).all() else UNKNOWN


def final_returns(curves: pd.DataFrame, arm: str, algorithm: str) -> NDArray[np.float64]:
    """Mean episode returns of an arm's agents over their last five updates; without those that ended no episode."""
    found = []
    for _, rows in at(curves, arm=arm, algorithm=algorithm).groupby("agent"):
        last = rows.sort_values("update").episode_return.to_numpy(np.float64)[-LAST:]
        found += [float(np.nanmean(last))] if np.isfinite(last).any() else []
    return np.asarray(found)


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


# --- Baselines --------------------------------------------------------------------------------------------------------


def baseline_table(gradients: Mapping[Key, Mapping[str, Gradients]]) -> pd.DataFrame:
    """One row per look, kind of advantages and size: agreement of estimates, with the truth of the same kind, and of
    that truth with the one of the first kind."""
    parts = []
    for kind in next(iter(gradients.values())):
        table = concentration_table({key: found[kind] for key, found in gradients.items()})
        half = half_size_table({key: found[kind] for key, found in gradients.items()})
        truths = pd.DataFrame(
            [
                {"algorithm": key[0], "agent": key[1], "update": key[2], "truths": _truths(found, kind)}
                for key, found in gradients.items()
            ]
        )
        keys = ["algorithm", "agent", "update"]
        parts.append(table.merge(half[[*keys, "half_size"]], on=keys).merge(truths, on=keys).assign(kind=kind))
    return pd.concat(parts, ignore_index=True)


def _truths(found: Mapping[str, Gradients], kind: str) -> float:
    first = next(iter(found))
    return float(cosines(found[first].truth[None], found[kind].truth[None])[0, 0])


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
