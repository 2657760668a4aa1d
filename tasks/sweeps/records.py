"""From the rows of attacked images to records and accuracies. These are plain functions without models, lab or
drawings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from robustray.tasks.attacks.following import is_lost
from robustray.tasks.attacks.search.cascade import is_suspicious, merge_stage
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.statistics.intervals import wilson

CELL = ["data", "model", "norm", "attack", "seed"]
WORST = "worst case"
"""Name of the per-example worst case over attacks (and seeds) in the `attack` column."""
CLEAN, STANDS = "clean", ""
"""Values of `fell_to`: the image was wrong without an attack; nothing broke it."""


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


def merged(before: pd.DataFrame | None, found: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of an attack after its stage `name`, which saw the images that stood before it, in their order.

    before: rows of the stages so far, None at the first one (or for an attack of one stage). found: rows of this stage.
    `fell_to` says which stage broke an image. The same as one call of the cascade (`attacks.cascade.run_cascade`),
    except that an image which failed in this stage has no verdict any more and is left out.
    """
    found = found.assign(fell_to=np.where(found.success, name, STANDS))
    if before is None:
        return found.reset_index(drop=True)
    known = before[before.success | before["index"].isin(found["index"])]
    whole = {column: known[column].to_numpy(copy=True) for column in found.columns}
    standing = np.flatnonzero(~whole["success"])
    assert (whole["index"][standing] == found["index"]).all(), "rows of a stage in the order of the images it was given"
    merge_stage(whole, {c: found[c].to_numpy() for c in found.columns}, standing, counted="evaluations")
    return pd.DataFrame(whole)


def records(
    clean: Mapping[Cell, pd.DataFrame], stages: Mapping[Cell, Sequence[tuple[float, pd.DataFrame]]]
) -> pd.DataFrame:
    """One row per cell, size and image.

    clean: of each cell, rows of `predict_block`. stages: of each cell, its sizes with the rows of what was attacked.

    An image that fell at a smaller size (or was wrong from the start: distance 0) keeps the row of that fall, with
    `carried` true and no evaluations. `success` = broken by a perturbation of at most this size; `fell_to` names the
    attack that broke it, of a cascade the stage.
    """
    parts = []
    for cell, sizes in stages.items():
        start = clean[cell]
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
                "first_gradient": np.float32(np.nan),
                "fell_to": CLEAN,
            }
        )[~start.correct]
        for eps, rows in sizes:
            whole = pd.concat(
                [fallen.assign(carried=True, evaluations=0), rows.assign(carried=False)], ignore_index=True
            )
            parts.append(whole.sort_values("index", kind="stable").assign(**cell._asdict(), eps=eps))
            fallen = pd.concat([fallen, rows[rows.success]], ignore_index=True)
    columns = [*CELL, "eps", "index", "label", "clean_prediction", "prediction", "success", "loss", "distance"]
    whole = pd.concat(parts, ignore_index=True)[[*columns, "evaluations", "first_gradient", "carried", "fell_to"]]
    return whole.astype({name: "category" for name in ("data", "model", "norm", "attack", "fell_to")})


def lost_gradients(all_records: pd.DataFrame, by: Sequence[str] = (*CELL, "eps")) -> pd.DataFrame:
    """How many attacked images gave no gradient to follow, by cell and size: `lost` of the `taken` ones."""
    asked = all_records[~all_records.carried & all_records.first_gradient.notna()]
    asked = asked.assign(lost=is_lost(asked.first_gradient))
    return asked.groupby(list(by), sort=False, observed=True).lost.agg(lost="sum", taken="size").reset_index()


def robust_accuracy(all_records: pd.DataFrame) -> pd.DataFrame:
    """Share of all images that survive, per cell and size, with its 95 % Wilson interval over images."""
    grouped = all_records.groupby([*CELL, "eps"], sort=False, observed=True)
    table = grouped.success.agg(broken="sum", n="size").reset_index()
    return with_interval(table)


def worst_case(all_records: pd.DataFrame) -> pd.DataFrame:
    """Per-example worst case: an image survives a size only if it survives every attack with every seed."""
    return broken_by_any(all_records, ["data", "model", "norm", "eps", "index", "label"])


def broken_by_any(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row per image and value of `by`, which has "index" in it: whether any of its rows is a `success`.

    An image that stands, but that some attack or seed has no row of (it was given up there), is left out: it counts
    neither as surviving nor as broken.
    """
    found = rows.groupby(list(by), sort=False, observed=True).success.agg(success="any", tried="size").reset_index()
    cells = [name for name in by if name not in ("index", "label")]
    all_tried = found.tried == found.groupby(cells, sort=False, observed=True).tried.transform("max")
    return found[found.success | all_tried].drop(columns="tried").reset_index(drop=True)


def worst_case_accuracy(worst: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Share of images that survive the worst case, with its Wilson interval; also by class (`by=["label"]`)."""
    grouped = worst.groupby(["data", "model", "norm", "eps", *by], sort=False, observed=True)
    return with_interval(grouped.success.agg(broken="sum", n="size").reset_index())


def with_interval(table: pd.DataFrame) -> pd.DataFrame:
    """Turn counts (`broken`, `n`) into `robust_accuracy`, `lo`, `hi`."""
    standing = table.n - table.broken
    lo, hi = wilson(standing.to_numpy(), table.n.to_numpy())
    return table.drop(columns="broken").assign(robust_accuracy=standing / table.n, lo=lo, hi=hi)


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


def stage_table(all_records: pd.DataFrame, stages: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Who fell to what: one row per cell, size and stage of each cascade. stages: attack -> its stages in order.

    attacked: images that stood before the stage, at this size. `robust_accuracy`: standing after it, of all n images.
    """
    rows = []
    cascades = all_records[all_records.attack.isin(list(stages))]
    for key, cell in cascades.groupby([*CELL, "eps"], sort=False, observed=True):
        labels = dict(zip([*CELL, "eps"], key, strict=True))
        fresh = cell[~cell.carried]
        attacked = len(fresh)
        for stage in stages[labels["attack"]]:
            broken = int((fresh.fell_to == stage).sum())
            rows.append(
                {
                    **labels,
                    "stage": stage,
                    "attacked": attacked,
                    "broken": broken,
                    "standing": attacked - broken,
                    "n": len(cell),
                }
            )
            attacked -= broken
    if not rows:
        return pd.DataFrame(columns=[*CELL, "eps", "stage", "attacked", "broken", "standing", "n"])
    table = pd.DataFrame(rows)
    lo, hi = wilson(table.standing.to_numpy(), table.n.to_numpy())
    return table.assign(robust_accuracy=table.standing / table.n, lo=lo, hi=hi)


GRADIENTS = ("pgd", "fgsm", "rs-fgsm", "apgd-ce", "apgd-dlr", "apgd-margin", "apgd-t", "malt", "fab", "fab-t")
"""Attacks that follow gradients."""
AUTO_PGD = ("apgd-ce", "apgd-dlr", "apgd-margin", "apgd-t", "malt")


def only_square(all_records: pd.DataFrame, stages: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Where Square broke more than gradients could, and more than chance would have it: data, model, norm, eps,
    broken, n.

    broken: images that fell to Square (by itself or as a stage) and to no attack that follows gradients, although
    APGD (by itself or as a stage) tried at this size. Nothing is said where the two did not both run.
    """
    auto = {attack for attack, names in stages.items() if not set(names).isdisjoint(AUTO_PGD)}
    rows = all_records.assign(
        square=all_records.fell_to == "square",
        gradients=all_records.fell_to.isin(GRADIENTS),
        tried=all_records.attack.isin([*AUTO_PGD, *auto]) & ~all_records.carried,
    )
    where = ["data", "model", "norm", "eps"]
    images = rows.groupby([*where, "index"], sort=False, observed=True)[["square", "gradients", "tried"]].any()
    hidden = images.assign(broken=images.square & ~images.gradients & images.tried)
    table = hidden.groupby(where, sort=False, observed=True).broken.agg(broken="sum", n="size").reset_index()
    return table[[is_suspicious(broken, n) for broken, n in zip(table.broken, table.n, strict=True)]]
