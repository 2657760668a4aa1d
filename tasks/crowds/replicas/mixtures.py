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
from robustray.tasks.crowds.replicas.estimators import Accuracy, gaps
from robustray.tasks.crowds.replicas.simulate import Protocol, cells_of, choose, draw_images
from robustray.tasks.lab.seeds import stream

KNOTS = (0.5, 0.7, 0.9)
"""Of the cubic spline, as in the original analysis: most images of a good set have a high frequency."""


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

    def prepare(self, original: Cells, replica: Cells) -> Accuracy:
        first_fits: list[Betas] = []

        def accuracy(first: Sums, second: Sums) -> Array:
            found = []
            for row in range(len(first.held)):
                held = first.held[row], second.held[row]
                fits = [
                    self.fit(cells, images, first_fits[side] if first_fits else None).betas
                    for side, (cells, images) in enumerate(zip((original, replica), held, strict=True))
                ]
                first_fits.extend(fits if not first_fits else [])
                found.append(_accuracy(fits[0], fits[1], replica, held[1], second.right[row]))
            return np.array(found)

        return accuracy

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
    """What one simulated study says of mixtures."""

    gaps: Sequence[float]
    """Corrected gap for each number of components, mean over the six models."""
    at_bound: Sequence[bool]
    """Whether a shape of either distribution ended at its bound."""


def mixture_study(protocol: Protocol, components: Sequence[int], n: int, seed: int, index: int) -> MixtureStudy:
    """Study number `index` with `n` new answers per image: it depends on (seed, index) and the protocol alone."""
    rng = stream(seed, f"mixtures {protocol.name}", index)
    original = draw_images(protocol, protocol.num_images, rng, candidate=False)
    pool = draw_images(protocol, protocol.num_candidates, rng, candidate=True)
    replica = pool.take(choose(protocol, original, pool, slice(None), protocol.num_matching, rng))
    (one, w1), (two, w2) = (cells_of(rng.binomial(n, images.frequency), n, images) for images in (original, replica))
    weights = np.concatenate([w1, w2])[None, :]
    found, bounds = [], []
    for num in components:
        mixture = Mixture(num)
        found.append(float(gaps(one, two, [mixture])(weights)[0, 0]))
        sides = [(Cells(rows), held) for rows, held in ((one, w1), (two, w2))]
        bounds.append(any(mixture.fit(cells, cells.sums(held[None, :]).held[0]).at_bound for cells, held in sides))
    return MixtureStudy(gaps=found, at_bound=bounds)
