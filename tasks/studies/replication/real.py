"""Real answers with a known truth: CIFAR-10H, about 51 people for each CIFAR-10 test image.

Every image's answers are divided at random: ten decide how worse candidates are drawn, ten match, the rest estimate.
The original is a random half of the images; of the other half, an image is kept as a candidate the more rarely, the
more of the first ten chose its true label. So candidates are worse on average, and at equal true frequency they are the
same kind of images: the true gap is 0 by construction, whatever people and models do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustray.tasks.crowds.replicas.cells import Remeasured
from robustray.tasks.crowds.replicas.estimators import FactorialMoments, estimators_for, gaps
from robustray.tasks.crowds.replicas.samplers import NUM_BINS, frequency_bin, match
from robustray.tasks.crowds.tables import Column, CrowdTable, Schema
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.seeds import integer, stream

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
COUNTS = Schema(
    what="CIFAR-10H: how many people chose each class",
    columns={"index": Column(kind="count"), "label": Column(kind="label")}
    | {f"count_{name}": Column(kind="count") for name in CLASSES},
)
PREDICTED = Schema(
    what="one row per test image and one column of predicted classes per model",
    columns={"index": Column(kind="count")},
    models="label",
)
NUM_CHOOSING = NUM_MATCHING = 10
"""Answers that draw the candidates, and answers that match."""
LEAST_KEPT = 0.15
"""Chance to be a candidate of an image whose true label all of the first answers chose; 1 where none did."""


@dataclass(frozen=True, kw_only=True)
class RealProtocol:
    num_answers: tuple[int, ...]
    """Numbers of the remaining answers that estimate, ascending; smaller numbers are the first ones of larger."""
    claimed_answers: int
    num_resamples: int


@dataclass(frozen=True, kw_only=True, eq=False)
class People:
    """Answers and verdicts on the same images."""

    n_shown: NDArray[np.int64]
    n_selected: NDArray[np.int64]
    """Number of these answers that are the true label."""
    correct: NDArray[np.float64]
    """(images, models): whether the model is right."""
    models: tuple[str, ...]


def people(counts: CrowdTable, predicted: CrowdTable) -> People:
    """Join by `index`. Raises: InputError for a label that is no class, an index twice, tables that don't join."""
    label = counts["label"]
    if label.max() >= len(CLASSES):
        raise counts.bad("label", int(label.argmax()), f"there is no class {label.max()}, there are {len(CLASSES)}")
    for table in (counts, predicted):
        if len(np.unique(table["index"])) < len(table):
            raise InputError(f"{table.name}: an index occurs in two rows")
    first, second = np.argsort(counts["index"]), np.argsort(predicted["index"])
    if not np.array_equal(counts["index"][first], predicted["index"][second]):
        raise InputError(f"{counts.name} and {predicted.name} do not hold the same values of index")
    votes = np.stack([counts[f"count_{name}"] for name in CLASSES], axis=1)[first]
    label = label[first]
    correct = np.stack([values[second] == label for values in predicted.models.values()], axis=1)
    return People(
        n_shown=votes.sum(axis=1),
        n_selected=votes[np.arange(len(votes)), label],
        correct=correct.astype(np.float64),
        models=tuple(predicted.models),
    )


def most_answers(found: People) -> int:
    """Answers left on every image when ten chose and ten matched."""
    return int(found.n_shown.min()) - NUM_CHOOSING - NUM_MATCHING


@block_function(
    version=2,
    columns={
        "split": pa.int64(),
        "size": pa.int64(),
        "gaps": Tensor("float64"),
        "draws": Tensor("float32"),
        "models": Tensor("float64"),
        "slope": pa.float64(),
    },
)
def real_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Splits by number. References: "counts", "predicted". context.settings: a `RealProtocol`.

    size: images of the replica. gaps: (numbers of answers, estimators) for the mean over models, NaN where an estimator
    needs more answers; draws: (resamples, numbers of answers * estimators), the same on resamples of all images that
    every split shares, so that their mean over splits is a resample of the mean over splits. models: (models,
    estimators) at the claimed number of answers; slope: of `FactorialMoments.slope` there, for the mean over models.
    """
    protocol = cast(RealProtocol, context.settings)
    found = people(cast(CrowdTable, context.load("counts")), cast(CrowdTable, context.load("predicted")))
    weights = image_weights(len(found.n_shown), protocol.num_resamples, integer(context.seed, "images of CIFAR-10H"))
    done = [one_split(found, protocol, stream(context.seed, "split", item), weights) for item in items]
    names = ("size", "gaps", "draws", "models", "slope")
    return {"split": np.asarray(items)} | {
        name: np.stack([part[place] for part in done]) for place, name in enumerate(names)
    }


def image_weights(num_images: int, num_resamples: int, seed: int) -> NDArray[np.float64]:
    """(1 + resamples, images): the images themselves, then resamples with replacement."""
    drawn = np.random.default_rng(seed).integers(0, num_images, (num_resamples, num_images))
    flat = (drawn + num_images * np.arange(num_resamples)[:, None]).ravel()
    counts = np.bincount(flat, minlength=num_resamples * num_images).reshape(num_resamples, num_images)
    return np.concatenate([np.ones((1, num_images)), counts.astype(np.float64)])


def one_split(
    found: People, protocol: RealProtocol, rng: np.random.Generator, weights: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Size of the replica, gaps, their resamples, gaps of every model, and the slope; see `real_block`."""
    shown, selected = found.n_shown, found.n_selected
    choosing = rng.hypergeometric(selected, shown - selected, NUM_CHOOSING)
    shown, selected = shown - NUM_CHOOSING, selected - choosing
    matching = rng.hypergeometric(selected, shown - selected, NUM_MATCHING)
    shown, selected = shown - NUM_MATCHING, selected - matching

    order = rng.permutation(len(shown))
    original, others = np.split(order, [len(order) // 2])
    kept = rng.random(len(others)) < 1 - (1 - LEAST_KEPT) * choosing[others] / NUM_CHOOSING
    pool = others[kept]
    replica = pool[_matched(matching[original], matching[pool], rng)]

    rows = np.concatenate([original, replica])
    values, draws = [], []
    of_models, slope = np.empty((len(found.models), 0)), np.nan
    taken, before = np.zeros(len(shown), dtype=np.int64), 0
    for n in protocol.num_answers:
        rest = selected - taken
        taken = taken + rng.hypergeometric(rest, shown - before - rest, n - before)
        before = n
        every = estimators_for(n)
        usable = {name: each for name, each in every.items() if each.least_answers <= n}
        sides = [
            Remeasured(
                n_shown=np.full(len(side), n),
                n_selected=taken[side],
                correct=found.correct[side].mean(axis=1, keepdims=True),
            )
            for side in (original, replica)
        ]
        table = np.full((len(weights), len(every)), np.nan)
        columns = [place for place, name in enumerate(every) if name in usable]
        table[:, columns] = gaps(sides[0], sides[1], list(usable.values()))(weights[:, rows])
        values.append(table[0])
        draws.append(table[1:])
        if n == protocol.claimed_answers:
            single = [
                Remeasured(n_shown=side.n_shown, n_selected=side.n_selected, correct=found.correct[images])
                for side, images in zip(sides, (original, replica), strict=True)
            ]
            of_models = np.full((len(found.models), len(every)), np.nan)
            flat = gaps(single[0], single[1], list(usable.values()))(weights[:1, rows])
            of_models[:, columns] = flat.reshape(len(usable), -1).T
            slope = float(FactorialMoments().slope(*sides)[0])
    resampled = np.concatenate(draws, axis=1).astype(np.float32)
    return np.asarray(len(replica)), np.array(values), resampled, of_models, np.asarray(slope)


def _matched(original: NDArray[np.int64], pool: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.intp]:
    """Candidates in bins as the original's: as many as there can be when a dry bin is filled from higher ones."""
    bins = [frequency_bin(each, NUM_MATCHING) for each in (original, pool)]
    # from each bin on upwards there must be as many as are wanted there
    wanted, there = (np.bincount(each, minlength=NUM_BINS)[::-1].cumsum() for each in bins)
    size = int(np.min(there[wanted > 0] * len(original) // wanted[wanted > 0]))
    size = max(1, min(size, len(pool)) - NUM_BINS)  # rounding may ask a bin for one more
    nothing = [np.zeros(len(each), dtype=np.int64) for each in bins]
    return match(bins[0], nothing[0], bins[1], nothing[1], size, rng)
