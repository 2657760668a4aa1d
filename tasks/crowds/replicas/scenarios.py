"""Simulated studies of replication: how often images truly are selected, and how models depend on it.

Every image has a true selection frequency s: the share of infinitely many workers who would tick it. A scenario says
how s is distributed in the original set and among the candidates, and how likely each of six models is right at s.
`residual` is what models lose on candidates at equal s: the gap that a perfect correction leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from robustray.tasks.crowds.betas import Betas

Form = Literal["quadratic", "logistic", "root"]

LOWEST = np.array([0.02, 0.05, 0.08, 0.10, 0.12, 0.15])
HIGHEST = np.array([0.70, 0.78, 0.84, 0.89, 0.93, 0.97])
"""Chance of each of the six models to be right at s = 0 and at s = 1."""
NUM_MODELS = len(LOWEST)

FORMS: Mapping[Form, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "quadratic": lambda s: s**2,
    "logistic": lambda s: special.expit(14 * (s - 0.6)),
    "root": np.sqrt,
}
"""How a model's chance rises from its lowest to its highest value."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of study with a known truth."""

    words: str
    original: Betas
    candidates: Betas
    form: Form = "quadratic"
    residual: float = 0.0

    def chance(self, s: NDArray[np.float64], *, candidate: bool) -> NDArray[np.float64]:
        """(..., models) chance of each model to be right on images of true frequency s (...)."""
        rises = FORMS[self.form](s)[..., None]
        right = LOWEST + (HIGHEST - LOWEST) * rises
        return np.maximum(right - self.residual, 0.0) if candidate else right

    def true_gap(self) -> float:
        """Accuracy on the original minus that of candidates with the original's true frequencies, mean over models."""
        s, weight = self.original.nodes()
        lost = self.chance(s, candidate=False) - self.chance(s, candidate=True)
        return float((weight @ lost).mean())


GOOD = Betas(weight=(0.7, 0.3), a=(9, 3), b=(1.5, 2))
POOR = Betas(weight=(0.6, 0.3, 0.1), a=(3, 1, 6), b=(3, 3, 2))
PILED = Betas(weight=(0.8, 0.2), a=(40, 4), b=(0.6, 2))
PILED_POOL = Betas(weight=(0.35, 0.4, 0.25), a=(25, 3, 1), b=(0.8, 2, 3))

SCENARIOS: Mapping[str, Scenario] = {
    "reference": Scenario(
        words="candidates are worse on average; models depend on the true frequency alone: the true gap is 0",
        original=GOOD,
        candidates=POOR,
    ),
    "residual": Scenario(
        words="as reference, but models lose 3.6 points on candidates at equal frequency",
        original=GOOD,
        candidates=POOR,
        residual=0.036,
    ),
    "logistic": Scenario(
        words="as reference, with a chance to be right that jumps near a frequency of .6",
        original=GOOD,
        candidates=POOR,
        form="logistic",
    ),
    "root": Scenario(
        words="as reference, with a chance to be right that rises fastest near a frequency of 0",
        original=GOOD,
        candidates=POOR,
        form="root",
    ),
    "piled": Scenario(
        words="nearly all workers tick most images: frequencies piled up at 1",
        original=PILED,
        candidates=PILED_POOL,
        residual=0.036,
    ),
    "same": Scenario(
        words="candidates are as good as the original images: nothing to correct",
        original=GOOD,
        candidates=GOOD,
    ),
}
