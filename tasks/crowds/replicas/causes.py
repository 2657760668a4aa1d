"""Two rival causes of one gap, planted together: images chosen by noisy readings, and images with several objects.

Beside the choice by noisy readings (arXiv:2005.09619), a replica may hold more images that several labels fit; models
then name another object than the given one, and lose accuracy that no selection frequency explains (arXiv:2412.18409).
Here both are true at once, and how much each is worth is known by integration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from robustray.tasks.crowds.betas import Betas
from robustray.tasks.crowds.replicas.exact import matched
from robustray.tasks.crowds.replicas.scenarios import FORMS, GOOD, HIGHEST, LOWEST, POOR, Form

Array = NDArray[np.float64]

SELECTION, SEVERAL, RESIDUAL, RAW_GAP = "selection", "several objects", "residual", "raw gap"
COMPONENTS = (SELECTION, SEVERAL, RESIDUAL)
"""They sum to the raw gap. residual: what neither cause explains."""
PARTS = (*COMPONENTS, RAW_GAP)
STEP = 1e-3
"""Logits, of a numerical derivative."""
KINDS = (0, 1)
"""An image's kind: one object, or several."""


def kitagawa(share_1: Array, share_2: Array, mean_1: Array, mean_2: Array) -> tuple[Array, Array]:
    """How much of the difference between the means of two populations, mean of 1 minus mean of 2, is due to each of two
    causes.

    share_1, share_2: (..., kinds) of each population, sum 1; mean_1, mean_2: (..., kinds) within each kind. Returns:
    the part of the means within kinds and the part of the shares. Each is the mean over the two orders of changing one
    before the other, so they sum exactly to the difference and neither is the "rest" (Kitagawa, Components of a
    difference between two rates, JASA 50 (1955)). A part is 0 where the two populations agree in it.
    """
    within = (share_1 + share_2) / 2 * (mean_1 - mean_2)
    between = (share_1 - share_2) * (mean_1 + mean_2) / 2
    return within.sum(axis=-1), between.sum(axis=-1)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A world with some of each cause. Pairs: images with one object, images with several."""

    words: str
    original: tuple[Betas, Betas]
    """True selection frequencies by kind."""
    candidates: tuple[Betas, Betas]
    share: float = 0.2
    """Share of the original's images that have several objects."""
    candidate_share: float = 0.2
    confused: float = 0.35
    """Chance that a model names another object of an image with several, where it would be right."""
    form: Form = "quadratic"
    residual: float = 0.0
    """Accuracy that models lose on any candidate."""
    misread: float = 0.0
    """Chance that an image's kind is taken for the other one, in both sets."""

    def chance(self, s: Array, kind: NDArray[np.int64], *, candidate: bool) -> Array:
        """(..., models) chance of each model to be right on images of true frequency s and of these kinds."""
        right = LOWEST + (HIGHEST - LOWEST) * FORMS[self.form](s)[..., None]
        right = right * (1 - self.confused * kind)[..., None]
        return np.maximum(right - self.residual, 0.0) if candidate else right

    def draw(self, num: int, rng: np.random.Generator, *, candidate: bool) -> tuple[Array, NDArray[np.int64]]:
        """(num,) true frequencies and kinds."""
        betas, share = (self.candidates, self.candidate_share) if candidate else (self.original, self.share)
        kind = (rng.random(num) < share).astype(np.int64)
        s = np.empty(num)
        for each in KINDS:
            s[kind == each] = betas[each].draw(rng, int((kind == each).sum()))
        return s, kind

    def truth(self, num_matching: int) -> Mapping[str, float]:
        """Every part of the gap (`PARTS`), mean over models, for infinitely many images matched by so many answers."""
        s1, kind, w1 = _nodes(self.original, self.share)
        s, pool_kind, w = _nodes(self.candidates, self.candidate_share)
        _, w2 = matched((s1, w1), (s, w), num_matching)
        right = self.chance(s1, kind, candidate=False).mean(axis=-1)
        at_original = self.chance(s1, kind, candidate=True).mean(axis=-1)
        at_replica = self.chance(s, pool_kind, candidate=True).mean(axis=-1)
        share_1, mean_1 = _by_kind(w1, kind, at_original)
        share_2, mean_2 = _by_kind(w2, pool_kind, at_replica)
        selection, several = kitagawa(share_1, share_2, mean_1, mean_2)
        residual = float(w1 @ (right - at_original))
        raw = float(w1 @ right - w2 @ at_replica)
        return dict(zip(PARTS, (float(selection), float(several), residual, raw), strict=True))

    def tipping_points(self, num_matching: int, residual: float) -> tuple[float, float]:
        """What would explain a residual: (share of the replica, leniency in logits), both to first order.

        The share of the replica's images that had several objects unnoticed; and how much more leniently the replica
        was read than the original. An infinite share where models are as good on images of either kind.
        """
        s1, kind, w1 = _nodes(self.original, self.share)
        s, pool_kind, w = _nodes(self.candidates, self.candidate_share)
        _, w2 = matched((s1, w1), (s, w), num_matching)
        _, mean = _by_kind(w2, pool_kind, self.chance(s, pool_kind, candidate=True).mean(axis=-1))
        ends = [
            self.chance(special.expit(special.logit(s1) + b), kind, candidate=False).mean(axis=-1)
            for b in (-STEP, STEP)
        ]
        slope = float(w1 @ (ends[1] - ends[0])) / (2 * STEP)
        lost = float(mean[0] - mean[1])
        return residual / lost if abs(lost) > 1e-9 else math.copysign(math.inf, residual), residual / slope


def _nodes(betas: tuple[Betas, Betas], share: float) -> tuple[Array, NDArray[np.int64], Array]:
    """Points, their kinds and their weights."""
    (s0, w0), (s1, w1) = betas[0].nodes(), betas[1].nodes()
    kind = np.repeat(KINDS, [len(s0), len(s1)])
    return np.concatenate([s0, s1]), kind, np.concatenate([(1 - share) * w0, share * w1])


def _by_kind(w: Array, kind: NDArray[np.int64], values: Array) -> tuple[Array, Array]:
    """Share of each kind, and the mean of the values within it."""
    share = np.array([w[kind == each].sum() for each in KINDS])
    sums = np.array([w[kind == each] @ values[kind == each] for each in KINDS])
    return share, sums / share


CLUTTERED = Betas(weight=(0.5, 0.5), a=(6, 3), b=(2, 2))
"""Images with several objects whose given label fewer workers see."""
CLUTTERED_POOL = Betas(weight=(0.5, 0.5), a=(3, 1), b=(3, 3))

MIXTURES: Mapping[str, Mixture] = {
    "neither": Mixture(
        words="candidates are like the original images: every part is 0", original=(GOOD, GOOD), candidates=(GOOD, GOOD)
    ),
    "selection": Mixture(
        words="candidates are worse, and as many have several objects",
        original=(GOOD, GOOD),
        candidates=(POOR, POOR),
    ),
    "objects": Mixture(
        words="candidates are selected as often, but more of them have several objects",
        original=(GOOD, GOOD),
        candidates=(GOOD, GOOD),
        candidate_share=0.4,
    ),
    "both": Mixture(
        words="candidates are worse, more of them have several objects, and models lose 3.6 points on any of them",
        original=(GOOD, GOOD),
        candidates=(POOR, POOR),
        candidate_share=0.4,
        residual=0.036,
    ),
    "opposed": Mixture(
        words="candidates are worse, but fewer of them have several objects",
        original=(GOOD, GOOD),
        candidates=(POOR, POOR),
        share=0.35,
        candidate_share=0.15,
    ),
    "entangled": Mixture(
        words="as both, and fewer workers tick images with several objects: matching changes their share",
        original=(GOOD, CLUTTERED),
        candidates=(POOR, CLUTTERED_POOL),
        candidate_share=0.4,
        residual=0.036,
    ),
    "steep": Mixture(
        words="as both, with a chance to be right that jumps near a frequency of .6",
        original=(GOOD, GOOD),
        candidates=(POOR, POOR),
        candidate_share=0.4,
        residual=0.036,
        form="logistic",
    ),
    "misread": Mixture(
        words="as both, and one image in ten is taken for the other kind",
        original=(GOOD, GOOD),
        candidates=(POOR, POOR),
        candidate_share=0.4,
        residual=0.036,
        misread=0.1,
    ),
}
