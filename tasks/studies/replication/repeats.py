"""What is said of simulated studies: what their claims rest on, and means over those that could be estimated."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.kit.claims import Repeats
from robustray.tasks.statistics import Estimate, mean_interval


def simulated(count: int) -> Repeats:
    """count: simulated studies of each kind. Fewer than 20 decide no claim."""
    return Repeats(count=count, least=20, units="simulated studies", over="simulated studies")


def mean_of_known(values: NDArray[np.float64]) -> Estimate:
    """Mean over the studies that could be estimated, with Student's t interval; NaN where none could.

    values: (studies,) NaN where an estimator found nothing, as with few images whose answers all agree.
    """
    known = values[np.isfinite(values)]
    return mean_interval(known) if len(known) else Estimate(value=np.nan, lo=-np.inf, hi=np.inf, n=0)


def not_estimated(what: str, values: NDArray[np.float64]) -> Iterator[str]:
    """A warning where some studies could not be estimated; nothing where all could. values: as of `mean_of_known`."""
    lost = int((~np.isfinite(values)).sum())
    if lost:
        yield f"{what}: {lost:,} of {len(values):,} simulated studies have no estimate; means are over the others"
