"""Deconvolution: fit the distributions of true frequencies, then how right answers depend on them, and integrate.

The original analysis' headline: p1 and p2 as mixtures of B beta distributions by likelihood; the chance to be right at
a true frequency, g(s), as a cubic spline between 0 and 1 by least squares on the counts of right images; and the
integral of g over p1. B = 1 is the beta-binomial estimator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import interpolate, optimize, stats

from robustray.tasks.crowds.betas import Betas, Fit, fit_betas
from robustray.tasks.crowds.replicas.cells import Array, Cells, Sums
from robustray.tasks.crowds.replicas.simulate import Protocol, cells_of, choose, draw_images
from robustray.tasks.lab.seeds import integer, stream
from robustray.tasks.statistics import Estimate, by_cell, resample

KNOTS = (0.5, 0.7, 0.9)
"""Knots of the cubic spline, as in the original analysis: most images of a good set have a high frequency."""


@dataclass(frozen=True)
class Mixture:
    """An estimator like those of `estimators`, for few resamples: every resample is fitted.

    A fitted function starts a resample from the fit of the first sums it is given, the sample itself; that makes it
    fast, and resamples stay near the same maximum of the likelihood.
    """

    num_components: int
    num_starts: int = 8

    @property
    def least_answers(self) -> int:
        return 3 * self.num_components - 1

    def prepare(self, original: Cells, replica: Cells) -> FittedAccuracy:
        return FittedAccuracy(self, original, replica)

    def fit(self, cells: Cells, held: Array, initial: Betas | None = None) -> Fit:
        """The distribution of true frequencies behind a set's counts."""
        return fit_betas(
            cells.n_selected,
            cells.n_shown,
            num_components=self.num_components,
            weights=held,
            num_starts=self.num_starts,
            initial=initial,
        )


class FittedAccuracy:
    """What `Mixture.prepare` gives: fits every resample, and counts optima that did not converge."""

    num_failed: int = 0
    """Fits of resamples, of either set, whose optimiser stopped without converging. Their estimates are kept."""
    at_bound: bool = False
    """Whether a shape fitted to the sample itself ended at its bound."""

    def __init__(self, mixture: Mixture, original: Cells, replica: Cells) -> None:
        self._mixture, self._sides = mixture, (original, replica)
        self._first: list[Betas] = []

    def __call__(self, first: Sums, second: Sums) -> Array:
        found = []
        for row in range(len(first.held)):
            held = first.held[row], second.held[row]
            initial: Sequence[Betas | None] = self._first or (None, None)
            fits = [
                self._mixture.fit(cells, images, start)
                for cells, images, start in zip(self._sides, held, initial, strict=True)
            ]
            if self._first:
                self.num_failed += sum(fit.num_failed for fit in fits)
            else:
                self._first, self.at_bound = [fit.betas for fit in fits], any(fit.at_bound for fit in fits)
            found.append(_accuracy(fits[0].betas, fits[1].betas, self._sides[1], held[1], second.right[row]))
        return np.array(found)


def _accuracy(first: Betas, second: Betas, replica: Cells, held: Array, right: Array) -> Array:
    """(models,) the spline of each model, integrated over the original's distribution."""
    s2, w2 = second.nodes()
    chance = stats.binom.pmf(replica.n_selected[:, None], replica.n_shown[:, None], s2[None, :])  # (cells, points)
    # cells of equal n share their images: chances of their counts, times how many images have that n
    num = np.array([held[replica.n_shown == n].sum() for n in replica.n_shown])
    system = (num / held.sum())[:, None] * (chance * w2) @ _spline(s2)
    s1, w1 = first.nodes()
    at_original = w1 @ _spline(s1)
    return np.array([at_original @ _between_0_and_1(system, column / held.sum()) for column in right.T])


def _between_0_and_1(system: Array, wanted: Array) -> Array:
    """Coefficients in [0, 1], which keeps the spline there: least squares."""
    return np.asarray(optimize.lsq_linear(system, wanted, bounds=(0.0, 1.0), tol=1e-12).x)


def _spline(s: Array) -> Array:
    """(points, 7) the cubic B-splines with these knots; they sum to 1 everywhere."""
    knots = np.concatenate([np.zeros(4), KNOTS, np.ones(4)])
    return np.asarray(interpolate.BSpline.design_matrix(np.clip(s, 0.0, 1.0), knots, 3).toarray())


@dataclass(frozen=True, kw_only=True)
class MixtureStudy:
    """What one simulated study says of mixtures; one entry for each number of components."""

    gaps: Sequence[Estimate]
    """Corrected gap, mean over the six models; with an infinite interval where none was asked for."""
    at_bound: Sequence[bool]
    """Whether a shape of either distribution ended at its bound."""
    failed: Sequence[float]
    """Share of the fits to resamples that did not converge; NaN without resamples."""


def mixture_study(
    protocol: Protocol, components: Sequence[int], n: int, seed: int, index: int, *, num_resamples: int = 0
) -> MixtureStudy:
    """Study number `index` with `n` new answers per image; it depends on (seed, index) and the other arguments alone.

    num_resamples: behind basic bootstrap intervals over images, at least 200; 0: no intervals.
    """
    rng = stream(seed, f"mixtures {protocol.name}", index)
    original = draw_images(protocol, protocol.num_images, rng, candidate=False)
    pool = draw_images(protocol, protocol.num_candidates, rng, candidate=True)
    replica = pool.take(choose(protocol, original, pool, slice(None), protocol.num_matching, rng))
    (one, w1), (two, w2) = (cells_of(rng.binomial(n, images.frequency), n, images) for images in (original, replica))
    sides, counts = (Cells(one), Cells(two)), np.concatenate([w1, w2])
    design = by_cell(counts, strata=np.repeat([0, 1], [len(w1), len(w2)]))
    found, bounds, failed = [], [], []
    for num in components:
        accuracy = Mixture(num).prepare(*sides)

        def statistic(weights: Array, accuracy: FittedAccuracy = accuracy) -> Array:
            first, second = sides[0].sums(weights[:, : len(w1)]), sides[1].sums(weights[:, len(w1) :])
            return first.accuracy - accuracy(first, second)

        if num_resamples:
            drawn = resample(
                statistic, design, num_resamples=num_resamples, seed=integer(seed, "mixtures bootstrap", index)
            )
            found.append(drawn.estimates("basic")[0])
        else:
            value = float(statistic(counts[None, :])[0, 0])
            found.append(Estimate(value=value, lo=-np.inf, hi=np.inf, n=design.num_units))
        bounds.append(accuracy.at_bound)
        failed.append(accuracy.num_failed / (2 * num_resamples) if num_resamples else float("nan"))
    return MixtureStudy(gaps=found, at_bound=bounds, failed=failed)
