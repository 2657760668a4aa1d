"""From rows to estimates: who recognises what was made, and how far pictures are from what they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from robustray.tasks.kit.frames import at, columns
from robustray.tasks.latents.cache import matrix
from robustray.tasks.statistics import Estimate, paired_difference, proportion
from robustray.tasks.statistics.over_seeds import mean_over_seeds
from robustray.tasks.studies.synthesis.damage import holes, inconsistency, psnr, reduced
from robustray.tasks.studies.synthesis.results import Results
from robustray.tasks.studies.synthesis.scores import probabilities, score_interval
from robustray.tasks.studies.synthesis.settings import LABELS, Edit, Law
from robustray.tasks.training.twins import KINDS, Kind

REAL, SEEDS = "real images", "seeds"
NOTHING = Estimate(value=float("nan"), lo=float("nan"), hi=float("nan"), n=0)
NO_SEED = -1
"""In `seed`: no network made it."""
BASELINES: Mapping[Edit, Sequence[str]] = {
    "inpaint": ("original", "damaged"),
    "super-resolution": ("original", "damaged", "bicubic"),
}


# --- Generations ------------------------------------------------------------------------------------------------------


def generated_table(results: Results) -> pd.DataFrame:
    """One row per generation: law, what, seed, label, number, objectives, moved, own (the network itself sees the
    class), standard_judge and robust_judge (they do)."""
    parts = []
    for (law, kind, seed), made in results.generations.items():
        rows = made.rows
        part = {"law": law, "what": kind, "seed": seed, "label": rows.label, "number": rows.number}
        part |= {"objective_before": rows.objective_before, "objective": rows.objective, "moved": rows.distance}
        part |= {"own": rows.prediction == rows.label}
        part |= {f"{judge}_judge": _seen(judged, rows.label) for judge, judged in made.judged.items()}
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def generation_table(results: Results) -> pd.DataFrame:
    """Rows: both kinds of network and the seeds by law, then real images. Accuracy and score under both judges."""
    found = []
    for law in results.seeds:
        for kind in reversed(KINDS):
            made = {seed: each for (of, k, seed), each in results.generations.items() if (of, k) == (law, kind)}
            row: dict[str, Any] = {"what": kind, "law": law}
            for judge in KINDS:
                seen = [proportion(_seen(each.judged[judge], each.rows.label)) for each in made.values()]
                row |= _judged(judge, mean_over_seeds(seen, limits=(0.0, 1.0)))
            scores = [_score(each.judged["standard"]) for each in made.values()]
            row |= columns("score", mean_over_seeds(scores, limits=(1.0, np.inf)), "score_lo", "score_hi")
            row |= {"own": float(np.mean([(each.rows.prediction == each.rows.label).mean() for each in made.values()]))}
            row |= {"moved": float(np.mean([each.rows.distance.mean() for each in made.values()]))}
            found.append(row | {"seeds": len(made), "n": min(len(each.rows) for each in made.values())})
        found.append(_anchor(SEEDS, law, results.seeds[law]))
    if results.seeds:
        natural: dict[Kind, pd.DataFrame] = {
            judge: rows.iloc[list(results.real)] for judge, rows in results.natural.items()
        }
        found.append(_anchor(REAL, "", natural))
    return pd.DataFrame(found)


def _anchor(what: str, law: str, judged: Mapping[Kind, pd.DataFrame]) -> dict[str, Any]:
    row: dict[str, Any] = {"what": what, "law": law}
    for judge in KINDS:
        row |= _judged(judge, proportion(_seen(judged[judge], judged[judge].label)))
    score = _score(judged["standard"])
    row |= columns("score", score, "score_lo", "score_hi")
    return row | {"own": np.nan, "moved": 0.0 if what == SEEDS else np.nan, "seeds": 1, "n": score.n}


def _score(judged: pd.DataFrame) -> Estimate:
    return score_interval(probabilities(matrix(judged, "logits")))


def _judged(judge: Kind, estimate: Estimate) -> dict[str, float]:
    return columns(f"{judge}_judge", estimate, f"{judge}_lo", f"{judge}_hi")


def _seen(judged: pd.DataFrame, labels: pd.Series) -> NDArray[np.bool_]:
    """The judge sees these labels."""
    return judged.prediction.to_numpy() == labels.to_numpy()


def generation_difference(results: Results, law: Law, judge: Kind) -> Estimate:
    """Share recognised by a judge, robust minus standard network, paired by twins and seed image, over twins."""
    found = []
    for seed in results.settings.seeds():
        robust, standard = (results.generations[law, kind, seed] for kind in reversed(KINDS))
        by_robust, by_standard = (_seen(each.judged[judge], each.rows.label) for each in (robust, standard))
        found.append(paired_difference(by_robust, by_standard))
    return mean_over_seeds(found)


# --- Edits ------------------------------------------------------------------------------------------------------------


def edited_table(results: Results) -> pd.DataFrame:
    """One row per mended picture and per baseline: task, what, labels (the rule), seed, index, label, wanted,
    sees_true and sees_wanted (the standard judge), psnr of the whole; for holes psnr_hole, psnr_hole_before and
    psnr_outside (before known pixels are put back); for super-resolution inconsistency; moved."""
    parts = []
    for (task, kind, seed, labels), made in results.edits.items():
        rows = made.rows
        originals = results.images.batch(rows["index"].to_numpy())[0]
        image, mended, damaged = (torch.from_numpy(matrix(rows, name)) for name in ("image", "mended", "damaged"))
        part: dict[str, Any] = {"task": task, "what": kind, "labels": labels, "seed": seed, "index": rows["index"]}
        part |= {"label": rows.label, "wanted": rows.wanted}
        part |= {"sees_true": _seen(made.judged, rows.label), "sees_wanted": _seen(made.judged, rows.wanted)}
        part |= {"psnr": psnr(mended, originals), "moved": rows.distance}
        if task == "inpaint":
            places = rows[["top", "left"]].to_numpy()
            hole = holes(places, results.images.shape, results.settings.hole)
            part |= {"psnr_hole": psnr(image, originals, hole), "psnr_hole_before": psnr(damaged, originals, hole)}
            part |= {"psnr_outside": psnr(image, originals, 1 - hole)}
        else:
            factor = results.settings.factor
            part |= {"inconsistency": inconsistency(mended, reduced(originals, factor), factor)}
        parts.append(pd.DataFrame(part))
    for (task, what), baseline in results.baselines.items():
        rows = next(each.rows for key, each in results.edits.items() if key[0] == task)
        images, originals = torch.from_numpy(baseline.images), results.images.batch(rows["index"].to_numpy())[0]
        part = {"task": task, "what": what, "labels": "", "seed": NO_SEED, "index": rows["index"], "label": rows.label}
        part |= {"sees_true": baseline.predictions == rows.label.to_numpy(), "psnr": psnr(images, originals)}
        if task == "super-resolution":
            factor = results.settings.factor
            part |= {"inconsistency": inconsistency(images, reduced(originals, factor), factor)}
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def edit_table(edited: pd.DataFrame, task: Edit) -> pd.DataFrame:
    """Rows: both kinds of network by the class they were asked for, then the baselines."""
    keys: list[tuple[str, str]] = [(kind, labels) for labels in LABELS for kind in reversed(KINDS)]
    keys += [(what, "") for what in reversed(BASELINES[task])]
    measures = ["psnr", "inconsistency"]
    if task == "inpaint":
        measures = ["psnr", "psnr_hole_before", "psnr_hole", "psnr_outside"]
    found = []
    for what, labels in keys:
        these = at(edited, task=task, what=what, labels=labels)
        row: dict[str, Any] = {"what": what, "labels": labels}
        row |= columns("sees_true", _share(these, "sees_true"), "true_lo", "true_hi")
        row |= columns("sees_wanted", _share(these, "sees_wanted") if labels else NOTHING, "wanted_lo", "wanted_hi")
        row |= {name: float(these[name].mean()) if what != "original" else np.nan for name in measures}
        row |= {"moved": float(these.moved.mean()) if labels else np.nan}
        found.append(row | {"seeds": these.seed.nunique(), "n": these["index"].nunique()})
    return pd.DataFrame(found)


def _share(rows: pd.DataFrame, column: str) -> Estimate:
    each = [proportion(of_seed[column].to_numpy(dtype=bool)) for _, of_seed in rows.groupby("seed", sort=True)]
    return mean_over_seeds(each, limits=(0.0, 1.0))


def edit_difference(edited: pd.DataFrame, task: Edit, other: str, seeds: Sequence[int]) -> Estimate:
    """Share of pictures in which the judge sees the true class, robust network minus `other`, paired by picture.

    Both asked for what they saw themselves in the damaged picture: nobody told them the class. other: "standard", or a
    baseline.
    """
    found = []
    for seed in seeds:
        robust = at(edited, task=task, what="robust", labels="predicted", seed=seed)
        if other in KINDS:
            rows = at(edited, task=task, what=other, labels="predicted", seed=seed)
        else:
            rows = at(edited, task=task, what=other)
        both = robust.merge(rows, on="index", suffixes=("", "_other"))
        found.append(paired_difference(both.sees_true.to_numpy(bool), both.sees_true_other.to_numpy(bool)))
    return mean_over_seeds(found)


def network_table(results: Results) -> pd.DataFrame:
    """One row per network: the name under which any study takes it, and its clean accuracy."""
    return pd.DataFrame(
        [
            {"network": kind if role == "twin" else f"{kind} judge", "seed": seed}
            | {"weights": results.names[role, kind, seed], "accuracy": accuracy}
            for (role, kind, seed), accuracy in results.accuracies.items()
        ]
    )
