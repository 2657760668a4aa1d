"""From the rows of the probes to estimates: one table for each question, both kinds of network side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from robustray.tasks.kit.frames import columns
from robustray.tasks.latents.cache import matrix
from robustray.tasks.statistics import NOTHING, Estimate, mean_interval
from robustray.tasks.statistics.over_seeds import mean_over_seeds
from robustray.tasks.studies.representations.kinds import STRANGE
from robustray.tasks.studies.representations.measures import (
    closer,
    concentration,
    correlation,
    distances,
    pairwise,
    path_measures,
)
from robustray.tasks.studies.representations.probes import another
from robustray.tasks.studies.representations.results import Key, Results
from robustray.tasks.training.twins import KINDS, Kind

Values = Mapping[Key, NDArray[Any]]
"""Kind and seed -> one number per item; the items of all networks are the same."""
WIDE = (-np.inf, np.inf)
SHARE = (0.0, 1.0)
PIXELS, BLEND = "pixels", "pixel blend"


def over_networks(values: Values, kind: Kind, limits: tuple[float, float] = WIDE) -> Estimate:
    """Mean over items and seeds."""
    each = [mean_interval(rows) for (of, _), rows in values.items() if of == kind and len(rows)]
    return mean_over_seeds(each, limits=limits) if each else NOTHING


def difference(values: Values, seeds: Sequence[int], limits: tuple[float, float] = WIDE) -> Estimate:
    """Robust minus standard, paired by twins and item."""
    pairs = [(values.get(("robust", seed)), values.get(("standard", seed))) for seed in seeds]
    found = [mean_interval(a - b) for a, b in pairs if a is not None and b is not None and len(a) == len(b)]
    return mean_over_seeds(found, limits=limits) if found else NOTHING


def table(measures: Mapping[str, Values], limits: Mapping[str, tuple[float, float]]) -> pd.DataFrame:
    """Rows: both kinds of network; a column with its ends for each measure."""
    found = []
    for kind in reversed(KINDS):
        row: dict[str, Any] = {"what": kind}
        for name, values in measures.items():
            row |= with_ends(name, over_networks(values, kind, limits.get(name, WIDE)))
        some = next(iter(measures.values()))
        mine = [len(rows) for (of, _), rows in some.items() if of == kind]
        found.append(row | {"seeds": len(mine), "n": min(mine, default=0)})
    return pd.DataFrame(found)


def with_ends(name: str, estimate: Estimate) -> dict[str, float]:
    return columns(name, estimate, f"{name}_lo", f"{name}_hi")


# --- Matching within small balls --------------------------------------------------------------------------------------


def matched(results: Results) -> dict[float, dict[str, Values]]:
    """Size of the ball -> distance (of latents, relative to the target's length) and left (the share of the distance at
    the start); 0 is the start. What is left compares networks whose images lie further apart from the beginning."""
    rows = results.probes.matched
    start = {key: each.before.to_numpy(np.float64) for key, each in rows.items()}
    reached = {key: matrix(each, "distance").astype(np.float64) for key, each in rows.items()}
    found: dict[float, dict[str, Values]] = {
        0.0: {"distance": start, "left": {key: np.ones(len(each)) for key, each in start.items()}}
    }
    for place, size in enumerate(results.settings.match_eps):
        there = {key: each[:, place] for key, each in reached.items()}
        left = {key: there[key] / np.maximum(start[key], 1e-12) for key in there}
        found[size] = {"distance": there, "left": left}
    return found


def match_mean(results: Results) -> Values:
    """What is left of the distance, mean over the sizes of balls."""
    parts = [measures["left"] for size, measures in matched(results).items() if size]
    return {key: np.mean([part[key] for part in parts], axis=0) for key in results.probes.matched}


def match_table(results: Results) -> pd.DataFrame:
    """Rows: sizes of balls, then both kinds; size 0 is the start."""
    parts = [table(measures, {}).assign(eps=size) for size, measures in matched(results).items()]
    found = pd.concat(parts, ignore_index=True)
    return found[["what", "eps", *(name for name in found if name not in ("what", "eps"))]]


# --- Paths between images ---------------------------------------------------------------------------------------------


def path_values(results: Results) -> dict[str, Values]:
    """Values by measure (`path_measures`) for each pair of images, and the relative distance of latents that was
    reached."""
    found: dict[str, dict[Key, NDArray[Any]]] = {"ends": {}, "variation": {}, "reached": {}}
    for key, (rows, judged) in results.probes.paths.items():
        of_path = _of_paths(results, rows, judged)
        found["reached"][key] = rows.distance.to_numpy(np.float64).reshape(-1, results.settings.path_points).mean(1)
        for name, values in of_path.items():
            found[name][key] = values
    return dict(found)


def _of_paths(results: Results, rows: pd.DataFrame, judged: pd.DataFrame) -> dict[str, NDArray[Any]]:
    points = results.settings.path_points
    p = special.softmax(matrix(judged, "logits").astype(np.float64), axis=1).reshape(
        -1, points, results.images.num_classes
    )
    ends = rows[["label", "other_label"]].to_numpy().reshape(-1, points, 2)[:, 0]
    return path_measures(p, ends)


def path_table(results: Results) -> pd.DataFrame:
    """Rows: both kinds of network, then the blend of pixels, which no network has touched."""
    found = table(path_values(results), {"ends": SHARE})
    rows = next(iter(results.probes.paths.values()))[0]
    of_blends = _of_paths(results, rows, results.probes.blends)
    blend: dict[str, Any] = {"what": BLEND, "seeds": 1, "n": len(of_blends["ends"])}
    for name, values in of_blends.items():
        blend |= with_ends(name, mean_interval(values))
    return pd.concat([found, pd.DataFrame([blend])], ignore_index=True)


# --- Units that are added ---------------------------------------------------------------------------------------------


def added_values(results: Results) -> dict[str, Values]:
    """reached: share of additions at their level. moved: l2. concentrated: share of the squared change in the fifth of
    the pixels that changed most. seen: change of the judge's latent, relative to that between two random images."""
    natural = results.natural.astype(np.float64)
    typical = np.sqrt(2 * natural.var(0).sum())
    found: dict[str, dict[Key, NDArray[Any]]] = {name: {} for name in ("reached", "moved", "concentrated", "seen")}
    for key, (rows, judged) in results.probes.added.items():
        change = matrix(rows, "image") - matrix(rows, "start")
        away = np.linalg.norm(matrix(judged) - natural[rows.start_index.to_numpy()], axis=1)
        found["reached"][key] = (rows.activation >= rows.level * (1 - 1e-3)).to_numpy(np.float64)
        found["moved"][key] = rows.distance.to_numpy(np.float64)
        found["concentrated"][key] = concentration(change)
        found["seen"][key] = away / max(typical, 1e-12)
    return dict(found)


# --- Directions, targets of no class, maps, neighbours ----------------------------------------------------------------


def directed_values(results: Results) -> dict[str, Values]:
    """judge_class, own_class: they see the class whose direction it is."""
    pairs = results.probes.directed.items()
    return {
        "judge_class": {key: _same(judged.prediction, rows.label) for key, (rows, judged) in pairs},
        "own_class": {key: _same(rows.prediction, rows.label) for key, (rows, _) in pairs},
    }


def strange_values(results: Results, kind: int | None = None) -> dict[str, Values]:
    """pixels, judge (`measures.closer` by each, among the targets of its kind), with_target (correlation of
    pixels), after (relative distance of latents). kind: place in `STRANGE`; None: all."""
    names = ("pixels", "judge", "with_target", "after")
    found: dict[str, dict[Key, NDArray[Any]]] = {name: {} for name in names}
    for key, (rows, judged) in results.probes.strange.items():
        of = rows.kind.to_numpy()
        images, targets, seen = matrix(rows, "image"), matrix(rows, "target"), matrix(judged)
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
        for place in range(len(STRANGE)) if kind is None else (kind,):
            mine = of == place
            far = distances(seen[mine], results.probes.strange_targets[mine])
            parts["pixels"].append(_ranked(pairwise(images[mine], targets[mine])))
            parts["judge"].append(_ranked(-far))
            parts["with_target"].append(correlation(images[mine], targets[mine]))
            parts["after"].append(rows.after.to_numpy(np.float64)[mine])
        for name, each in parts.items():
            found[name][key] = np.concatenate(each)
    return dict(found)


def _ranked(alike: NDArray[Any]) -> NDArray[np.float64]:
    """`closer` of every row; its own target is on the diagonal."""
    rows = range(len(alike))
    return np.array([closer(np.concatenate([alike[row, [row]], np.delete(alike[row], row)])) for row in rows])


def strange_table(results: Results) -> pd.DataFrame:
    """Rows: kinds of targets, then both kinds of network."""
    limits = {"pixels": SHARE, "judge": SHARE, "with_target": (-1.0, 1.0)}
    parts = [table(strange_values(results, place), limits).assign(target=name) for place, name in enumerate(STRANGE)]
    found = pd.concat(parts, ignore_index=True)
    return found[["target", *(name for name in found if name != "target")]]


def map_values(results: Results) -> dict[str, Values]:
    """own: correlation of the map with the image's edges. other: with those of another image of the class. gap: own
    minus other."""
    rows = results.probes.maps.items()
    own = {key: each.seen.to_numpy(np.float64) for key, each in rows}
    other = {key: each.seen_other.to_numpy(np.float64) for key, each in rows}
    return {"own": own, "other": other, "gap": {key: own[key] - other[key] for key in own}}


def neighbour_table(results: Results) -> pd.DataFrame:
    """Rows: both kinds of network, the judge, and pixels. same_class: share of a target's nearest test images that are
    of its class. likeness: correlation of pixels with the nearest one; other: with another image of the class."""
    spaces: dict[str, list[NDArray[Any]]] = {
        kind: [rows for (of, _), rows in results.probes.latents.items() if of == kind] for kind in reversed(KINDS)
    }
    data, targets = results.images, np.asarray(results.targets)
    everything = data.batch(range(len(data)))[0].numpy()
    spaces |= {"judge": [results.natural], PIXELS: [everything.reshape(len(data), -1)]}
    other = correlation(everything[targets], everything[[another(data, results.settings.seed, t) for t in targets]])
    found = []
    for what, several in spaces.items():
        nearest = [neighbours(rows, targets, results.settings.neighbours) for rows in several]
        same = [mean_interval((data.labels[each] == data.labels[targets][:, None]).mean(1)) for each in nearest]
        alike = [mean_interval(correlation(everything[targets], everything[each[:, 0]])) for each in nearest]
        row: dict[str, Any] = {"what": what} | with_ends("same_class", mean_over_seeds(same, limits=SHARE))
        row |= with_ends("likeness", mean_over_seeds(alike)) | with_ends("other", mean_interval(other))
        found.append(row | {"seeds": len(several), "n": len(targets)})
    return pd.DataFrame(found)


def neighbours(rows: NDArray[Any], targets: NDArray[Any], count: int) -> NDArray[np.int64]:
    """(targets, count): the nearest other rows, nearest first."""
    far = distances(rows[targets], rows)
    far[np.arange(len(targets)), targets] = np.inf
    return np.argsort(far, axis=1, kind="stable")[:, :count]


def _same(a: pd.Series, b: pd.Series) -> NDArray[np.float64]:
    return (a.to_numpy() == b.to_numpy()).astype(np.float64)


def every_row(results: Results, more: Mapping[str, Mapping[str, Values]]) -> pd.DataFrame:
    """One row per measure, network and item, in the order in which items were asked for. more: values by question and
    measure that are made elsewhere."""
    asked: dict[str, Mapping[str, Values]] = {
        "matching": {
            f"{name} within {size:g}": values
            for size, measures in matched(results).items()
            for name, values in measures.items()
        },
        "paths": path_values(results),
        "added": added_values(results),
        "directions": directed_values(results),
        "strange": strange_values(results),
        "maps": map_values(results),
        **more,
    }
    parts = [
        pd.DataFrame({"item": range(len(rows)), "value": rows}).assign(
            asked=name, measure=measure, what=kind, seed=seed
        )
        for name, measures in asked.items()
        for measure, values in measures.items()
        for (kind, seed), rows in values.items()
    ]
    return pd.concat(parts, ignore_index=True)


TABLES: Mapping[str, Callable[[Results], pd.DataFrame]] = {
    "matching": match_table,
    "paths": path_table,
    "added": lambda results: table(added_values(results), {"reached": SHARE, "concentrated": SHARE}),
    "directions": lambda results: table(directed_values(results), {"judge_class": SHARE, "own_class": SHARE}),
    "strange": strange_table,
    "maps": lambda results: table(map_values(results), {"own": (-1.0, 1.0), "other": (-1.0, 1.0)}),
    "neighbours": neighbour_table,
}
"""Name -> how it is made."""
