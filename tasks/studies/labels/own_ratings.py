"""Would people accept what a model predicts? Beside the given label, on the same images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.crowds.ratings import LOWER, RATED, UPPER, Accepted, Ratings, acceptance
from robustray.tasks.kit.claims import claim
from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.kit.rules import equivalent
from robustray.tasks.statistics import within_margin
from robustray.tasks.studies.labels.evaluation import COMPARED, by_accuracy, compared_scores
from robustray.tasks.studies.labels.settings import Settings
from robustray.tasks.study import Claim, Table

Ints = NDArray[np.int64]
Source = Literal["ratings", "contains"]
NAMES: Mapping[Source, str] = {"ratings": "acceptance", "contains": "contains-acceptance"}
"""Names of the tables."""
BEHIND: Mapping[Source, str] = {"ratings": "", "contains": " (contains)"}
"""Words after titles and claims."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rated:
    ratings: Ratings
    predictions: Mapping[str, Ints]
    accepted: Mapping[str, Accepted]
    source: Source = "ratings"
    """Names the tables, since answers about single labels may come from two files in one run."""

    @property
    def over(self) -> str:
        """What intervals are over: also raters where the answers say who gave them."""
        return "images and raters" if self.ratings.asked.shape[1] > 1 else "images"

    @property
    def by_given(self) -> list[str]:
        """Models, the most accurate by the given label first (on the rated images)."""
        return by_accuracy(self.ratings.given, self.predictions)


def rate(ratings: Ratings, predictions: Mapping[str, Ints], settings: Settings, source: Source = "ratings") -> Rated:
    found = acceptance(ratings, predictions, num_resamples=settings.num_resamples, seed=settings.seed)
    return Rated(ratings=ratings, predictions=predictions, accepted=found, source=source)


def _raters(rated: Rated) -> str:
    count = rated.ratings.asked.shape[1]
    return f", {count:,} raters" if count > 1 else ""


def verdict(accepted: Accepted, margin: float) -> str:
    """ "equivalent" or "different" where both bounds say so, else "undecided"."""
    both = {within_margin(accepted.difference[bound], margin) for bound in (LOWER, UPPER)}
    same_side = accepted.difference[LOWER].value * accepted.difference[UPPER].value > 0
    (said,) = both if len(both) == 1 else ("undecided",)
    return "undecided" if said == "different" and not same_side else said


def tables(rated: Rated, settings: Settings) -> Iterator[Table]:
    num_images = len(rated.ratings.images)
    base = next(iter(rated.accepted.values())).given
    rows = []
    for model in rated.by_given:
        each = rated.accepted[model]
        row: dict[str, object] = {"model": model, "rated": each.num_rated / num_images}
        for bound, name in ((LOWER, "lower"), (UPPER, "upper"), (RATED, "rated_only")):
            row |= columns(name, each.score[bound], f"{name}_lo", f"{name}_hi")
        for bound, name in ((LOWER, "lower_minus_given"), (UPPER, "upper_minus_given")):
            row |= columns(name, each.difference[bound], f"{name}_lo", f"{name}_hi")
        rows.append(row | {"verdict": verdict(each, settings.margin), "n": num_images})
    formats = {"rated": "percent"}
    for name in ("lower", "upper", "rated_only"):
        formats |= shown(name, "percent", f"{name}_lo", f"{name}_hi")
    for name in ("lower_minus_given", "upper_minus_given"):
        formats |= shown(name, "points", f"{name}_lo", f"{name}_hi")
    yield Table(
        name=NAMES[rated.source],
        title=f"Would people accept the prediction?{BEHIND[rated.source]}",
        caption=f"{num_images:,} images{_raters(rated)}. Mean share of yes among those asked "
        f"about the predicted label; of the given label it is {100 * base.value:.1f} % [{100 * base.lo:.1f}, "
        f"{100 * base.hi:.1f}]. Predictions that nobody was asked about count as no (lower) or as yes (upper); leaving "
        "them out (rated only) is no bound and favours models with odd predictions. Minus given: on the same images. "
        f"95 % bootstrap intervals (basic) over {rated.over}. Equivalent: both bounds lie within "
        f"±{100 * settings.margin:g} points; different: both outside. The most accurate model first.",
        frame=pd.DataFrame(rows),
        formats=formats,
    )
    best = rated.by_given[:COMPARED]
    if len(best) > 1:
        scores = {model: rated.ratings.scores(rated.predictions[model], 0.0) for model in best}
        yield Table(
            name=f"{NAMES[rated.source]}-comparisons",
            title=f"Whose predictions do people accept more often?{BEHIND[rated.source]}",
            caption=f"Every two of the {COMPARED} most accurate models (by the given label): mean score of the first "
            "minus the second, unrated predictions taken as no, paired by image. p: paired permutation test over "
            "images (signs of their differences are flipped; the scores are shares, not yes or no), with its 95 % "
            "interval; p_holm: corrected over these pairs. Other raters are not drawn.",
            frame=pd.DataFrame(compared_scores(scores, list(itertools.combinations(best, 2)), seed=settings.seed)),
            formats=shown("difference", "points"),
        )


def claims(rated: Rated, settings: Settings) -> Iterator[Claim]:
    best = rated.by_given[0]
    yield claim(
        f"People accept the best model's predictions as often as the given labels{BEHIND[rated.source]}.",
        rated.accepted[best].bounds,
        equivalent(settings.margin).given(50, "images"),
        measured=f"share of yes for the prediction of the most accurate model ({best}) minus the given label's, from "
        "the lower bound (unrated: no) to the upper one (unrated: yes)",
        over=f"{rated.over} (bootstrap)",
        unit="points",
    )
