"""One simulated replication, from the true frequencies to all estimates with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.replicas.cells import Remeasured
from robustray.tasks.crowds.replicas.estimators import (
    Estimator,
    Naive,
    estimators_for,
    gaps,
    missing_mass,
)
from robustray.tasks.crowds.replicas.samplers import frequency_bin, match
from robustray.tasks.crowds.replicas.scenarios import NUM_MODELS, Scenario
from robustray.tasks.lab.seeds import integer, stream
from robustray.tasks.statistics import Design, Estimate, by_cell, resample

Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How large a simulated study is, and how it measures."""

    name: str
    """Name of the scenario: studies of two scenarios are independent draws."""
    scenario: Scenario
    num_images: int
    """Images of the original, and of the replica."""
    num_candidates: int
    num_classes: int
    num_matching: int
    """Answers per image that choose the replica."""
    num_answers: tuple[int, ...]
    """Answers per image given anew, ascending; smaller numbers are the first ones of larger."""
    num_resamples: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Images of one kind: true frequency, answers that chose, which models are right. Classes go round."""

    frequency: NDArray[np.float64]
    selected: Counts
    """(images, halves) ticks in each half of the answers that chose."""
    num_right: Counts
    """(images,) how many of the six models are right."""
    classes: Counts

    def take(self, rows: NDArray[np.intp]) -> Images:
        return Images(
            frequency=self.frequency[rows],
            selected=self.selected[rows],
            num_right=self.num_right[rows],
            classes=self.classes[rows],
        )


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What one simulated study found."""

    gaps: Mapping[tuple[int, str], Estimate]
    """Answers per image and estimator -> corrected gap, mean over the six models; NaN where it needs more answers."""
    held_out: Estimate
    """Half of the choosing answers chose another replica, the other half re-weights it."""
    facts: Mapping[str, float]


FACTS = (
    "accuracy_original",
    "accuracy_replica",
    "size_replica",
    "chosen_reading_original",
    "chosen_reading_replica",
    "new_reading_original",
    "new_reading_replica",
    "held_out_reading_original",
    "held_out_reading_replica",
    "missing_mass",
)
"""Accuracies are means over the six models. Frequencies are means as read by the answers that chose (nearly equal:
matched in bins), by new ones, and by the half that chose nothing where the other half chose. missing_mass: the
original's share of images in cells that the replica has not, at the fewest new answers."""


def simulate(protocol: Protocol, seed: int, index: int) -> Simulated:
    """The study number `index`: it depends on (seed, index) and the protocol alone."""
    rng = stream(seed, f"replication {protocol.name}", index)
    original = draw_images(protocol, protocol.num_images, rng, candidate=False)
    pool = draw_images(protocol, protocol.num_candidates, rng, candidate=True)
    answers = protocol.num_matching
    first_half = answers // 2

    replica = pool.take(choose(protocol, original, pool, slice(None), answers, rng))
    found: dict[tuple[int, str], Estimate] = {}
    readings = _new_answers(protocol, original, rng), _new_answers(protocol, replica, rng)
    for n, first, second in zip(protocol.num_answers, *readings, strict=True):
        cells = cells_of(first, n, original), cells_of(second, n, replica)
        estimates = estimates_of(cells, estimators_for(n), n, protocol, integer(seed, "bootstrap", index, n))
        found |= {(n, name): estimate for name, estimate in estimates.items()}

    halved = pool.take(choose(protocol, original, pool, slice(0, 1), first_half, rng))
    rest = answers - first_half
    cells = cells_of(original.selected[:, 1], rest, original), cells_of(halved.selected[:, 1], rest, halved)
    held_out = estimates_of(cells, {"naive": Naive(rest)}, rest, protocol, integer(seed, "held out", index))["naive"]

    fewest = protocol.num_answers[0]
    (one, w1), (two, w2) = cells_of(readings[0][0], fewest, original), cells_of(readings[1][0], fewest, replica)
    most = protocol.num_answers[-1]
    facts = (
        original.num_right.mean() / NUM_MODELS,
        replica.num_right.mean() / NUM_MODELS,
        len(replica.frequency),
        original.selected.sum(axis=1).mean() / answers,
        replica.selected.sum(axis=1).mean() / answers,
        readings[0][-1].mean() / most,
        readings[1][-1].mean() / most,
        original.selected[:, 1].mean() / rest,
        halved.selected[:, 1].mean() / rest,
        missing_mass(replace(one, weight=w1), replace(two, weight=w2), fewest),
    )
    return Simulated(gaps=found, held_out=held_out, facts=dict(zip(FACTS, map(float, facts), strict=True)))


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_images(protocol: Protocol, num: int, rng: np.random.Generator, *, candidate: bool) -> Images:
    """Images of the original, or candidates, with the answers that choose."""
    scenario = protocol.scenario
    s = (scenario.candidates if candidate else scenario.original).draw(rng, num)
    half = protocol.num_matching // 2
    selected = np.stack([rng.binomial(half, s), rng.binomial(protocol.num_matching - half, s)], axis=1)
    right = rng.random((num, NUM_MODELS)) < scenario.chance(s, candidate=candidate)
    return Images(
        frequency=s, selected=selected, num_right=right.sum(axis=1), classes=np.arange(num) % protocol.num_classes
    )


def choose(
    protocol: Protocol, original: Images, pool: Images, halves: slice, answers: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Candidates matched by these halves of the choosing answers, `answers` together."""
    bins = [frequency_bin(images.selected[:, halves].sum(axis=1), answers) for images in (original, pool)]
    per_class = protocol.num_images // protocol.num_classes
    return match(bins[0], original.classes, bins[1], pool.classes, per_class, rng)


def _new_answers(protocol: Protocol, images: Images, rng: np.random.Generator) -> list[Counts]:
    """Ticks among the first n new answers of each image, for every n of the protocol."""
    counts, before, total = [], 0, np.zeros(len(images.frequency), dtype=np.int64)
    for n in protocol.num_answers:
        total = total + rng.binomial(n - before, images.frequency)
        counts.append(total)
        before = n
    return counts


# -- estimating --------------------------------------------------------------------------------------------------------


def cells_of(ticks: Counts, n: int, images: Images) -> tuple[Remeasured, NDArray[np.float64]]:
    """Images with equal ticks and equally many models right, as one row each; and how many they are.

    Exact for the mean over models, which sees no more than that.
    """
    width = NUM_MODELS + 1
    counts = np.bincount(ticks * width + images.num_right, minlength=(n + 1) * width)
    held = np.flatnonzero(counts)
    cells = Remeasured(
        n_shown=np.full(len(held), n),
        n_selected=held // width,
        correct=(held % width / NUM_MODELS)[:, None],
    )
    return cells, counts[held].astype(np.float64)


def estimates_of(
    cells: tuple[tuple[Remeasured, NDArray[np.float64]], tuple[Remeasured, NDArray[np.float64]]],
    estimators: Mapping[str, Estimator],
    n: int,
    protocol: Protocol,
    seed: int,
) -> dict[str, Estimate]:
    """Basic bootstrap intervals over images, original and replica by themselves; all estimators on one resample."""
    (original, w1), (replica, w2) = cells
    usable = {name: estimator for name, estimator in estimators.items() if estimator.least_answers <= n}
    design: Design = by_cell(np.concatenate([w1, w2]), strata=np.repeat([0, 1], [len(w1), len(w2)]))
    drawn = resample(
        gaps(original, replica, list(usable.values())), design, num_resamples=protocol.num_resamples, seed=seed
    )
    found = dict(zip(usable, drawn.estimates("basic"), strict=True))
    nothing = Estimate(value=np.nan, lo=-np.inf, hi=np.inf, n=design.num_units)
    return {name: found.get(name, nothing) for name in estimators}
