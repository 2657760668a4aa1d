"""The user's own answers, weighed by what they show about each worker's errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.crowds.classify import Aggregate, Votes
from robustray.tasks.crowds.tables import CrowdTable
from robustray.tasks.crowds.worker_draws import Intervals, intervals
from robustray.tasks.crowds.workers import Answers, Fit, Model, fit
from robustray.tasks.errors import InputError
from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.kit.words import plural
from robustray.tasks.statistics import paired_difference, proportion
from robustray.tasks.studies.labels.settings import Settings
from robustray.tasks.study import Table

FEW = 20
"""Answers below which little is known of a worker."""
SURE = 0.95
"""A label with at least this probability is called sure."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighed:
    """A fit to the main answers, over the labels that are given or answered."""

    labels: NDArray[np.int64]
    """(classes,) label of each class of the fit."""
    workers: NDArray[np.str_]
    fit: Fit
    around: Intervals

    @property
    def label(self) -> NDArray[np.int64]:
        """(images,) the most probable label."""
        return self.labels[self.fit.label]


def check(table: CrowdTable, votes: Votes) -> None:
    """Raises: InputError without workers, or where they say nothing of each other."""
    if not table.has("worker"):
        raise InputError(f"{table.name} has no column 'worker': --worker-model needs one that names the same person")
    if len(np.unique(table["worker"])) < 2:
        raise InputError(f"{table.name}: a single worker can't be judged by others")
    if len(np.unique(np.concatenate([votes.main, votes.given]))) < 2:
        raise InputError(f"{table.name}: with a single label there is nothing to weigh")


def weigh(table: CrowdTable, votes: Votes, settings: Settings) -> Weighed:
    """Fit the workers' errors to their main answers. Raises: InputError as `check`, and where tables get too large."""
    check(table, votes)
    workers, worker = np.unique(table["worker"], return_inverse=True)
    # The classes are those that occur, given ones included: in a table of cats and dogs nobody errs towards the other
    # 998 classes of ImageNet.
    labels, place = np.unique(np.concatenate([votes.main, votes.given]), return_inverse=True)
    answers = Answers.of(votes.image, worker, place[: len(votes.main)], num_classes=len(labels))
    model: Model = "one-coin" if settings.worker_model == "one-coin" else "dawid-skene"
    found = fit(answers, model)
    return Weighed(labels=labels, workers=workers, fit=found, around=intervals(found, seed=settings.seed))


def tables(weighed: Weighed, votes: Votes, found: Aggregate, names: NDArray[np.str_]) -> Iterator[Table]:
    yield _headline(weighed, votes, found)
    yield _workers(weighed)
    yield _labels(weighed, votes, found, names)


def _headline(weighed: Weighed, votes: Votes, found: Aggregate) -> Table:
    by_mode, by_model = found.main_label != votes.given, weighed.label != votes.given
    sure = by_model & (weighed.around.lo >= SURE)
    rows = [
        {"share": name, **columns("value", estimate), "n": estimate.n}
        for name, estimate in (
            ("given label is not the most frequent main answer", proportion(by_mode)),
            ("given label is not the most probable one", proportion(by_model)),
            (f"and the other one has probability {SURE:g} or more, over its whole interval", proportion(sure)),
            ("most probable minus most frequent", paired_difference(by_model, by_mode)),
        )
    ]
    fitted = weighed.fit
    how = "one accuracy per worker" if fitted.model == "one-coin" else "a confusion matrix per worker"
    return Table(
        name="weighed",
        title="Labels by votes, and by workers weighed by their errors",
        caption=f"All images. Model: {how}, fitted to the main answers by EM ({fitted.num_iterations} iterations); "
        f"{fitted.smoothing:g} answer at random is added to each row of what is fitted. "
        f"{plural(int(fitted.tied.sum()), 'image')} with equally probable labels: more votes, then the smaller class. "
        "95 % intervals over images (Wilson; Tango's of the difference).",
        frame=pd.DataFrame(rows),
        formats=shown("value", "percent"),
    )


def _workers(weighed: Weighed) -> Table:
    fitted, around = weighed.fit, weighed.around
    agreed = fitted.label[fitted.answers.image] == fitted.answers.label
    agreement = np.bincount(fitted.answers.worker, weights=agreed * fitted.answers.weight)
    frame = pd.DataFrame(
        {
            "worker": weighed.workers,
            "answers": fitted.answers.num_answers.round().astype(np.int64),
            "agreement": agreement / fitted.answers.num_answers,
            "accuracy": fitted.accuracy,
            "lo": around.accuracy_lo,
            "hi": around.accuracy_hi,
        }
    ).sort_values(["accuracy", "worker"], ignore_index=True)
    return Table(
        name="workers",
        title="How often each worker is right",
        caption="Agreement: share of answers that are the most probable label, the worker's own vote included. "
        "Accuracy: fitted, with 95 % intervals over draws of errors and labels. Least accurate first.",
        frame=frame,
        formats={"agreement": "percent"} | shown("accuracy", "percent"),
        on_page=len(frame) <= 50,
    )


def _labels(weighed: Weighed, votes: Votes, found: Aggregate, names: NDArray[np.str_]) -> Table:
    fitted, around = weighed.fit, weighed.around
    images = np.arange(votes.num_images)
    of_given = fitted.posterior[images, np.searchsorted(weighed.labels, votes.given)]
    return Table(
        name="weighed-labels",
        title="The most probable label of every image",
        caption="Probability: of the most probable label, given the answers and the workers' errors, with its 95 % "
        "interval over draws of these errors.",
        frame=pd.DataFrame(
            {
                "image": names,
                "given": votes.given,
                "most_frequent": found.main_label,
                "most_probable": weighed.label,
                "probability": fitted.posterior[images, fitted.label],
                "lo": around.lo,
                "hi": around.hi,
                "probability_of_given": of_given,
                "tied": fitted.tied,
                "answers": votes.num_workers,
            }
        ),
        on_page=False,
    )


def warnings(weighed: Weighed) -> Iterator[str]:
    fitted = weighed.fit
    if not fitted.converged:
        yield (
            f"the model of the workers has not settled after {fitted.num_iterations:,} iterations: its probabilities "
            "still move"
        )
    few = int((fitted.answers.num_answers < FEW).sum())
    if few:
        yield f"{plural(few, 'worker')} gave fewer than {FEW} answers: their errors are mostly the prior's"
