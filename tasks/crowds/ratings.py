"""Would people accept a prediction? Answers to "does label l fit image x?" about labels that models proposed.

One row per answer: an image, its given label, the label asked about, who was asked, and 0 (no), 1 (maybe) or 2 (yes).
The score of a label is the share of "yes" among its raters. Labels that nobody was asked about have none: taken as 0
they give a lower bound of a model's mean score, taken as 1 an upper one. Leaving them out gives no bound at all: it
favours models whose odd predictions nobody proposed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robustray.tasks.crowds.questions import Questions
from robustray.tasks.crowds.tables import Column, CrowdTable, Schema
from robustray.tasks.statistics import Estimate, Resamples

RATINGS = Schema(
    what="answers about single labels of an image",
    columns={
        "image": Column(kind="name"),
        "given": Column(kind="label"),
        "label": Column(kind="label"),
        "rater": Column(kind="name"),
        "answer": Column(kind="count"),
    },
)
YES = 2
LOWER, UPPER, RATED = "lower", "upper", "rated only"
BATCH = 16
"""Resamples at once. Fixed: see `statistics.designs.BATCH_ENTRIES`."""
Ints = NDArray[np.int64]
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ratings:
    """Questions, sorted by image, then label; and their answers."""

    images: NDArray[np.str_]
    given: Ints
    """(images,) each has been asked about."""
    question: Ints
    """(questions,) image * num_classes + label."""
    num_classes: int
    asked: sparse.csr_array
    """(questions, raters) 1 / number of answers where a rater was asked."""
    yes: sparse.csr_array
    """The same where he said yes."""

    @staticmethod
    def of(table: CrowdTable) -> Ratings:
        """Raises: InputError naming the row: an answer beyond 2, two given labels of an image, an answer given twice,
        a given label that nobody was asked about."""
        answer = table["answer"]
        if (answer > YES).any():
            row = int(np.argmax(answer > YES))
            raise table.bad("answer", row, f"{answer[row]} is none of 0 (no), 1 (maybe), 2 (yes)")
        found = Questions.of(table, why="predictions are compared with it on the same images")
        place = found.place
        raters, rater = np.unique(table["rater"], return_inverse=True)
        pairs, kept = np.unique(place * len(raters) + rater, return_index=True)
        if len(pairs) < len(place):
            row = int(np.setdiff1d(np.arange(len(place)), kept)[0])
            raise table.bad("rater", row, f"{table['rater'][row]} answers about this image and label twice")
        share = 1.0 / np.bincount(place)[place]
        form = (len(found.question), len(raters))
        said = answer == YES
        return Ratings(
            images=found.images,
            given=found.given,
            question=found.question,
            num_classes=found.num_classes,
            asked=sparse.csr_array((share, (place, rater)), shape=form),
            yes=sparse.csr_array((share[said], (place[said], rater[said])), shape=form),
        )

    def of_labels(self, label: Ints) -> Ints:
        """(images,) the question about a label of each image; -1 where nobody was asked."""
        wanted = np.where(label < self.num_classes, np.arange(len(self.images)) * self.num_classes + label, -1)
        place = np.minimum(np.searchsorted(self.question, wanted), len(self.question) - 1)
        return np.where(self.question[place] == wanted, place, -1)

    @property
    def share_yes(self) -> Array:
        """(questions,)"""
        return np.asarray(self.yes.sum(axis=1)).ravel()

    def scores(self, label: Ints, unrated: float) -> Array:
        """(images,) share of yes for a label of each image, `unrated` where nobody was asked."""
        place = self.of_labels(label)
        return np.where(place >= 0, self.share_yes[place], unrated)


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """How a model's predictions are rated: mean scores, and what they are less than the given labels' on the same
    images. Keys: "lower", "upper", "rated only"."""

    num_rated: int
    score: Mapping[str, Estimate]
    given: Estimate
    """The given labels' mean score, on all images."""
    difference: Mapping[str, Estimate]
    """Prediction minus given label; "rated only": on images whose prediction was rated."""

    @property
    def bounds(self) -> Estimate:
        """The difference as far as the answers determine it: from the lower bound's lower end to the upper one's upper
        end. It lies within a margin exactly if both bounds' intervals do."""
        lower, upper = self.difference[LOWER], self.difference[UPPER]
        return Estimate(value=(lower.value + upper.value) / 2, lo=lower.lo, hi=upper.hi, n=lower.n)


def acceptance(
    ratings: Ratings, predictions: Mapping[str, Ints], *, num_resamples: int, seed: int = 0
) -> dict[str, Accepted]:
    """Model -> how people rate its predictions. predictions: (images,) each.

    Basic bootstrap intervals over images and raters: both are drawn again, independently, and an answer counts as often
    as its image times its rater was drawn (Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1 (2007)
    386-411: never too narrow on average, somewhat too wide where raters hardly differ).
    """
    places = {model: ratings.of_labels(label) for model, label in predictions.items()}
    own = ratings.of_labels(ratings.given)
    num_images, num_raters = len(ratings.images), ratings.asked.shape[1]

    def values(of_images: Array, of_raters: Array) -> Array:
        """of_images: (batch, images), of_raters: (batch, raters). Returns: (batch, 1 + 6 * models)."""
        yes, asked = ratings.yes @ of_raters.T, ratings.asked @ of_raters.T  # (questions, batch)
        weights = np.ascontiguousarray(of_images.T)

        def total(table: Array, place: Ints, rows: Ints | slice = slice(None)) -> Array:
            return np.einsum("ib,ib->b", table[place], weights[rows])

        with np.errstate(invalid="ignore", divide="ignore"):  # nothing drawn that was rated: a failed resample
            base_yes, base_asked = total(yes, own), total(asked, own)
            base = base_yes / base_asked
            found = [base]
            for place in places.values():
                rated = np.flatnonzero(place >= 0)
                said, all_of = total(yes, place[rated], rated), total(asked, place[rated], rated)
                unrated = weights[place < 0].sum(axis=0)
                on_rated = total(yes, own[rated], rated) / total(asked, own[rated], rated)
                lower, upper = said / (all_of + unrated), (said + unrated) / (all_of + unrated)
                only = said / all_of
                found += [lower, upper, only, lower - base, upper - base, only - on_rated]
        return np.stack(found, axis=1)

    ones = np.ones((1, num_images)), np.ones((1, num_raters))
    rng = np.random.default_rng(seed)
    draws = []
    for first in range(0, num_resamples, BATCH):
        size = min(BATCH, num_resamples - first)
        draws.append(values(_counts(rng, size, num_images), _counts(rng, size, num_raters)))
    resampled = Resamples(values=values(*ones)[0], draws=np.concatenate(draws), n=num_images, acceleration=None)
    base, *rest = resampled.estimates()
    found = {}
    for k, (model, place) in enumerate(places.items()):
        names = (LOWER, UPPER, RATED)
        found[model] = Accepted(
            num_rated=int((place >= 0).sum()),
            score=dict(zip(names, rest[6 * k : 6 * k + 3], strict=True)),
            given=base,
            difference=dict(zip(names, rest[6 * k + 3 : 6 * k + 6], strict=True)),
        )
    return found


def _counts(rng: np.random.Generator, batch: int, size: int) -> Array:
    """(batch, size) how often each of `size` units was drawn."""
    drawn = rng.integers(0, size, (batch, size)) + size * np.arange(batch)[:, None]
    return np.bincount(drawn.ravel(), minlength=batch * size).reshape(batch, size).astype(np.float64)
