"""Headlines with fewer workers: by enumeration on a small table, and on the published answers."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.crowds.classify import Votes, aggregate
from robustray.tasks.crowds.fewer import HEADLINES, Thinned, affordable, thin
from robustray.tasks.crowds.optima import NOT_MAIN
from robustray.tasks.crowds.tables import Labels
from robustray.tasks.errors import InputError
from robustray.tasks.studies.labels.reduce import shares


def drawn(num_images: int = 12, num_workers: int = 5) -> Votes:
    rng = np.random.default_rng(3)
    image = rng.permutation(np.repeat(np.arange(num_images), num_workers))
    chosen = [rng.choice(4, rng.integers(1, 4), replace=False) for _ in image]
    return Votes(
        image=image,
        main=np.array([each[0] for each in chosen]),
        selected=Labels(
            values=np.concatenate(chosen), starts=np.concatenate([[0], np.cumsum([len(each) for each in chosen])])
        ),
        given=rng.integers(0, 4, num_images),
        num_classes=4,
    )


def part_of(votes: Votes, answers: list[int]) -> Votes:
    """These answers, all of one image, as a table of their own."""
    lists = [votes.selected.values[votes.selected.starts[a] : votes.selected.starts[a + 1]] for a in answers]
    return replace(
        votes,
        image=np.zeros(len(answers), dtype=np.int64),
        main=votes.main[answers],
        selected=Labels(
            values=np.concatenate(lists), starts=np.concatenate([[0], np.cumsum([len(each) for each in lists])])
        ),
        given=votes.given[votes.image[answers[:1]]],
    )


def test_thinning_is_the_mean_over_all_subsets() -> None:
    votes = drawn()
    found = thin(votes, [1, 2, 3])
    assert found.sizes == (1, 2, 3, 5)
    for at, size in enumerate(found.sizes):
        multi = np.zeros(votes.num_images)
        other = np.zeros(votes.num_images)
        for image in range(votes.num_images):
            subsets = list(itertools.combinations(np.flatnonzero(votes.image == image).tolist(), size))
            for subset in subsets:
                one = part_of(votes, list(subset))
                said = aggregate(one)
                multi[image] += (said.num_objects[0] > 1) / len(subsets)
                other[image] += (said.num_objects[0] > 1 and said.main_label[0] != one.given[0]) / len(subsets)
        assert found.k[:, at, 0] == pytest.approx(multi) and found.n[:, at, 1] == pytest.approx(multi)
        assert found.k[:, at, 1] == pytest.approx(other)


def test_all_answers_are_the_plain_headlines() -> None:
    votes = drawn()
    found = thin(votes, [2])
    plain = shares(votes, aggregate(votes))
    assert found.values()[-1] == pytest.approx([plain[name].value for name in HEADLINES])
    values, differences = found.changes(num_resamples=200)
    assert [each.value for each in values] == pytest.approx(found.values().ravel())
    assert {(each.value, each.lo, each.hi) for each in differences[-len(HEADLINES) :]} == {(0.0, 0.0, 0.0)}


@pytest.mark.parametrize("sizes", [[0], [3, 2], [6]])
def test_sizes_that_do_not_fit(sizes: list[int]) -> None:
    with pytest.raises(InputError, match="sizes must ascend"):
        thin(drawn(), sizes)
    with pytest.raises(InputError, match="no image has 7"):
        thin(drawn(), [1], num_answers=7)


@pytest.mark.parametrize(
    ("num_images", "num_answers", "sizes"),
    [
        (5_598, 9, [1, 3, 5, 7]),
        (5_000, 15, [1, 3, 13]),
        (10_000, 51, [1]),
        (10**6, 51, []),
        (10, 1, []),
    ],
)
def test_only_sizes_with_a_bearable_number_of_subsets(num_images: int, num_answers: int, sizes: list[int]) -> None:
    assert affordable(num_images, num_answers) == sizes


def test_the_published_answers_with_fewer_workers(shared_data: Path) -> None:
    """With one worker another label than the given is main far more often: part of the disagreement is noise."""
    folder = shared_data / "annotations"
    if not (folder / "multilabel_classify_votes.parquet").is_file():
        pytest.skip(f"no published annotations in {folder}")
    answers = pd.read_parquet(folder / "multilabel_classify_votes.parquet")
    images = pd.read_parquet(folder / "multilabel_classify_images.parquet").set_index("image_number")
    number, member = np.unique(answers.image_number, return_inverse=True)
    votes = Votes(
        image=member,
        main=answers.main.to_numpy(np.int64),
        selected=Labels(
            values=np.concatenate(list(answers.selected)).astype(np.int64),
            starts=np.concatenate([[0], np.cumsum(answers.selected.map(len))]),
        ),
        given=images.loc[number].class_id.to_numpy(np.int64),
        num_classes=1_000,
    )
    by_rule, by_order = thin(votes, [1, 3, 7]), thin(votes, [1, 3, 7], ties="order")
    assert (by_rule.num_answers, len(by_rule.n)) == (9, 5_598)
    rule, order = (each.values()[:, HEADLINES.index(NOT_MAIN)] for each in (by_rule, by_order))
    assert (np.diff(rule) < 0).all() and (np.diff(order) < 0).all()
    # The order is that of a pilot with one random subset of every image's answers (.443, .398, .353, .346).
    assert order == pytest.approx([0.443, 0.398, 0.353, 0.346], abs=0.01)
    assert rule[0] == pytest.approx(order[0]), "one answer ties with none"
    assert order[1] - rule[1] > 0.01, "three answers tie often: the rule itself moves the headline"


@pytest.mark.parametrize("power", [1, 2])
def test_extrapolation_is_exact_for_its_own_law(power: int) -> None:
    """a + b / workers^power at 5 and 9 of 9 workers, the same in all images."""
    sizes = (1, 5, 9)
    k = np.stack([np.full((20, 4), 0.3 + 0.6 / size**power) for size in sizes], axis=1)
    thinned = Thinned(num_answers=9, sizes=sizes, n=np.ones_like(k), k=k)
    for each in thinned.extrapolated(powers=(power,) * 4, num_resamples=200):
        assert (each.value, each.lo, each.hi) == pytest.approx((0.3, 0.3, 0.3))


def test_each_headline_has_its_law() -> None:
    """Several objects: 1 / workers; main labels: 1 / workers²."""
    sizes = (5, 9)
    k = np.stack([np.array([0.3 + 0.6 / size, *[0.3 + 0.6 / size**2] * 3]) for size in sizes])
    thinned = Thinned(num_answers=9, sizes=sizes, n=np.ones((20, 2, 4)), k=np.repeat(k[None], 20, axis=0))
    assert [each.value for each in thinned.extrapolated(num_resamples=200)] == pytest.approx([0.3] * 4)


def test_extrapolation_is_wider_than_what_it_starts_from() -> None:
    rng = np.random.default_rng(0)
    k = rng.random((300, 2, 4)).round()
    thinned = Thinned(num_answers=9, sizes=(5, 9), n=np.ones_like(k), k=k)
    plain = thinned.changes(num_resamples=400)[0][-4:]
    for before, after in zip(plain, thinned.extrapolated(num_resamples=400), strict=True):
        assert after.hi - after.lo > before.hi - before.lo
