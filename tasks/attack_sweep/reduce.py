"""Plain functions from rows to tables: no model, no lab, no drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from robustray.tasks.attack_sweep.settings import Norm
from robustray.tasks.statistics.intervals import wilson

CELL = ["data", "model", "norm", "attack", "seed"]
WORST = "worst case"
"""Name of the per-example worst case over attacks (and seeds) in the `attack` column."""


class Cell(NamedTuple):
    """One sequence of attacks of growing size on one model."""

    data: str
    model: str
    norm: Norm
    attack: str
    seed: int


def survivors_of_clean(rows: pd.DataFrame) -> list[int]:
    """Indices of the images that the model classifies correctly."""
    return rows.loc[rows.correct, "index"].astype(int).tolist()


def survivors(rows: pd.DataFrame) -> list[int]:
    """Indices of the attacked images that are still classified correctly."""
    return rows.loc[~rows.success, "index"].astype(int).tolist()


def records(
    clean: Mapping[tuple[str, str], pd.DataFrame], stages: Mapping[Cell, Sequence[tuple[float, pd.DataFrame]]]
) -> pd.DataFrame:
    """One row per cell, size and image.

    An image that fell at a smaller size (or was wrong from the start: distance 0) keeps the row of that fall, with
    `carried` true and no evaluations. `success` = broken by a perturbation of at most this size.
    """
    parts = []
    for cell, sizes in stages.items():
        start = clean[cell.data, cell.model]
        fallen = pd.DataFrame(
            {
                "index": start["index"],
                "label": start.label,
                "clean_prediction": start.prediction,
                "prediction": start.prediction,
                "success": True,
                "loss": start.loss,
                "distance": np.float32(0),
                "evaluations": 0,
            }
        )[~start.correct]
        for eps, rows in sizes:
            whole = pd.concat(
                [fallen.assign(carried=True, evaluations=0), rows.assign(carried=False)], ignore_index=True
            )
            parts.append(whole.sort_values("index", kind="stable").assign(**cell._asdict(), eps=eps))
            fallen = pd.concat([fallen, rows[rows.success]], ignore_index=True)
    columns = [*CELL, "eps", "index", "label", "clean_prediction", "prediction", "success", "loss", "distance"]
    whole = pd.concat(parts, ignore_index=True)[[*columns, "evaluations", "carried"]]
    return whole.astype({name: "category" for name in ("data", "model", "norm", "attack")})


def robust_accuracy(all_records: pd.DataFrame) -> pd.DataFrame:
    """Share of all images that survive, per cell and size, with its 95 % Wilson interval over images."""
    grouped = all_records.groupby([*CELL, "eps"], sort=False, observed=True)
    table = grouped.success.agg(broken="sum", n="size").reset_index()
    return with_interval(table)


def worst_case(all_records: pd.DataFrame) -> pd.DataFrame:
    """Per-example worst case: an image survives a size only if it survives every attack with every seed."""
    images = all_records.groupby(["data", "model", "norm", "eps", "index", "label"], sort=False, observed=True)
    return images.success.any().reset_index()


def worst_case_accuracy(worst: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Share of images that survive the worst case, with its Wilson interval; also by class (`by=["label"]`)."""
    grouped = worst.groupby(["data", "model", "norm", "eps", *by], sort=False, observed=True)
    return with_interval(grouped.success.agg(broken="sum", n="size").reset_index())


def clean_accuracy(clean: Mapping[tuple[str, str], pd.DataFrame], norms: Sequence[Norm]) -> pd.DataFrame:
    """Accuracy without a perturbation as the rows of size 0 of every norm, in the form of `worst_case_accuracy`."""
    rows = [
        {"data": data, "model": model, "norm": norm, "eps": 0.0, "broken": int((~found.correct).sum()), "n": len(found)}
        for (data, model), found in clean.items()
        for norm in norms
    ]
    return with_interval(pd.DataFrame(rows))


def with_interval(table: pd.DataFrame) -> pd.DataFrame:
    """Turn counts (`broken`, `n`) into `robust_accuracy`, `lo`, `hi`."""
    standing = table.n - table.broken
    lo, hi = wilson(standing.to_numpy(), table.n.to_numpy())
    return table.drop(columns="broken").assign(robust_accuracy=standing / table.n, lo=lo, hi=hi)


def cost(all_records: pd.DataFrame) -> pd.DataFrame:
    """Evaluations (forward, or forward and gradient, of one image) that each attack took. Counted, not timed."""
    grouped = all_records.groupby(["data", "model", "norm", "attack", "eps"], sort=False, observed=True)
    table = grouped.agg(
        attacked=("carried", lambda carried: int((~carried).sum())), evaluations=("evaluations", "sum")
    ).reset_index()
    return table.assign(per_image=(table.evaluations / table.attacked.where(table.attacked > 0)).astype(float))
