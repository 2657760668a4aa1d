"""Intervals and tests for what studies estimate. Importing this loads SciPy, but neither torch nor pandas.

docs/statistics.md says which one to take, and how often each covers the truth.
"""

from robustray.tasks.statistics.bootstrap import Resamples, bootstrap, bootstrap_mean, resample
from robustray.tasks.statistics.clusters import clustered_difference, clustered_mean
from robustray.tasks.statistics.contrasts import welch_contrast
from robustray.tasks.statistics.designs import Design, by_cell, by_cluster, by_unit
from robustray.tasks.statistics.equivalence import within_margin
from robustray.tasks.statistics.intervals import (
    NOTHING,
    Estimate,
    mean_interval,
    median_interval,
    newcombe_difference,
    paired_difference,
    proportion,
    wilson,
)
from robustray.tasks.statistics.over_seeds import mean_over_nested_seeds, mean_over_seeds
from robustray.tasks.statistics.paired import holm, mcnemar_exact
from robustray.tasks.statistics.two_samples import difference_of, permutation_difference, permutation_p, welch
from robustray.tasks.statistics.weighted import weighted_difference, weighted_proportion

__all__ = [
    "NOTHING",
    "Design",
    "Estimate",
    "Resamples",
    "bootstrap",
    "bootstrap_mean",
    "by_cell",
    "by_cluster",
    "by_unit",
    "clustered_difference",
    "clustered_mean",
    "difference_of",
    "holm",
    "mcnemar_exact",
    "mean_interval",
    "mean_over_nested_seeds",
    "mean_over_seeds",
    "median_interval",
    "newcombe_difference",
    "paired_difference",
    "permutation_difference",
    "permutation_p",
    "proportion",
    "resample",
    "weighted_difference",
    "weighted_proportion",
    "welch",
    "welch_contrast",
    "wilson",
    "within_margin",
]
