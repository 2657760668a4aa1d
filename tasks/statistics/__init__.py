"""Intervals and tests for what studies estimate. Importing this loads SciPy, but neither torch nor pandas."""

from robustray.tasks.statistics.intervals import (
    Estimate,
    mean_interval,
    newcombe_difference,
    paired_difference,
    proportion,
    wilson,
)
from robustray.tasks.statistics.paired import holm, mcnemar_exact

__all__ = [
    "Estimate",
    "holm",
    "mcnemar_exact",
    "mean_interval",
    "newcombe_difference",
    "paired_difference",
    "proportion",
    "wilson",
]
