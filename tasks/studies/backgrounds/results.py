"""What a run has found, before it is put into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.kit.frames import at, estimate_of, one
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.backgrounds import reduce
from robustray.tasks.studies.backgrounds.adversarial import Met
from robustray.tasks.studies.backgrounds.reduce import FIXED
from robustray.tasks.studies.backgrounds.saliency import Maps
from robustray.tasks.studies.backgrounds.settings import ORIGINAL, Network, Settings

FEWEST_MODELS = 4
"""A line through fewer of a user's models says nothing."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Frames are built once and named; findings, tables and drawings take them."""

    settings: Settings
    classes: tuple[str, ...]
    versions: tuple[str, ...]
    """Those that there are, beside the original."""
    records: pd.DataFrame
    """See `reduce`; empty where nothing was judged."""
    pairs: pd.DataFrame
    """Per kind of images, version and foreground: whose background it got."""
    rejected: pd.DataFrame
    """Images that are in no version, with the reason."""
    num_kept: int
    looked_up: tuple[str, ...]
    """Models of ImageNet's 1,000 classes, whose answers were read as one of nine groups."""
    met: Sequence[Met]
    """Networks on adversarial backgrounds; empty where none were asked for."""
    met_places: Sequence[int]
    """Of those backgrounds among the test images."""
    met_rooms: NDArray[Any] | None
    """(backgrounds, channels, height, width): those backgrounds."""
    saliency: Maps
    """Gradients of some networks' answers; empty where none were asked for."""
    saliency_images: NDArray[Any] | None
    """The images of those, in their order."""
    robust: pd.DataFrame
    """A row per network, size and attacked image of adversarial training's comparison; empty without it."""
    against: Sequence[str]
    """Why those are no evidence, a line each."""
    examples: tuple[list[str], list[str], NDArray[np.uint8]] | None
    """Row heads, column heads, images in reading order."""
    built: pd.DataFrame
    """Folders into which versions were written; empty without `build`."""

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        return reduce.accuracy_table(self.records, self.versions)

    @cached_property
    def gaps(self) -> pd.DataFrame:
        return reduce.gap_table(self.records, self.versions)

    @cached_property
    def categories(self) -> pd.DataFrame:
        return reduce.category_table(self.records)

    @cached_property
    def better(self) -> list[tuple[str, list[pd.DataFrame]]]:
        """Networks of growing accuracy, each with the records of its seeds: those of the curve, or the user's models;
        in the order of their accuracy on Original. [] for fewer than three."""
        if self.records.empty:
            return []
        found = [
            (head["network"], seeds)
            for head, seeds in reduce.groups(self.records)
            if self.settings.own
            or (head["images"] == FIXED and head["network"] in {each.words for each in self.settings.curve()})
        ]
        if len(found) < 3:
            return []
        return sorted(found, key=lambda each: reduce.accuracy(each[1], ORIGINAL).value)

    @cached_property
    def trends(self) -> dict[str, Estimate]:
        """By `reduce.GAP` or version: its slope against accuracy on Original, over `better`; {} without those."""
        kinds = [seeds for _, seeds in self.better]
        if len(kinds) < (FEWEST_MODELS if self.settings.own else 3):
            return {}
        return reduce.trends(kinds, self.versions, over="models" if self.settings.own else "seeds")

    @property
    def top(self) -> float:
        """The largest correlation, at which claims are made."""
        return self.settings.rhos[-1]

    def seeds(self, network: Network, images: str = FIXED) -> list[pd.DataFrame]:
        """The records of a kind of network, one frame per seed in the same order of images."""
        rows = at(self.records, images=images, network=network.words)
        return [seed.sort_values("index") for _, seed in rows.groupby("seed", sort=True)]

    def gap(self, network: Network) -> Estimate:
        """BG-gap on the fixed scenes."""
        return estimate_of(one(self.gaps, images=FIXED, network=network.words), "gap")

    def accuracy_of(self, network: Network, version: str) -> Estimate:
        """On the fixed scenes."""
        return estimate_of(one(self.accuracy, images=FIXED, network=network.words, version=version), "accuracy")

    def own_gap(self, model: str) -> Estimate:
        """BG-gap of a model on the user's own images."""
        return estimate_of(one(self.gaps, network=model), "gap")

    @cached_property
    def matrix(self) -> list[Network]:
        """Networks trained on each version at the largest correlation."""
        return [Network(self.top, version, 0) for version in (ORIGINAL, *self.settings.also_train_on)]


def images_words(rho: float) -> str:
    """Which scenes: `"rho 0.9"`."""
    return f"rho {rho:g}"
