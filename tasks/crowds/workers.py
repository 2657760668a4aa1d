"""Labels from workers who err, each in a way of their own: Dawid and Skene's model, and the one-coin model, by EM.

Dawid and Skene, Maximum likelihood estimation of observer error-rates using the EM algorithm, Applied Statistics 28
(1979) 20-28: an image has one true class, drawn with the classes' shares; worker w answers l on an image of class t
with chance confusion[w, t, l], independently of other workers. One coin: confusion[w, t, t] = accuracy[w], and errors
go to all other classes equally.

Rules, all independent of the order of rows:

- *Repeated answers.* A worker counts once per image: k answers of one worker to one image count 1/k each.
- *Ties.* Of labels that are equally probable, the one that more workers gave, then the smaller class.
- *Few answers.* Every row of a confusion matrix, and the shares of the classes, get `smoothing` answers "at random" on
  top (a Dirichlet prior). 0 is maximum likelihood, where a worker with one answer is a worker who never errs.
- *Where EM starts*: at the shares of votes. So does an update with new answers; it equals a refit because it is one. A
  start at the last fit would be quicker, but can end in another maximum, and labels would depend on what came first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robustray.tasks.errors import InputError

Model = Literal["one-coin", "dawid-skene"]
Ints = NDArray[np.int64]
Array = NDArray[np.float64]

TIED = 1e-9
"""Probabilities this close are equal: sums of the same numbers in another order differ by about 1e-15."""
MOST_CELLS = 50_000_000
"""The most cells of one dense table, 0.4 GB: images x classes, and workers x classes x classes."""
FEW_COLUMNS = 16
LEAST = 1e-10
"""The least expected count of answers without smoothing, since 0 has no logarithm."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Who gave which label to which image; made by `Answers.of`. Sorted by image, worker, label; none occurs twice."""

    image: Ints
    worker: Ints
    label: Ints
    weight: Array
    """Weight of each answer: one worker's answers to one image add up to 1."""
    num_images: int
    num_workers: int
    num_classes: int

    @staticmethod
    def of(
        image: ArrayLike,
        worker: ArrayLike,
        label: ArrayLike,
        *,
        num_classes: int,
        weight: ArrayLike | None = None,
    ) -> Answers:
        """image, worker, label: (answers,) whole numbers from 0 on, in any order. weight: for rows that represent
        several equal answers.

        Raises: InputError for columns that don't fit each other, numbers out of range, or an image or worker (below
        the largest number) without an answer.
        """
        columns = [np.asarray(each, dtype=np.int64) for each in (image, worker, label)]
        sizes = np.ones(len(columns[0])) if weight is None else np.asarray(weight, dtype=np.float64)
        if len({each.shape for each in (*columns, sizes)}) > 1 or not len(sizes):
            raise InputError(f"answers need an image, a worker and a label each: {[len(each) for each in columns]}")
        for name, values in zip(("image", "worker"), columns, strict=False):
            if values.min() < 0:
                raise InputError(f"answers: there is no {name} {values.min()}; numbers go from 0 on")
            missing = np.bincount(values) == 0
            if missing.any():
                raise InputError(f"answers: there is none of {name} {int(np.argmax(missing))}; numbers go from 0 on")
        if columns[2].min() < 0 or columns[2].max() >= num_classes:
            raise InputError(f"answers: labels must lie below {num_classes}, the number of classes")
        images, workers = (int(each.max()) + 1 for each in columns[:2])
        cell = (columns[0] * workers + columns[1]) * num_classes + columns[2]
        if weight is None:
            key, several = np.unique(cell, return_counts=True)
            counts = several.astype(np.float64)
        else:
            key, place = np.unique(cell, return_inverse=True)
            counts = _sums(place, sizes, len(key))
        pair, of_class = np.divmod(key, num_classes)
        of_pair = np.cumsum(np.diff(pair, prepend=pair[0]) != 0)  # pairs ascend
        return Answers(
            image=pair // workers,
            worker=pair % workers,
            label=of_class,
            weight=counts / _sums(of_pair, counts, 0)[of_pair],
            num_images=images,
            num_workers=workers,
            num_classes=num_classes,
        )

    def plus(self, image: ArrayLike, worker: ArrayLike, label: ArrayLike) -> Answers:
        """The answers with new ones added, by known or new workers about known or new images. Raises: InputError as
        `of`, and for an answer of a worker to an image that he answered before: there is no rule by which one of the
        two counts."""
        new = [np.asarray(each, dtype=np.int64) for each in (image, worker, label)]
        width = max(self.num_workers, int(new[1].max(initial=0)) + 1)
        again = np.isin(new[0] * width + new[1], self.image * width + self.worker)
        if again.any():
            row = int(np.argmax(again))
            raise InputError(f"new answers, row {row}: worker {new[1][row]} has answered image {new[0][row]} before")
        return Answers.of(
            *(np.concatenate(both) for both in zip((self.image, self.worker, self.label), new, strict=True)),
            num_classes=self.num_classes,
            weight=np.concatenate([self.weight, np.ones(len(new[0]))]),
        )

    @cached_property
    def votes(self) -> Array:
        """(images, classes) workers who gave each label."""
        cell = self.image * self.num_classes + self.label
        return _sums(cell, self.weight, self.num_images * self.num_classes).reshape(-1, self.num_classes)

    @cached_property
    def num_answers(self) -> Array:
        """(workers,) images that each answered."""
        return _sums(self.worker, self.weight, self.num_workers)


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """What the model makes of the answers; made by `fit`."""

    answers: Answers
    model: Model
    smoothing: float
    tolerance: float
    posterior: Array
    """(images, classes) probability of each class, given the answers and the workers' fitted errors."""
    label: Ints
    """(images,) the most probable class."""
    tied: NDArray[np.bool_]
    """(images,) whether another class is as probable."""
    prior: Array
    """(classes,) shares of the true classes."""
    workers: Array = field(repr=False)
    """(workers,) accuracies of the one-coin model; (workers, classes, classes) confusion of Dawid and Skene's."""
    log_posterior: Array = field(repr=False)
    """(iterations,) what EM maximises: log-likelihood of the answers plus logarithm of the Dirichlet priors, up to a
    constant. It never falls."""
    converged: bool

    @property
    def num_iterations(self) -> int:
        return len(self.log_posterior)

    @property
    def accuracy(self) -> Array:
        """(workers,) chance that an answer is right, on images of the fitted shares of classes."""
        return accuracy(self.workers, self.prior)

    def update(self, image: ArrayLike, worker: ArrayLike, label: ArrayLike) -> Fit:
        """The fit of these and new answers, by the same rules. Raises: InputError as `Answers.plus`."""
        answers = self.answers.plus(image, worker, label)
        return fit(answers, self.model, smoothing=self.smoothing, tolerance=self.tolerance)


def fit(
    answers: Answers,
    model: Model = "dawid-skene",
    *,
    smoothing: float = 1.0,
    tolerance: float = 1e-6,
    most_iterations: int = 1_000,
) -> Fit:
    """EM until no posterior changes by more than `tolerance`, or `most_iterations` are done.

    Raises: InputError for a negative smoothing, less than two classes, or too many classes for this model.
    """
    if not (np.isfinite(smoothing) and smoothing >= 0):
        raise InputError(f"smoothing must be a number of answers from 0 on, got {smoothing}")
    if answers.num_classes < 2:
        raise InputError("workers can't err with a single class: nothing to fit")
    steps = steps_of(answers, model)
    posterior = answers.votes / answers.votes.sum(axis=1, keepdims=True)
    prior, workers = steps.maximise(posterior, smoothing)
    reached: list[float] = []
    while True:
        before = posterior
        posterior, log_likelihood = steps.expect(prior, workers)
        reached.append(log_likelihood + steps.log_prior(prior, workers, smoothing))
        before -= posterior
        converged = float(np.abs(before, out=before).max()) <= tolerance
        if converged or len(reached) >= most_iterations:
            break
        prior, workers = steps.maximise(posterior, smoothing)
    label, tied = most_probable(posterior, answers.votes)
    return Fit(
        answers=answers,
        model=model,
        smoothing=smoothing,
        tolerance=tolerance,
        posterior=posterior,
        label=label,
        tied=tied,
        prior=prior,
        workers=workers,
        log_posterior=np.array(reached),
        converged=converged,
    )


def most_probable(posterior: Array, votes: Array) -> tuple[Ints, NDArray[np.bool_]]:
    """(images,) the most probable class of each row, and whether another is as probable: then more votes decide, then
    the smaller class."""
    best = posterior >= posterior.max(axis=1, keepdims=True) - TIED
    # votes are sums of fractions such as 1/3: equal to rounding
    of_best = np.where(best, np.round(votes, 9), -1.0)
    return of_best.argmax(axis=1), best.sum(axis=1) > 1


def accuracy(workers: Array, prior: Array) -> Array:
    """(workers,) chance of a right answer; of accuracies these themselves, of confusion matrices their diagonals."""
    return workers if workers.ndim == 1 else np.einsum("wtt,t->w", workers, prior)


# -- the two steps of EM, of each model --------------------------------------------------------------------------------


class Confusions:
    """Dawid and Skene's model. Parameters: (workers, classes, classes), rows are true classes."""

    def __init__(self, answers: Answers) -> None:
        _check_cells("workers x classes x classes", answers.num_workers * answers.num_classes**2)
        self.shape = (answers.num_workers, answers.num_classes, answers.num_classes)
        ends = np.searchsorted(answers.image, np.arange(answers.num_images + 1))
        column = answers.worker * answers.num_classes + answers.label
        form = (answers.num_images, answers.num_workers * answers.num_classes)
        self.by_image = sparse.csr_array((answers.weight, column, ends), shape=form)
        self.by_answer = self.by_image.T  # by columns: images in turn, sums into a table that stays in the cache

    def counts(self, posterior: Array) -> Array:
        """(workers, classes, classes): of each true class, how often each label was given."""
        return (self.by_answer @ posterior).reshape(self.shape).swapaxes(1, 2)

    def maximise(self, posterior: Array, smoothing: float) -> tuple[Array, Array]:
        return _shares(posterior.sum(axis=0), smoothing), _shares(self.counts(posterior), smoothing)

    def expect(self, prior: Array, workers: Array) -> tuple[Array, float]:
        table = np.log(workers).swapaxes(1, 2).reshape(-1, self.shape[1])
        logs = self.by_image @ table
        logs += np.log(prior)
        return _normalised(logs)

    def log_prior(self, prior: Array, workers: Array, smoothing: float) -> float:
        return smoothing / self.shape[1] * float(np.log(prior).sum() + np.log(workers).sum())


class Coins:
    """The one-coin model. Parameters: (workers,) accuracies."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.cell = answers.image * answers.num_classes + answers.label

    def counts(self, posterior: Array) -> Array:
        """(workers,) expected number of right answers."""
        right = posterior.ravel()[self.cell] * self.answers.weight
        return _sums(self.answers.worker, right, self.answers.num_workers)

    def maximise(self, posterior: Array, smoothing: float) -> tuple[Array, Array]:
        right, classes = self.counts(posterior), self.answers.num_classes
        accuracy_ = (right + smoothing / classes) / (self.answers.num_answers + smoothing)
        return _shares(posterior.sum(axis=0), smoothing), accuracy_.clip(LEAST, 1 - LEAST)

    def expect(self, prior: Array, workers: Array) -> tuple[Array, float]:
        answers = self.answers
        wrong = np.log((1 - workers) / (answers.num_classes - 1))
        gain = (np.log(workers) - wrong)[answers.worker] * answers.weight
        logs = _sums(self.cell, gain, answers.votes.size).reshape(answers.votes.shape)
        posterior, log_likelihood = _normalised(logs + np.log(prior))
        return posterior, log_likelihood + float(wrong @ answers.num_answers)

    def log_prior(self, prior: Array, workers: Array, smoothing: float) -> float:
        classes = self.answers.num_classes
        of_workers = np.log(workers) + (classes - 1) * np.log1p(-workers)
        return smoothing / classes * float(np.log(prior).sum() + of_workers.sum())


def steps_of(answers: Answers, model: Model) -> Confusions | Coins:
    """`Confusions` or `Coins`. Raises: InputError where their tables are too large."""
    _check_cells("images x classes", answers.num_images * answers.num_classes)
    return Confusions(answers) if model == "dawid-skene" else Coins(answers)


def _shares(counts: Array, smoothing: float) -> Array:
    """Along the last axis, with `smoothing` more that are spread evenly."""
    held = np.maximum(counts + smoothing / counts.shape[-1], LEAST)
    return held / held.sum(axis=-1, keepdims=True)


def _sums(place: Ints, weights: Array, size: int) -> Array:
    """(size,) sums of the weights at each place."""
    return np.asarray(np.bincount(place, weights=weights, minlength=size), dtype=np.float64)


def _normalised(logs: Array) -> tuple[Array, float]:
    """Rows of logarithms as probabilities that add up to 1, and the logarithm of the product of the rows' sums.

    In place: `logs` becomes the probabilities.
    """
    top = _by_row(np.maximum, logs)
    logs -= top[:, None]
    np.exp(logs, out=logs)
    sums = _by_row(np.add, logs)
    logs /= sums[:, None]
    return logs, float(top.sum() + np.log(sums).sum())


def _by_row(combine: np.ufunc, table: Array) -> Array:
    """(rows,) all columns combined: of few columns one by one, which takes a third of a reduction's time."""
    if table.shape[1] > FEW_COLUMNS:
        return np.asarray(combine.reduce(table, axis=1))
    found = table[:, 0].copy()
    for column in range(1, table.shape[1]):
        combine(found, table[:, column], out=found)
    return found


def _check_cells(what: str, cells: int) -> None:
    if cells > MOST_CELLS:
        raise InputError(
            f"a table of {what} would have {cells:,} cells, at most {MOST_CELLS:,} are handled: take the one-coin "
            "model, or fewer images and classes at a time"
        )
