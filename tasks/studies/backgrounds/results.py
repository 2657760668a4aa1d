"""What a run has found, before it is put into words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.kit.frames import at, estimate_of, one
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.backgrounds import reduce
from robustray.tasks.studies.backgrounds.settings import ORIGINAL, WORDS, Settings


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

    @property
    def top(self) -> float:
        """The largest correlation, at which claims are made."""
        return self.settings.rhos[-1]

    def gap_at(self, rho: float, trained_on: str = ORIGINAL) -> Estimate:
        """BG-gap of networks trained on scenes."""
        return estimate_of(one(self.gaps, rho=rho, network=network_words(trained_on)), "gap")

    def accuracy_at(self, rho: float, version: str, trained_on: str = ORIGINAL) -> Estimate:
        return estimate_of(one(self.accuracy, rho=rho, network=network_words(trained_on), version=version), "accuracy")

    def own_gap(self, model: str) -> Estimate:
        """BG-gap of a model on the user's own images."""
        return estimate_of(one(at(self.gaps, network=model), network=model), "gap")


def network_words(trained_on: str) -> str:
    """`"trained on Mixed-Rand"`."""
    return f"trained on {WORDS[trained_on]}"


def images_words(rho: float) -> str:
    """Which scenes: `"rho 0.9"`."""
    return f"rho {rho:g}"
