"""Shares of yes and no where several outcomes belong to one view or one episode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.statistics import Estimate, clustered_difference


def share(outcomes: NDArray[np.bool_]) -> Estimate:
    """Of outcomes (units, repeats), with units as clusters: the difference to an outcome that is never True.

    Unlike Student's interval of the units' means it stays wide where all of few units came out alike.
    """
    units = np.repeat(np.arange(len(outcomes)), outcomes.shape[1])
    return clustered_difference(outcomes.ravel(), np.zeros(outcomes.size, dtype=bool), units)


def difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Estimate:
    """Share of the first minus that of the second, (units, repeats) both, paired, with units as clusters."""
    units = np.repeat(np.arange(len(first)), first.shape[1])
    return clustered_difference(first.ravel(), second.ravel(), units)
