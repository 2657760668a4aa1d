"""Factorial moments with an intercept for each class: the gap at equal true frequencies *within* classes.

Pooled estimators re-weight the replica as one set: at a true frequency s they take the classes in which the *replica*
has images of that frequency. Where classes differ in accuracy at equal s and in their frequencies, that answers another
question than comparing like with like within each class. Two estimands, each right for its own question; what they
differ by is called class composition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from robustray.tasks.crowds.replicas.cells import Array, Cells, Sums
from robustray.tasks.crowds.replicas.estimators import EQUATIONS, Accuracy, least_squares
from robustray.tasks.crowds.thinning import moments

BY_CLASS = "factorial moments, by class"


@dataclass(frozen=True)
class StratifiedMoments:
    """Accuracy at the original's true frequencies within classes, weighted as the original's classes are.

    The chance to be right is a_c + g(s), a_c of the class and g a polynomial without a constant. Within classes the
    covariances of being right with s^j (j = 1 .. 6) are those of g(s) with s^j: least squares gives g, and a_c follows
    from the class's own accuracy. Covariances leave out an image's product with itself, so that they are unbiased for
    classes of a few images (ten each in ImageNet-v2). Classes with a single image in the replica tell nothing of g.
    Classes of the original that the replica has not are left out, and the rest is scaled up. Weights of images count as
    numbers of images: their mean should be 1. NaN where the polynomial is not determined.
    """

    degree: int = 3

    @property
    def least_answers(self) -> int:
        return self.degree + EQUATIONS - 1

    def prepare(self, original: Cells, replica: Cells) -> Accuracy:
        num = int(max(original.stratum.max(), replica.stratum.max())) + 1
        first_by_class = _ByClass(original, num, moments(original.n_selected, original.n_shown, self.degree))
        equations = self.equations(replica, num)

        def accuracy(first: Sums, second: Sums) -> Array:
            sums_1 = first_by_class(first.held)  # (resamples, classes, powers)
            spread, with_right, sums_2, right = equations(second)
            slopes = least_squares(spread, with_right)  # (resamples, powers, models)
            held_1, held_2 = sums_1[..., 0], sums_2[..., 0]
            share = np.where((held_1 > 0) & (held_2 > 0), held_1, 0.0)
            share = share / share.sum(axis=1, keepdims=True)
            mean_1, mean_2 = (each / np.maximum(each[..., :1], 1e-300) for each in (sums_1, sums_2))
            own = right / np.maximum(held_2, 1e-300)[:, None]
            moved = np.einsum("rc,rci->ri", share, mean_1[..., 1:] - mean_2[..., 1 : self.degree + 1])
            found = np.einsum("rc,rmc->rm", share, own) + np.einsum("ri,rim->rm", moved, slopes)
            return np.asarray(found, dtype=np.float64)

        return accuracy

    def equations(self, replica: Cells, num: int) -> Callable[[Sums], tuple[Array, Array, Array, Array]]:
        """num: classes. The replica's sums -> what g is fitted to, and sums over classes.

        Covariances within classes, times images: of s^j and s^i (resamples, j, i), of s^j and being right (resamples,
        j, models), j = 1 .. 6. Then the sums of s^0 .. s^6 (resamples, classes, powers) and of right images
        (resamples, models, classes).
        """
        of_cells = moments(replica.n_selected, replica.n_shown, self.least_answers)
        by_class = _ByClass(replica, num, of_cells[:, :EQUATIONS])
        own = of_cells[:, 1:EQUATIONS, None] * of_cells[:, None, 1 : self.degree + 1]
        place = np.arange(1, EQUATIONS)[:, None] + np.arange(1, self.degree + 1)

        def found(second: Sums) -> tuple[Array, Array, Array, Array]:
            sums = by_class(second.held)
            right = by_class(np.swapaxes(second.right, 1, 2))  # (resamples, models, classes, powers)
            held = sums[..., 0]
            usable = held > 1
            less = np.where(usable, 1 / np.where(usable, held - 1, 1.0), 0.0)
            # the product of an image with itself is no product of two means: it is taken out of them
            of_pairs = np.einsum("rcj,rci,rc->rji", sums[..., 1:], sums[..., 1 : self.degree + 1], less)
            of_itself = np.tensordot(second.held * less[:, replica.stratum], own, axes=(1, 0))
            spread = ((second.held * usable[:, replica.stratum]) @ of_cells)[:, place] - of_pairs + of_itself
            with_right = np.einsum("rmcj,rc->rjm", right[..., 1:], held * less)
            with_right -= np.einsum("rmc,rcj,rc->rjm", right[..., 0], sums[..., 1:], less)
            return spread, with_right, sums, right[..., 0]

        return found


class _ByClass:
    """Sums over a class's cells of what is held in each, times the powers of the true frequency."""

    def __init__(self, cells: Cells, num: int, powers: Array) -> None:
        width = powers.shape[1]
        columns = cells.stratum[:, None] * width + np.arange(width)
        rows = np.repeat(np.arange(len(powers)), width)
        shape = len(powers), num * width
        self._matrix = sparse.csr_array((powers.ravel(), (rows, columns.ravel())), shape=shape)
        self._shape = num, width

    def __call__(self, held: Array) -> Array:
        """(..., cells) -> (..., classes, powers)."""
        found = held.reshape(-1, held.shape[-1]) @ self._matrix
        return np.asarray(found).reshape(*held.shape[:-1], *self._shape)
