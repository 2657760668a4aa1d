"""Predictions against what people see: which of several "right" labels a model's prediction is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.crowds.classify import Aggregate, Votes
from robustray.tasks.kit.frames import columns
from robustray.tasks.statistics import (
    Estimate,
    by_unit,
    holm,
    mcnemar_exact,
    paired_difference,
    permutation_difference,
    permutation_p,
    proportion,
    resample,
)

MEASURES: Mapping[str, str] = {
    "given label": "the label of the data set",
    "main label": "the label that most people call main",
    "main object": "any label of the object that people call main",
    "any label": "any label of any object (also what a single worker chose)",
    "strong label": "a label of an object that at least half of the workers selected",
    "representative label": "the most selected label of an object",
}
"""What counts as right. The three multi-label measures are different numbers: always say which."""
SELECTED = "selection frequency"
"""A score between right and wrong: the share of an image's workers who selected the predicted label."""
GIVEN = "(the given labels)"
"""The name of the given labels among the models, for comparison."""
ALL, SINGLE, MULTI, DIFFERENT = "all images", "one object", "several objects", "several objects, given is not main"


def slices(votes: Votes, found: Aggregate) -> dict[str, NDArray[np.bool_]]:
    """(images,) which images are in each slice. People's number of objects, not the truth, divides them."""
    multi = found.num_objects > 1
    return {
        ALL: np.ones(votes.num_images, dtype=np.bool_),
        SINGLE: ~multi,
        MULTI: multi,
        DIFFERENT: multi & (found.main_label != votes.given),
    }


class Judge:
    """What counts as right for each image, for predictions of any number of models."""

    def __init__(self, votes: Votes, found: Aggregate) -> None:
        in_object = found.pair_object >= 0
        of_main = in_object & (found.pair_object == found.main_object[found.pair_image])
        strong = in_object & (2 * found.pair_votes >= votes.num_workers[found.pair_image])
        flags = np.stack([of_main, in_object, strong, found.representative])
        self._flags = np.concatenate([flags, np.zeros((4, 1), dtype=np.bool_)], axis=1)  # the last: in no pair
        self._pairs = found.pair_image * votes.num_classes + found.pair_label  # ascends
        self._rows = np.arange(votes.num_images) * votes.num_classes
        self._votes, self._found = votes, found

    def __call__(self, predicted: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
        """Measure -> (images,) whether a prediction is right. predicted: (images,) class of each image."""
        place = self._place(predicted)
        own = predicted == self._votes.given, predicted == self._found.main_label
        return dict(zip(MEASURES, (*own, *self._flags[:, place]), strict=True))

    def num_selected(self, label: NDArray[np.int64]) -> NDArray[np.int64]:
        """(images,) how many of an image's workers selected a label. label: (images,) one for each image."""
        return np.append(self._found.pair_votes, 0)[self._place(label)]

    def selected(self, predicted: NDArray[np.int64]) -> NDArray[np.float64]:
        """(images,) share of an image's workers who selected the predicted label: its selection frequency."""
        return self.num_selected(predicted) / self._votes.num_workers

    def _place(self, label: NDArray[np.int64]) -> NDArray[np.int64]:
        """(images,) pair of each image's label; the number of pairs where nobody selected it."""
        key = np.where(label < self._votes.num_classes, self._rows + label, -1)
        place = np.minimum(np.searchsorted(self._pairs, key), len(self._pairs) - 1)
        return np.where(self._pairs[place] == key, place, len(self._pairs))


def right(votes: Votes, found: Aggregate, predicted: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Measure -> (images,) whether a prediction is right; for several models make one `Judge`."""
    return Judge(votes, found)(predicted)


def accuracies(votes: Votes, found: Aggregate, predictions: Mapping[str, NDArray[np.int64]]) -> pd.DataFrame:
    """One row per model, slice and measure: accuracy with Wilson's interval, over images."""
    rows, judge, parts = [], Judge(votes, found), slices(votes, found)
    for model, predicted in predictions.items():
        right_ = judge(predicted)
        for name, inside in parts.items():
            for measure, hits in right_.items():
                estimate = proportion(hits[inside])
                row = {"model": model, "slice": name, "measure": measure}
                rows.append(row | columns("accuracy", estimate) | {"n": estimate.n})
    return pd.DataFrame(rows)


def main_minus_given(
    votes: Votes, found: Aggregate, predictions: Mapping[str, NDArray[np.int64]]
) -> Iterator[tuple[str, Estimate]]:
    """Per model, on images with several objects: share of predictions that are the main label minus the given one."""
    inside, judge = slices(votes, found)[MULTI], Judge(votes, found)
    for model, predicted in predictions.items():
        hits = judge(predicted)
        yield model, paired_difference(hits["main label"][inside], hits["given label"][inside])


def selected_shares(
    votes: Votes, found: Aggregate, predictions: Mapping[str, NDArray[np.int64]], *, num_resamples: int
) -> pd.DataFrame:
    """Mean selection frequency of the predicted label, and how much less it is than that of the given label, per model
    and slice.

    One row per model and slice (all images; several objects), and first the given label's own. Basic bootstrap
    intervals over images, one resample for all: every image has its own answers, so that the chance in its workers'
    answers is drawn again with it.
    """
    judge, parts = Judge(votes, found), slices(votes, found)
    scores = np.stack([judge.selected(label) for label in (votes.given, *predictions.values())], axis=1)
    rows = []
    for name in (ALL, MULTI):
        table = scores[parts[name]]
        if not len(table):
            continue
        held = np.concatenate([table, table[:, 1:] - table[:, :1]], axis=1)
        estimates = resample(partial(means, held), by_unit(len(table)), num_resamples=num_resamples).estimates()
        shares, differences = estimates[: table.shape[1]], estimates[table.shape[1] :]
        first = {"model": GIVEN, "slice": name, **columns("selected", shares[0])}
        rows.append(first | {"minus_given": np.nan, "minus_lo": np.nan, "minus_hi": np.nan, "n": len(table)})
        for model, mean, difference in zip(predictions, shares[1:], differences, strict=True):
            row = {"model": model, "slice": name, **columns("selected", mean)}
            rows.append(row | columns("minus_given", difference, "minus_lo", "minus_hi") | {"n": len(table)})
    return pd.DataFrame(rows)


def means(table: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(resamples, columns) weighted means of a table's (rows, columns), for `statistics.resample`."""
    return weights @ table / weights.sum(axis=1, keepdims=True)


def by_accuracy(given: NDArray[np.int64], predictions: Mapping[str, NDArray[np.int64]]) -> list[str]:
    """Models, those that are most often right by the given label first; equally accurate ones by name.

    given, predictions: (images,) labels of the same images.
    """
    accuracy = {model: float((label == given).mean()) for model, label in predictions.items()}
    return sorted(accuracy, key=lambda model: (-accuracy[model], model))


COMPARED = 6
"""Models of which every two are compared: 15 pairs. More pairs would cost each of them power by Holm's correction."""


def comparisons(votes: Votes, found: Aggregate, predictions: Mapping[str, NDArray[np.int64]]) -> pd.DataFrame:
    """Every two of the most accurate models (by the given label, on all images), on images with several objects.

    One row per measure and pair: difference, first minus second, paired by image, with its interval and p-value, and
    Holm's correction over the pairs of one measure, which are those shown. What is right or wrong: Tango's interval and
    the exact McNemar test. Selection frequencies, which lie in between: the paired permutation test, and its interval.
    No rows with a single model, or without images of several objects.
    """
    best = by_accuracy(votes.given, predictions)[:COMPARED]
    inside = slices(votes, found)[MULTI]
    judge = Judge(votes, found)
    hits = {model: judge(predictions[model]) for model in best}
    pairs = list(itertools.combinations(best, 2)) if inside.any() else []
    rows = []
    for measure in MEASURES if pairs else ():
        p_values, own = [], []
        for first, second in pairs:
            a, b = hits[first][measure][inside], hits[second][measure][inside]
            p_values.append(mcnemar_exact(int((a & ~b).sum()), int((b & ~a).sum())))
            estimate = paired_difference(a, b)
            row = {"measure": measure, "first": first, "second": second}
            own.append(row | columns("difference", estimate) | {"n": estimate.n})
        rows += corrected(own, p_values)
    if pairs:
        shares = {model: judge.selected(predictions[model])[inside] for model in best}
        rows += compared_scores(shares, pairs, measure=SELECTED)
    return pd.DataFrame(rows)


LEAST_IMAGES = 50
"""Below which predictions no better than chance are no news."""


def by_chance(
    votes: Votes, found: Aggregate, predictions: Mapping[str, NDArray[np.int64]]
) -> dict[str, tuple[float, float]]:
    """Models whose predictions fit no better than labels drawn at random: their classes may be in another order.

    Model -> share of images in which somebody selected the predicted label, or it is the given one; and that of labels
    drawn at random from those that occur. Those whose Wilson interval does not lie above chance; none below 50 images.
    """
    if votes.num_images < LEAST_IMAGES:
        return {}
    judge = Judge(votes, found)
    fitting = len(found.pair_label) + int((judge.selected(votes.given) == 0).sum())
    chance = fitting / votes.num_images / len(np.union1d(found.pair_label, votes.given))
    told = {}
    for model, label in predictions.items():
        share = proportion((judge.selected(label) > 0) | (label == votes.given))
        if share.lo <= chance < 1:
            told[model] = share.value, chance
    return told


def compared_scores(
    scores: Mapping[str, NDArray[np.float64]], pairs: Sequence[tuple[str, str]], *, seed: int = 0, **what: str
) -> list[dict[str, Any]]:
    """Rows of pairs of models whose scores (images,) lie anywhere between 0 and 1: paired permutation tests."""
    rows, p_values = [], []
    for first, second in pairs:
        a, b = scores[first], scores[second]
        same = bool((a == b).all())
        estimate = Estimate(value=0.0, lo=0.0, hi=0.0, n=len(a)) if same else permutation_difference(a, b, seed=seed)
        p_values.append(1.0 if same else permutation_p(a, b, seed=seed))
        rows.append({**what, "first": first, "second": second, **columns("difference", estimate), "n": len(a)})
    return corrected(rows, p_values)


def corrected(rows: Sequence[Mapping[str, Any]], p_values: Sequence[float]) -> list[dict[str, Any]]:
    """Rows with their p-values, and these corrected over all of them (Holm)."""
    found = holm(p_values).tolist()
    return [{**row, "p": p, "p_holm": q} for row, p, q in zip(rows, p_values, found, strict=True)]
