"""What a run has found, before it is put into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from robustray.tasks.kit.frames import estimate_of, one
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.transfer import reduce
from robustray.tasks.studies.transfer.metric import ACCURACY, Metric, mean_per_class
from robustray.tasks.studies.transfer.settings import METRICS, Settings

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData

ROBUST, NULL = "robust", "standard, other seeds"


@dataclass(frozen=True, kw_only=True)
class Results:
    """Frames are built once and named; findings, tables and drawings take them."""

    settings: Settings
    target: ImageData
    target_name: str
    test_name: str
    test_labels: np.ndarray
    """(n,), of the test images."""
    transfers: pd.DataFrame
    """The rows that `reduce` describes."""
    probes: pd.DataFrame | None
    """Per source and chain: right on its own test images, clean and attacked; None for sources that were given."""
    num_source_classes: int
    num_fit: int
    num_held: int
    """Training images of the target in a chain."""
    examples: Sequence[np.ndarray]
    """The first k images of each class of the target, (k, channels, height, width); classes with fewer images are left
    out."""

    @property
    def names(self) -> list[str]:
        return [source.name for source in self.settings.all_sources()]

    @property
    def candidates(self) -> dict[str, Sequence[str]]:
        """Between what the other chains choose."""
        return {
            ROBUST: [source.name for source in self.settings.robust],
            NULL: [source.name for source in self.settings.null],
        }

    @cached_property
    def metric(self) -> Metric:
        per_class = self.settings.metric == "per-class"
        return mean_per_class(self.test_labels, self.target.num_classes) if per_class else ACCURACY

    @property
    def measure(self) -> str:
        """The metric, as the page calls it."""
        return METRICS[self.settings.metric]

    def scores(self, share: str) -> str:
        """The verb of a sentence about one source, before the name of the images. share: with its interval."""
        return f"is right on {share} of" if self.metric is ACCURACY else f"has a {self.measure} of {share} on"

    @property
    def together(self) -> list[str]:
        """Sources whose gains are looked at side by side, so that their intervals hold together: all sizes of robust
        training, or all networks that were given but the first."""
        return self.names[1:] if self.settings.sources else [source.name for source in self.settings.robust]

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        return reduce.transfer_table(self.transfers, self.names, self.metric, self.together)

    @cached_property
    def choices(self) -> pd.DataFrame:
        return reduce.choice_table(self.transfers, self.candidates, self.metric)

    @cached_property
    def sources(self) -> pd.DataFrame:
        assert self.probes is not None, "asked for sources that are trained here"
        return reduce.source_table(self.probes, self.names)

    @cached_property
    def runs(self) -> pd.DataFrame:
        return reduce.run_table(self.transfers, self.metric)

    @property
    def num_test(self) -> int:
        return len(self.transfers["correct"].iloc[0])

    def chosen_gain(self, mode: str, candidates: str = ROBUST) -> Estimate:
        """Gain of the source that the other chains choose, over the standard source."""
        return estimate_of(one(self.choices, mode=mode, candidates=candidates), "gain")

    def accuracy_of(self, mode: str, source: str) -> Estimate:
        return estimate_of(one(self.accuracy, mode=mode, source=source), "accuracy")
