"""What a target is judged by: accuracy, or mean per class, each with the intervals of `robustray.tasks.statistics`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustray.tasks.errors import InputError
from robustray.tasks.statistics import (
    Estimate,
    paired_difference,
    proportion,
    weighted_difference,
    weighted_proportion,
)
from robustray.tasks.studies.transfer.kinds import MetricName


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What each test image counts."""

    weights: NDArray[np.float64] | None
    """(n,), of mean 1; None where all count alike."""

    def of(self, correct: NDArray[np.bool_], level: float = 0.95) -> Estimate:
        """correct: (n,), of all test images."""
        if self.weights is None:
            return proportion(correct, level)
        return weighted_proportion(correct, self.weights, level)

    def difference(self, a: NDArray[np.bool_], b: NDArray[np.bool_], level: float = 0.95) -> Estimate:
        """Of `a` over `b`, both (n,), paired by image."""
        if self.weights is None:
            return paired_difference(a, b, level)
        return weighted_difference(a, b, self.weights, level)


ACCURACY = Metric(weights=None)
"""Every image counts alike."""


def mean_per_class(labels: ArrayLike, num_classes: int) -> Metric:
    """Every class counts alike: the mean of the classes' recalls, which is that of hits weighted by
    n / (num_classes x images of their class) (arXiv:2007.08489, the metric of five of its twelve targets).

    labels: (n,) of the whole test set; of a part of it, or of other images, the weights would be wrong.
    Raises: InputError for a class without an image, which has no recall.
    """
    found = np.asarray(labels, dtype=np.int64)
    counts = np.bincount(found, minlength=num_classes)
    if not counts.all():
        raise InputError(
            f"mean per class needs test images of every class, and class {int(counts.argmin())} has none: give others, "
            "or use accuracy"
        )
    return Metric(weights=len(found) / (num_classes * counts[found]))


def metric_of(name: MetricName, labels: ArrayLike, num_classes: int) -> Metric:
    """By its name in the settings; see `mean_per_class`."""
    return mean_per_class(labels, num_classes) if name == "per-class" else ACCURACY
