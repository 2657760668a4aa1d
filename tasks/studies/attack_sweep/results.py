"""What a run found, before it is put into words: records, and the tables that several parts of the report need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from robustray.tasks.attacks.autoattack_rand import NUM_DRAWS
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.corruptions.accuracy import Corrupted
from robustray.tasks.kit.frames import at
from robustray.tasks.studies.attack_sweep import matrix
from robustray.tasks.studies.attack_sweep.settings import Settings
from robustray.tasks.sweeps import records as sweeps
from robustray.tasks.sweeps.named import named_stages
from robustray.tasks.sweeps.votes import by_image

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData

AUTOATTACK = "autoattack"
"""The full standard cascade, and the only attack that the report calls AutoAttack."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """The rows that the steps of a run gave, and what is derived from them, each computed once."""

    settings: Settings
    images: Mapping[str, ImageData]
    clean: Mapping[tuple[str, str], pd.DataFrame]
    """Data, model -> rows of `predict_block`."""
    corrupted: Mapping[tuple[str, str], Corrupted]
    """Data, model -> accuracy under corruptions; empty if none are asked for."""
    records: pd.DataFrame
    """What every attack did to every image (`sweeps.records.records`)."""
    transfers: Mapping[tuple[str, Norm, str], pd.DataFrame]
    """Data, norm, source -> rows of `transfer_block`; empty without a matrix."""
    examples: Mapping[tuple[str, str, Norm], pd.DataFrame]
    """Data, model, norm -> rows of `example_block`."""
    reference: Mapping[Norm, float]
    """Norm -> the size at which claims, class table, transfer and examples are made."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """"data NAME" and "model NAME" -> SHA-256."""

    @cached_property
    def worst(self) -> pd.DataFrame:
        """Per-example worst case over attacks and seeds."""
        return sweeps.worst_case(self.records)

    @cached_property
    def headline(self) -> pd.DataFrame:
        """The rows that answer and claims count: AutoAttack's of the first seed where it ran, else the worst case."""
        if not self.by_autoattack:
            return self.worst
        rows = at(self.records, attack=AUTOATTACK, seed=self.settings.seed)
        return rows[self.worst.columns.tolist()]

    @property
    def by_autoattack(self) -> bool:
        return AUTOATTACK in self.settings.attacks

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        """Accuracy under the worst case by data, model, norm and size; size 0 is clean."""
        return self.with_clean(self.worst)

    @cached_property
    def votes(self) -> pd.DataFrame | None:
        """The records with the draws that are right, their interval and its verdict (`sweeps.votes.by_image`), where
        verdicts are votes."""
        if not self.settings.by_votes:
            return None
        return self.records.assign(**by_image(self.records.loss, NUM_DRAWS).to_dict("series"))

    @cached_property
    def per_attack(self) -> pd.DataFrame:
        """Accuracy under each attack and seed alone."""
        return sweeps.robust_accuracy(self.records)

    @cached_property
    def stages(self) -> dict[str, list[str]]:
        """Every attack of the sweep -> its stages by name; itself if it has none."""
        norm = self.settings.norms[0]
        return {
            attack: [name for name, _ in named_stages(attack, norm, self.reference[norm], self.settings)]
            for attack in self.settings.attacks
        }

    @cached_property
    def transfer(self) -> pd.DataFrame | None:
        """One row per data, norm, source and target; None without a matrix."""
        if not self.transfers:
            return None
        table = matrix.transfer_rates(self.transfers, self.settings.models)
        sizes = [self.reference[norm] for norm in table.norm]
        table.insert(2, "eps", sizes)
        table.insert(3, "steps", self.settings.num_steps)
        return table

    def num_images(self, data: str) -> int:
        """Attacked images of a data set, the correct and the others."""
        return int(at(self.accuracy, data=data).n.iloc[0])

    def with_clean(self, worst: pd.DataFrame) -> pd.DataFrame:
        """Accuracy by size of per-image verdicts, with clean accuracy as size 0, in the order of the settings."""
        clean = sweeps.clean_accuracy(self.clean, self.settings.norms)
        table = pd.concat([clean, sweeps.worst_case_accuracy(worst)], ignore_index=True)
        names = {"data": self.settings.data, "model": self.settings.models, "norm": self.settings.norms}
        for column, order in names.items():
            table[column] = pd.Categorical(table[column], list(order))
        return table.sort_values(["data", "model", "norm", "eps"], ignore_index=True)
