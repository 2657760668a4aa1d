"""From rows to estimates: how alike, how close to the target among its own class, how natural."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from robustray.tasks.kit.frames import at, columns
from robustray.tasks.kit.likeness import ssim
from robustray.tasks.latents.cache import matrix
from robustray.tasks.statistics import NOTHING, Estimate, mean_interval, welch
from robustray.tasks.statistics.over_seeds import mean_over_seeds
from robustray.tasks.studies.representations.measures import (
    agreement,
    candidates,
    closer,
    consistency,
    correlation,
    distances,
    pairwise,
)
from robustray.tasks.studies.representations.probes import another
from robustray.tasks.studies.representations.results import Results, Units
from robustray.tasks.training.twins import KINDS, Kind

MEASURES = ("pixels", "judge")
"""How images are compared: correlation of pixels, Euclidean distance of the judge's latents."""
CLASS_ONLY, CLASS_MEAN, GLOBAL_MEAN, SAME_CLASS = "class only", "class mean", "mean of all", "same class"
BASELINES = (CLASS_ONLY, CLASS_MEAN, GLOBAL_MEAN, SAME_CLASS)
WIDE = (-np.inf, np.inf)
EVERY_SEED = -1
"""Value of `seed` for an image that no network made."""


# --- One row per image ------------------------------------------------------------------------------------------------


def image_table(results: Results) -> pd.DataFrame:
    """Every inversion and every baseline against its target.

    Columns: what (a kind of network, or a baseline), seed, start, index, label, distance_before and distance_after
    (relative, of latents), correlation_target and correlation_start, ssim_target and ssim_start (structural
    similarity), moved (l2 from the start), closer_pixels and closer_judge (`measures.closer`), among (candidates),
    own_class and judge_class (the network itself, and the judge, see the target's class), path (relative distance at
    evenly spaced steps).
    """
    parts = [
        _rows(results, kind, seed, start, rows, judged)
        for (kind, seed, start), (rows, judged) in results.inversions.items()
    ]
    parts += [
        _rows(results, CLASS_ONLY, seed, results.settings.starts[0], rows, judged)
        for seed, (rows, judged) in results.syntheses.items()
    ]
    parts += [_of_nobody(results, what) for what in BASELINES[1:]]
    return pd.concat(parts, ignore_index=True)


def _rows(results: Results, what: str, seed: int, start: str, rows: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    targets = results.images.batch(rows["index"].to_numpy())[0].numpy()
    images, starts, path = matrix(rows, "image"), matrix(rows, "start"), -matrix(rows, "path")
    inverted = what != CLASS_ONLY  # which matches no latent
    return pd.DataFrame(
        {
            "what": what,
            "seed": seed,
            "start": start,
            "index": rows["index"],
            "label": rows.label,
            "distance_before": path[:, 0] if inverted else np.nan,
            "distance_after": -rows.objective if inverted else np.nan,
            "correlation_target": correlation(images, targets),
            "correlation_start": correlation(images, starts),
            "ssim_target": structure(images, targets),
            "ssim_start": structure(images, starts),
            "moved": rows.distance,
            **ranks(results, rows["index"].tolist(), images, matrix(judged)),
            "own_class": (rows.prediction == rows.label).astype(float),
            "judge_class": (judged.prediction.to_numpy() == rows.label.to_numpy()).astype(float),
            "path": list(path) if inverted else [None] * len(rows),
        }
    )


def _of_nobody(results: Results, what: str) -> pd.DataFrame:
    """The mean of the class or of all training images, or another random test image of the class."""
    labels, settings, means = results.images.labels, results.settings, results.baselines
    targets = np.asarray(results.targets)
    chosen = labels[targets]
    if what == SAME_CLASS:
        drawn = np.array([another(results.images, settings.seed, target) for target in results.targets])
        images, latents = results.images.batch(drawn)[0].numpy(), results.natural[drawn]
        judge_class, excluded = np.full(len(targets), np.nan), drawn
    else:
        rows = chosen if what == CLASS_MEAN else np.full(len(targets), len(means.means) - 1)
        images, latents = means.means[rows], means.latents[rows]
        judge_class, excluded = (means.predictions[rows] == chosen).astype(float), None
    wanted = results.images.batch(targets)[0].numpy()
    return pd.DataFrame(
        {
            "what": what,
            "seed": EVERY_SEED,
            "start": "",
            "index": targets,
            "label": chosen,
            "correlation_target": correlation(images, wanted),
            "ssim_target": structure(images, wanted),
            **ranks(results, results.targets, images, latents, excluded),
            "judge_class": judge_class,
        }
    )


def structure(images: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Structural similarity (n,) of images with others (n, channels, height, width)."""
    return ssim(torch.from_numpy(images), torch.from_numpy(others))


def ranks(
    results: Results,
    targets: Sequence[int],
    images: NDArray[Any],
    latents: NDArray[Any],
    excluded: NDArray[Any] | None = None,
) -> dict[str, Any]:
    """closer_pixels, closer_judge and among, one entry per target, for images (t, ...) with the judge's latents.

    excluded: (t,) a test image each that is not among the candidates, because it is the image that is compared.
    """
    settings, data = results.settings, results.images
    found: dict[str, list[float]] = {"closer_pixels": [], "closer_judge": [], "among": []}
    for row, target in enumerate(targets):
        among = candidates(data.labels, target, settings.num_candidates, seed=settings.seed)
        if excluded is not None:
            among = among[among != excluded[row]]
        pixels = pairwise(images[row : row + 1], data.batch(among)[0].numpy())[0]
        far = distances(latents[row : row + 1], results.natural[among])[0]
        found["closer_pixels"].append(closer(pixels))
        found["closer_judge"].append(closer(-far))
        found["among"].append(len(among))
    return found


# --- Estimates --------------------------------------------------------------------------------------------------------


def over_seeds(table: pd.DataFrame, column: str, limits: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """Mean of a column over targets and seeds, with the interval over both; rows without a value do not count."""
    known = table[table[column].notna()]
    each = [mean_interval(rows[column].to_numpy(dtype=np.float64)) for _, rows in known.groupby("seed", sort=True)]
    return mean_over_seeds(each, limits=limits) if each else NOTHING


def closer_difference(table: pd.DataFrame, measure: str, other: str) -> Estimate:
    """`closer` of the robust network minus that of `other`, paired by seed and target; a target's starts are averaged.

    other: "standard", or a baseline, which is the same for every seed unless a network made it.
    """
    column = f"closer_{measure}"
    by_target = table.groupby(["what", "seed", "index"])[column].mean()
    robust = by_target.loc["robust"]
    found = []
    for seed in robust.index.get_level_values("seed").unique():
        of_other = by_target.loc[other]
        same = of_other.loc[seed if seed in of_other.index.get_level_values("seed") else EVERY_SEED]
        difference = (robust.loc[seed] - same).dropna()
        if len(difference):
            found.append(mean_interval(difference.to_numpy()))
    return mean_over_seeds(found) if found else NOTHING


def rank_table(results: Results, images: pd.DataFrame) -> pd.DataFrame:
    """Rows: inversions of both kinds by start, then the baselines. By pixels and by the judge, with intervals."""
    rows: list[tuple[str, str]] = [(kind, start) for start in results.settings.starts for kind in reversed(KINDS)]
    rows += [(CLASS_ONLY, results.settings.starts[0]), *((what, "") for what in BASELINES[1:])]
    found = []
    for what, start in rows:
        these = at(images, what=what, start=start)
        row: dict[str, Any] = {"what": what, "start": start}
        for measure in MEASURES:
            estimate = over_seeds(these, f"closer_{measure}")
            row |= columns(measure, estimate, f"{measure}_lo", f"{measure}_hi")
            place = over_seeds(these.assign(place=1 + (these.among - 1) * these[f"closer_{measure}"]), "place", WIDE)
            row |= columns(f"{measure}_rank", place, f"{measure}_rank_lo", f"{measure}_rank_hi")
        row |= {"among": float(these.among.mean()), "seeds": these.seed.nunique()}
        found.append(row | {"n": these["index"].nunique()})
    return pd.DataFrame(found)


def inversion_table(results: Results, images: pd.DataFrame) -> pd.DataFrame:
    """What an inversion reached: the distance of latents, and what its image agrees with."""
    found = []
    for start in results.settings.starts:
        for kind in reversed(KINDS):
            these = at(images, what=kind, start=start)
            row: dict[str, Any] = {"what": kind, "start": start}
            row |= {"before": over_seeds(these, "distance_before", WIDE).value}
            row |= columns("after", over_seeds(these, "distance_after", WIDE), "after_lo", "after_hi")
            for name in ("target", "start"):
                for column, key in (("correlation", "with"), ("ssim", "ssim")):
                    estimate = over_seeds(these, f"{column}_{name}", (-1.0, 1.0))
                    row |= columns(f"{key}_{name}", estimate, f"{key}_{name}_lo", f"{key}_{name}_hi")
            row |= {"moved": over_seeds(these, "moved", WIDE).value}
            row |= {"own_class": float(these.own_class.mean())}
            row |= columns("judge_class", over_seeds(these, "judge_class"), "judge_lo", "judge_hi")
            found.append(row | {"seeds": these.seed.nunique(), "n": these["index"].nunique()})
    return pd.DataFrame(found)


# --- Units ------------------------------------------------------------------------------------------------------------


def unit_table(results: Results) -> pd.DataFrame:
    """One row per network and unit: kind, seed, unit, order, natural (`consistency`), seeds_agree (`agreement`)."""
    centre = results.natural.mean(0)
    parts = []
    for (kind, seed), units in results.units.items():
        shown = _features(units, results.settings.unit_starts)
        top = np.stack(
            [results.natural[top_images(units, u, results.settings.top_images)].mean(0) for u in units.chosen]
        )
        rows = units.rows.groupby("unit", sort=False)
        parts.append(
            pd.DataFrame(
                {
                    "what": kind,
                    "seed": seed,
                    "order": range(len(units.chosen)),
                    "unit": list(units.chosen),
                    "natural": consistency(shown, top, centre),
                    "seeds_agree": agreement(shown, centre),
                    "activation_before": rows.activation_before.mean().loc[list(units.chosen)].to_numpy(),
                    "activation": rows.activation.mean().loc[list(units.chosen)].to_numpy(),
                    "largest_natural": units.latents[:, list(units.chosen)].max(0),
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"what": [], "seed": []})


def top_images(units: Units, unit: int, count: int) -> NDArray[np.int64]:
    """Test images that excite a unit most, strongest first."""
    return np.argsort(-units.latents[:, unit], kind="stable")[:count]


def _features(units: Units, num_starts: int) -> NDArray[Any]:
    """(units, starts, width): the judge's latents of the visualisations."""
    latents = matrix(units.judged)
    return latents.reshape(len(units.chosen), num_starts, -1)


def unit_difference(units: pd.DataFrame, column: str, seeds: Sequence[int]) -> Estimate:
    """Robust minus standard: means over the units of each pair of twins (Welch), over seeds. Units are not paired."""
    found = []
    for seed in seeds:
        robust, standard = (at(units, what=kind, seed=seed) for kind in reversed(KINDS))
        if len(robust) > 1 and len(standard) > 1:
            found.append(welch(robust[column].to_numpy(), standard[column].to_numpy()))
    if not found:
        return NOTHING
    return mean_over_seeds(found, limits=(-2.0, 2.0))


def natural_table(results: Results, units: pd.DataFrame) -> pd.DataFrame:
    """Rows: both kinds of network. How natural visualisations are, and how alike from different starts."""
    found = []
    for kind in reversed(KINDS):
        these = at(units, what=kind)
        row: dict[str, Any] = {"what": kind}
        row |= columns("natural", over_seeds(these, "natural"), "natural_lo", "natural_hi")
        row |= columns("seeds_agree", over_seeds(these, "seeds_agree", (-2.0, 2.0)), "agree_lo", "agree_hi")
        row |= {name: float(these[name].mean()) for name in ("activation_before", "activation", "largest_natural")}
        found.append(row | {"seeds": these.seed.nunique(), "units": len(these)})
    return pd.DataFrame(found)


def network_table(results: Results) -> pd.DataFrame:
    """One row per network: the name under which any study takes it, and its clean accuracy."""
    return pd.DataFrame(
        [
            {"network": kind, "seed": seed, "weights": results.names[kind, seed], "accuracy": accuracy}
            for (kind, seed), accuracy in results.accuracies.items()
        ]
    )


def paths(results: Results, kind: Kind, start: str) -> Mapping[int, NDArray[Any]]:
    """Seed -> relative distance of latents at evenly spaced steps, mean over targets."""
    return {
        seed: -matrix(rows, "path").mean(0)
        for (of, seed, begun), (rows, _) in results.inversions.items()
        if (of, begun) == (kind, start)
    }
