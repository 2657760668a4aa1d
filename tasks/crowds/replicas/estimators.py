"""What the replica's accuracy would be if its images had the original's TRUE selection frequencies.

All estimators see answers that were given after the choice, as *rows*: an image, or a cell of images with equal
answers. They are functions of weights (how often each row was drawn), so that a thousand resamples are matrix products:

    estimator.prepare(original, replica)(w1, w2) -> accuracy (resamples, models)

The gap is the original's own accuracy minus that. Counts of different length need no random thinning: a row enters each
cell with the chance that a random subset of its answers falls there (`crowds.thinning`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.thinning import moments, thinned

Array = NDArray[np.float64]
Accuracy = Callable[[Array, Array], Array]
"""(resamples, rows of the original), (resamples, rows of the replica) -> (resamples, models)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Remeasured:
    """Answers given after the choice, and which models are right."""

    n_shown: NDArray[np.int64]
    """(rows,)"""
    n_selected: NDArray[np.int64]
    correct: Array
    """(rows, models), in [0, 1]: of a cell the share of its images, of a mean over models that mean."""
    chosen: NDArray[np.bool_] | None = None
    """(rows,) which rows are the replica itself, where all candidates stand in for it; None: all of them."""


class Estimator(Protocol):
    @property
    def least_answers(self) -> int:
        """Answers that every image must have."""
        ...

    def prepare(self, original: Remeasured, replica: Remeasured) -> Accuracy: ...


@dataclass(frozen=True)
class Raw:
    """The replica as it is: no correction."""

    least_answers: int = 0

    def prepare(self, original: Remeasured, replica: Remeasured) -> Accuracy:
        chosen = np.ones(len(replica.n_shown)) if replica.chosen is None else replica.chosen.astype(np.float64)
        right = chosen[:, None] * replica.correct
        return lambda _, w2: w2 @ right / (w2 @ chosen)[:, None]


@dataclass(frozen=True)
class Naive:
    """Re-weight by the measured count out of `n` answers: sum over k of P1(count = k) * accuracy of the replica at k.

    Cells that only the original has say nothing of the replica: they are left out and the rest is scaled up, where the
    authors' code counts their accuracy as 0. `missing_mass` tells how much that is.
    """

    n: int

    @property
    def least_answers(self) -> int:
        return self.n

    def prepare(self, original: Remeasured, replica: Remeasured) -> Accuracy:
        first = thinned(original.n_selected, original.n_shown, self.n)
        second = thinned(replica.n_selected, replica.n_shown, self.n)
        num_models = replica.correct.shape[1]
        right = (second[:, :, None] * replica.correct[:, None, :]).reshape(len(second), -1)

        def accuracy(w1: Array, w2: Array) -> Array:
            wanted, held = w1 @ first, w2 @ second
            cell = (w2 @ right).reshape(len(w2), self.n + 1, num_models) / np.maximum(held, 1e-300)[..., None]
            known = np.where(held > 0, wanted, 0.0)
            with np.errstate(invalid="ignore"):  # 0 / 0 where the two sets share no cell
                return (known[..., None] * cell).sum(axis=1) / known.sum(axis=1)[:, None]

        return accuracy


def missing_mass(original: Remeasured, replica: Remeasured, n: int, w1: Array, w2: Array) -> Array:
    """(resamples,) share of the original in cells that the replica has not."""
    wanted = w1 @ thinned(original.n_selected, original.n_shown, n)
    held = w2 @ thinned(replica.n_selected, replica.n_shown, n)
    return np.asarray((wanted * (held == 0)).sum(axis=1) / wanted.sum(axis=1))


@dataclass(frozen=True)
class Jackknife:
    """Delete-d: assume that the naive estimate with n answers is off by c / n, and remove c / n.

    (n A_n - (n - d) A_{n-d}) / d with A_{n-d} from exactly thinned histograms, the mean over all subsets of answers.
    Larger d: less variance, more of the bias that is not c / n is left. The d = 1 form multiplies what n and n - 1
    answers differ by, including the noise of cells with one or two images, by n.
    """

    n: int
    d: int

    @property
    def least_answers(self) -> int:
        return self.n

    def prepare(self, original: Remeasured, replica: Remeasured) -> Accuracy:
        full, fewer = (Naive(n).prepare(original, replica) for n in (self.n, self.n - self.d))
        n, d = self.n, self.d
        return lambda w1, w2: (n * full(w1, w2) - (n - d) * fewer(w1, w2)) / d


EQUATIONS = 7
"""Moments that the polynomial of `FactorialMoments` is fitted to: orders 0 to 6."""


@dataclass(frozen=True)
class FactorialMoments:
    """A polynomial of the true frequency, fitted through moments that answers estimate without bias.

    With g(s) = sum of c_i s^i the chance to be right, E[correct * s^j] = sum of c_i E[s^(i + j)] over the replica for
    j = 0 .. 6, and both sides are means of (k)_j / (n)_j, whatever n (see `crowds.thinning.moments`). Least squares
    gives c; the accuracy at the original's frequencies is the sum of c_i E[s^i] over the original. No distribution is
    fitted, nothing is thinned. Needs `degree + 6` answers of every image.
    """

    degree: int = 3

    @property
    def least_answers(self) -> int:
        return self.degree + EQUATIONS - 1

    def prepare(self, original: Remeasured, replica: Remeasured) -> Accuracy:
        first = moments(original.n_selected, original.n_shown, self.degree)
        coefficients = self._fit(replica)

        def accuracy(w1: Array, w2: Array) -> Array:
            mean1 = w1 @ first / w1.sum(axis=1, keepdims=True)
            return np.asarray((mean1[:, None, :] @ coefficients(w2))[:, 0, :])

        return accuracy

    def slope(self, original: Remeasured, replica: Remeasured) -> Array:
        """(models,) how fast the corrected accuracy rises, at 0, if the original were read more leniently, per logit.

        logit s + b instead of logit s changes E[s^i] by b * i * (E[s^i] - E[s^(i+1)]) to first order.
        """
        ones = [np.ones((1, len(rows.n_shown))) for rows in (original, replica)]
        mean = moments(original.n_selected, original.n_shown, self.degree + 1).mean(axis=0)
        power = np.arange(self.degree + 1)
        return np.asarray((power * (mean[:-1] - mean[1:])) @ self._fit(replica)(ones[1])[0])

    def _fit(self, replica: Remeasured) -> Callable[[Array], Array]:
        """Weights of the replica's rows (resamples, rows) -> coefficients (resamples, degree + 1, models)."""
        num_models, degree = replica.correct.shape[1], self.degree
        second = moments(replica.n_selected, replica.n_shown, self.least_answers)
        right = (second[:, :EQUATIONS, None] * replica.correct[:, None, :]).reshape(len(second), -1)
        place = np.arange(EQUATIONS)[:, None] + np.arange(degree + 1)

        def coefficients(w2: Array) -> Array:
            orthogonal, upper = np.linalg.qr((w2 @ second)[:, place])
            wanted = (w2 @ right).reshape(len(w2), EQUATIONS, num_models)
            solved = np.linalg.solve(upper, np.swapaxes(orthogonal, 1, 2) @ wanted)
            return np.asarray(solved, dtype=np.float64)

        return coefficients


def gaps(original: Remeasured, replica: Remeasured, estimators: Sequence[Estimator]) -> Callable[[Array], Array]:
    """The corrected gaps as a statistic for `statistics.resample`: weights of the original's rows, then the replica's.

    Returns: a function (resamples, rows) -> (resamples, len(estimators) * models).
    """
    prepared = [estimator.prepare(original, replica) for estimator in estimators]
    num_first = len(original.n_shown)

    def statistic(weights: Array) -> Array:
        w1, w2 = weights[:, :num_first], weights[:, num_first:]
        accuracy = w1 @ original.correct / w1.sum(axis=1, keepdims=True)
        return np.concatenate([accuracy - accuracy_at(w1, w2) for accuracy_at in prepared], axis=1)

    return statistic


RAW, NAIVE, HELD_OUT = "raw", "naive", "held-out"
JACKKNIFE, JACKKNIFE_HALF = "jackknife", "jackknife d = n/2"
MOMENTS, MOMENTS_2, MOMENTS_4 = "factorial moments", "moments, degree 2", "moments, degree 4"


def estimators_for(n: int) -> Mapping[str, Estimator]:
    """All estimators that need no second choice, for n answers an image. By name, in the order of the page.

    Some need more answers than n: their `least_answers` say so.
    """
    return {
        RAW: Raw(),
        NAIVE: Naive(n),
        JACKKNIFE: Jackknife(n, 1),
        JACKKNIFE_HALF: Jackknife(n, max(1, n // 2)),
        MOMENTS: FactorialMoments(3),
        MOMENTS_2: FactorialMoments(2),
        MOMENTS_4: FactorialMoments(4),
    }
