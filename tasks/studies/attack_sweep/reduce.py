"""What only the report of an attack sweep needs of its rows: no model, no lab, no drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.statistics.intervals import wilson
from robustray.tasks.sweeps.records import survivors_of_clean, with_interval


def clean_accuracy(clean: Mapping[tuple[str, str], pd.DataFrame], norms: Sequence[Norm]) -> pd.DataFrame:
    """Accuracy without a perturbation as the rows of size 0 of every norm, in the form of `worst_case_accuracy`."""
    rows = [
        {"data": data, "model": model, "norm": norm, "eps": 0.0, "broken": int((~found.correct).sum()), "n": len(found)}
        for (data, model), found in clean.items()
        for norm in norms
    ]
    return with_interval(pd.DataFrame(rows))


def cost(all_records: pd.DataFrame) -> pd.DataFrame:
    """Evaluations (forward, or forward and gradient, of one image) that each attack took. Counted, not timed."""
    grouped = all_records.groupby(["data", "model", "norm", "attack", "eps"], sort=False, observed=True)
    table = grouped.agg(
        attacked=("carried", lambda carried: int((~carried).sum())), evaluations=("evaluations", "sum")
    ).reset_index()
    return table.assign(per_image=(table.evaluations / table.attacked.where(table.attacked > 0)).astype(float))


def common_correct(clean: Sequence[pd.DataFrame], count: int) -> list[int]:
    """Indices of the first `count` images that every one of the models classifies correctly."""
    common = set.intersection(*(set(survivors_of_clean(rows)) for rows in clean))
    return sorted(common)[:count]


def transfer_rates(found: Mapping[tuple[str, Norm, str], pd.DataFrame], targets: Sequence[str]) -> pd.DataFrame:
    """One row per (data, norm, source) of `found`, rows of `transfer_block`, and target.

    Of images that all models classify correctly: `rate` = share on which the target errs, with its Wilson interval;
    `white_box` = share on which the source itself does, the rate of the diagonal.
    """
    rows = []
    for (data, norm, source), block in found.items():
        fooled = np.stack(list(block.predictions)) != block.label.to_numpy()[:, None]
        for position, target in enumerate(targets):
            share = {"fooled": int(fooled[:, position].sum()), "n": len(block), "white_box": block.white_box.mean()}
            rows.append({"data": data, "norm": norm, "source": source, "target": target, **share})
    table = pd.DataFrame(rows)
    lo, hi = wilson(table.fooled.to_numpy(), table.n.to_numpy())
    return table.assign(rate=table.fooled / table.n, lo=lo, hi=hi)
