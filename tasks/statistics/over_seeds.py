"""Means over trainings with several seeds that are all judged on the same images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustray.tasks.errors import InputError
from robustray.tasks.statistics.intervals import Estimate, mean_interval


def mean_over_seeds(
    estimates: Sequence[Estimate], *, limits: tuple[float, float] = (-1.0, 1.0), level: float = 0.95
) -> Estimate:
    """The mean of one estimate per seed, with an interval over other seeds and other images of the same kind.

    estimates: each with its own interval over the same images, at the same `level` (a proportion, a paired difference).
    Two distances are added in quadrature at each end: Student's t over seeds, and the mean distance of the estimates'
    own ends. Images are shared, so the latter does not shrink with more seeds: outcomes are treated as if an image had
    the same fate with every seed, which makes the interval too wide rather than too narrow. With one seed it is that
    seed's own interval and says nothing of other trainings; with two it is mostly Student's t on one degree of freedom.
    The ends are cut at `limits`. `n` is the smallest number of images.

    Raises: InputError without estimates.
    """
    if not estimates:
        raise InputError("a mean over seeds needs at least one seed")
    values = np.array([estimate.value for estimate in estimates])
    if not np.isfinite(values).all():  # no images
        return Estimate(value=float("nan"), lo=limits[0], hi=limits[1], n=0)
    mean = float(values.mean())
    down = mean - float(np.mean([estimate.lo for estimate in estimates]))
    up = float(np.mean([estimate.hi for estimate in estimates])) - mean
    half = mean_interval(values, level).hi - mean if len(values) > 1 else 0.0
    return Estimate(
        value=mean,
        lo=max(limits[0], mean - float(np.hypot(down, half))),
        hi=min(limits[1], mean + float(np.hypot(up, half))),
        n=min(estimate.n for estimate in estimates),
    )


def mean_over_nested_seeds(
    groups: Sequence[Sequence[Estimate]], *, limits: tuple[float, float] = (-1.0, 1.0), level: float = 0.95
) -> Estimate:
    """As `mean_over_seeds`, where each seed of a training has several repetitions of its own (designs, attacks).

    groups: one for each training, of one estimate for each repetition. Repetitions of one training share it, so they
    are averaged first, with their distances to the ends, and trainings are what t is taken over. With a single training
    it is taken over the repetitions, and says nothing of other trainings.

    Raises: InputError without estimates, or for a training without any.
    """
    if any(not group for group in groups):
        raise InputError("a mean over nested seeds needs at least one estimate for each training")
    if len(groups) == 1:
        return mean_over_seeds(groups[0], limits=limits, level=level)
    return mean_over_seeds([_averaged(group) for group in groups], limits=limits, level=level)


def _averaged(estimates: Sequence[Estimate]) -> Estimate:
    value, lo, hi = (
        float(np.mean([getattr(estimate, end) for estimate in estimates])) for end in ("value", "lo", "hi")
    )
    return Estimate(value=value, lo=lo, hi=hi, n=min(estimate.n for estimate in estimates))
