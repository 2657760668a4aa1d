"""What fewer workers would have made of the same images: every subset of each image's answers is aggregated anew.

No subset is drawn at random: a value is the mean over all of them, and its only noise is that of images and answers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.classify import Aggregate, Ties, Votes, aggregate
from robustray.tasks.crowds.optima import NOT_MAIN, NOT_MAIN_OBJECT, NOT_MAIN_SINGLE, SEVERAL
from robustray.tasks.crowds.tables import Labels
from robustray.tasks.errors import InputError
from robustray.tasks.statistics import Estimate, by_unit, resample

BLOCK_ANSWERS = 2_000_000
"""Answers of all subsets that are aggregated at once: about 0.5 GB."""
MOST_ANSWERS = 50_000_000
"""Answers of all subsets of one size that are worth aggregating: half a minute. The number of subsets explodes."""
HEADLINES = (SEVERAL, NOT_MAIN, NOT_MAIN_OBJECT, NOT_MAIN_SINGLE)
POWERS = (1.0, 2.0, 2.0, 2.0)
"""How fast the error of each headline falls: as 1 / workers^power. Objects that many workers overlook are missed by a
mode for long; main labels are found sooner. Chosen by simulation, and checked on other simulated studies than those
that chose them (benchmarks/annotators.py, docs/studies/labels.md)."""


@dataclass(frozen=True, kw_only=True)
class Thinned:
    """Headlines of images that all have `num_answers` answers, had only some been given."""

    num_answers: int
    sizes: tuple[int, ...]
    n: NDArray[np.float64]
    """(images, sizes, headlines) share of the subsets of an image in which it belongs to the headline's denominator."""
    k: NDArray[np.float64]
    """The same for the numerator."""

    def values(self) -> NDArray[np.float64]:
        """(sizes, headlines): mean over subsets of the numerator, by that of the denominator."""
        return np.asarray(self.k.sum(axis=0) / self.n.sum(axis=0))

    def changes(self, *, num_resamples: int = 2_000, seed: int = 0) -> tuple[list[Estimate], list[Estimate]]:
        """Headlines at each size, and their differences from those of all answers; sizes first, then headlines.

        Basic bootstrap intervals over images, one resample of images for all of them: the differences are paired.
        """
        shape = (len(self.n), -1)
        n, k = self.n.reshape(shape), self.k.reshape(shape)

        def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            with np.errstate(invalid="ignore", divide="ignore"):  # no image of the denominator in a resample: failed
                share = (weights @ k / (weights @ n)).reshape(len(weights), len(self.sizes), -1)
            both = np.stack([share, share - share[:, -1:, :]], axis=1)
            return np.asarray(both.reshape(len(weights), -1))

        found = resample(statistic, by_unit(len(n)), num_resamples=num_resamples, seed=seed).estimates()
        return found[: n.shape[1]], found[n.shape[1] :]

    def extrapolated(
        self, *, powers: Sequence[float] = POWERS, num_resamples: int = 2_000, seed: int = 0
    ) -> list[Estimate]:
        """Headlines as if there were ever more workers: exact where a headline is a + b / workers^power.

        powers: of each headline. From all answers and the size nearest to half of them; basic bootstrap intervals over
        images.
        """
        half = min(self.sizes[:-1], key=lambda size: (abs(size - self.num_answers / 2), -size))
        at, power = self.sizes.index(half), np.asarray(powers)
        factor = half**power / (self.num_answers**power - half**power)

        def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            with np.errstate(invalid="ignore", divide="ignore"):  # as in `changes`
                few, all_ = (weights @ self.k[:, i] / (weights @ self.n[:, i]) for i in (at, -1))
            return np.asarray(all_ + factor * (all_ - few))

        return resample(statistic, by_unit(len(self.n)), num_resamples=num_resamples, seed=seed).estimates()


def most_frequent(votes: Votes) -> int:
    """How many answers most images have."""
    return int(np.bincount(votes.num_workers).argmax())


def affordable(num_images: int, num_answers: int) -> list[int]:
    """Odd sizes below `num_answers` of which all subsets can be aggregated in reasonable time (see `MOST_ANSWERS`)."""
    sizes = range(1, num_answers, 2)
    return [size for size in sizes if num_images * math.comb(num_answers, size) * size <= MOST_ANSWERS]


def thin(votes: Votes, sizes: Sequence[int], *, num_answers: int | None = None, ties: Ties = "rule") -> Thinned:
    """Headlines at fewer answers; of images with exactly `num_answers` of them (None: the most frequent number).

    ties: as `aggregate`; few answers tie often, so that the rule matters most there. sizes: ascending; the number of
    all answers is added if it is not the last. An image with another number of answers would enter at other sizes
    only, so it is left out of all: the caller says how many are.

    Raises: InputError for sizes that do not ascend, or beyond the answers; or where no image has that many.
    """
    workers = votes.num_workers
    all_answers = most_frequent(votes) if num_answers is None else num_answers
    asked = tuple(sizes) if sizes and sizes[-1] == all_answers else (*sizes, all_answers)
    if any(b <= a for a, b in itertools.pairwise((0, *asked))):
        raise InputError(f"sizes must ascend from 1 on and end below {all_answers}, the answers of an image: {sizes}")
    images = np.flatnonzero(workers == all_answers)
    if not len(images):
        raise InputError(f"no image has {all_answers} answers")
    order = np.argsort(votes.image, kind="stable")
    answers = order[np.isin(votes.image[order], images)].reshape(len(images), all_answers)
    n = np.zeros((len(images), len(asked), len(HEADLINES)))
    k = np.zeros_like(n)
    for at, size in enumerate(asked):
        subsets = np.array(list(itertools.combinations(range(all_answers), size)))
        for rows in _blocks(len(images), subsets.size):
            chosen = answers[rows][:, subsets]  # (images, subsets, size)
            part = _chosen(votes, chosen.reshape(-1, size), np.repeat(votes.given[images[rows]], len(subsets)))
            belongs, counts = _headlines(part, aggregate(part, ties=ties))
            n[rows, at] = belongs.reshape(len(chosen), len(subsets), -1).mean(axis=1)
            k[rows, at] = counts.reshape(len(chosen), len(subsets), -1).mean(axis=1)
    return Thinned(num_answers=all_answers, sizes=asked, n=n, k=k)


def _blocks(num_images: int, answers_each: int) -> Iterator[slice]:
    step = max(1, BLOCK_ANSWERS // answers_each)
    for first in range(0, num_images, step):
        yield slice(first, first + step)


def _chosen(votes: Votes, rows: NDArray[np.int64], given: NDArray[np.int64]) -> Votes:
    """Votes of (pretended images, size) answers."""
    flat = rows.ravel()
    lengths = votes.selected.lengths[flat]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    within = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    values = votes.selected.values[np.repeat(votes.selected.starts[:-1][flat], lengths) + within]
    return replace(
        votes,
        image=np.repeat(np.arange(len(rows)), rows.shape[1]),
        main=votes.main[flat],
        selected=Labels(values=values, starts=starts),
        given=given,
    )


def _headlines(votes: Votes, found: Aggregate) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(images, headlines) whether an image belongs to the denominator, and to the numerator."""
    multi, other = found.num_objects > 1, found.main_label != votes.given
    apart = found.given_object != found.main_object
    belongs = np.stack([np.ones_like(multi), multi, multi, ~multi], axis=1)
    return belongs, belongs & np.stack([multi, other, apart, other], axis=1)
