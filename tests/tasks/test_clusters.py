"""Clustered means: closed forms, and coverage where an interval over pairs would fail."""

import numpy as np
import pytest
from scipy import special

from robustray.tasks.errors import InputError
from robustray.tasks.statistics.clusters import clustered_difference, clustered_mean
from robustray.tasks.statistics.intervals import mean_interval, paired_difference, tango_limits


def test_clusters_of_one_give_students_interval() -> None:
    values = np.random.default_rng(0).normal(size=50)
    ours, students = clustered_mean(values, np.arange(50)), mean_interval(values)
    assert (ours.value, ours.lo, ours.hi, ours.n) == pytest.approx((students.value, students.lo, students.hi, 50))


def test_repeating_every_value_changes_nothing() -> None:
    values, labels = np.array([0.0, 1.0, 1.0, 0.0, 1.0]), np.arange(5)
    once, thrice = clustered_mean(values, labels), clustered_mean(np.tile(values, 3), np.tile(labels, 3))
    assert (thrice.value, thrice.lo, thrice.hi, thrice.n) == pytest.approx((once.value, once.lo, once.hi, once.n))


def test_coverage_when_members_of_a_cluster_agree() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        sizes = rng.integers(1, 6, 60)
        clusters = np.repeat(np.arange(60), sizes)
        values = np.repeat(rng.normal(size=60), sizes) + 0.1 * rng.normal(size=len(clusters))
        found = clustered_mean(values, clusters)
        hits += found.lo <= 0.0 <= found.hi
    assert 0.925 <= hits / 1000 <= 0.975  # 95 % +- 3.6 standard errors


def test_too_little() -> None:
    assert clustered_mean([1.0, 3.0], [0, 0]).hi == np.inf
    assert np.isnan(clustered_mean([], []).value)
    with pytest.raises(InputError):
        clustered_mean([1.0, float("nan")], [0, 1])
    with pytest.raises(InputError):
        clustered_mean([1.0], [0, 1])


def test_a_difference_of_shares_never_leaves_what_shares_can_differ_by() -> None:
    rng = np.random.default_rng(2)
    left = 0
    for _ in range(500):
        labels = np.repeat(np.arange(rng.integers(2, 12)), 4)
        a, b = (rng.random(len(labels)) < rng.beta(p, 0.3, labels.max() + 1)[labels] for p in (3.0, 0.05))
        found, plain = clustered_difference(a, b, labels), clustered_mean(a.astype(float) - b, labels)
        assert -1 <= found.lo <= found.value <= found.hi <= 1 and found.value == pytest.approx(plain.value)
        left += plain.hi > 1
    assert left > 50  # the interval that knows no limits passes them


def test_clusters_of_one_give_tangos_interval_with_students_t() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random(80) < 0.7, rng.random(80) < 0.5
    found = clustered_difference(a, b, np.arange(80))
    t = float(special.stdtrit(79, 0.975))
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    assert found.interval == pytest.approx(tango_limits(only_a, only_b, 80, t), abs=1e-9)
    assert found.interval == pytest.approx(paired_difference(a, b).interval, abs=0.005) and found.n == 80


def test_rows_that_only_repeat_their_cluster_count_once() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.random(60) < 0.6, rng.random(60) < 0.4
    once = clustered_difference(a, b, np.arange(60))
    thrice = clustered_difference(np.repeat(a, 3), np.repeat(b, 3), np.repeat(np.arange(60), 3))
    assert thrice.interval == pytest.approx(once.interval, abs=0.005) and thrice.n == 60


def test_the_difference_turns_its_sign_with_its_sides() -> None:
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(30), 2)
    a, b = rng.random(60) < 0.9, rng.random(60) < 0.3
    there, back = clustered_difference(a, b, labels), clustered_difference(b, a, labels)
    assert (back.lo, back.hi) == pytest.approx((-there.hi, -there.lo))


@pytest.mark.parametrize(("a", "value"), [(True, 1.0), (False, 0.0)])
def test_where_every_row_says_the_same_a_cluster_is_one_row(a: bool, value: float) -> None:
    rows = np.full(40, a)
    found = clustered_difference(rows, np.zeros(40, dtype=bool), np.repeat(np.arange(10), 4))
    t = float(special.stdtrit(9, 0.975))
    assert found.value == value and found.interval == pytest.approx(tango_limits(10 * value, 0, 10, t))
    assert found.hi - found.lo > 0.2


@pytest.mark.parametrize("images", [12, 100])
def test_coverage_of_differences_of_shares(images: int) -> None:
    rng = np.random.default_rng(6)
    labels, hits = np.repeat(np.arange(images), 4), 0
    for _ in range(1000):
        a, b = (rng.random(len(labels)) < rng.beta(2 * p, 2 - 2 * p, images)[labels] for p in (0.8, 0.3))
        found = clustered_difference(a, b, labels)
        hits += found.lo <= 0.5 <= found.hi
    assert 0.925 <= hits / 1000 <= 0.985


def test_too_little_for_a_difference() -> None:
    yes = np.ones(2, dtype=bool)
    assert clustered_difference(yes, ~yes, [0, 0]).interval == (-1.0, 1.0)
    assert np.isnan(clustered_difference([], [], []).value)
    with pytest.raises(InputError, match="boolean"):
        clustered_difference([1.0], [True], [0])
    with pytest.raises(InputError, match="the same rows"):
        clustered_difference(yes, yes, [0])
