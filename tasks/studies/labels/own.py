"""What answers about the user's own images say about their labels and about models' predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.crowds.classify import Aggregate, Votes
from robustray.tasks.crowds.optima import NOT_MAIN, NOT_MAIN_SINGLE, SEVERAL
from robustray.tasks.kit.claims import describe
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.kit.words import plural
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.studies.labels import (
    fewer_workers,
    own_contains,
    own_ratings,
    own_whole,
    own_workers,
    parts,
    reduce,
    vote_figures,
)
from robustray.tasks.studies.labels.evaluation import (
    COMPARED,
    by_chance,
    comparisons,
    main_minus_given,
    selected_shares,
)
from robustray.tasks.studies.labels.fewer_workers import Fewer
from robustray.tasks.studies.labels.findings import PAPER_NOT_MAIN
from robustray.tasks.studies.labels.own_contains import Asked
from robustray.tasks.studies.labels.own_ratings import Rated
from robustray.tasks.studies.labels.own_tables import Own, top
from robustray.tasks.studies.labels.own_whole import Whole
from robustray.tasks.studies.labels.own_workers import Weighed
from robustray.tasks.studies.labels.settings import Settings
from robustray.tasks.study import Claim, Description, Figure, Findings, Table


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    settings: Settings
    own: Own
    found: Aggregate
    predictions: dict[str, NDArray[np.int64]]
    """Predictions of the images with votes."""
    accuracy: pd.DataFrame | None
    """Frame of `evaluation.accuracies`; None without predictions."""
    weighed: Weighed | None
    """Main answers by a model of the workers; None if none was asked for."""
    rated: Rated | None
    """How people rate predictions; None without ratings."""
    asked: Asked | None
    """Answers about single labels; None without any."""

    @property
    def votes(self) -> Votes:
        return self.own.votes

    @property
    def names(self) -> NDArray[np.str_]:
        return self.own.names

    @cached_property
    def whole(self) -> Whole | None:
        """The whole data set; None without --images."""
        return Whole.of(self.own.images[0], self.votes, self.found, self.own.images[1]) if self.own.images else None

    @cached_property
    def fewer(self) -> Fewer | None:
        """The headlines if fewer workers had answered."""
        return Fewer.of(self.votes, num_resamples=self.settings.num_resamples)


def findings(results: Results) -> Findings:
    return compose(
        answer(results),
        claims(results),
        tables(results),
        drawings(results),
        None if results.asked is None else own_contains.pieces(results.asked),
        warnings(results),
    )


def answer(results: Results) -> str:
    shares = reduce.shares(results.votes, results.found)
    several, other = shares[SEVERAL], shares[NOT_MAIN]
    start = (
        f"{results.settings.votes}: people see several objects in "
        f"{format_estimate(several.value, several.interval, 'percent')} of the n = {several.n:,} images they answered "
        "about"
    )
    if other.n:
        share = format_estimate(other.value, other.interval, "percent")
        return f"{start}, and {share} of these (n = {other.n:,}) carry a label that people would not call main."
    alone = shares[NOT_MAIN_SINGLE]
    share = format_estimate(alone.value, alone.interval, "percent")
    return f"{start}; {share} of the images carry a label that people would not call main (n = {alone.n:,})."


def claims(results: Results) -> Iterator[Claim | Description]:
    votes, found = results.votes, results.found
    yield describe(
        "Share of images with several objects whose label people would not call the main one",
        reduce.shares(votes, found)[NOT_MAIN],
        measured="images in which people see several objects whose given label is not people's main label",
        over="images (Wilson)",
        paper=PAPER_NOT_MAIN,
    )
    yield describe(
        "How much more often that happens with several objects than with one",
        reduce.multi_minus_single(votes, found),
        measured="share of given labels that are not main, several objects minus one object",
        over="images (Newcombe)",
        unit="points",
    )
    if results.asked is None:
        yield own_contains.undetermined()
    if results.whole is not None:
        yield from own_whole.descriptions(results.whole)
    if results.rated is not None:
        yield from own_ratings.claims(results.rated, results.settings)


def tables(results: Results) -> Iterator[Table]:
    votes, found, num_resamples = results.votes, results.found, results.settings.num_resamples
    yield Table(
        name="headline",
        title="What people say of the labels",
        caption=f"{votes.num_images:,} images, {len(votes.image):,} answers ({votes.num_workers.min()} to "
        f"{votes.num_workers.max()} an image). 95 % Wilson intervals over images. {parts.tie_words(found)}",
        frame=pd.DataFrame(parts.share_rows(reduce.shares(votes, found))),
        formats=shown("value", "percent"),
    )
    if results.whole is not None:
        yield from own_whole.tables(results.whole)
    yield parts.tie_table(votes, found)
    if results.fewer is not None:
        yield fewer_workers.table(results.fewer)
    if results.accuracy is not None:
        yield parts.accuracy_table(results.accuracy)
        rows = [
            {"model": model, **columns("difference", estimate), "n": estimate.n}
            for model, estimate in main_minus_given(votes, found, results.predictions)
        ]
        yield Table(
            name="main-minus-given",
            title="Do models follow the given label or people's main label?",
            caption="Images in which people see several objects: share of predictions that are the main label minus "
            "share that are the given label, paired by image (Tango's 95 % interval). Below 0: they follow the label.",
            frame=pd.DataFrame(rows),
            formats=shown("difference", "points"),
        )
        yield _selected_table(selected_shares(votes, found, results.predictions, num_resamples=num_resamples))
        compared = comparisons(votes, found, results.predictions)
        if len(compared):
            yield Table(
                name="comparisons",
                title="Which of two models is better depends on what counts as right",
                caption=f"Every two of the {COMPARED} most accurate models (by the given label) on images in which "
                "people see several objects: difference, first minus second, paired by image. What is right or wrong: "
                "Tango's 95 % interval, exact McNemar test; selection frequency (share of the workers who selected the "
                "predicted label): paired permutation test and its interval. p_holm: corrected over the pairs of one "
                "measure.",
                frame=compared,
                formats=shown("difference", "points"),
            )
    if results.own.accepted is not None:
        yield own_whole.accepted_table(*results.own.accepted)
    if results.rated is not None:
        yield from own_ratings.tables(results.rated, results.settings)
    yield from own_whole.confusion_tables(results.own.classes, votes, found, *_judged(results))
    if results.weighed is not None:
        yield from own_workers.tables(results.weighed, votes, found, results.names)
    yield parts.suspects(votes, found, results.names)


def _selected_table(frame: pd.DataFrame) -> Table:
    return Table(
        name="selected",
        title="How many workers select what a model predicts",
        caption="Mean share of an image's workers who selected the predicted label, and what it is less than the given "
        "label's on the same images. 95 % bootstrap intervals (basic) over images, whose workers are drawn again with "
        "them.",
        frame=frame,
        formats=shown("selected", "percent") | shown("minus_given", "points", "minus_lo", "minus_hi"),
        on_page=len(frame) <= 2 * (1 + parts.MOST_ROWS_OF_MODELS),
    )


def _judged(results: Results) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int64]]]:
    """Given labels and predictions of as many images as there are: with accepted labels, of the set, or with votes."""
    own = results.own
    for side in (own.accepted, own.images):
        if side is not None:
            return side[0].given, top(side[1])
    return own.votes.given, results.predictions


def drawings(results: Results) -> Iterator[Figure | None]:
    votes, found = results.votes, results.found
    yield from vote_figures.drawings(reduce.shares(votes, found), votes, found, results.predictions)
    yield None if results.fewer is None else fewer_workers.drawing(results.fewer)
    if results.accuracy is not None:
        yield parts.accuracy_figure(results.accuracy)


def warnings(results: Results) -> Iterator[str]:
    yield from results.own.notes
    if results.weighed is not None:
        yield from own_workers.warnings(results.weighed)
    for model, (share, chance) in by_chance(results.votes, results.found, results.predictions).items():
        yield (
            f"{model}: its predictions are among the labels of an image in {share:.1%} of the images, labels drawn at "
            f"random would be in {chance:.1%}: are its classes numbered as in {results.settings.votes}?"
        )
    few = int((results.votes.num_workers < 5).sum())
    if few:
        yield (
            f"{plural(few, 'image')} with fewer than 5 answers: with few workers, labels that differ and objects that "
            "are missed are partly noise"
        )
