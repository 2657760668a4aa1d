"""A gap as the sum of what the choice of images, several objects and neither explain: estimated jointly.

    raw gap = selection + several objects + residual

Within each kind of image (one object, several) factorial moments say how accurate models would be on the replica if its
true selection frequencies were the original's; `causes.kitagawa` then divides the difference between kinds' shares and
accuracies within kinds. What is left is the residual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.replicas.causes import KINDS, PARTS, Mixture, kitagawa
from robustray.tasks.crowds.replicas.cells import Array, Cells, Remeasured
from robustray.tasks.crowds.replicas.estimators import FactorialMoments
from robustray.tasks.crowds.replicas.samplers import frequency_bin, match
from robustray.tasks.crowds.replicas.scenarios import NUM_MODELS
from robustray.tasks.lab.seeds import integer, stream
from robustray.tasks.statistics import Estimate, by_cell, resample

Ints = NDArray[np.int64]


def parts(
    original: Remeasured, replica: Remeasured, kinds: tuple[Ints, Ints], bins: tuple[Ints, Ints] | None = None
) -> Callable[[Array], Array]:
    """The parts of the gap, a statistic for `statistics.resample`: weights of the original's rows, then the replica's.

    kinds: (rows,) of each set, 0 or 1. bins: (rows,) of each set, by the answers that chose, if the replica was matched
    to these very images in these bins: its bins then grow and shrink with the original's, and the replica has to be
    resampled within them (`strata_of`). Left out, the two sets count as independent.
    Returns: a function (resamples, rows) -> (resamples, len(PARTS) * models). NaN where a resample has too few images
    of a kind.
    """
    sides = [
        [(np.flatnonzero(kind == each), rows) for each in KINDS]
        for rows, kind in zip((original, replica), kinds, strict=True)
    ]
    cells = [[Cells(_rows(rows, held)) for held, rows in side] for side in sides]
    corrected = [FactorialMoments().prepare(cells[0][each], cells[1][each]) for each in KINDS]
    num_first = len(original.n_shown)
    follow = _follow(*bins) if bins else None

    def statistic(weights: Array) -> Array:
        both = weights[:, :num_first], weights[:, num_first:]
        if follow is not None:
            both = both[0], both[1] * follow(both[0])
        sums = [[cells[side][each].sums(both[side][:, sides[side][each][0]]) for each in KINDS] for side in range(2)]
        held = [np.stack([each.held.sum(axis=1) for each in side], axis=1) for side in sums]
        shares = [each / each.sum(axis=1, keepdims=True) for each in held]
        own, second = (
            np.stack([each.accuracy for each in side], axis=-1) for side in sums
        )  # (resamples, models, kinds)
        first = np.stack([corrected[each](sums[0][each], sums[1][each]) for each in KINDS], axis=-1)
        share_1, share_2 = (each[:, None, :] for each in shares)
        selection, several = kitagawa(share_1, share_2, first, second)
        accuracy, equal, replicas = (
            (a * b).sum(axis=-1) for a, b in ((share_1, own), (share_1, first), (share_2, second))
        )
        return np.concatenate([selection, several, accuracy - equal, accuracy - replicas], axis=1)

    return statistic


def _follow(first: Ints, second: Ints) -> Callable[[Array], Array]:
    """Weights of the original's rows -> by what each row of the replica is multiplied, (resamples, rows).

    Bins whose number of images in the original is not what it was are as many times as large in the replica. The first
    weights ever given are the sample's own.
    """
    num = int(max(first.max(), second.max())) + 1
    of_row = (first[:, None] == np.arange(num)).astype(np.float64)
    sample: list[Array] = []

    def factors(weights: Array) -> Array:
        held = weights @ of_row
        if not sample:
            sample.append(held[0])
        factor = np.divide(held, sample[0], out=np.ones_like(held), where=sample[0] > 0)
        return np.asarray(factor[:, second])

    return factors


def _rows(rows: Remeasured, held: NDArray[np.intp]) -> Remeasured:
    return Remeasured(
        n_shown=rows.n_shown[held],
        n_selected=rows.n_selected[held],
        correct=rows.correct[held],
        weight=None if rows.weight is None else rows.weight[held],
    )


@dataclass(frozen=True, kw_only=True)
class CauseProtocol:
    """How large a simulated study of two causes is."""

    mixture: str
    """Its name: studies of two mixtures are independent draws."""
    world: Mixture
    num_images: int
    num_candidates: int
    num_classes: int
    num_matching: int
    num_answers: int
    num_resamples: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Images:
    frequency: Array
    kind: Ints
    read_kind: Ints
    selected: Ints
    num_right: Ints
    classes: Ints

    def take(self, rows: NDArray[np.intp]) -> _Images:
        return _Images(**{name: values[rows] for name, values in vars(self).items()})


@dataclass(frozen=True, kw_only=True, eq=False)
class _Set:
    """A set's cells."""

    rows: Remeasured
    bins: Ints
    kind: Ints
    held: Ints
    """(rows,) images."""


def decomposed(protocol: CauseProtocol, seed: int, index: int) -> Mapping[str, Estimate]:
    """Study number `index`: every part of `PARTS` with its basic bootstrap interval, mean over the six models."""
    rng = stream(seed, f"causes {protocol.mixture}", index)
    original = _draw(protocol, protocol.num_images, rng, candidate=False)
    pool = _draw(protocol, protocol.num_candidates, rng, candidate=True)
    bins = [frequency_bin(images.selected, protocol.num_matching) for images in (original, pool)]
    per_class = protocol.num_images // protocol.num_classes
    chosen = match(bins[0], original.classes, bins[1], pool.classes, per_class, rng)
    one, two = _cells(protocol, original, bins[0], rng), _cells(protocol, pool.take(chosen), bins[1][chosen], rng)
    design = by_cell(np.concatenate([one.held, two.held]), strata=strata_of(one, two))
    statistic = parts(one.rows, two.rows, (one.kind, two.kind), (one.bins, two.bins))
    drawn = resample(
        statistic, design, num_resamples=protocol.num_resamples, seed=integer(seed, "causes bootstrap", index)
    )
    return dict(zip(PARTS, drawn.estimates("basic"), strict=True))


def strata_of(one: _Set, two: _Set) -> Ints:
    """(rows of both) the original is one stratum; of the replica each bin is, as its size was fixed by the matching.

    Bins of a single image are put together with the largest one.
    """
    size = np.bincount(two.bins, weights=two.held)
    bins = np.where(size[two.bins] < 2, size.argmax(), two.bins)
    return np.concatenate([np.zeros(len(one.held), dtype=np.int64), 1 + bins])


def _draw(protocol: CauseProtocol, num: int, rng: np.random.Generator, *, candidate: bool) -> _Images:
    world = protocol.world
    s, kind = world.draw(num, rng, candidate=candidate)
    right = rng.random((num, NUM_MODELS)) < world.chance(s, kind, candidate=candidate)
    wrong_kind = rng.random(num) < world.misread
    return _Images(
        frequency=s,
        kind=kind,
        read_kind=np.where(wrong_kind, 1 - kind, kind),
        selected=rng.binomial(protocol.num_matching, s),
        num_right=right.sum(axis=1),
        classes=np.arange(num) % protocol.num_classes,
    )


def _cells(protocol: CauseProtocol, images: _Images, bins: Ints, rng: np.random.Generator) -> _Set:
    """Images of one kind and bin with equal answers and equally many right models in one row."""
    n, width = protocol.num_answers, NUM_MODELS + 1
    ticks = rng.binomial(n, images.frequency)
    of_images = ((bins * 2 + images.read_kind) * (n + 1) + ticks) * width + images.num_right
    cell, held = np.unique(of_images, return_counts=True)
    cell, right = np.divmod(cell, width)
    cell, ticked = np.divmod(cell, n + 1)
    rows = Remeasured(n_shown=np.full(len(held), n), n_selected=ticked, correct=right[:, None] / NUM_MODELS)
    return _Set(rows=rows, bins=cell // 2, kind=cell % 2, held=held)
