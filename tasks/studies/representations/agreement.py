"""People as judges: do distances of latents predict which classes and which images people confuse?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from robustray.tasks.statistics import NOTHING, Estimate
from robustray.tasks.statistics.bootstrap import resample
from robustray.tasks.statistics.designs import by_unit
from robustray.tasks.statistics.over_seeds import mean_over_seeds
from robustray.tasks.studies.representations.measures import distances
from robustray.tasks.studies.representations.probed import PIXELS, with_ends
from robustray.tasks.studies.representations.results import Key, Results
from robustray.tasks.training.twins import KINDS

OVER = ("pairs", "images")
"""pairs of classes: nearness of their mean latents, against how often people take one for the other. images: how near
the nearest wrong class's mean is, compared with the own class's, against how many people did not give the label."""
Floats = NDArray[np.float64]


def confusions(answers: Floats, labels: NDArray[Any], weights: Floats) -> Floats:
    """(pairs of classes,): mean share of people who take an image of one for the other, both ways.

    answers (n, c): counts. weights (n,): how often an image counts.
    """
    shares = answers / answers.sum(1, keepdims=True)
    num_classes = answers.shape[1]
    of = np.zeros((num_classes, len(labels)))
    of[labels, np.arange(len(labels))] = weights
    table = of @ shares / np.maximum(of.sum(1, keepdims=True), 1e-12)
    return ((table + table.T) / 2)[np.triu_indices(num_classes, 1)]


def nearness(means: Floats) -> Floats:
    """(pairs of classes,): minus the distance of mean latents (c, width)."""
    return -distances(means, means)[np.triu_indices(len(means), 1)]


def doubt(latents: Floats, labels: NDArray[Any], means: Floats) -> Floats:
    """(n,): the distance from the own class's mean, minus that from the nearest other one's."""
    far = distances(latents, means)
    own = far[np.arange(len(labels)), labels]
    far[np.arange(len(labels)), labels] = np.inf
    return own - far.min(1)


class Compared:
    """Agreement of several spaces with people, over weighted images: a statistic for `resample`."""

    def __init__(self, answers: Floats, labels: NDArray[Any], spaces: list[tuple[NDArray[Any], NDArray[Any]]]) -> None:
        self._answers, self._labels = answers, labels
        self._doubts = [doubt(latents, labels, means) for latents, means in spaces]
        self._near = [nearness(means) for _, means in spaces]
        self._unsure = 1 - answers[np.arange(len(labels)), labels] / answers.sum(1)

    def __call__(self, weights: Floats) -> Floats:
        """(batch, n) -> (batch, 2 * spaces): for each space Spearman's correlation over pairs, then over images."""
        return np.array([self._one(row) for row in weights])

    def _one(self, weights: Floats) -> list[float]:
        rows = np.repeat(np.arange(len(weights)), weights.astype(np.int64))
        confused = confusions(self._answers, self._labels, weights)
        found = []
        for near, doubts in zip(self._near, self._doubts, strict=True):
            found += [spearman(near, confused), spearman(doubts[rows], self._unsure[rows])]
        return found


def spearman(a: Floats, b: Floats) -> float:
    """Pearson's correlation of ranks, ties at their mean; 0 where one of both never varies."""
    x, y = (stats.rankdata(each) - (len(each) + 1) / 2 for each in (a, b))
    length = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / length) if length > 0 else 0.0


def people_estimates(results: Results) -> dict[tuple[str, str], Estimate]:
    """(what, over) -> agreement: both kinds of network, pixels, and "difference", robust minus standard twin.

    Intervals over images (bootstrap, the same resamples for both twins, classes keep their sizes) and over seeds. Empty
    without answers.
    """
    probes, settings = results.probes, results.settings
    if probes.answers is None:
        return {}
    labels = results.images.labels
    pixels = results.images.batch(range(len(labels)))[0].numpy().reshape(len(labels), -1)
    flat = results.baselines.means[:-1].reshape(results.images.num_classes, -1)
    found: dict[tuple[str, str], list[Estimate]] = {}
    for seed in settings.seeds():
        keys: list[Key] = [(kind, seed) for kind in KINDS]
        spaces = [(probes.latents[key], probes.means[key]) for key in keys] + [(pixels, flat)]
        of = Compared(probes.answers, labels, spaces)

        def statistic(weights: Floats, of: Compared = of) -> Floats:
            values = of(weights)
            return np.hstack([values, values[:, 2:4] - values[:, :2]])  # robust minus standard

        design = by_unit(len(labels), strata=labels)
        drawn = resample(statistic, design, num_resamples=settings.num_resamples, seed=settings.seed)
        names = [(what, over) for what in (*KINDS, PIXELS, "difference") for over in OVER]
        for name, estimate in zip(names, drawn.estimates("percentile", 0.95), strict=True):
            found.setdefault(name, []).append(estimate)
    return {
        name: mean_over_seeds(each if name[0] != PIXELS else each[:1], limits=(-2.0, 2.0))
        for name, each in found.items()
    }


def people_table(results: Results, estimates: dict[tuple[str, str], Estimate]) -> pd.DataFrame:
    """Rows: both kinds of network, then distances of pixels."""
    rows = []
    for what in (*reversed(KINDS), PIXELS) if estimates else ():
        row: dict[str, Any] = {"what": what}
        for over in OVER:
            row |= with_ends(over, estimates[what, over])
        seeds = 1 if what == PIXELS else results.settings.num_seeds
        rows.append(row | {"seeds": seeds, "n": len(results.images)})
    return pd.DataFrame(rows)


def people_difference(estimates: dict[tuple[str, str], Estimate], over: str) -> Estimate:
    """Robust minus standard; nothing without answers."""
    return estimates.get(("difference", over), NOTHING)
