"""Two Gaussians: theory against reference values and direct optimisation, fits against theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

from robustray.tasks.errors import InputError
from robustray.tasks.studies.gaussian_features import findings, theory
from robustray.tasks.studies.gaussian_features.findings import Results
from robustray.tasks.studies.gaussian_features.fitting import Training, rotation, train, within_ball, worst_moves
from robustray.tasks.studies.gaussian_features.settings import Settings

S, MEAN = np.array([1.0, 25.0]), np.array([2.0, 5.0])

AVERAGE = {
    0.5: (2.192, 26.403, 1.4059),
    1.0: (3.763, 28.530, 0.5484),
    2.0: (7.864, 34.374, 0.1976),
    4.0: (19.37, 50.50, 0.0668),
    10.0: (78.27, 125.42, 0.0144),
}
"""eps -> variances and multiplier, by an independent derivation."""


@pytest.mark.parametrize("eps", AVERAGE)
def test_robust_variances_are_the_reference_values(eps: float) -> None:
    *variances, multiplier = AVERAGE[eps]
    assert theory.within_average(S, eps) == pytest.approx(variances, rel=5e-4)
    assert theory.multiplier_of(S, eps) == pytest.approx(multiplier, rel=2e-3)


def test_robust_variances_minimise_the_worst_penalised_loss() -> None:
    """Of r: max over moves of the loss minus multiplier / 2 times the squared length, in one dimension."""
    s, multiplier = 3.0, 0.7

    def loss(r: float) -> float:  # the maximum is 1/2 z^2 / (r - 1/multiplier) for r > 1/multiplier
        return 0.5 * np.log(r) + 0.5 * s / (r - 1 / multiplier)

    best = minimize_scalar(loss, bounds=(1 / multiplier + 1e-6, 60.0), method="bounded", options={"xatol": 1e-9})
    assert theory.robust_variances(np.array([s]), multiplier)[0] == pytest.approx(best.x, rel=1e-6)


def test_the_condition_number_falls_to_one_and_the_axes_keep_their_order() -> None:
    fitted = [theory.within_average(S, eps) for eps in (0.0, 0.1, 1.0, 10.0, 1e3)]
    conditions = [theory.condition(each) for each in fitted]
    assert conditions[0] == 25 and conditions == sorted(conditions, reverse=True)
    assert conditions[-1] == pytest.approx(1, abs=0.01) and all(r[1] > r[0] for r in fitted)


def test_equal_variances_of_a_trace_are_the_least_vulnerable() -> None:
    rng = np.random.default_rng(0)
    isotropic = theory.vulnerability(np.full(3, 2.0), penalty=6.0)
    for _ in range(50):
        shares = 0.25 + 0.75 * rng.dirichlet(np.ones(3)) * 3  # all above 1/6 after scaling
        s = 6 * shares / shares.sum()
        assert theory.vulnerability(s, penalty=6.0) >= isotropic


def test_the_smallest_cosine_over_means_is_theorem_3s() -> None:
    around = np.linspace(0, np.pi / 2, 20_001)
    cosines = [theory.alignment(np.array([np.cos(a), np.sin(a)]), S) for a in around]
    assert theory.worst_alignment(S) == pytest.approx(min(cosines), abs=1e-7) == pytest.approx(0.384615, abs=1e-6)


@pytest.mark.parametrize(
    ("eps", "accuracies", "cosine", "worst"),
    [
        (0.0, (0.9873, 0.9630, 0.9094, 0.6694), 0.462, 0.385),
        (1.0, (0.9708, 0.9473, 0.9109, 0.7882), 0.644, 0.642),
        (4.0, (0.9173, 0.8936, 0.8653, 0.7943), 0.911, 0.895),
    ],
)
def test_accuracies_are_the_reference_values(
    eps: float, accuracies: tuple[float, ...], cosine: float, worst: float
) -> None:
    fitted = theory.within_average(S, eps)
    found = [theory.accuracy(MEAN, S, fitted, size) for size in (0.0, 0.5, 1.0, 2.0)]
    assert found == pytest.approx(accuracies, abs=1e-4)
    assert (theory.alignment(MEAN, fitted), theory.worst_alignment(fitted)) == pytest.approx((cosine, worst), abs=6e-4)


# --- Within a ball ----------------------------------------------------------------------------------------------------


def test_worst_moves_have_their_length_and_beat_every_other() -> None:
    rng = np.random.default_rng(1)
    z, s, eps = np.vstack([rng.normal(size=(30, 2)) * np.sqrt(S), [[0.0, 0.3]]]), np.array([2.0, 9.0]), 1.5
    move = worst_moves(z, s, eps)
    assert np.linalg.norm(move, axis=1) == pytest.approx(eps)
    around = np.linspace(0, 2 * np.pi, 3_601)
    assert z[-1, 0] == 0, "the hard case: nothing along the top entry"
    circle = eps * np.stack([np.cos(around), np.sin(around)], axis=1)
    best = (((z[:, None] + circle) ** 2) / s).sum(2).max(1)
    assert ((z + move) ** 2 / s).sum(1) == pytest.approx(best, rel=1e-5)


def test_equal_variances_have_a_closed_form_also_for_a_large_ball() -> None:
    """(s d + 2 eps E|z| + eps^2) / d; undamped alternation ends at 4.3 and 135.8 for eps = 10."""
    for eps, expected in ((1.0, 7.01), (10.0, 79.07)):
        found = within_ball(np.full(2, 4.0), eps, num_samples=10_000, seed=0)
        assert found == pytest.approx([expected, expected], rel=0.02)


def test_exact_variances_are_the_reference_values() -> None:
    assert within_ball(S, 2.0, num_samples=10_000, seed=0) == pytest.approx([7.21, 34.08], rel=0.03)


TRAINING = Training(
    variances=(1.0, 25.0), mean=(2.0, 5.0), angle=30.0, num_steps=900, batch_size=128, lr=0.03, ascent_steps=15
)


@pytest.mark.parametrize(("eps", "variances"), [(0.0, (1.0, 25.0)), (2.0, (7.21, 34.08))])
def test_training_ends_at_the_mean_and_the_robust_covariance(eps: float, variances: tuple[float, float]) -> None:
    mean, covariance = train(TRAINING, eps, seed=0)
    assert mean == pytest.approx(MEAN, rel=0.08)
    assert np.diag(covariance) == pytest.approx(variances, rel=0.12)
    assert abs(covariance[0, 1]) < 0.12 * np.sqrt(np.prod(variances)), "the axes are found, though turned by 30 degrees"


def test_a_rotation_keeps_lengths_and_other_axes() -> None:
    turn = rotation(30.0, 3)
    assert turn @ turn.T == pytest.approx(np.eye(3)) and turn[2].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"variances": (4.0, 4.0)}, "all are equal"),
        ({"variances": (1.0, -1.0)}, r"variances\[1\] must be above 0"),
        ({"mean": (1.0,)}, "one number for each"),
        ({"mean": (0.0, 0.0)}, "all zero"),
        ({"mean": (0.0, float("nan"))}, "mean"),
        ({"penalty": 1.0}, "penalty must be above 1"),
        ({"eps_train": (2.0, 1.0)}, "ascend"),
        ({"num_seeds": 1}, "at least 2"),
    ],
)
def test_bad_settings_are_refused_in_words(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Settings(**bad)


def test_variances_that_do_not_settle_are_not_called_exact() -> None:
    """At 100 times the deviations they ended with a likelihood below that of the closed form they start from."""
    with pytest.raises(InputError, match="do not settle"):
        within_ball(S, 500.0, num_samples=2_000, seed=0)


@pytest.mark.parametrize("arrived", [True, False])
def test_trainings_that_have_not_arrived_say_nothing_of_alignment(arrived: bool) -> None:
    """A round covariance is what training starts from: its gradients are aligned before anything is learnt."""
    settings = Settings(num_seeds=3, eps_train=(2.0,), num_samples=1_000)
    exact = {eps: within_ball(S, eps, num_samples=1_000, seed=0) if eps else S for eps in (0.0, 2.0)}
    trained = [
        {"eps": eps, "mean": MEAN, "covariance": np.diag(exact[eps] * (1 + seed / 100)) if arrived else 30 * np.eye(2)}
        for eps in exact
        for seed in range(3)
    ]
    results = Results(
        settings=settings,
        trained=pd.DataFrame(trained),
        exact=pd.DataFrame({"eps": [2.0] * 3, "variances": [exact[2.0]] * 3}),
        rises=pd.DataFrame({"rise": [1.0, 1.1, 0.9]}),
    )
    found = findings.found(results)
    assert [claim.estimate is None for claim in found.claims] == [False, False, not arrived, not arrived]
    assert [claim.verdict for claim in found.claims[1:]] == (
        ["supported"] * 3 if arrived else ["contradicted", "undecided", "undecided"]
    )
    assert [("raise num_steps" in words) for words in found.warnings] == [True] * (not arrived)
