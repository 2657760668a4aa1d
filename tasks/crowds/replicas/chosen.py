"""Samplers side by side: replicas of one size, chosen from the same candidates by the same answers, then read anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.betas import fit_betas
from robustray.tasks.crowds.replicas.estimators import MOMENTS, RAW, Estimator, FactorialMoments, Raw
from robustray.tasks.crowds.replicas.posterior import match_posterior, posterior_plan
from robustray.tasks.crowds.replicas.samplers import above_threshold, frequency_bin, highest, match
from robustray.tasks.crowds.replicas.simulate import Counts, Images, Protocol, cells_of, draw_images, estimates_of
from robustray.tasks.lab.seeds import integer, stream
from robustray.tasks.statistics import Estimate

BINS, THRESHOLD, TOP, POSTERIOR = "bins", "threshold .7", "top images", "posterior"
HALF, EASY = "bins, half the answers", "bins, half the answers, easy candidates"
SAMPLERS = (BINS, THRESHOLD, TOP, POSTERIOR, HALF, EASY)
"""EASY: only candidates that at least half of the other answers ticked. As HALF its readings match the original's."""
NUM_COMPONENTS = 2
"""Components of the mixtures fitted for posterior matching."""
FACTS = ("distance", "frequency_gap", "candidates_needed", "infeasible", "failed_fits")
"""Facts about the plan of posterior matching that are known before any new answers."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What one simulated study says of all samplers."""

    gaps: Mapping[tuple[str, str], Estimate]
    """Sampler, and RAW or MOMENTS -> gap, mean over the six models."""
    frequency: Mapping[str, float]
    """Sampler -> mean true frequency of the replica."""
    size: Mapping[str, int]
    original_frequency: float
    facts: Mapping[str, float]


def choose_by_all(protocol: Protocol, num_chosen: int, n: int, seed: int, index: int) -> Chosen:
    """Study number `index`: `num_chosen` candidates by each sampler; `n` new answers of each image.

    Depends on (seed, index), the protocol and `num_chosen` alone.
    """
    rng = stream(seed, f"samplers {protocol.name}", index)
    original = draw_images(protocol, protocol.num_images, rng, candidate=False)
    pool = draw_images(protocol, protocol.num_candidates, rng, candidate=True)
    rows, facts = _rows(protocol, original, pool, num_chosen, rng)
    answers = rng.binomial(n, original.frequency)
    gaps: dict[tuple[str, str], Estimate] = {}
    frequency, size = {}, {}
    for name in SAMPLERS:
        replica = pool.take(rows[name])
        frequency[name], size[name] = float(replica.frequency.mean()), len(replica.frequency)
        cells = cells_of(answers, n, original), cells_of(rng.binomial(n, replica.frequency), n, replica)
        estimators: dict[str, Estimator] = {RAW: Raw(), MOMENTS: FactorialMoments()}
        found = estimates_of(cells, estimators, n, protocol, integer(seed, "samplers", index))
        gaps |= {(name, estimator): estimate for estimator, estimate in found.items()}
    mean = float(original.frequency.mean())
    return Chosen(gaps=gaps, frequency=frequency, size=size, original_frequency=mean, facts=facts)


def _rows(
    protocol: Protocol, original: Images, pool: Images, num_chosen: int, rng: np.random.Generator
) -> tuple[dict[str, NDArray[np.intp]], dict[str, float]]:
    """Sampler -> indices of the candidates that it chooses; and the facts of posterior matching."""
    m, per_class = protocol.num_matching, num_chosen // protocol.num_classes
    half = m // 2
    first, second = original.selected.sum(axis=1), pool.selected.sum(axis=1)
    fits = [
        fit_betas(k, np.full(len(k), m), num_components=NUM_COMPONENTS, seed=protocol.num_matching)
        for k in (first, second)
    ]
    plan = posterior_plan(fits[0].betas, fits[1].betas, m, len(second) / num_chosen)
    easy = np.flatnonzero(2 * pool.selected[:, 1] >= m - half)

    def bins(candidates: NDArray[np.intp], one: Counts, two: Counts, answers: int) -> NDArray[np.intp]:
        of_original, of_pool = frequency_bin(one, answers), frequency_bin(two[candidates], answers)
        chosen = match(of_original, original.classes, of_pool, pool.classes[candidates], per_class, rng)
        return candidates[chosen]

    every = np.arange(len(second))
    shown = np.full(len(second), m)
    rows = {
        BINS: bins(every, first, second, m),
        THRESHOLD: above_threshold(second, shown, pool.classes, per_class, Fraction(7, 10), rng),
        TOP: highest(second, shown, pool.classes, per_class),
        POSTERIOR: match_posterior(plan, second, pool.classes, per_class, rng),
        HALF: bins(every, original.selected[:, 0], pool.selected[:, 0], half),
        EASY: bins(easy, original.selected[:, 0], pool.selected[:, 0], half),
    }
    facts = (
        plan.distance,
        plan.frequency_gap,
        plan.candidates_needed,
        plan.infeasible,
        sum(fit.num_failed for fit in fits),
    )
    return rows, dict(zip(FACTS, map(float, facts), strict=True))
