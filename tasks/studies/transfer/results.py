"""What a run has found, before it is put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from robustray.tasks.kit.frames import estimate_of, one
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.transfer import reduce
from robustray.tasks.studies.transfer.kinds import Target
from robustray.tasks.studies.transfer.settings import Settings

ROBUST, NULL = "robust", "standard, other seeds"


@dataclass(frozen=True, kw_only=True)
class Results:
    """Frames are built once and named; findings, tables and drawings take them."""

    settings: Settings
    targets: Sequence[Target]
    """Those that were used."""
    transfers: pd.DataFrame
    """The rows that `reduce` describes."""
    probes: pd.DataFrame | None
    """Per source and chain: right on its own test images, clean and attacked; None for sources that were given."""
    against: Sequence[str] = ()
    """Why robust accuracies of sources are no evidence, a line each."""
    num_source_classes: int
    same_classes: bool = False
    """Sources that are trained here learn all classes, so that all chains test them on the same images."""
    classes: Mapping[str, tuple[str, ...]]
    """By target; those of the first chain."""
    num_few: Mapping[str, int]
    """By target: training images in a draw."""
    examples: Mapping[str, Mapping[str, np.ndarray]]
    """Target -> class -> k images, (k, channels, height, width); classes with fewer images are left out."""

    @property
    def names(self) -> list[str]:
        return [source.name for source in self.settings.all_sources()]

    @property
    def candidates(self) -> dict[str, list[str]]:
        """Between what the other chains choose."""
        return {
            ROBUST: [source.name for source in self.settings.robust],
            NULL: [source.name for source in self.settings.null],
        }

    @property
    def measure(self) -> str:
        """The metric, as the page calls it; several, where targets differ in it."""
        return " or ".join(dict.fromkeys(target.measure for target in self.targets))

    @property
    def main(self) -> list[Target]:
        """Targets on which sources are fine-tuned too."""
        return [target for target in self.targets if target.main]

    @property
    def together(self) -> list[str]:
        """Sources whose gains are looked at side by side, so that their intervals hold together: all sizes of robust
        training, or all networks that were given but the first."""
        return self.names[1:] if self.settings.sources else [source.name for source in self.settings.robust]

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        return reduce.transfer_table(self.transfers, self.names, self.together)

    @cached_property
    def choices(self) -> pd.DataFrame:
        return reduce.choice_table(self.transfers, self.candidates)

    @cached_property
    def sources(self) -> pd.DataFrame:
        assert self.probes is not None, "asked for sources that are trained here"
        return reduce.source_table(self.probes, self.names, shared=self.same_classes)

    @cached_property
    def runs(self) -> pd.DataFrame:
        return reduce.run_table(self.transfers)

    def num_test(self, target: str) -> int:
        return len(self.transfers.loc[self.transfers["target"] == target, "correct"].iloc[0])

    def part(self, mode: str, target: str) -> pd.DataFrame:
        return reduce.part_of(self.transfers, mode, target)

    def targets_of(self, mode: str) -> list[str]:
        """Names of the targets of a mode that claims are made of: not those whose images were shrunk."""
        rows = self.transfers[(self.transfers["mode"] == mode) & (self.transfers["side"] == 0)]
        return list(dict.fromkeys(rows["target"]))

    def chosen_gain(self, mode: str, target: str, candidates: str = ROBUST, *, at_once: bool = False) -> Estimate:
        """Gain of the source that the other chains choose, over the standard source. at_once: with an interval that
        holds together with those of the other targets of the mode."""
        row = one(self.choices, mode=mode, target=target, candidates=candidates)
        return estimate_of(row, "gain", "sim_lo", "sim_hi") if at_once else estimate_of(row, "gain")

    def accuracy_of(self, mode: str, target: str, source: str) -> Estimate:
        return estimate_of(one(self.accuracy, mode=mode, target=target, source=source), "accuracy")
