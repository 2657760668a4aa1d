"""Yes or no, image by image and seed by seed: what trainings with several seeds are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from robustray.tasks.statistics import Estimate, mean_over_seeds, paired_difference, proportion

if TYPE_CHECKING:
    import pandas as pd

Outcomes: TypeAlias = "Mapping[int, pd.Series]"
"""Seed -> whether something holds (an image is classified correctly), boolean, by index."""


def mean_share(outcomes: Outcomes) -> Estimate:
    """Share of yes, mean over seeds; see `mean_over_seeds`."""
    return mean_over_seeds([proportion(flags.to_numpy()) for flags in outcomes.values()], limits=(0.0, 1.0))


def mean_difference(a: Outcomes, b: Outcomes) -> Estimate:
    """Share of yes in `a` minus that in `b`, paired by seed and index, mean over seeds."""
    differences = []
    for seed, first in a.items():
        second = b[seed]
        both = first.index.intersection(second.index)
        differences.append(paired_difference(first[both].to_numpy(), second[both].to_numpy()))
    return mean_over_seeds(differences)


def of_same_images(outcomes: Outcomes, like: Outcomes) -> dict[int, pd.Series]:
    """The outcomes of those images alone that `like` has, by seed."""
    return {seed: flags.reindex(like[seed].index).dropna().astype(bool) for seed, flags in outcomes.items()}


def shares(outcomes: Outcomes) -> list[float]:
    """Share of yes of each seed: the thin lines and faint dots behind a mean."""
    return [float(flags.mean()) for flags in outcomes.values()]
