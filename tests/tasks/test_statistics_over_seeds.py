"""Means over seeds on shared images: closed forms at the corners, and the level of the interval by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.statistics import Estimate, mean_interval, paired_difference, proportion, wilson
from robustray.tasks.statistics.over_seeds import mean_over_nested_seeds, mean_over_seeds


def flags(count: int, n: int) -> np.ndarray:
    return np.arange(n) < count


def test_one_seed_is_its_own_interval() -> None:
    one = proportion(flags(30, 100))
    assert mean_over_seeds([one], limits=(0, 1)) == one


def test_equal_seeds_give_the_interval_over_images() -> None:
    """Seeds that agree say nothing is added by training; the images are the same, so they don't count twice."""
    found = mean_over_seeds([proportion(flags(0, 200))] * 3, limits=(0, 1))
    lo, hi = wilson(0, 200)
    assert (found.value, found.n) == (0.0, 200)
    assert (found.lo, found.hi) == pytest.approx((float(lo), float(hi)))


def test_both_distances_add_in_quadrature() -> None:
    seeds = [Estimate(value=value, lo=value - 0.03, hi=value + 0.05, n=10) for value in (0.4, 0.5, 0.6)]
    found, over_seeds = mean_over_seeds(seeds), mean_interval([0.4, 0.5, 0.6])
    half = over_seeds.hi - 0.5
    assert found.lo == pytest.approx(0.5 - np.hypot(0.03, half))
    assert found.hi == pytest.approx(0.5 + np.hypot(0.05, half))


def test_ends_are_cut_and_n_is_the_smallest() -> None:
    seeds = [proportion(flags(1, 40)), proportion(flags(39, 50))]
    found = mean_over_seeds(seeds, limits=(0.0, 1.0))
    assert (found.lo, found.hi, found.n) == (0.0, 1.0, 40)


def test_no_images_and_no_seeds() -> None:
    found = mean_over_seeds([proportion(flags(0, 0))], limits=(0.0, 1.0))
    assert np.isnan(found.value) and (found.lo, found.hi, found.n) == (0.0, 1.0, 0)
    with pytest.raises(InputError, match="at least one seed"):
        mean_over_seeds([])


@pytest.mark.parametrize(("num_seeds", "seed_effect", "image_effect"), [(2, 0.3, 1.0), (3, 0.0, 1.5), (3, 0.5, 0.3)])
def test_the_interval_keeps_its_level_over_new_seeds_and_new_images(
    num_seeds: int, seed_effect: float, image_effect: float
) -> None:
    """Success = (seed + image + noise > 0): crossed random effects. The truth is the mean over both."""
    generator = np.random.default_rng(0)
    scale = np.sqrt(seed_effect**2 + image_effect**2 + 1)
    truth = float((generator.standard_normal(400_000) * scale > -0.5).mean())
    hits = 0
    for _ in range(400):
        latent = seed_effect * generator.standard_normal((num_seeds, 1))
        latent = latent + image_effect * generator.standard_normal((1, 150))
        latent = latent + generator.standard_normal((num_seeds, 150))
        found = mean_over_seeds([proportion(row) for row in latent > -0.5], limits=(0.0, 1.0))
        hits += found.lo <= truth <= found.hi
    assert hits / 400 >= 0.93


def test_differences_are_paired() -> None:
    a, b = flags(60, 100), flags(50, 100)
    found = mean_over_seeds([paired_difference(a, b)] * 2)
    assert found.value == pytest.approx(0.1)
    assert found.interval == pytest.approx(paired_difference(a, b).interval)


def test_repetitions_of_one_training_are_averaged_before_trainings_are_compared() -> None:
    """Repetitions that agree change nothing; those that differ don't count as trainings."""
    a, b = proportion(flags(30, 100)), proportion(flags(50, 100))
    assert mean_over_nested_seeds([[a, a, a], [b, b, b]]) == mean_over_seeds([a, b])
    spread = mean_over_nested_seeds([[a, b], [a, b]], limits=(0, 1))
    images = mean_over_seeds([a, b], limits=(0, 1))
    assert spread.value == pytest.approx(0.4) and spread.hi - spread.lo < 0.25 < images.hi - images.lo


def test_repetitions_of_a_single_training_are_its_seeds() -> None:
    a, b = proportion(flags(30, 100)), proportion(flags(50, 100))
    assert mean_over_nested_seeds([[a, b]]) == mean_over_seeds([a, b])


@pytest.mark.parametrize("groups", [[], [[]], [[proportion(flags(1, 2))], []]])
def test_nested_means_need_estimates(groups: list[list[Estimate]]) -> None:
    with pytest.raises(InputError, match="at least one"):
        mean_over_nested_seeds(groups)
