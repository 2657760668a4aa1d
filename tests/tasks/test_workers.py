"""Workers who err: EM against a plain transcription and crowd-kit, its rules, and the coverage of its intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustray.tasks.crowds.worker_draws import intervals
from robustray.tasks.crowds.workers import Answers, Model, accuracy, fit, steps_of
from robustray.tasks.errors import InputError

MODELS: tuple[Model, ...] = ("one-coin", "dawid-skene")
Raw = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def crowd(model: Model, seed: int = 0, num_images: int = 400, num_workers: int = 20, each: int = 5) -> dict[str, Any]:
    """Three classes; the workers' true errors, and their answers: columns image, worker, label."""
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.full(3, 5.0))
    if model == "one-coin":
        errors = rng.uniform(0.5, 0.95, num_workers)
        confusion = np.where(np.eye(3, dtype=bool), errors[:, None, None], (1 - errors[:, None, None]) / 2)
    else:
        rows = np.where(np.eye(3, dtype=bool), 6.0, 1.0)
        confusion = np.stack([[rng.dirichlet(row) for row in rows] for _ in range(num_workers)])
        errors = confusion
    truth = rng.choice(3, num_images, p=prior)
    image = np.repeat(np.arange(num_images), each)
    worker = np.concatenate([rng.choice(num_workers, each, replace=False) for _ in range(num_images)])
    chance = confusion[worker, truth[image]].cumsum(axis=1)
    label = (rng.random(len(image))[:, None] > chance).sum(axis=1).clip(max=2)
    return {"raw": (image, worker, label), "truth": truth, "prior": prior, "errors": errors}


def answers_of(raw: Raw, num_classes: int = 3) -> Answers:
    return Answers.of(*raw, num_classes=num_classes)


def transcribed(raw: Raw, model: Model, num_iterations: int, smoothing: float, num_classes: int = 3) -> Any:
    """EM as the papers write it, answer by answer."""
    image, worker, label = (each.tolist() for each in raw)
    rows = list(zip(image, worker, label, strict=True))
    images, workers = max(image) + 1, max(worker) + 1
    posterior = np.zeros((images, num_classes))
    for i, _, answer in rows:
        posterior[i, answer] += 1
    posterior /= posterior.sum(axis=1, keepdims=True)
    for _ in range(num_iterations):
        prior = posterior.sum(axis=0) + smoothing / num_classes
        prior /= prior.sum()
        confusion = np.full((workers, num_classes, num_classes), smoothing / num_classes)
        right, given = np.full(workers, smoothing / num_classes), np.full(workers, float(smoothing))
        for i, w, answer in rows:
            confusion[w, :, answer] += posterior[i]
            right[w] += posterior[i, answer]
            given[w] += 1
        if model == "one-coin":
            for w in range(workers):
                skill = right[w] / given[w]
                confusion[w] = (1 - skill) / (num_classes - 1)
                np.fill_diagonal(confusion[w], skill)
        else:
            confusion /= confusion.sum(axis=2, keepdims=True)
        posterior = np.repeat(prior[None], images, axis=0)
        for i, w, answer in rows:
            posterior[i] *= confusion[w, :, answer]
        posterior /= posterior.sum(axis=1, keepdims=True)
    return posterior


# -- EM ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.3, 2.0])
@pytest.mark.parametrize("model", MODELS)
def test_em_is_what_the_papers_write(model: Model, smoothing: float) -> None:
    raw = crowd(model, num_images=80)["raw"]
    found = fit(answers_of(raw), model, smoothing=smoothing, tolerance=-1, most_iterations=7)
    assert found.num_iterations == 7 and not found.converged
    assert found.posterior == pytest.approx(transcribed(raw, model, 7, smoothing), abs=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_em_is_that_of_crowd_kit(model: Model) -> None:
    """Without smoothing, after equally many steps. crowd-kit is no dependency: the test runs where it is installed."""
    kit = pytest.importorskip("crowdkit.aggregation", reason="crowd-kit is not installed")
    import pandas as pd

    raw = crowd(model, seed=3, num_images=200)["raw"]
    theirs = {"one-coin": kit.OneCoinDawidSkene, "dawid-skene": kit.DawidSkene}[model](n_iter=9, tol=-1e9)
    theirs.fit(pd.DataFrame(dict(zip(("task", "worker", "label"), raw, strict=True))))
    found = fit(answers_of(raw), model, smoothing=0, tolerance=-1, most_iterations=9)
    assert found.posterior == pytest.approx(theirs.probas_.sort_index().sort_index(axis=1).to_numpy(), abs=1e-8)


@pytest.mark.parametrize("model", MODELS)
def test_em_never_goes_down_and_ends_where_it_stays(model: Model) -> None:
    found = fit(answers_of(crowd(model, seed=1)["raw"]), model, tolerance=1e-10)
    assert found.converged and (np.diff(found.log_posterior) > -1e-9).all()
    again, _ = steps_of(found.answers, model).expect(
        *steps_of(found.answers, model).maximise(found.posterior, found.smoothing)
    )
    assert again == pytest.approx(found.posterior, abs=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_workers_errors_are_found(model: Model) -> None:
    true = crowd(model, seed=2, num_images=3_000)
    found = fit(answers_of(true["raw"]), model)
    assert np.abs(found.accuracy - accuracy(true["errors"], true["prior"])).max() < 0.05
    votes = found.answers.votes
    assert (found.label == true["truth"]).mean() >= (votes.argmax(axis=1) == true["truth"]).mean()


def test_a_few_good_workers_outweigh_many_bad_ones() -> None:
    """Three who are always right, five who guess."""
    truth = np.arange(300) % 3
    image, worker = np.divmod(np.arange(300 * 8), 8)
    rng = np.random.default_rng(0)
    guess = rng.integers(0, 3, len(image))
    label = np.where(worker < 3, truth[image], guess)
    found = fit(answers_of((image, worker, label)), "one-coin")
    assert (found.label == truth).all() and found.accuracy[:3].min() > 0.99 and found.accuracy[3:].max() < 0.42


# -- rules -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_the_order_of_rows_and_the_names_of_workers_do_not_matter(model: Model) -> None:
    image, worker, label = crowd(model, num_images=150)["raw"]
    found = fit(answers_of((image, worker, label)), model)
    rng = np.random.default_rng(7)
    order, names = rng.permutation(len(image)), rng.permutation(worker.max() + 1)
    same = fit(answers_of((image[order], worker[order], label[order])), model)
    assert (same.posterior == found.posterior).all() and (same.label == found.label).all()
    other = fit(answers_of((image, names[worker], label)), model)
    assert other.posterior == pytest.approx(found.posterior, abs=1e-6) and (other.label == found.label).all()


@pytest.mark.parametrize("model", MODELS)
def test_ties_go_to_more_votes_then_to_the_smaller_class(model: Model) -> None:
    """Two workers with the same record, mirrored: nothing tells 1 from 2 on the first image."""
    agreed = np.repeat([1, 2], 20)
    raw = (np.repeat(np.arange(21), 2), np.tile([0, 1], 21), np.concatenate([[2, 1], agreed]))
    found = fit(answers_of(raw), model)
    assert found.tied.tolist() == [True] + 20 * [False] and found.label.tolist() == [1] + 10 * [1] + 10 * [2]


def test_a_worker_counts_once_per_image() -> None:
    image, worker, label = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 0, 1]), np.array([1, 1, 0, 0, 0])
    twice = answers_of((image, worker, label), 2)
    once = answers_of((image[1:], worker[1:], label[1:]), 2)
    assert twice.votes.tolist() == once.votes.tolist() == [[1, 1], [2, 0]]
    both = answers_of((np.array([0, 0, 0]), np.array([0, 0, 1]), np.array([1, 0, 0])), 2)
    assert both.votes.tolist() == [[1.5, 0.5]] and both.num_answers.tolist() == [1, 1]


@pytest.mark.parametrize("model", MODELS)
def test_an_update_is_a_refit_to_the_last_bit(model: Model) -> None:
    image, worker, label = crowd(model, num_images=200)["raw"]
    early = (image < 150) & (worker < 15)
    known = np.unique(image[early])  # images are numbered without holes: those of the first answers come first
    order = np.concatenate([known, np.setdiff1d(np.arange(200), known)])
    image = np.argsort(order)[image]
    begun = fit(answers_of((image[early], worker[early], label[early])), model)
    updated = begun.update(image[~early], worker[~early], label[~early])
    refitted = fit(answers_of((image, worker, label)), model)
    assert (updated.posterior == refitted.posterior).all() and (updated.workers == refitted.workers).all()
    assert updated.answers.num_images == 200 and updated.num_iterations == refitted.num_iterations


def test_without_smoothing_a_worker_with_one_answer_never_errs() -> None:
    """Why there is smoothing: a single answer makes him infallible or useless, never in between."""
    raw = (np.repeat(np.arange(6), 3), np.tile(np.arange(3), 6), np.repeat([0, 1, 0, 1, 0, 1], 3))
    image, worker, label = (np.append(each, last) for each, last in zip(raw, (5, 3, 0), strict=True))
    raw = (image, worker, label)
    plain, smooth = (fit(answers_of(raw, 2), smoothing=amount) for amount in (0.0, 1.0))
    assert plain.workers[3, 1, 0] == pytest.approx(1) and 0.4 < smooth.workers[3, 1, 0] < 0.9


# -- intervals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_intervals_cover_what_is_known_with_the_true_errors(model: Model) -> None:
    """The probability of a label, computed with the workers' true errors, and their true accuracies; 6 crowds."""
    covered, workers, changed = [], [], []
    for seed in range(6):
        true = crowd(model, seed=seed, num_images=600, num_workers=30)
        found = fit(answers_of(true["raw"]), model)
        oracle, _ = steps_of(found.answers, model).expect(true["prior"], true["errors"])
        of_label = oracle[np.arange(600), found.label]
        around = intervals(found, num_draws=200, seed=seed)
        covered.append((around.lo - 1e-6 <= of_label) & (of_label <= around.hi + 1e-6))
        true_accuracy = accuracy(true["errors"], true["prior"])
        workers.append((around.accuracy_lo <= true_accuracy) & (true_accuracy <= around.accuracy_hi))
        changed.append(around.hi - around.lo)
    assert 0.89 <= np.mean(covered) <= 0.99
    assert 0.87 <= np.mean(workers) <= 0.99
    assert np.mean(changed) < 0.25, "and they say something"


def test_intervals_belong_to_their_seed() -> None:
    found = fit(answers_of(crowd("one-coin", num_images=60)["raw"]), "one-coin")
    one, same, other = (intervals(found, num_draws=100, seed=seed) for seed in (0, 0, 1))
    assert (one.lo == same.lo).all() and (one.lo != other.lo).any()


# -- the door ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (([0, 2], [0, 0], [0, 0]), "none of image 1"),
        (([0, 0], [0, 2], [0, 0]), "none of worker 1"),
        (([0, -1], [0, 1], [0, 0]), "there is no image -1"),
        (([0, 0], [0, 1], [0, 3]), "below 3"),
        (([0, 0], [0, 1], [0, -1]), "below 3"),
        (([0, 0], [0], [0, 1]), "image, a worker and a label"),
        (([], [], []), "image, a worker and a label"),
    ],
)
def test_answers_that_do_not_fit(raw: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        answers_of(tuple(np.array(each, dtype=np.int64) for each in raw))  # type: ignore[arg-type]


def test_fits_that_make_no_sense() -> None:
    raw = (np.array([0, 0]), np.array([0, 1]), np.array([0, 0]))
    with pytest.raises(InputError, match="smoothing"):
        fit(answers_of(raw), smoothing=-1)
    with pytest.raises(InputError, match="single class"):
        fit(answers_of(raw, 1))
    with pytest.raises(InputError, match="cells"):
        fit(answers_of(raw, 6_000))
    plain = fit(answers_of(raw), smoothing=0)
    with pytest.raises(InputError, match="smoothing above 0"):
        intervals(plain)
    with pytest.raises(InputError, match="at least 100"):
        intervals(fit(answers_of(raw)), num_draws=20)
    with pytest.raises(InputError, match="has answered image 0 before"):
        plain.update([1, 0], [0, 1], [0, 0])
