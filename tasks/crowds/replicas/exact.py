"""What the simulated studies give on average with infinitely many images: integrals instead of draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from robustray.tasks.crowds.replicas.samplers import NUM_BINS, frequency_bin
from robustray.tasks.crowds.replicas.scenarios import Scenario

Array = NDArray[np.float64]
Nodes = tuple[Array, Array]
"""Points and weights of a distribution of true frequencies."""
MOST_LENIENT = 10.0
"""Logits: from a frequency of .5 to one of .99995."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Expectations:
    """A matched replica of infinitely many images, chosen by `num_matching` answers an image."""

    scenario: Scenario
    num_matching: int

    def original(self) -> Nodes:
        """Points and weights of the original's true frequencies."""
        return self.scenario.original.nodes()

    def replica(self) -> Nodes:
        """Those of the chosen candidates."""
        return matched(self.original(), self.scenario.candidates.nodes(), self.num_matching)

    def frequencies(self) -> tuple[float, float]:
        """Mean true frequency of the original and of the replica."""
        return tuple(float(w @ s) for s, w in (self.original(), self.replica()))  # type: ignore[return-value]

    def raw_gap(self) -> float:
        return float(self._accuracy_original().mean() - self._accuracy_replica().mean())

    def naive_gap(self, n: int) -> float:
        (s1, w1), (s2, w2) = self.original(), self.replica()
        one, two = w1 @ _counts(s1, n), _counts(s2, n)
        right = two.T @ (w2[:, None] * self.scenario.chance(s2, candidate=True))
        accuracy = (one / (w2 @ two)) @ right
        return float(self._accuracy_original().mean() - accuracy.mean())

    def jackknife_gap(self, n: int, d: int) -> float:
        return (n * self.naive_gap(n) - (n - d) * self.naive_gap(n - d)) / d

    def false_gap(self, leniency: float) -> float:
        """The gap at equal *readings* of infinitely many answers if models lose nothing at equal frequency, and the
        replica is read this many logits more leniently than the original."""
        s, w = self.original()
        rightful = self.scenario.chance(special.expit(special.logit(s) - leniency), candidate=False)
        return float(self._accuracy_original().mean() - (w @ rightful).mean())

    def tipping_point(self, gap: float) -> float:
        """The leniency whose false gap is `gap`. -inf or inf where none is so large."""
        reached = self.false_gap(-MOST_LENIENT), self.false_gap(MOST_LENIENT)
        if not reached[0] < gap < reached[1]:
            return float(np.copysign(np.inf, gap))
        found = optimize.brentq(lambda leniency: self.false_gap(leniency) - gap, -MOST_LENIENT, MOST_LENIENT)
        return float(found)

    def _accuracy_original(self) -> Array:
        s, w = self.original()
        return w @ self.scenario.chance(s, candidate=False)

    def _accuracy_replica(self) -> Array:
        s, w = self.replica()
        return w @ self.scenario.chance(s, candidate=True)


def matched(original: Nodes, pool: Nodes, num_matching: int) -> Nodes:
    """Candidates chosen by bins: the pool's distribution given the bin, mixed as the original's bins are.

    Raises nothing: a bin that the pool never reaches leaves its share of the original out.
    """
    (s1, w1), (s, w) = original, pool
    share, of_pool = w1 @ _bins(s1, num_matching), _bins(s, num_matching)
    reached = w @ of_pool
    weight = w * (of_pool @ np.divide(share, reached, out=np.zeros_like(share), where=reached > 0))
    return s, weight / weight.sum()


def _counts(s: Array, n: int) -> Array:
    """(points, n + 1) chance of each count of n answers."""
    return np.asarray(stats.binom.pmf(np.arange(n + 1)[None, :], n, s[:, None]))


def _bins(s: Array, n: int) -> Array:
    """(points, bins) chance of each bin of n answers."""
    bins = frequency_bin(np.arange(n + 1), n)
    return _counts(s, n) @ (bins[:, None] == np.arange(NUM_BINS)).astype(np.float64)
