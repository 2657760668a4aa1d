"""Gradients that a model hides make attacks along them too weak, and its robust accuracy too high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from robustray.tasks.attacks.following import LOST_SHARE, has_lost, lost_words
from robustray.tasks.report.numbers import size_words
from robustray.tasks.study import Claim, Description, Verdict
from robustray.tasks.sweeps.records import lost_gradients, only_square

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


def lost_gradient_warnings(all_records: pd.DataFrame) -> list[str]:
    """One line per data, model, norm and attack: the size at which most images gave it no gradient to follow."""
    found = _lost(all_records)
    worst = found.sort_values("lost", ascending=False, kind="stable").drop_duplicates(
        ["data", "model", "norm", "attack"]
    )
    return [
        f"{row.model} on {row.data}, {size_words(row.norm, row.eps)}, {lost_words(row.attack, row.lost, row.taken)}"
        for row in worst.sort_index().itertuples()
    ]


def nothing_to_follow(all_records: pd.DataFrame, **where: object) -> bool:
    """Whether an attack had no gradient to follow for a share of the images that matters, in the rows that `where`
    selects: `nothing_to_follow(records, data="digits:test", model="digits:mlp", norm="linf")`."""
    found = _lost(all_records)
    for column, value in where.items():
        found = found[found[column] == value]
    return len(found) > 0


def withheld(claim: Claim, verdict: Verdict, *, doubtful: bool) -> Claim:
    """A claim whose `verdict` would state robustness: undecided where it is `doubtful` because attacks followed
    nothing. The rule says so in any case."""
    test = (
        f"{claim.test}; undecided instead where more than {100 * LOST_SHARE:g} % of first gradients are exactly zero "
        "or not finite"
    )
    return replace(claim, test=test, verdict="undecided" if doubtful and claim.verdict == verdict else claim.verdict)


def lower_bound(found: Description, *, doubtful: bool) -> Description:
    """A share of broken images that says, where it is `doubtful` because attacks followed nothing, that it is a lower
    bound."""
    remark = "; attacks along gradients had none to follow (see the warnings): the share is only a lower bound"
    return replace(found, measured=found.measured + remark * doubtful)


def _lost(all_records: pd.DataFrame) -> pd.DataFrame:
    table = lost_gradients(all_records)
    suspicious = [has_lost(lost, taken) for lost, taken in zip(table.lost, table.taken, strict=True)]
    return table[np.array(suspicious, dtype=bool)]
