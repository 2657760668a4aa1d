"""Schedules of learning rate and eps, per step. Imports nothing heavy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

Schedule = Literal["triangular", "steps", "cosine", "constant"]
SCHEDULES: tuple[Schedule, ...] = ("triangular", "steps", "cosine", "constant")

PEAK = 0.2
"""Where the triangle has its peak, as a share of all steps: chosen for trainings of few epochs."""


def rate(schedule: Schedule, step: int, num_steps: int, *, drops: Sequence[float] = ()) -> float:
    """Factor of the peak learning rate at step `step` in 0 .. num_steps - 1.

    drops: for "steps", the shares of the training after which the rate falls to a tenth.
    "triangular" and "cosine" are read in the middle of a step, so that neither the first nor the last one is lost.
    """
    where = (step + 0.5) / num_steps
    if schedule == "triangular":
        return min(where / PEAK, (1 - where) / (1 - PEAK))
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * where))
    # The tolerance is for drops like 1/3 of the training, which no float is.
    return 0.1 ** sum(step / num_steps >= drop - 1e-9 for drop in drops)


def eps_multiplier(points: Sequence[tuple[float, float]], epoch: float) -> float:
    """Linear between the points (epoch, multiplier), constant before the first and behind the last; 1 without any."""
    if not points:
        return 1.0
    if epoch <= points[0][0]:
        return points[0][1]
    for (e0, m0), (e1, m1) in itertools.pairwise(points):
        if epoch < e1:
            return m0 + (m1 - m0) * (epoch - e0) / (e1 - e0)
    return points[-1][1]
