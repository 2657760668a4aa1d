"""Posterior matching: choose candidates so that TRUE selection frequencies look like the original's.

Candidates of whom k of n workers ticked the image have the true frequencies p(s | k), by Bayes' rule from the fitted
pool. Shares w_k >= 0 of the replica are taken from each k so that the mixture of these is as near as can be to the
original's distribution. Bins match readings instead, and leave the pool's lower true frequencies in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from robustray.tasks.crowds.betas import Betas
from robustray.tasks.crowds.replicas.samplers import largest_remainder, take

Array = NDArray[np.float64]
GRID = np.linspace(0.0, 1.0, 402)[1:-1]
"""Where distributions are compared."""


@dataclass(frozen=True, kw_only=True)
class PosteriorPlan:
    """Which share of the replica comes from each count."""

    shares: Array
    """(n + 1,) sum 1."""
    ideal: Array
    """(n + 1,) what they would be with any number of candidates."""
    candidates_needed: float
    """Candidates per chosen image for the ideal shares: the scarcest count decides."""
    infeasible: float
    """Share of the replica that the ideal shares ask for and there is not."""
    distance: float
    """Largest difference of the two distribution functions of true frequencies that is left."""
    frequency_gap: float
    """Mean true frequency of the original minus that of the replica, expected."""


def posterior_plan(original: Betas, pool: Betas, n: int, candidates_per_image: float = np.inf) -> PosteriorPlan:
    """original, pool: distributions of true frequencies (`fit_betas`); n: answers that choose.

    candidates_per_image: candidates over the size of the replica: no count gives more than there is. Least squares on
    distribution functions, shares within these limits.
    """
    each = np.stack([pool.given(k, n).cdf(GRID) for k in range(n + 1)], axis=1)
    wanted = original.cdf(GRID)
    there = pool.counts(n)
    ideal = _shares(each, wanted, np.ones(n + 1))
    # what no image could be needed for is no reason to need candidates
    needed = float(np.max(ideal[ideal > 1e-3] / there[ideal > 1e-3]))
    limit = np.minimum(1.0, candidates_per_image * there)
    shares = ideal if (ideal <= limit).all() else _shares(each, wanted, limit)
    means = np.array([pool.given(k, n).mean() for k in range(n + 1)])
    return PosteriorPlan(
        shares=shares,
        ideal=ideal,
        candidates_needed=needed,
        infeasible=float(np.maximum(ideal - limit, 0.0).sum()),
        distance=float(np.abs(each @ shares - wanted).max()),
        frequency_gap=original.mean() - float(means @ shares),
    )


def _shares(each: Array, wanted: Array, limit: Array) -> Array:
    """Shares in [0, limit] that sum to 1 and for which the mixture of the columns of `each` is nearest to `wanted`."""
    heavy = 1e5  # the sum is a row of its own that outweighs all points of the grid
    system = np.vstack([each, np.full((1, each.shape[1]), heavy)])
    found = optimize.lsq_linear(system, np.append(wanted, heavy), bounds=(0.0, np.maximum(limit, 1e-12)), tol=1e-12)
    return np.asarray(found.x / found.x.sum())


def match_posterior(
    plan: PosteriorPlan,
    n_selected: NDArray[np.int64],
    classes: NDArray[np.int64],
    per_class: int,
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Indices of the candidates that are chosen: `per_class` of each class with the plan's shares of counts.

    Shares are rounded by largest remainder, to another total in each class: over classes they hold on average. A count
    that runs dry in a class is filled from the next higher one.
    """
    num_classes, n = int(classes.max()) + 1, len(plan.shares) - 1
    # rounding each class alike would leave out every count of less than 1 / per_class
    total = largest_remainder(np.rint(1e9 * plan.shares).astype(np.int64), per_class * num_classes)
    dealt = rng.permutation(np.repeat(np.arange(n + 1), total)).reshape(num_classes, per_class)
    wanted = np.stack([np.bincount(row, minlength=n + 1) for row in dealt])
    return take(wanted, n_selected, classes, rng)
