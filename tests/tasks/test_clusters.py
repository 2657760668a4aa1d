"""Clustered means: closed forms, and coverage where an interval over pairs would fail."""

import numpy as np
import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.statistics.clusters import clustered_mean
from robustray.tasks.statistics.intervals import mean_interval


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
