"""Intervals for what studies estimate. Importing this loads SciPy, but neither torch nor pandas."""

from robustray.tasks.statistics.intervals import (
    Estimate,
    mean_interval,
    newcombe_difference,
    paired_difference,
    proportion,
    wilson,
)

__all__ = ["Estimate", "mean_interval", "newcombe_difference", "paired_difference", "proportion", "wilson"]
