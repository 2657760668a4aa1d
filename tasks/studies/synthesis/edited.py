"""From rows to estimates: what judges see in edited pictures, and how far these are from what they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from robustray.tasks.kit.frames import at, columns
from robustray.tasks.kit.likeness import psnr, ssim
from robustray.tasks.latents.cache import matrix
from robustray.tasks.statistics import NOTHING, Estimate, mean_interval, paired_difference, proportion
from robustray.tasks.statistics.over_seeds import mean_over_seeds
from robustray.tasks.studies.synthesis.damage import holes, inconsistency, reduced
from robustray.tasks.studies.synthesis.kinds import ASKED, REPORTED, Edit
from robustray.tasks.studies.synthesis.reduce import UNLIMITED, sees
from robustray.tasks.studies.synthesis.results import Results
from robustray.tasks.training.twins import KINDS, Kind

NO_SEED = -1
"""Value of `seed` for a picture that no network made."""
BASELINES: Mapping[Edit, Sequence[str]] = {
    "inpaint": ("original", "damaged"),
    "super-resolution": ("original", "damaged", "bicubic"),
    "translate": ("original",),
    "sketch": ("original", "damaged"),
}
PLACES = ("psnr", "ssim")
MEASURES: Mapping[Edit, Sequence[str]] = {
    "inpaint": [
        f"{name}{place}" for name in PLACES for place in ("", "_hole_before", "_hole", "_outside", "_before_pasting")
    ],
    "super-resolution": ["psnr", "ssim", "inconsistency"],
    "translate": ["ssim"],
    "sketch": ["psnr", "ssim"],
}
SEEN = {"standard": "sees", "robust": "robust"}
"""Kind of judge -> how the columns begin that say what it sees."""


def edited_table(results: Results) -> pd.DataFrame:
    """One row per edited picture and per baseline: task, what, labels (the rule), seed, index, label, wanted, sees_true
    and sees_wanted (the standard judge), robust_true and robust_wanted, moved, and what `MEASURES` names.

    psnr and ssim compare the result with the original. For holes this is done with known pixels put back, and in
    addition inside the hole, before (filled with the mean) and after; outside it; and on the whole picture before known
    pixels are put back.
    """
    parts = []
    for (task, kind, seed, labels), made in results.edits.items():
        rows = made.rows
        image, mended = (torch.from_numpy(matrix(rows, name)) for name in ("image", "mended"))
        part: dict[str, Any] = {"task": task, "what": kind, "labels": labels, "seed": seed, "index": rows["index"]}
        part |= {"label": rows.label, "wanted": rows.wanted, "moved": rows.distance}
        for judge, judged in made.judged.items():
            part |= {
                f"{SEEN[judge]}_true": sees(judged, rows.label),
                f"{SEEN[judge]}_wanted": sees(judged, rows.wanted),
            }
        parts.append(pd.DataFrame(part | _fidelity(results, task, rows, image, mended)))
    for (task, what), baseline in results.baselines.items():
        rows = next(each.rows for key, each in results.edits.items() if key[0] == task)
        images = torch.from_numpy(baseline.images)
        part = {"task": task, "what": what, "labels": "", "seed": NO_SEED, "index": rows["index"], "label": rows.label}
        for judge, predictions in baseline.predictions.items():
            part |= {f"{SEEN[judge]}_true": predictions == rows.label.to_numpy()}
        parts.append(pd.DataFrame(part | _fidelity(results, task, rows, images, images)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _fidelity(results: Results, task: Edit, rows: pd.DataFrame, image: Tensor, mended: Tensor) -> dict[str, Any]:
    """The quantities that `MEASURES` names, one entry per picture."""
    originals = results.images.batch(rows["index"].to_numpy())[0]
    found: dict[str, Any] = {"psnr": psnr(mended, originals), "ssim": ssim(mended, originals)}
    if task == "inpaint":
        damaged = torch.from_numpy(matrix(rows, "damaged"))
        hole = holes(rows[["top", "left"]].to_numpy(), results.images.shape, results.settings.hole)
        for name, measure in (("psnr", psnr), ("ssim", ssim)):
            found |= {
                f"{name}_hole_before": measure(damaged, originals, hole),
                f"{name}_hole": measure(mended, originals, hole),
                f"{name}_outside": measure(image, originals, 1 - hole),
                f"{name}_before_pasting": measure(image, originals),
            }
    if task == "super-resolution":
        factor = results.settings.factor
        found["inconsistency"] = inconsistency(mended, reduced(originals, factor), factor)
    return found


def edit_table(edited: pd.DataFrame, task: Edit) -> pd.DataFrame:
    """Rows: both kinds of network by the class they were asked for, then the baselines."""
    keys: list[tuple[str, str]] = [(kind, labels) for labels in ASKED[task] for kind in reversed(KINDS)]
    keys += [(what, "") for what in reversed(BASELINES[task])]
    found = []
    for what, labels in keys:
        these = at(edited, task=task, what=what, labels=labels)
        row: dict[str, Any] = {"what": what, "labels": labels}
        row |= columns("sees_true", _share(these, "sees_true"), "true_lo", "true_hi")
        row |= columns("sees_wanted", _share(these, "sees_wanted") if labels else NOTHING, "wanted_lo", "wanted_hi")
        for name in ("robust_true", "robust_wanted"):
            known = labels or name == "robust_true"
            row |= columns(name, _share(these, name) if known else NOTHING, f"{name}_lo", f"{name}_hi")
        for name in MEASURES[task]:
            row |= columns(name, NOTHING if what == "original" else _mean(these, name), f"{name}_lo", f"{name}_hi")
        row |= columns("moved", _mean(these, "moved") if labels else NOTHING, "moved_lo", "moved_hi")
        found.append(row | {"seeds": these.seed.nunique(), "n": these["index"].nunique()})
    return pd.DataFrame(found)


def _share(rows: pd.DataFrame, column: str) -> Estimate:
    each = [proportion(of_seed[column].to_numpy(dtype=bool)) for _, of_seed in rows.groupby("seed", sort=True)]
    return mean_over_seeds(each, limits=(0.0, 1.0))


def _mean(rows: pd.DataFrame, column: str) -> Estimate:
    each = [mean_interval(of_seed[column].to_numpy(np.float64)) for _, of_seed in rows.groupby("seed", sort=True)]
    return mean_over_seeds(each, limits=UNLIMITED)


def edit_difference(
    edited: pd.DataFrame, task: Edit, other: str, seeds: Sequence[int], judge: Kind = "standard"
) -> Estimate:
    """Share of pictures in which a judge sees what it should, robust network minus `other`, paired by picture.

    In mended and enlarged pictures that is the true class, which the network was not given; in translations and
    sketches it is the class that was asked for. other: "standard", or a baseline.
    """
    column = f"{SEEN[judge]}_{'wanted' if task == 'translate' else 'true'}"
    found = []
    for seed in seeds:
        robust = at(edited, task=task, what="robust", labels=REPORTED[task], seed=seed)
        if other in KINDS:
            rows = at(edited, task=task, what=other, labels=REPORTED[task], seed=seed)
        else:
            rows = at(edited, task=task, what=other)
        both = robust.merge(rows, on="index", suffixes=("", "_other"))
        found.append(paired_difference(both[column].to_numpy(bool), both[f"{column}_other"].to_numpy(bool)))
    return mean_over_seeds(found)


# --- Paintings --------------------------------------------------------------------------------------------------------


def painted_table(results: Results) -> pd.DataFrame:
    """One row per painting: what, seed, index, unit, activations (as it was; free; with the rest put back) in units of
    what the coordinate exceeds on one test image of a hundred, outside (root mean square change there), moved."""
    parts = []
    for (kind, seed), made in results.paintings.items():
        rows = made.rows
        mask = holes(rows[["top", "left"]].to_numpy(), results.images.shape, results.settings.hole)
        image, start = (torch.from_numpy(matrix(rows, name)) for name in ("image", "damaged"))
        square = (image - start).square().mean(1, keepdim=True)
        outside = (square * (1 - mask)).flatten(1).sum(1) / (1 - mask).flatten(1).sum(1)
        high = np.maximum(made.high[rows.unit.to_numpy()], 1e-12)
        part: dict[str, Any] = {"what": kind, "seed": seed, "index": rows["index"], "unit": rows.unit}
        part |= {name: rows[name] / high for name in ("activation_before", "activation_free", "activation")}
        parts.append(pd.DataFrame(part | {"outside": outside.sqrt().numpy(), "moved": rows.distance}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def paint_table(painted: pd.DataFrame) -> pd.DataFrame:
    """One row for each kind of network."""
    found = []
    for kind in reversed(KINDS):
        these = at(painted, what=kind)
        if these.empty:
            continue
        row: dict[str, Any] = {"what": kind}
        for name in ("activation_before", "activation_free", "activation", "outside", "moved"):
            row |= columns(name, _mean(these, name), f"{name}_lo", f"{name}_hi")
        found.append(row | {"seeds": these.seed.nunique(), "n": these["index"].nunique()})
    return pd.DataFrame(found)
