"""How alike an optimised image and its target are, and how that compares with other images of the target's class.

Plain functions of arrays: images and latents are (n, ...) and flattened. Nothing here knows a network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustray.tasks.lab.seeds import stream

Floats = NDArray[np.float64]


def flat(arrays: ArrayLike) -> Floats:
    """(n, ...) -> (n, d) in double precision."""
    values = np.asarray(arrays, dtype=np.float64)
    return values.reshape(len(values), -1)


def pairwise(a: ArrayLike, b: ArrayLike) -> Floats:
    """Pearson correlations (n, m) of every row of a with every row of b; 0 with a constant one."""
    return _normed(flat(a)) @ _normed(flat(b)).T


def correlation(a: ArrayLike, b: ArrayLike) -> Floats:
    """Pearson correlation (n,) of row i of a with row i of b; 0 with a constant one."""
    return (_normed(flat(a)) * _normed(flat(b))).sum(1)


def distances(a: ArrayLike, b: ArrayLike) -> Floats:
    """Euclidean distances (n, m) of every row of a from every row of b."""
    x, y = flat(a), flat(b)
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1)[None, :] - 2 * x @ y.T
    return np.sqrt(np.maximum(squares, 0.0))


def cosines(a: ArrayLike, b: ArrayLike, centre: ArrayLike) -> Floats:
    """Cosines (n, m) of rows of a and b seen from `centre` (d,): features after a ReLU all look alike from 0."""
    middle = np.asarray(centre, dtype=np.float64)
    return _unit(flat(a) - middle) @ _unit(flat(b) - middle).T


def candidates(labels: NDArray[Any], target: int, count: int, *, seed: int) -> NDArray[np.int64]:
    """The target and up to count - 1 other images of its class, drawn by (seed, target); the target comes first."""
    others = np.flatnonzero(labels == labels[target])
    others = others[others != target]
    drawn = stream(seed, "candidates", target).permutation(others)[: count - 1]
    return np.concatenate([[target], np.sort(drawn)])


def closer(similarity: ArrayLike) -> float:
    """Share of the other candidates that are more alike than the target, which is the first entry; ties count half.

    0: none is, the target is found. 1/2 is chance: what any image gives on average that knows nothing but the class.
    The target's rank among m candidates is 1 + (m - 1) times this. NaN without another candidate.
    """
    own, others = float(np.asarray(similarity)[0]), np.asarray(similarity, dtype=np.float64)[1:]
    if not len(others):
        return float("nan")
    return float((others > own).mean() + 0.5 * (others == own).mean())


def consistency(features: ArrayLike, natural: ArrayLike, centre: ArrayLike) -> Floats:
    """Per unit, how often its visualisations look more like its own top images than like those of another unit.

    features (u, s, d): of the visualisations of u units from s starts. natural (u, d): of each unit's top images, on
    average. For every unit the share of other units whose top images are less alike (ties half), mean over starts (u,):
    the area under the curve; 1/2 is chance.
    """
    shown, top = np.asarray(features, dtype=np.float64), np.asarray(natural, dtype=np.float64)
    num_units, num_starts = shown.shape[:2]
    alike = cosines(shown.reshape(num_units * num_starts, -1), top, centre).reshape(num_units, num_starts, num_units)
    own = np.einsum("isi->is", alike)[:, :, None]
    wins = (alike < own) + 0.5 * (alike == own)
    return (wins.sum(2) - 0.5).mean(1) / (num_units - 1)  # a unit ties with itself


def agreement(features: ArrayLike, centre: ArrayLike) -> Floats:
    """Per unit, how much more alike its visualisations from different starts are than those of different units.

    Mean cosine over pairs of starts within the unit, minus that with other units at other starts: (u,). 0: it makes no
    difference which unit was excited.
    """
    shown = np.asarray(features, dtype=np.float64)
    num_units, num_starts = shown.shape[:2]
    rows = shown.reshape(num_units * num_starts, -1)
    alike = cosines(rows, rows, centre).reshape(num_units, num_starts, num_units, num_starts)
    first, second = np.nonzero(~np.eye(num_starts, dtype=bool))
    by_pair = alike[:, first, :, second].mean(0)
    within = np.diagonal(by_pair)
    return within - (by_pair.sum(1) - within) / (num_units - 1)


def path_measures(probabilities: ArrayLike, ends: ArrayLike) -> dict[str, Floats]:
    """What a judge makes of paths from one image to another: probabilities (n, points, c), ends (n, 2) two classes.

    ends: share of the points whose most likely class is one of the two. variation: half the summed absolute change from
    point to point; 1 where a sure judge goes over from one class to the other once and directly.
    """
    p, two = np.asarray(probabilities, dtype=np.float64), np.asarray(ends)
    known = (p.argmax(2)[:, :, None] == two[:, None, :]).any(2)
    return {"ends": known.mean(1), "variation": 0.5 * np.abs(np.diff(p, axis=1)).sum((1, 2))}


def concentration(changes: ArrayLike, share: float = 0.2) -> Floats:
    """Share of the squared change (n, c, h, w) that lies in the `share` of the places that changed most (n,).

    1 for a change of a few pixels, `share` for an even one, and for none.
    """
    squares = np.square(np.asarray(changes, dtype=np.float64)).sum(1).reshape(len(np.asarray(changes)), -1)
    count = max(1, round(share * squares.shape[1]))
    most = np.sort(squares, axis=1)[:, -count:].sum(1)
    total = squares.sum(1)
    return np.divide(most, total, out=np.full(len(squares), count / squares.shape[1]), where=total > 0)


def _normed(rows: Floats) -> Floats:
    return _unit(rows - rows.mean(1, keepdims=True))


def _unit(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    # A constant image differs from its mean by rounding only: that is no direction.
    known = length > 1e-9 * np.maximum(1.0, np.abs(rows).max(initial=0.0))
    return np.divide(rows, length, out=np.zeros_like(rows), where=known)
