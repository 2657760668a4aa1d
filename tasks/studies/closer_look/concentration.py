"""How much estimates of one gradient agree, with each other and with the truth. Nothing here computes through the lab,
runs an agent or draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special

from robustray.tasks.kit.frames import columns
from robustray.tasks.statistics import Estimate, mean_interval
from robustray.tasks.studies.closer_look.reduce import UNKNOWN, Key

Vectors = NDArray[np.float64]


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


def concentration_table(gradients: Mapping[Key, Gradients]) -> pd.DataFrame:
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


def half_size_table(gradients: Mapping[Key, Gradients]) -> pd.DataFrame:
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
