"""Predictions against what people see: which of several "right" labels a model's prediction is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.crowds.classify import Aggregate, Votes
from robustray.tasks.kit.frames import columns
from robustray.tasks.statistics import Estimate, holm, mcnemar_exact, paired_difference, proportion

MEASURES: Mapping[str, str] = {
    "given label": "the label of the data set",
    "main label": "the label that most people call main",
    "main object": "any label of the object that people call main",
    "any label": "any label of any object (also what a single worker chose)",
    "strong label": "a label of an object that at least half of the workers selected",
    "representative label": "the most selected label of an object",
}
"""What counts as right. The three multi-label measures are different numbers: always say which."""
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
        key = np.where(predicted < self._votes.num_classes, self._rows + predicted, -1)
        place = np.minimum(np.searchsorted(self._pairs, key), len(self._pairs) - 1)
        place = np.where(self._pairs[place] == key, place, len(self._pairs))
        own = predicted == self._votes.given, predicted == self._found.main_label
        return dict(zip(MEASURES, (*own, *self._flags[:, place]), strict=True))


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


COMPARED = 6
"""Models of which every two are compared: 15 pairs. More pairs would cost each of them power by Holm's correction."""


def comparisons(votes: Votes, found: Aggregate, predictions: Mapping[str, NDArray[np.int64]]) -> pd.DataFrame:
    """Every two of the most accurate models (by the given label, on all images), on images with several objects.

    One row per measure and pair: difference of accuracies, first minus second, paired by image (Tango's interval), the
    exact McNemar p-value, and Holm's correction over the pairs of one measure, which are those shown. No rows with a
    single model, or without images of several objects.
    """
    given = {model: float((predicted == votes.given).mean()) for model, predicted in predictions.items()}
    best = sorted(given, key=lambda model: (-given[model], model))[:COMPARED]
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
        corrected = holm(p_values)
        rows += [row | {"p": p, "p_holm": float(q)} for row, p, q in zip(own, p_values, corrected, strict=True)]
    return pd.DataFrame(rows)
