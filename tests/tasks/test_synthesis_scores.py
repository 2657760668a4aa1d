"""Scores of generated images and fidelity of edited ones, against cases that are known by hand or in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import linalg, stats

from robustray.tasks.errors import InputError
from robustray.tasks.kit import likeness
from robustray.tasks.statistics import mean_interval
from robustray.tasks.studies.synthesis import scores
from robustray.tasks.studies.synthesis.scores import classifier_score, score_interval

# --- What a judge says ------------------------------------------------------------------------------------------------


def test_scores_of_sure_and_of_unsure_judges() -> None:
    sure = np.eye(5)[np.arange(50) % 5]
    assert classifier_score(sure) == pytest.approx(5), "every class, each without a doubt"
    assert classifier_score(np.full((50, 5), 0.2)) == pytest.approx(1), "no idea"
    assert classifier_score(np.eye(5)[np.zeros(50, int)]) == pytest.approx(1), "sure of one class for all"
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    mean = p.mean(0)
    assert classifier_score(p) == pytest.approx(np.exp((p * np.log(p / mean)).sum(1).mean()))


def test_the_jackknife_leaves_out_one_image_at_a_time() -> None:
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.ones(4), size=40)
    without = np.array([classifier_score(np.delete(p, i, axis=0)) for i in range(40)])
    error = np.sqrt(39 / 40 * ((without - without.mean()) ** 2).sum())
    found = score_interval(p)
    assert found.value == pytest.approx(classifier_score(p)) and found.n == 40
    assert found.hi - found.value == pytest.approx(stats.t.ppf(0.975, 39) * error)
    assert score_interval(np.full((9, 4), 0.25)).interval == pytest.approx((1, 1))
    assert score_interval(np.eye(4)[np.arange(400) % 4]).hi == pytest.approx(4)


@pytest.mark.parametrize("bad", [np.zeros((0, 3)), np.ones((2, 3)), [[-0.5, 1.5]], np.ones(3)])
def test_what_are_no_probabilities(bad: Any) -> None:
    with pytest.raises(InputError, match="class probabilities"):
        classifier_score(bad)


# --- Its features -----------------------------------------------------------------------------------------------------


def sample(mean: np.ndarray, covariance: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Rows (n, d) whose mean and unbiased covariance are exactly these."""
    raw = np.random.default_rng(seed).normal(size=(n, len(mean)))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    return mean + white @ np.linalg.cholesky(covariance).T


def test_the_frechet_distance_of_known_gaussians() -> None:
    """|m1 - m2|^2 + tr(A + B - 2 (AB)^1/2); for diagonal ones the sum of (s1 - s2)^2."""
    a = sample(np.zeros(3), np.diag([1.0, 4.0, 9.0]), 50)
    b = sample(np.array([1.0, 2.0, 0.0]), np.diag([4.0, 1.0, 9.0]), 80, seed=1)
    assert scores.frechet(a, b) == pytest.approx(5 + 1 + 1 + 0)
    assert scores.frechet(b, a) == pytest.approx(7) and scores.frechet(a, a) == pytest.approx(0, abs=1e-9)
    generator = np.random.default_rng(2)
    first, second = (each @ each.T for each in generator.normal(size=(2, 3, 3)))
    root: Any = linalg.sqrtm(first @ second)
    expected = np.trace(first + second - 2 * root).real
    x, y = sample(np.zeros(3), first, 40), sample(np.zeros(3), second, 40, seed=3)
    assert scores.frechet(x, y) == pytest.approx(expected)
    assert scores.frechet([[0.0], [2.0]], [[5.0], [5.0]]) == pytest.approx(16 + 2), "one feature"


def test_the_frechet_distance_of_equal_laws_falls_with_n() -> None:
    generator = np.random.default_rng(0)
    found = [scores.frechet(*generator.normal(size=(2, n, 8))) for n in (20, 200, 2_000)]
    assert found[0] > found[1] > found[2] > 0, "so rows that are compared have equal n"


def test_precision_and_recall_by_hand() -> None:
    real = np.array([[0.0], [1.0], [2.0], [3.0]])
    assert scores.radii(real, 1).tolist() == pytest.approx([1, 1, 1, 1])
    made = np.array([[0.5], [-0.9], [4.5], [10.0]])
    assert scores.precision(made, real, 1).tolist() == [True, True, False, False]
    # balls around the made ones: 0.5 (to -0.9: 1.4), -0.9 (1.4), 4.5 (4.0), 10 (5.5)
    assert scores.precision(real, made, 1).tolist() == [True, True, True, True]
    assert scores.precision(real, made[:2], 1).tolist() == [True, True, False, False], "two modes of four"
    assert scores.precision(real, real, 1).all() and not scores.precision(real + 100, real, 1).any()
    with pytest.raises(InputError, match="more images are needed"):
        scores.radii(real, 4)


def test_copies_of_training_images_are_near() -> None:
    train = np.random.default_rng(0).normal(size=(600, 3))
    assert scores.nearest(train[:5], train) == pytest.approx(np.zeros(5), abs=1e-6)
    others = np.random.default_rng(1).normal(size=(300, 3))
    expected = [np.linalg.norm(train - row, axis=1).min() for row in others]
    assert scores.nearest(others, train) == pytest.approx(expected)


def test_a_grouped_jackknife_of_a_mean_is_the_interval_of_group_means() -> None:
    values = np.random.default_rng(0).normal(size=40)
    groups = np.arange(40) % 8
    found = scores.grouped_jackknife(lambda keep: float(values[keep].mean()), groups)
    expected = mean_interval([values[groups == group].mean() for group in range(8)])
    assert found.value == pytest.approx(values.mean()) and found.interval == pytest.approx(expected.interval)
    alone = scores.grouped_jackknife(lambda keep: float(values[keep].mean()), np.zeros(40), limits=(0, 1))
    assert alone.interval == (0, 1), "one group says nothing of others"


@pytest.mark.parametrize("bad", [np.zeros((1, 3)), np.zeros(4), np.full((3, 2), np.nan)])
def test_what_are_no_features(bad: Any) -> None:
    with pytest.raises(InputError, match="features are finite"):
        scores.frechet(bad, np.eye(3))


# --- Fidelity ---------------------------------------------------------------------------------------------------------


def test_signal_to_noise_by_hand() -> None:
    a = torch.full((2, 1, 4, 4), 0.5)
    assert likeness.psnr(a, a + 0.1) == pytest.approx([20, 20], abs=1e-4)
    assert likeness.psnr(a, a) == pytest.approx([20 * np.log10(510)] * 2), "half a grey level"
    where = torch.zeros(2, 1, 4, 4)
    where[:, :, :1] = 1
    b = torch.where(where == 1, a + 0.01, a + 0.3)
    assert likeness.psnr(a, b, where) == pytest.approx([40, 40], abs=1e-3)


def test_structural_similarity_of_images_of_one_colour() -> None:
    """Nothing varies, so only the means are compared: (2ab + C1) / (a^2 + b^2 + C1)."""
    a, b = (torch.full((2, 3, 9, 9), value) for value in (0.25, 0.75))
    assert likeness.ssim(a, a) == pytest.approx([1, 1])
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert likeness.ssim(a, b) == pytest.approx([expected] * 2, rel=1e-6)


def test_structural_similarity_in_the_middle_of_a_window_by_hand() -> None:
    a, b = torch.rand(2, 1, 1, 7, 7, generator=torch.Generator().manual_seed(0)).double()
    middle = torch.zeros(1, 1, 7, 7)
    middle[..., 3, 3] = 1
    x, y = a.flatten().numpy(), b.flatten().numpy()
    both = ((x - x.mean()) * (y - y.mean())).mean()
    expected = (2 * x.mean() * y.mean() + 1e-4) * (2 * both + 9e-4)
    expected /= (x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (x.var() + y.var() + 9e-4)
    assert likeness.ssim(a, b, middle) == pytest.approx([expected])
    assert likeness.ssim(a, 1 - a) < 0.2 and likeness.ssim(a, a) == pytest.approx([1])
    with pytest.raises(InputError, match="sides of at least 4"):
        likeness.ssim(a[..., :3], b[..., :3])
