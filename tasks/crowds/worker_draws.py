"""How sure is the probability of a label? Intervals that know that the workers' errors are estimated, too.

A fit takes the workers' errors as known, so its probabilities are bolder than they should be where workers gave few
answers. Here errors, shares of classes and true classes are drawn in turn from their joint distribution given the
answers (Gibbs sampling, from the fit on); an image's probability is computed anew for every draw of the errors, and its
interval holds 95 % of these values. The same draws give intervals of the workers' accuracies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.workers import Array, Coins, Confusions, Fit, accuracy, steps_of
from robustray.tasks.errors import InputError
from robustray.tasks.lab.seeds import stream
from robustray.tasks.statistics.intervals import checked_level

LEAST_DRAWS = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Intervals:
    """Ends of intervals: (images,) of the probability of the fit's label, (workers,) of accuracies."""

    lo: Array
    hi: Array
    accuracy_lo: Array
    accuracy_hi: Array


def intervals(
    fit: Fit, *, num_draws: int = 400, num_dropped: int = 50, level: float = 0.95, seed: int = 0
) -> Intervals:
    """Equal-tailed intervals from `num_draws` draws behind `num_dropped` that are not used.

    The prior of each row of a confusion matrix (of the accuracy, of the shares) is a Dirichlet distribution that holds
    `smoothing` answers, spread evenly: the expectation of a draw is EM's update. Memory: 4 bytes per draw and image.

    Raises: InputError for a fit without smoothing (no prior: a worker who was never wrong would be one who can't be),
    for fewer than 100 draws, or a level that is none.
    """
    if fit.smoothing == 0:
        raise InputError("intervals need a fit with smoothing above 0")
    if num_draws < LEAST_DRAWS:
        raise InputError(f"the ends of an interval need at least {LEAST_DRAWS} draws, got {num_draws}")
    tails = np.array([(1 - checked_level(level)) / 2, (1 + level) / 2])
    rng = stream(seed, "errors of workers")
    answers = fit.answers
    steps = steps_of(answers, fit.model)
    images = np.arange(answers.num_images)
    of_label = np.empty((num_draws, answers.num_images), dtype=np.float32)
    of_worker = np.empty((num_draws, answers.num_workers))
    posterior = fit.posterior
    for draw in range(-num_dropped, num_draws):
        truth = np.zeros_like(posterior)
        truth[images, _classes(rng, posterior)] = 1.0
        prior = _dirichlet(rng, truth.sum(axis=0), fit.smoothing)
        workers = _workers(rng, steps, truth, fit.smoothing)
        posterior, _ = steps.expect(prior, workers)
        if draw >= 0:
            of_label[draw] = posterior[images, fit.label]
            of_worker[draw] = accuracy(workers, prior)
    lo, hi = np.quantile(of_label, tails, axis=0)
    accuracy_lo, accuracy_hi = np.quantile(of_worker, tails, axis=0)
    return Intervals(lo=lo, hi=hi, accuracy_lo=accuracy_lo, accuracy_hi=accuracy_hi)


def _workers(rng: np.random.Generator, steps: Confusions | Coins, truth: Array, smoothing: float) -> Array:
    counts = steps.counts(truth)
    if isinstance(steps, Confusions):
        return _dirichlet(rng, counts, smoothing)
    share = smoothing / steps.answers.num_classes
    wrong = np.maximum(steps.answers.num_answers - counts, 0.0)  # not below 0 by rounding
    return rng.beta(counts + share, wrong + smoothing - share).clip(1e-12, 1 - 1e-12)


def _dirichlet(rng: np.random.Generator, counts: Array, smoothing: float) -> Array:
    """Along the last axis."""
    drawn = np.maximum(rng.standard_gamma(counts + smoothing / counts.shape[-1]), 1e-300)
    return drawn / drawn.sum(axis=-1, keepdims=True)


def _classes(rng: np.random.Generator, posterior: Array) -> NDArray[np.int64]:
    """(images,) a class of each row."""
    sums = np.cumsum(posterior, axis=1)
    drawn = rng.random(len(posterior)) * sums[:, -1]
    return (sums <= drawn[:, None]).sum(axis=1).clip(max=posterior.shape[1] - 1)
