"""Simulated studies whose classes differ: in accuracy at equal true frequency, and in their true frequencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from robustray.tasks.crowds.betas import Betas
from robustray.tasks.crowds.replicas.cells import Remeasured
from robustray.tasks.crowds.replicas.estimators import MOMENTS, FactorialMoments, gaps
from robustray.tasks.crowds.replicas.exact import matched
from robustray.tasks.crowds.replicas.samplers import frequency_bin, match
from robustray.tasks.crowds.replicas.scenarios import FORMS, GOOD, HIGHEST, LOWEST, NUM_MODELS, POOR
from robustray.tasks.crowds.replicas.stratified import BY_CLASS, StratifiedMoments
from robustray.tasks.lab.seeds import integer, stream
from robustray.tasks.statistics import Estimate, by_cell, resample

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

COMPOSITION = "class composition"
TARGETS = (MOMENTS, BY_CLASS, COMPOSITION)
"""The gap at equal true frequencies; the same within classes; the first minus the second."""
GRID = (np.arange(4_000) + 0.5) / 4_000
"""Where densities of classes are compared."""
NUM_CLASSES = 10
EFFECTS = 0.05 * special.ndtri((np.arange(NUM_CLASSES) + 0.5) / NUM_CLASSES)
"""What a class adds to every model's chance to be right, ascending."""
LIKED = np.linspace(0.3, 0.95, NUM_CLASSES)
"""Weight of the best component of a class's true frequencies, ascending."""


@dataclass(frozen=True, kw_only=True)
class ClassWorld:
    """Ten classes, as many images of each. The chance to be right is a function of s plus the class's effect."""

    words: str
    effects: tuple[float, ...]
    liked: tuple[float, ...]
    residual: float = 0.036
    """Accuracy that models lose on any candidate, in every class: the true gap within classes."""

    def betas(self, one: int, *, candidate: bool) -> Betas:
        """True frequencies of a class: the mixtures of the reference study, its best component weighted."""
        base = POOR if candidate else GOOD
        best, weight = (2 if candidate else 0), np.array(base.weight)
        best_weight = self.liked[one] if not candidate else 0.3 * self.liked[one]
        rest = weight.sum() - weight[best]
        found = weight * (1 - best_weight) / rest
        found[best] = best_weight
        return replace(base, weight=tuple(found.tolist()))

    def chance(self, s: Array, classes: Ints, *, candidate: bool) -> Array:
        """(..., models)"""
        right = 0.12 + 0.76 * (LOWEST + (HIGHEST - LOWEST) * FORMS["quadratic"](s)[..., None])
        right = right + np.array(self.effects)[classes][..., None]
        return right - self.residual if candidate else right

    def truth(self, num_matching: int) -> Mapping[str, float]:
        """The gap by each of `TARGETS`, mean over models, for infinitely many images matched within classes."""
        original, replica = np.zeros((2, NUM_CLASSES, len(GRID)))
        for one in range(NUM_CLASSES):
            first, pool = (_density(self.betas(one, candidate=side)) for side in (False, True))
            original[one], replica[one] = first, matched((GRID, first), (GRID, pool), num_matching)[1]
        effect = np.array(self.effects)
        of_original = original.mean(axis=0)
        in_original = effect @ original / NUM_CLASSES
        in_replica = (effect @ replica) / replica.sum(axis=0)  # mean effect of the replica's images at each frequency
        pooled = self.residual + float(in_original.sum() - of_original @ in_replica)
        return {MOMENTS: pooled, BY_CLASS: self.residual, COMPOSITION: pooled - self.residual}


def _density(betas: Betas) -> Array:
    shares = np.array(betas.weight) @ stats.beta.pdf(GRID, np.array(betas.a)[:, None], np.array(betas.b)[:, None])
    return np.asarray(shares / shares.sum())


_ORDER = np.array([4, 9, 1, 6, 2, 7, 3, 8, 0, 5])
CLASS_WORLDS: Mapping[str, ClassWorld] = {
    "alike": ClassWorld(
        words="classes differ in accuracy but not in true frequencies: both targets are the same",
        effects=tuple(EFFECTS.tolist()),
        liked=(0.7,) * NUM_CLASSES,
    ),
    "unrelated": ClassWorld(
        words="classes differ in both, unrelated",
        effects=tuple(EFFECTS[_ORDER].tolist()),
        liked=tuple(LIKED.tolist()),
    ),
    "easy-liked": ClassWorld(
        words="classes in which images are selected more often are the easier ones, too",
        effects=tuple(EFFECTS.tolist()),
        liked=tuple(LIKED.tolist()),
    ),
    "hard-liked": ClassWorld(
        words="classes in which images are selected more often are the harder ones",
        effects=tuple(EFFECTS[::-1].tolist()),
        liked=tuple(LIKED.tolist()),
    ),
}


@dataclass(frozen=True, kw_only=True)
class ClassProtocol:
    """How large a simulated study of classes is."""

    name: str
    world: ClassWorld
    num_images: int
    num_candidates: int
    num_matching: int
    num_answers: int
    num_resamples: int


def class_study(protocol: ClassProtocol, seed: int, index: int) -> Mapping[str, Estimate]:
    """Study number `index`: the gap by each of `TARGETS`, basic bootstrap intervals over images within classes."""
    rng, m, n = stream(seed, f"classes {protocol.name}", index), protocol.num_matching, protocol.num_answers
    sets = []
    for num, candidate in ((protocol.num_images, False), (protocol.num_candidates, True)):
        classes = np.arange(num) % NUM_CLASSES
        s = np.empty(num)
        for each in range(NUM_CLASSES):
            s[classes == each] = protocol.world.betas(each, candidate=candidate).draw(rng, int((classes == each).sum()))
        right = (rng.random((num, NUM_MODELS)) < protocol.world.chance(s, classes, candidate=candidate)).sum(axis=1)
        sets.append((s, classes, right, frequency_bin(rng.binomial(m, s), m)))
    (s1, c1, f1, b1), (s2, c2, f2, b2) = sets
    chosen = match(b1, c1, b2, c2, protocol.num_images // NUM_CLASSES, rng)
    (one, w1), (two, w2) = (
        _cells(rng.binomial(n, s), n, classes, right)
        for s, classes, right in ((s1, c1, f1), (s2[chosen], c2[chosen], f2[chosen]))
    )
    statistic = targets(one, two)
    assert one.stratum is not None and two.stratum is not None
    strata = np.concatenate([one.stratum, NUM_CLASSES + two.stratum])
    seed_of = integer(seed, "classes bootstrap", index)
    design = by_cell(np.concatenate([w1, w2]), strata=strata)
    drawn = resample(statistic, design, num_resamples=protocol.num_resamples, seed=seed_of)
    return dict(zip(TARGETS, drawn.estimates("basic"), strict=True))


def targets(original: Remeasured, replica: Remeasured) -> Callable[[Array], Array]:
    """The gap by each of `TARGETS` as a statistic for `statistics.resample`; see `estimators.gaps`."""
    pooled = gaps(original, replica, [FactorialMoments()])
    by_class = gaps(original, replica, [StratifiedMoments()])

    def statistic(weights: Array) -> Array:
        first, second = pooled(weights), by_class(weights)
        return np.concatenate([first, second, first - second], axis=1)

    return statistic


def _cells(ticks: Ints, n: int, classes: Ints, right: Ints) -> tuple[Remeasured, Ints]:
    """Images of one class with equal answers and equally many right models in one row; and how many they are."""
    width = NUM_MODELS + 1
    cell, held = np.unique((classes * (n + 1) + ticks) * width + right, return_counts=True)
    cell, num_right = np.divmod(cell, width)
    of_class, ticked = np.divmod(cell, n + 1)
    rows = Remeasured(
        n_shown=np.full(len(held), n), n_selected=ticked, correct=num_right[:, None] / NUM_MODELS, stratum=of_class
    )
    return rows, held
