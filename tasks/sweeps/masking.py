"""Gradients that a model hides make attacks along them too weak, and its robust accuracy too high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from robustray.tasks.report.numbers import size_words
from robustray.tasks.sweeps.records import only_square

if TYPE_CHECKING:
    import pandas as pd


def masking_warnings(all_records: pd.DataFrame, stages: Mapping[str, Sequence[str]]) -> list[str]:
    """One line per data, model and norm: the size at which Square broke most beyond what attacks along gradients left.

    all_records: of `sweeps.records.records`. stages: of each attack in them, by name.
    """
    found = only_square(all_records, stages).sort_values("broken", ascending=False, kind="stable")
    worst = found.drop_duplicates(["data", "model", "norm"]).sort_index()
    return [
        f"{row.model} on {row.data}, {size_words(row.norm, row.eps)}: Square, which sees no gradients, broke "
        f"{row.broken:,} of {row.n:,} images that APGD and all other attacks along gradients left standing: the model "
        "hides its gradients, and its robust accuracy is likely overestimated"
        for row in worst.itertuples()
    ]
