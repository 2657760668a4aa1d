"""Bootstrap intervals of any statistic of weighted rows; no Python loop over resamples.

A statistic is a function of weights: (resamples, rows) counts of how often each row was drawn -> (resamples,) values,
or (resamples, k) for k quantities on the same resamples. A mean is `weights @ values / weights.sum(1)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from robustray.tasks.errors import InputError
from robustray.tasks.statistics.designs import Design, Weights, by_unit
from robustray.tasks.statistics.intervals import Estimate, checked_level

Kind = Literal["percentile", "basic", "bca"]
Statistic = Callable[[Weights], NDArray[np.float64]]

LEAST_RESAMPLES = 200
"""The ends of a 95 % interval are the 5th smallest and largest of 200 draws. With 20 / 50 / 200 draws the percentile
interval of an unbiased estimator covered .876 / .915 / .942; take 1,000 or more where a statistic is cheap."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Resamples:
    """k quantities and their values on resamples of the same units."""

    values: NDArray[np.float64]
    """(k,) on the sample itself."""
    draws: NDArray[np.float64]
    """(resamples, k); NaN where a quantity could not be computed from a resample."""
    n: int
    """Units that were resampled."""
    acceleration: NDArray[np.float64] | None
    """(k,) of BCa; None where it was not asked for."""

    @property
    def num_failed(self) -> NDArray[np.int64]:
        """(k,) draws that are NaN. They count as -inf at the lower end and +inf at the upper one: never left out."""
        return np.isnan(self.draws).sum(axis=0)

    def estimates(self, kind: Kind = "basic", level: float = 0.95) -> list[Estimate]:
        """One per quantity. -inf and inf where nothing is known: one unit, no value, too many failed draws."""
        return [self._estimate(k, kind, checked_level(level)) for k in range(len(self.values))]

    def _estimate(self, k: int, kind: Kind, level: float) -> Estimate:
        value, draws = float(self.values[k]), self.draws[:, k]
        if self.n < 2 or not np.isfinite(value):
            return Estimate(value=value, lo=-np.inf, hi=np.inf, n=self.n)
        tails = (1 - level) / 2, (1 + level) / 2
        if kind == "bca":
            if self.acceleration is None:
                raise InputError("BCa needs the jackknife: ask `resample` for it with jackknife=True")
            tails = _bca_tails(draws, value, float(self.acceleration[k]), tails)
        lo, hi = _quantile(draws, tails[0], -np.inf), _quantile(draws, tails[1], np.inf)
        if kind == "basic":
            lo, hi = 2 * value - hi, 2 * value - lo
        return Estimate(value=value, lo=lo, hi=hi, n=self.n)


def resample(
    statistic: Statistic, design: Design, *, num_resamples: int = 2_000, seed: int = 0, jackknife: bool = False
) -> Resamples:
    """The statistic on the sample and on resamples of its units.

    jackknife: also leave each unit out once, which BCa needs. The result depends on the design, the number of resamples
    and the seed alone; for one stratum of units the draws are those of `scipy.stats.bootstrap` at the same seed.

    Raises: InputError for fewer than 200 resamples.
    """
    if num_resamples < LEAST_RESAMPLES:
        raise InputError(f"a bootstrap needs at least {LEAST_RESAMPLES} resamples, got {num_resamples}")
    values = _columns(statistic(design.counts[design.unit_of_row].astype(np.float64)[None, :]))[0]
    draws = np.concatenate([_columns(statistic(batch)) for batch in design.resamples(num_resamples, seed)])
    acceleration = _acceleration(statistic, design) if jackknife and design.num_units > 1 else None
    return Resamples(values=values, draws=draws, n=design.num_units, acceleration=acceleration)


def bootstrap(
    statistic: Statistic,
    design: Design,
    *,
    kind: Kind = "basic",
    level: float = 0.95,
    num_resamples: int = 2_000,
    seed: int = 0,
) -> Estimate:
    """A single quantity with its bootstrap interval. Raises: InputError as `resample`, and for a vector statistic.

    percentile: quantiles of the draws. basic: those quantiles reflected at the value, right where the error's
    distribution does not depend on the truth. bca: percentile with corrections for bias and skewness (Efron, Better
    bootstrap confidence intervals, JASA 82 (1987)); draws equal to the value count half, as in SciPy.
    """
    found = resample(statistic, design, num_resamples=num_resamples, seed=seed, jackknife=kind == "bca")
    if len(found.values) != 1:
        raise InputError(f"the statistic has {len(found.values)} values: use `resample`")
    return found.estimates(kind, level)[0]


def bootstrap_mean(
    values: ArrayLike,
    *,
    design: Design | None = None,
    kind: Kind = "bca",
    level: float = 0.95,
    num_resamples: int = 2_000,
    seed: int = 0,
) -> Estimate:
    """Mean of (rows,) values; over rows as units, or over the units of a design.

    For shares use `proportion`: the bootstrap of 17 successes in 17 trials is the single point 1.

    Raises: InputError for values that are not finite, or that do not fit the design.
    """
    x = np.asarray(values, dtype=np.float64)
    chosen = by_unit(len(x)) if design is None else design
    if x.shape != (chosen.num_rows,) or not np.isfinite(x).all():
        raise InputError(f"a mean needs {chosen.num_rows} finite numbers, one for each row of its design")
    return bootstrap(
        lambda weights: weights @ x / weights.sum(axis=1),
        chosen,
        kind=kind,
        level=level,
        num_resamples=num_resamples,
        seed=seed,
    )


# -- the three kinds ---------------------------------------------------------------------------------------------------


def _columns(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    return found[:, None] if found.ndim == 1 else found


def _quantile(draws: NDArray[np.float64], tail: float, failed: float) -> float:
    """Linear between order statistics (NumPy's default); with failed draws, an order statistic on their side."""
    if np.isnan(tail):
        return failed
    lost = np.isnan(draws)
    if not lost.any():
        return float(np.quantile(draws, tail))
    return float(np.quantile(np.where(lost, failed, draws), tail, method="lower" if failed < 0 else "higher"))


def _bca_tails(
    draws: NDArray[np.float64], value: float, acceleration: float, tails: tuple[float, float]
) -> tuple[float, float]:
    """The shares of draws below the two ends; NaN where all draws lie on one side of the value: no BCa exists then."""
    usable = draws[~np.isnan(draws)]
    if np.allclose(usable, value, rtol=1e-12, atol=0.0):
        return tails
    share = ((usable < value).mean() + (usable <= value).mean()) / 2
    if not 0 < share < 1:
        return float("nan"), float("nan")
    bias = special.ndtri(share)
    ends = bias + special.ndtri(np.array(tails))
    corrected = special.ndtr(bias + ends / (1 - acceleration * ends))
    return float(corrected[0]), float(corrected[1])


def _acceleration(statistic: Statistic, design: Design) -> NDArray[np.float64]:
    """Skewness of the jackknife's influence values over all strata (Davison and Hinkley, Bootstrap Methods and their
    Application, 1997, equation 5.29; for one stratum Efron's)."""
    left_out = np.concatenate([_columns(statistic(batch)) for batch in design.leave_one_out()])
    held = np.flatnonzero(design.counts)
    counts, strata, sizes = design.counts[held], design.strata[held], design.stratum_sizes
    second = third = np.zeros(left_out.shape[1])
    for stratum, size in enumerate(sizes):
        inside = strata == stratum
        weight = counts[inside, None] / size
        influence = (size - 1) / size * (weight.T @ left_out[inside] - left_out[inside])
        second = second + (counts[inside, None] * influence**2).sum(axis=0)
        third = third + (counts[inside, None] * influence**3).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(second > 0, third / (6 * second**1.5), 0.0)
