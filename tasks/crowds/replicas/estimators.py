"""What the replica's accuracy would be if its images had the original's TRUE selection frequencies.

All estimators see answers that were given after the choice, as sums over cells of equal answers (`cells.Sums`):

    estimator.prepare(original, replica)(sums of the original, of the replica) -> accuracy (resamples, models)

The gap is the original's own accuracy minus that. Counts of different length need no random thinning: a cell enters
those of fewer answers with the chance that a random subset of its answers falls there (`crowds.thinning`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robustray.tasks.crowds.replicas.cells import Array, Cells, Remeasured, Sums
from robustray.tasks.crowds.thinning import moments, thinned

Accuracy = Callable[[Sums, Sums], Array]
"""Sums of the original, of the replica -> (resamples, models)."""


class Estimator(Protocol):
    @property
    def least_answers(self) -> int:
        """Answers that every image must have."""
        ...

    def prepare(self, original: Cells, replica: Cells) -> Accuracy: ...


@dataclass(frozen=True)
class Raw:
    """The replica as it is: no correction."""

    least_answers: int = 0

    def prepare(self, original: Cells, replica: Cells) -> Accuracy:
        return lambda _, second: second.accuracy


@dataclass(frozen=True)
class Naive:
    """Re-weight by the measured count out of `n` answers: sum over k of P1(count = k) * accuracy of the replica at k.

    Counts that only the original has say nothing of the replica: they are left out and the rest is scaled up, where the
    authors' code counts their accuracy as 0. `missing_mass` tells how much that is.
    """

    n: int

    @property
    def least_answers(self) -> int:
        return self.n

    def prepare(self, original: Cells, replica: Cells) -> Accuracy:
        one, two = (thinned(cells.n_selected, cells.n_shown, self.n) for cells in (original, replica))

        def accuracy(first: Sums, second: Sums) -> Array:
            wanted, held = first.held @ one, second.held @ two
            at_count = (two.T @ second.right) / np.maximum(held, 1e-300)[..., None]
            known = np.where(held > 0, wanted, 0.0)
            with np.errstate(invalid="ignore"):  # 0 / 0 where the two sets share no count
                return np.asarray((known[..., None] * at_count).sum(axis=1) / known.sum(axis=1)[:, None])

        return accuracy


def missing_mass(original: Remeasured, replica: Remeasured, n: int) -> float:
    """Share of the original at counts out of `n` answers that the replica has not."""
    wanted, held = (_counts(rows, n) for rows in (original, replica))
    return float((wanted * (held == 0)).sum() / wanted.sum())


def _counts(rows: Remeasured, n: int) -> Array:
    """(n + 1,) images of each count."""
    weight = np.ones(len(rows.n_shown)) if rows.weight is None else rows.weight
    return np.asarray(weight @ thinned(rows.n_selected, rows.n_shown, n))


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

    def prepare(self, original: Cells, replica: Cells) -> Accuracy:
        full, fewer = (Naive(n).prepare(original, replica) for n in (self.n, self.n - self.d))
        n, d = self.n, self.d
        return lambda first, second: (n * full(first, second) - (n - d) * fewer(first, second)) / d


EQUATIONS = 7
"""Moments that the polynomial of `FactorialMoments` is fitted to: orders 0 to 6."""


@dataclass(frozen=True)
class FactorialMoments:
    """A polynomial of the true frequency, fitted through moments that answers estimate without bias.

    With g(s) = sum of c_i s^i the chance to be right, E[correct * s^j] = sum of c_i E[s^(i + j)] over the replica for
    j = 0 .. 6, and both sides are means of (k)_j / (n)_j, whatever n (see `crowds.thinning.moments`). Least squares
    gives c; the accuracy at the original's frequencies is the sum of c_i E[s^i] over the original. No distribution is
    fitted, nothing is thinned. Needs `degree + 6` answers of every image. NaN where the replica's answers do not
    determine the polynomial, as where all of them agree.
    """

    degree: int = 3

    @property
    def least_answers(self) -> int:
        return self.degree + EQUATIONS - 1

    def prepare(self, original: Cells, replica: Cells) -> Accuracy:
        first_moments = moments(original.n_selected, original.n_shown, self.degree)
        coefficients = self._fit(replica)

        def accuracy(first: Sums, second: Sums) -> Array:
            mean = first.shares @ first_moments
            return np.asarray((mean[:, None, :] @ coefficients(second))[:, 0, :])

        return accuracy

    def chances(self, rows: Remeasured) -> Array:
        """(degree + 1, models) the fitted coefficients c of each model's chance to be right, sum of c_i s^i."""
        cells = Cells(rows)
        return self._fit(cells)(cells.whole())[0]

    def slope(self, original: Remeasured, replica: Remeasured) -> Array:
        """(models,) how fast the corrected accuracy rises, at 0, if the original were read more leniently, per logit.

        logit s + b instead of logit s changes E[s^i] by b * i * (E[s^i] - E[s^(i+1)]) to first order.
        """
        first, second = Cells(original), Cells(replica)
        of_cells = moments(first.n_selected, first.n_shown, self.degree + 1)
        mean = (first.whole().shares @ of_cells)[0]
        power = np.arange(self.degree + 1)
        return np.asarray((power * (mean[:-1] - mean[1:])) @ self._fit(second)(second.whole())[0])

    def _fit(self, replica: Cells) -> Callable[[Sums], Array]:
        """The replica's sums -> coefficients (resamples, degree + 1, models)."""
        of_cells = moments(replica.n_selected, replica.n_shown, self.least_answers)
        place = np.arange(EQUATIONS)[:, None] + np.arange(self.degree + 1)

        def coefficients(second: Sums) -> Array:
            return least_squares((second.held @ of_cells)[:, place], of_cells[:, :EQUATIONS].T @ second.right)

        return coefficients


def least_squares(system: Array, wanted: Array) -> Array:
    """(resamples, equations, unknowns), (resamples, equations, models) -> (resamples, unknowns, models).

    NaN where a system does not determine its unknowns.
    """
    orthogonal, upper = np.linalg.qr(system)
    pivots = np.abs(np.diagonal(upper, axis1=1, axis2=2))
    unknown = pivots.min(axis=1) <= 1e-14 * pivots.max(axis=1)
    upper[unknown] = np.eye(system.shape[2])
    found = np.asarray(np.linalg.solve(upper, np.swapaxes(orthogonal, 1, 2) @ wanted), dtype=np.float64)
    found[unknown] = np.nan
    return found


def gaps(original: Remeasured, replica: Remeasured, estimators: Sequence[Estimator]) -> Callable[[Array], Array]:
    """The corrected gaps as a statistic for `statistics.resample`: weights of the original's rows, then the replica's.

    Returns: a function (resamples, rows) -> (resamples, len(estimators) * models).
    """
    one, two = Cells(original), Cells(replica)
    prepared = [estimator.prepare(one, two) for estimator in estimators]
    num_first = len(original.n_shown)

    def statistic(weights: Array) -> Array:
        first, second = one.sums(weights[:, :num_first]), two.sums(weights[:, num_first:])
        return np.concatenate([first.accuracy - accuracy(first, second) for accuracy in prepared], axis=1)

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
