"""How many images and answers a study needs: its interval predicted from what a first study says, before it is run.

A first study gives the distributions of true frequencies (fitted mixtures of betas) and how the mean of all models
depends on them (factorial moments). Under that world each design's estimates have a variance that follows from their
influence functions, images of the two sets being independent: V1 / N1 + V2 / N2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special, stats

from robustray.tasks.crowds.betas import Betas, fit_betas
from robustray.tasks.crowds.replicas.cells import Array, Remeasured
from robustray.tasks.crowds.replicas.estimators import FactorialMoments, Naive, Raw, gaps
from robustray.tasks.crowds.replicas.exact import Nodes, matched

MANY = 320
"""Answers per image that are taken for infinitely many."""
Half = Literal["gap", "bias"]
"""The corrected gap, or raw minus corrected gap."""
STEP = 1e-4
"""Step of the numerical derivatives, in shares of an image's weight."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """One set: true frequencies, and the mean over models of being right, its first two moments given the frequency."""

    nodes: Nodes
    right: Array
    """Coefficients of E[f | s] in powers of s, f the mean over models."""
    square: Array
    """Those of E[f^2 | s]."""

    def at(self, s: Array) -> tuple[Array, Array]:
        """E[f | s] and E[f^2 | s], within what they can be."""
        mean = np.clip(_polynomial(s, self.right), 0.0, 1.0)
        return mean, np.clip(_polynomial(s, self.square), mean**2, mean)


def _polynomial(s: Array, coefficients: Array) -> Array:
    return np.asarray(np.polynomial.polynomial.polyval(s, coefficients), dtype=np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """What a first study says of images and models."""

    original: Images
    replica: Images
    pool: Betas | None
    """All candidates; None where the study does not have them."""

    def with_replica(self, num_matching: int) -> World:
        """The model with a replica that is matched in bins by this many answers. Needs a pool."""
        assert self.pool is not None
        nodes = matched(self.original.nodes, self.pool.nodes(), num_matching)
        replica = Images(nodes=nodes, right=self.replica.right, square=self.replica.square)
        return World(original=self.original, replica=replica, pool=self.pool)


def world(
    original: Remeasured, replica: Remeasured, pool: Remeasured | None = None, *, num_components: int = 2
) -> World:
    """Fit a world to a study with at least 9 answers per image; of the pool only the answers are looked at.

    Raises: InputError as `fit_betas` and `crowds.thinning.moments`.
    """

    def betas(rows: Remeasured) -> Betas:
        found = fit_betas(rows.n_selected, rows.n_shown, num_components=num_components, weights=rows.weight)
        return found.betas

    def images(rows: Remeasured) -> Images:
        f = rows.correct.mean(axis=1)
        both = Remeasured(
            n_shown=rows.n_shown,
            n_selected=rows.n_selected,
            correct=np.stack([f, f**2], axis=1),
            weight=rows.weight,
        )
        fitted = FactorialMoments().chances(both)
        return Images(nodes=betas(rows).nodes(), right=fitted[:, 0], square=fitted[:, 1])

    return World(original=images(original), replica=images(replica), pool=None if pool is None else betas(pool))


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Prediction for a design with `n` new answers per image; biases are those of infinitely many images."""

    gap_variance: tuple[float, float]
    """V1, V2 of the gap corrected by factorial moments."""
    bias_variance: tuple[float, float]
    """V1, V2 of raw minus corrected gap, what the choice explains."""
    raw_bias: float
    """Raw gap minus the gap at equal true frequencies: what is left without correction."""
    naive_bias: float
    moments_bias: float

    def half_width(self, of: Half, num_original: float, num_replica: float) -> float:
        """Half-width of a 95 % interval."""
        first, second = self.gap_variance if of == "gap" else self.bias_variance
        return float(special.ndtri(0.975) * np.sqrt(first / num_original + second / num_replica))


def predict(of: World, n: int) -> Prediction:
    """n: new answers per image, at least 9."""
    sides = [_cells(images, n) for images in (of.original, of.replica)]
    rows = [
        Remeasured(
            n_shown=np.full(2 * (n + 1), n),
            n_selected=np.repeat(np.arange(n + 1), 2),
            correct=np.tile([0.0, 1.0], n + 1)[:, None],
        )
        for _ in sides
    ]
    statistic = gaps(rows[0], rows[1], [Raw(), FactorialMoments(), Naive(n)])
    weights = [np.stack([held * (1 - mean), held * mean], axis=1).ravel() for held, mean, _ in sides]
    base = np.concatenate(weights)
    raw, moments, naive = statistic(base[None, :])[0]
    variances = np.zeros((2, 2))  # sides, (gap, bias)
    for place, (held, mean, square) in enumerate(sides):
        moved = _moved(weights, place)
        influence = (statistic(base + STEP * moved) - statistic(base - STEP * moved)) / (2 * STEP)
        of_both = np.stack([influence[:, 1], influence[:, 0] - influence[:, 1]], axis=1).reshape(n + 1, 2, 2)
        wrong, rise = of_both[:, 0], of_both[:, 1] - of_both[:, 0]  # linear in f at every count
        each = wrong**2 + 2 * wrong * rise * mean[:, None] + rise**2 * square[:, None]
        variances[place] = held @ each
    truth = _true_gap(of)
    return Prediction(
        gap_variance=(float(variances[0, 0]), float(variances[1, 0])),
        bias_variance=(float(variances[0, 1]), float(variances[1, 1])),
        raw_bias=float(raw) - truth,
        naive_bias=float(naive) - truth,
        moments_bias=float(moments) - truth,
    )


def _moved(weights: list[Array], place: int) -> Array:
    """(rows of one side, rows) directions in which one row gains weight and the others of its side lose it."""
    direction = np.eye(len(weights[place])) - weights[place]
    nothing = np.zeros((len(direction), len(weights[1 - place])))
    return np.concatenate([direction, nothing] if place == 0 else [nothing, direction], axis=1)


def _cells(images: Images, n: int) -> tuple[Array, Array, Array]:
    """(n + 1,) each: chance of a count, and E[f | count], E[f^2 | count]."""
    s, w = images.nodes
    joint = w[:, None] * stats.binom.pmf(np.arange(n + 1), n, s[:, None])
    held = np.maximum(joint.sum(axis=0), 1e-300)
    mean, square = images.at(s)
    return held / held.sum(), mean @ joint / held, square @ joint / held


def _true_gap(of: World) -> float:
    s, w = of.original.nodes
    return float(w @ (of.original.at(s)[0] - of.replica.at(s)[0]))


def draw(images: Images, num: int, n: int, rng: np.random.Generator) -> Remeasured:
    """A set of `num` images with `n` answers each, drawn from the world; f with its mean and variance (a beta)."""
    s, w = images.nodes
    frequency = rng.choice(s, size=num, p=w / w.sum())
    mean, square = images.at(frequency)
    variance = np.maximum(square - mean**2, 1e-12)
    total = np.maximum(mean * (1 - mean) / variance - 1, 1e-9)
    right = rng.beta(np.maximum(mean * total, 1e-9), np.maximum((1 - mean) * total, 1e-9))
    return Remeasured(n_shown=np.full(num, n), n_selected=rng.binomial(n, frequency), correct=right[:, None])


def simulated_gaps(of: World, num_original: int, num_replica: int, n: int, rng: np.random.Generator) -> Array:
    """(2,) corrected gap, and raw minus corrected gap, of a study drawn from the world. NaN where moments fail."""
    sets = draw(of.original, num_original, n, rng), draw(of.replica, num_replica, n, rng)
    raw, corrected = gaps(*sets, [Raw(), FactorialMoments()])(np.ones((1, num_original + num_replica)))[0]
    return np.array([corrected, raw - corrected])


def realised_half_width(values: Array) -> float:
    """Half of the range that holds the central 95 % of simulated estimates, as an interval's ends do.

    Not 1.96 standard deviations: with few images a handful of estimates lie far out. NaN counts as furthest out.
    """
    lost = np.isnan(values)
    lo, hi = (
        np.quantile(np.where(lost, end, values), q, method="nearest") for end, q in ((-np.inf, 0.025), (np.inf, 0.975))
    )
    return float(hi - lo) / 2
