"""Drawings of what people say about the user's own images, before any model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from robustray.tasks import figures
from robustray.tasks.crowds.classify import Aggregate, Votes
from robustray.tasks.kit.words import plural
from robustray.tasks.statistics import Estimate, proportion
from robustray.tasks.studies.labels.evaluation import Judge, by_accuracy
from robustray.tasks.study import Figure

BINS = np.linspace(-0.05, 1.05, 12).tolist()
"""Tenths, with 0 and 1 in the middle of the first and the last bin."""


def drawings(
    shares: Mapping[str, Estimate], votes: Votes, found: Aggregate, predictions: Mapping[str, NDArray[np.int64]]
) -> Iterator[Figure]:
    """Drawings of the votes. shares: as `reduce.shares` gives them."""
    known = {name: share for name, share in shares.items() if share.n}
    yield figures.dot_rows(
        name="headline",
        title="What people say of the labels",
        caption="Bars are 95 % Wilson intervals over images.",
        alt="; ".join(f"{name}: {share.value:.0%}" for name, share in known.items()),
        rows=[figures.Row(label=name, value=share.value, lo=share.lo, hi=share.hi) for name, share in known.items()],
        x_label="share of images",
        percent=True,
    )
    yield _objects(found)
    yield _frequencies(votes, found, predictions)


def _objects(found: Aggregate) -> Figure:
    bars = []
    for number in range(1, int(found.num_objects.max()) + 1):
        share = proportion(found.num_objects == number)
        bars.append(figures.Bar(group=str(number), label="images", value=share.value, lo=share.lo, hi=share.hi))
    return figures.bars(
        name="objects-per-image",
        title="How many objects people see in an image",
        caption=f"The most frequent number of selected labels, {len(found.num_objects):,} images; bars' ends with 95 % "
        "Wilson intervals over images.",
        bars=bars,
        x_label="objects",
        y_label="share of images",
        percent=True,
    )


def _frequencies(votes: Votes, found: Aggregate, predictions: Mapping[str, NDArray[np.int64]]) -> Figure:
    """Selection frequencies of the given label, of the main one, and of the wrong predictions of the most accurate
    model."""
    judge = Judge(votes, found)
    samples = [
        figures.Sample(label="given label", values=judge.selected(votes.given)),
        figures.Sample(label="main label", values=judge.selected(found.main_label)),
    ]
    told = ""
    if predictions:
        best = by_accuracy(votes.given, predictions)[0]
        wrong = predictions[best] != votes.given
        if wrong.any():
            samples.append(figures.Sample(label="wrong predictions", values=judge.selected(predictions[best])[wrong]))
            told = f" Wrong: not the given label; of {best}, the most accurate of {plural(len(predictions), 'model')}."
    return figures.histogram(
        name="selection-frequencies",
        title="How many of an image's workers select a label",
        caption=f"Share of the workers who selected it, an image each.{told}",
        samples=samples,
        bins=BINS,
        x_label="selection frequency",
        percent=True,
    )
