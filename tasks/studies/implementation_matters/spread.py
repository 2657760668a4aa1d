"""What follows from the spread over agents: interquartile means, profiles, and how many agents are needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from robustray.tasks.kit.frames import at, columns
from robustray.tasks.statistics import Estimate, bootstrap, by_unit, wilson
from robustray.tasks.studies.implementation_matters.reduce import CONTRASTS, values
from robustray.tasks.studies.implementation_matters.settings import CORNERS, SWITCHES, Cell

Array = NDArray[np.float64]
LEAST_FOR_IQM = 10
"""Agents: of fewer, the middle half is a handful of numbers."""
POWER = 0.8
MOST_NEEDED = 100_000
"""Agents of a corner; what takes more is not looked for."""


# --- Interquartile means ----------------------------------------------------------------------------------------------


def interquartile_means(x: Array, weights: Array) -> Array:
    """(resamples,) means of the middle half of (rows,) numbers that are there `weights` times (resamples, rows).

    A quarter of the total weight is cut at either end, also through a number (Agarwal et al., arXiv:2108.13264, where n
    is a multiple of four; a trimmed mean of whole numbers would jump between n = 5, 6 and 7).
    """
    order = np.argsort(x, kind="stable")
    weight = weights[:, order]
    above = np.cumsum(weight, axis=1)
    total = above[:, -1:]
    inside = np.minimum(above, 0.75 * total) - np.maximum(above - weight, 0.25 * total)
    return np.clip(inside, 0, None) @ x[order] / (total[:, 0] / 2)


def iqm(x: Array, *, seed: int = 0) -> Estimate:
    """Interquartile mean with a BCa interval over agents; NaN for fewer than ten. At n = 10 such an interval covers
    about 0.92."""
    if len(x) < LEAST_FOR_IQM:
        return Estimate(value=math.nan, lo=-math.inf, hi=math.inf, n=len(x))
    return bootstrap(lambda weights: interquartile_means(x, weights), by_unit(len(x)), kind="bca", seed=seed)


# --- Profiles ---------------------------------------------------------------------------------------------------------


def profile(x: Array, thresholds: Array) -> tuple[Array, Array, Array]:
    """Share of agents whose raw return is above each threshold, with Wilson's interval at each."""
    above = (x[None] > thresholds[:, None]).sum(axis=1)
    lo, hi = wilson(above, len(x))
    return above / max(1, len(x)), lo, hi


def profile_table(samples: Mapping[str, Array]) -> pd.DataFrame:
    """Name -> returns of its agents; one row per name and threshold: share, lo, hi, n. Thresholds are the returns of
    all, and one below them: the share is constant between."""
    known = [x for x in samples.values() if len(x)]
    if not known:
        return pd.DataFrame(columns=["of", "threshold", "share", "lo", "hi", "n"])
    marks = np.unique(np.concatenate(known))
    thresholds = np.concatenate([[marks[0] - max(1e-9, 0.02 * float(np.ptp(marks)))], marks])
    rows = []
    for name, x in samples.items():
        for mark, share, lo, hi in zip(thresholds, *profile(x, thresholds), strict=True):
            rows.append({"of": name, "threshold": mark, "share": share, "lo": lo, "hi": hi, "n": len(x)})
    return pd.DataFrame(rows)


def switch_samples(cells: Sequence[Cell], agents: pd.DataFrame, environment: str) -> dict[tuple[str, bool], Array]:
    """(switch, on) -> final returns of the agents of its eight cells: the two curves of a panel of figure 1."""
    mine = [cell for cell in cells if cell.environment == environment]
    return {
        (switch, on): np.concatenate(
            [
                values(agents, "final", environment=environment, cell=cell.name)
                for cell in mine
                if (switch in cell.on) == on
            ]
        )
        for switch in SWITCHES
        for on in (True, False)
    }


# --- Agents needed ----------------------------------------------------------------------------------------------------


def power_of(difference: float, spreads: Sequence[float], weights: Sequence[float], n: int) -> float:
    """Power of Welch's two-sided test at 5 % of a contrast with n agents in each corner that takes part in it, by the
    noncentral t distribution with the degrees of freedom that these spreads give."""
    parts = np.array([(w * s) ** 2 / n for w, s in zip(weights, spreads, strict=True) if w])
    if not parts.any():
        return 1.0 if difference else 0.0
    freedom = (n - 1) * float(parts.sum() ** 2 / np.square(parts).sum())
    critical, shift = float(special.stdtrit(freedom, 0.975)), abs(difference) / math.sqrt(float(parts.sum()))
    upper = float(stats.nct.sf(critical, freedom, shift))
    lower = float(stats.nct.cdf(-critical, freedom, shift))
    return upper + (lower if math.isfinite(lower) else 0.0)  # SciPy's lower tail is NaN where it is far below 1e-16


def agents_needed(difference: float, spreads: Sequence[float], weights: Sequence[float]) -> float:
    """Fewest agents in each corner that counts with which the test finds this true difference with a power of 80 %;
    inf where 100,000 are not enough, NaN where a spread or the difference is not known.

    spreads: standard deviations over agents, weights: those of the contrast, both in the order of the corners.
    """
    used = [s for s, w in zip(spreads, weights, strict=True) if w]
    if not np.isfinite([difference, *used]).all():
        return math.nan
    if power_of(difference, spreads, weights, MOST_NEEDED) < POWER:
        return math.inf
    low, high = 1, MOST_NEEDED  # power_of(high) is enough, power_of(low) is taken not to be
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(difference, spreads, weights, middle) >= POWER else (middle, high)
    return float(high)


def power_table(
    agents: pd.DataFrame, contrasts: pd.DataFrame, published: Mapping[tuple[str, str], float | None]
) -> pd.DataFrame:
    """One row per contrast: the spreads' root mean square over the corners that take part, and agents needed in each
    corner for the measured difference and for the paper's, both at the measured spreads.

    contrasts: rows of `reduce.contrast_table`. published: (environment, contrast) -> the paper's difference.
    """
    rows = []
    for environment in dict.fromkeys(contrasts.environment):
        samples = [values(agents, "final", environment=environment, cell=name) for name in CORNERS]
        spreads = [float(x.std(ddof=1)) if len(x) > 1 else math.nan for x in samples]
        for row in at(contrasts, environment=environment).itertuples(index=False):
            weights = CONTRASTS[row.contrast]
            paper = published.get((environment, row.contrast))
            used = [s for s, w in zip(spreads, weights, strict=True) if w]
            rows.append(
                {
                    "environment": environment,
                    "contrast": row.contrast,
                    "spread": float(np.sqrt(np.mean(np.square(used)))),
                }
                | {"difference": row.difference, "needed": agents_needed(row.difference, spreads, weights)}
                | {
                    "paper": math.nan if paper is None else paper,
                    "needed_for_paper": math.nan if paper is None else agents_needed(paper, spreads, weights),
                    "n": min(len(x) for x, w in zip(samples, weights, strict=True) if w),
                }
            )
    return pd.DataFrame(rows)


def iqm_columns(x: Array) -> dict[str, float]:
    """The interquartile mean and its interval as columns of a row."""
    return columns("iqm", iqm(x), "iqm_lo", "iqm_hi")
