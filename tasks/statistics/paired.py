"""Tests of paired yes/no outcomes, and what several tests at once cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from robustray.tasks.errors import InputError


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided p-value of equal shares for two yes/no outcomes on the same images.

    only_a, only_b: images with a yes in one of the two only; the others say nothing. Under equal shares each of them is
    a fair coin (McNemar, Psychometrika 12 (1947), with the binomial distribution instead of its approximation). 1 when
    there are none.

    Raises: InputError for a negative count.
    """
    if only_a < 0 or only_b < 0:
        raise InputError(f"counts of images cannot be negative, got {only_a} and {only_b}")
    if only_a + only_b == 0:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """p-values adjusted so that the chance of any false rejection among all of them stays below the level.

    p_values: (m,), in any order; the result has theirs. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70: the
    smallest is multiplied by m, the next one by m - 1, and so on, and none falls below its predecessor. It assumes
    nothing about how the tests depend on each other.

    Raises: InputError unless all are in [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"p-values must be a flat list of numbers in [0, 1], got {p_values!r}")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
