"""AAI and ACLI as the paper defines them, and whether one is larger. No lab, no drawing.

Both are maxima of two absolute differences: of the four corners' means, with the averaged contrasts S (step), O
(optimisations) and I (interaction), AAI = |S| + |I| and ACLI = |O| + |I|. Noise makes a maximum larger, so neither has
an interval here. Their difference ACLI - AAI = |O| - |S| is no maximum, and has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.statistics import Estimate, bootstrap, by_unit, resample, wilson
from robustray.tasks.statistics.bootstrap import Statistic

Array = NDArray[np.float64]
LARGEST_RATE = 0.05
"""Largest share of simulated data sets without a difference in which the interval of ACLI - AAI may lie above 0."""
NUM_SIMULATED, NUM_RESAMPLES = 1_000, 1_000
"""Data sets of each kind of equality, and resamples behind the interval of each."""


def improvements(means: Any) -> Array:
    """(..., 4) means of PPO, PPO-M, TRPO+, TRPO -> (..., 2): AAI, ACLI."""
    ppo, ppo_m, trpo_plus, trpo = np.moveaxis(np.asarray(means, dtype=np.float64), -1, 0)
    aai = np.maximum(np.abs(ppo - trpo_plus), np.abs(ppo_m - trpo))
    acli = np.maximum(np.abs(ppo - ppo_m), np.abs(trpo_plus - trpo))
    return np.stack([aai, acli], axis=-1)


def excess(samples: Sequence[Array], *, num_resamples: int = 2_000, seed: int = 0) -> Estimate:
    """ACLI - AAI with a bias-corrected interval: BCa, agents resampled within each of four corners. `n` is the number
    of agents; -inf and inf where a corner has fewer than two.

    samples: returns of the agents of PPO, PPO-M, TRPO+ and TRPO, finite.
    """
    if min(map(len, samples)) < 2:
        value = float(np.diff(improvements([x.mean() if len(x) else np.nan for x in samples]))[0])
        return Estimate(value=value, lo=-np.inf, hi=np.inf, n=sum(map(len, samples)))
    corner = np.repeat(np.arange(4), [len(x) for x in samples])
    return bootstrap(
        lambda weights: np.diff(_improvements_of(samples)(weights), axis=1)[:, 0],
        by_unit(len(corner), strata=corner),
        kind="bca",
        num_resamples=num_resamples,
        seed=seed,
    )


def biases(samples: Sequence[Array], *, seed: int = 0) -> tuple[float, float]:
    """How much too large AAI and ACLI come out, estimated by the bootstrap: their mean over resamples minus their
    value. NaN where a corner has fewer than two agents."""
    if min(map(len, samples)) < 2:
        return float("nan"), float("nan")
    corner = np.repeat(np.arange(4), [len(x) for x in samples])
    found = resample(_improvements_of(samples), by_unit(len(corner), strata=corner), seed=seed)
    aai, acli = (found.draws.mean(axis=0) - found.values).tolist()
    return aai, acli


def _improvements_of(samples: Sequence[Array]) -> Statistic:
    values = np.concatenate(list(samples))
    corner = np.repeat(np.arange(4), [len(x) for x in samples])
    member = (corner[:, None] == np.arange(4)).astype(np.float64)
    return lambda weights: improvements((weights * values) @ member / (weights @ member))


# --- What the interval does where nothing differs ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FalseAlarms:
    """How often the interval of ACLI - AAI lies above 0 in data of which ACLI = AAI is true."""

    rate: float
    """The larger rate of two ways to be equal: no difference at all; or the step's effect and the interaction as
    measured, with the optimisations' effect as large as the step's."""
    lo: float
    """Lower end of Wilson's interval of that rate."""
    hi: float
    num_simulated: int

    @property
    def acceptable(self) -> bool:
        return self.rate <= LARGEST_RATE


def false_alarms(
    samples: Sequence[Array],
    *,
    num_simulated: int,
    num_resamples: int,
    seed: int = 0,
) -> FalseAlarms:
    """Normal data at the observed numbers of agents and spreads, judged as `excess` judges the observed one.

    samples: as those of `excess`, at least two in each corner.
    """
    rng = np.random.default_rng(seed)
    worst = 0
    for means in equal_means([float(x.mean()) for x in samples]):
        hits = 0
        for number in range(num_simulated):
            drawn = [rng.normal(mean, x.std(ddof=1), len(x)) for mean, x in zip(means, samples, strict=True)]
            hits += excess(drawn, num_resamples=num_resamples, seed=number).lo > 0
        worst = max(worst, hits)
    lo, hi = wilson(worst, num_simulated)
    return FalseAlarms(rate=worst / num_simulated, lo=float(lo), hi=float(hi), num_simulated=num_simulated)


def equal_means(means: Sequence[float]) -> list[list[float]]:
    """Two sets of means of the corners with ACLI = AAI: all the same; and the measured ones with |O| set to |S|."""
    ppo, ppo_m, trpo_plus, trpo = means
    middle = sum(means) / 4
    step = (ppo + ppo_m - trpo_plus - trpo) / 2
    optimisations = abs(step) if ppo + trpo_plus >= ppo_m + trpo else -abs(step)
    interaction = (ppo - ppo_m - trpo_plus + trpo) / 2
    signs = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
    return [[middle] * 4, [middle + (s * step + o * optimisations + i * interaction) / 2 for s, o, i in signs]]
