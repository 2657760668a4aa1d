"""Workers who are not fresh for every answer: what it does to estimates and intervals, and what helps.

Estimators take an image's answers as independent draws with its true frequency, equally defined for both sets. That is
so for workers who differ in leniency, as long as each answer comes from a fresh one: leniency only redefines the
frequency. It is not so when the two sets are read by different crowds, when one worker reads all images of a task
(HIT), or when one worker answers an image twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from robustray.tasks.crowds.replicas.cells import Remeasured
from robustray.tasks.crowds.replicas.estimators import MOMENTS, NAIVE, FactorialMoments, Naive, gaps
from robustray.tasks.crowds.replicas.scenarios import NUM_MODELS
from robustray.tasks.crowds.replicas.simulate import Images, Protocol, choose, draw_images
from robustray.tasks.lab.seeds import integer, stream
from robustray.tasks.statistics import Design, Estimate, by_cell, by_cluster, resample

IMAGES_PER_HIT = 42
"""Candidates of a task of the original study, beside three positive and three negative controls."""
BY_IMAGE, BY_HIT = "images", "HITs"
DESIGNS = (BY_IMAGE, BY_HIT)
"""What is resampled for an interval."""
ESTIMATORS = (NAIVE, MOMENTS)


@dataclass(frozen=True, kw_only=True)
class Departure:
    """How new answers are given. Leniencies are added to the logit of the true frequency."""

    words: str
    leniency: float = 0.0
    """Leniency of all workers."""
    difference: float = 0.0
    """Leniency of a second crowd minus that of the first: it reads the replica or, with `mixed`, every second task."""
    worker_sd: float = 0.0
    """Standard deviation between the workers of a task, each of whom reads all its images."""
    mixed: bool = False
    """Tasks show images of both sets, in random order: the original's are controls of the replica's."""
    twice: float = 0.0
    """Share of images on which one worker answers twice, with the same answer."""
    drop_twice: bool = False
    """Second answers of a worker are dropped: those images have one answer less."""


DEPARTURES: Mapping[str, Departure] = {
    "none": Departure(words="as the estimators assume"),
    "common": Departure(words="all new answers are .5 logit more lenient", leniency=0.5),
    "different": Departure(words="the replica is read .2 logit more leniently than the original", difference=0.2),
    "different, mixed tasks": Departure(
        words="the same two crowds, but every task shows images of both sets", difference=0.2, mixed=True
    ),
    "shared by task": Departure(words="ten workers (s.d. 1 logit) read all 42 images of a task", worker_sd=1.0),
    "shared, mixed tasks": Departure(
        words="the same workers, but every task shows images of both sets", worker_sd=1.0, mixed=True
    ),
    "twice": Departure(words="on 30 % of the images one worker answers twice", twice=0.3),
    "twice, dropped": Departure(words="the same, second answers dropped", twice=0.3, drop_twice=True),
}


def departed(
    protocol: Protocol, departures: Mapping[str, Departure], n: int, seed: int, index: int
) -> dict[tuple[str, str, str], Estimate]:
    """Study number `index` under each departure: (departure, estimator, design) -> gap, mean over the six models.

    n: new answers per image. Original and replica are the same in all departures, so that these are paired; the
    estimate does not depend on the design. Basic intervals. Depends on (seed, index), the protocol and the departure.
    """
    rng = stream(seed, f"departures {protocol.name}", index)
    original = draw_images(protocol, protocol.num_images, rng, candidate=False)
    pool = draw_images(protocol, protocol.num_candidates, rng, candidate=True)
    replica = pool.take(choose(protocol, original, pool, slice(None), protocol.num_matching, rng))
    found: dict[tuple[str, str, str], Estimate] = {}
    for name, departure in departures.items():
        answers = _answers(original, replica, departure, n, stream(seed, f"answers {protocol.name} {name}", index))
        for design in DESIGNS:
            estimates = _estimates(answers, design, protocol.num_resamples, integer(seed, "departures", index))
            found |= {(name, estimator, design): each for estimator, each in zip(ESTIMATORS, estimates, strict=True)}
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """New answers to the images of both sets, the original's first."""

    n_shown: NDArray[np.int64]
    n_selected: NDArray[np.int64]
    hit: NDArray[np.int64]
    num_right: NDArray[np.int64]
    """(images,) how many of the six models are right."""
    second: NDArray[np.bool_]
    """(images,) which belong to the replica."""
    mixed: bool


def _answers(original: Images, replica: Images, departure: Departure, n: int, rng: np.random.Generator) -> Answers:
    s = np.concatenate([original.frequency, replica.frequency])
    second = np.arange(len(s)) >= len(original.frequency)
    # a random order of all images, or of the original's before the replica's
    order = rng.permutation(len(s)) if departure.mixed else np.lexsort([rng.random(len(s)), second])
    place = np.empty(len(s), dtype=np.int64)
    place[order] = np.arange(len(s))
    if departure.mixed:
        hit = place // IMAGES_PER_HIT
        lenient = hit % 2 == 1
    else:
        num_hits = -(-len(original.frequency) // IMAGES_PER_HIT)
        hit = np.where(second, num_hits + (place - (~second).sum()) // IMAGES_PER_HIT, place // IMAGES_PER_HIT)
        lenient = second
    worker = rng.normal(0.0, 1.0, (int(hit.max()) + 1, n)) * departure.worker_sd
    offset = departure.leniency + departure.difference * lenient
    chance = special.expit((special.logit(s) + offset)[:, None] + worker[hit])
    ticked = rng.random(chance.shape) < chance
    repeats = rng.random(len(s)) < departure.twice
    ticked[repeats, -1] = ticked[repeats, 0]
    counted = np.ones_like(ticked)
    if departure.drop_twice:
        counted[repeats, -1] = False
    return Answers(
        n_shown=counted.sum(axis=1),
        n_selected=(ticked & counted).sum(axis=1),
        hit=hit,
        num_right=np.concatenate([original.num_right, replica.num_right]),
        second=second,
        mixed=departure.mixed,
    )


def _estimates(answers: Answers, by: str, num_resamples: int, seed: int) -> list[Estimate]:
    """Estimates in the order of `ESTIMATORS`."""
    design, original, replica = (_by_hit if by == BY_HIT else _by_image)(answers)
    n = int(answers.n_shown.min())
    statistic = gaps(original, replica, [Naive(n), FactorialMoments()])
    return resample(statistic, design, num_resamples=num_resamples, seed=seed).estimates("basic")


def _by_image(answers: Answers) -> tuple[Design, Remeasured, Remeasured]:
    """Equal images of a set in one row."""
    keys = np.stack([answers.second, answers.n_shown, answers.n_selected, answers.num_right], axis=1)
    found, count = np.unique(keys, axis=0, return_counts=True)
    second, shown, selected, right = found.T
    sets = [
        Remeasured(n_shown=shown[of], n_selected=selected[of], correct=right[of, None] / NUM_MODELS)
        for of in (second == 0, second == 1)
    ]
    return by_cell(count, strata=second), sets[0], sets[1]


def _by_hit(answers: Answers) -> tuple[Design, Remeasured, Remeasured]:
    """Images of a set with one task and equal answers in one row; tasks are drawn, within a set if each lies in one."""
    keys = np.stack([answers.second, answers.hit, answers.n_shown, answers.n_selected], axis=1)
    found, member, count = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    right = np.bincount(member, weights=answers.num_right) / count / NUM_MODELS
    second, hit, shown, selected = found.T
    sets = [
        Remeasured(n_shown=shown[of], n_selected=selected[of], correct=right[of, None], weight=count[of].astype(float))
        for of in (second == 0, second == 1)
    ]
    return by_cluster(hit, strata=None if answers.mixed else second), sets[0], sets[1]
