"""Factorial moments with an intercept for each class: exact in their basis, unbiased, held against their own truth."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robustray.tasks.crowds.betas import Betas
from robustray.tasks.crowds.replicas.cells import Cells, Remeasured
from robustray.tasks.crowds.replicas.classes import (
    CLASS_WORLDS,
    COMPOSITION,
    TARGETS,
    ClassProtocol,
    class_study,
    targets,
)
from robustray.tasks.crowds.replicas.estimators import MOMENTS, FactorialMoments, gaps
from robustray.tasks.crowds.replicas.stratified import BY_CLASS, StratifiedMoments
from robustray.tasks.studies.replication.classing import Classed, classed_parts
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.study import Claim

ORIGINAL = [Betas(weight=(1.0,), a=(8.0,), b=(2.0,)), Betas(weight=(1.0,), a=(4.0,), b=(2.0,))]
REPLICA = [Betas(weight=(1.0,), a=(3.0,), b=(3.0,)), Betas(weight=(1.0,), a=(5.0,), b=(2.0,))]
EFFECTS = (0.15, -0.1)


def infinitely_many(betas: list[Betas], lost: float, n: int = 10) -> tuple[Remeasured, np.ndarray]:
    """Two classes of equally many images, chance .2 + .5 s^2 + effect - lost: a row per class and count, its mass."""
    parts = []
    for each, effect in zip(betas, EFFECTS, strict=True):
        s, w = each.nodes()
        joint = w[:, None] * stats.binom.pmf(np.arange(n + 1), n, s[:, None])
        parts.append((joint.sum(axis=0), (0.2 + 0.5 * s**2 + effect - lost) @ joint / joint.sum(axis=0)))
    rows = Remeasured(
        n_shown=np.full(2 * (n + 1), n),
        n_selected=np.tile(np.arange(n + 1), 2),
        correct=np.concatenate([right for _, right in parts])[:, None],
        stratum=np.repeat([0, 1], n + 1),
    )
    return rows, np.concatenate([held for held, _ in parts])


def test_the_gap_within_classes_comes_back_where_the_pooled_one_is_another() -> None:
    (one, w1), (two, w2) = infinitely_many(ORIGINAL, 0.0), infinitely_many(REPLICA, 0.04)
    weights = 1e7 * np.concatenate([w1, w2])[None, :]
    pooled, within, composition = targets(one, two)(weights)[0]
    assert within == pytest.approx(0.04, abs=1e-5)
    assert abs(pooled - 0.04) > 0.02, "the easy class is selected more often in the original, less in the replica"
    assert composition == pooled - within


def test_a_single_class_has_no_composition() -> None:
    """Within one class the two agree to sampling noise: both fit the same polynomial."""
    rng = np.random.default_rng(0)
    sets = []
    for a in (6.0, 3.0):
        s = rng.beta(a, 2.0, 60_000)
        correct = (rng.random((len(s), 2)) < 0.1 + 0.8 * s[:, None] ** 2).astype(float)
        sets.append(Remeasured(n_shown=np.full(len(s), 12), n_selected=rng.binomial(12, s), correct=correct))
    found = gaps(sets[0], sets[1], [FactorialMoments(), StratifiedMoments()])(np.ones((1, 120_000))).reshape(2, 2)
    assert found[1] == pytest.approx(found[0], abs=5e-3) and found[1] == pytest.approx([0, 0], abs=0.02)


def test_covariances_are_unbiased_by_enumeration() -> None:
    """Two images of one class, every outcome of their answers: the mean of what is fitted is what it stands for."""
    n, s, right = 9, np.array([0.3, 0.8]), np.array([0.4, 0.9])
    chances = stats.binom.pmf(np.arange(n + 1)[:, None], n, s)
    spread, with_right = np.zeros((6, 3)), np.zeros(6)
    for counts in itertools.product(range(n + 1), repeat=2):
        rows = Remeasured(
            n_shown=np.full(2, n),
            n_selected=np.array(counts),
            correct=right[:, None],
            stratum=np.zeros(2, dtype=np.int64),
        )
        cells = Cells(rows)
        found = StratifiedMoments().equations(cells, 1)(cells.whole())
        chance = chances[counts[0], 0] * chances[counts[1], 1]
        spread, with_right = spread + chance * found[0][0], with_right + chance * found[1][0, :, 0]
    # a covariance of two images times their number: the product of their differences
    powers = s[:, None] ** np.arange(10)
    apart = powers[0] - powers[1]
    assert spread == pytest.approx(np.outer(apart[1:7], apart[1:4]), abs=1e-12)
    assert with_right == pytest.approx((right[0] - right[1]) * apart[1:7], abs=1e-12)


def test_classes_that_the_replica_has_not_or_once_are_no_crash() -> None:
    rng = np.random.default_rng(1)
    s = rng.beta(4, 2, 400)
    rows = [
        Remeasured(
            n_shown=np.full(400, 10),
            n_selected=rng.binomial(10, s),
            correct=(rng.random((400, 1)) < s[:, None]).astype(float),
            stratum=classes,
        )
        for classes in (np.arange(400) % 5, np.where(np.arange(400) < 1, 3, np.arange(400) % 3))
    ]
    found = gaps(rows[0], rows[1], [StratifiedMoments()])(np.ones((1, 800)))
    assert np.isfinite(found).all() and abs(found[0, 0]) < 0.5


def test_cells_keep_classes_apart() -> None:
    rows = Remeasured(
        n_shown=np.array([9, 9, 10, 9]),
        n_selected=np.array([3, 3, 3, 3]),
        correct=np.ones((4, 1)),
        stratum=np.array([0, 1, 1, 1]),
    )
    cells = Cells(rows)
    assert list(zip(cells.stratum, cells.n_shown, cells.n_selected, strict=True)) == [(0, 9, 3), (1, 9, 3), (1, 10, 3)]
    assert cells.whole().held.tolist() == [[1, 2, 1]]


def test_true_targets() -> None:
    for name, world in CLASS_WORLDS.items():
        truth = world.truth(10)
        assert truth[BY_CLASS] == 0.036 and truth[COMPOSITION] == truth[MOMENTS] - truth[BY_CLASS]
        assert min(world.effects) + 0.12 + 0.76 * 0.02 - 0.036 > 0, "no chance is cut off"
        assert name != "alike" or truth[COMPOSITION] == pytest.approx(0, abs=1e-12)
    signs = [CLASS_WORLDS[name].truth(10)[COMPOSITION] for name in ("easy-liked", "hard-liked")]
    assert signs[0] == pytest.approx(-signs[1], abs=1e-6) and signs[0] < -0.003


def test_each_estimator_finds_its_own_truth() -> None:
    world = CLASS_WORLDS["easy-liked"]
    protocol = ClassProtocol(
        name="easy-liked",
        world=world,
        num_images=10_000,
        num_candidates=60_000,
        num_matching=10,
        num_answers=10,
        num_resamples=200,
    )
    found = [class_study(protocol, 0, index) for index in range(3)]
    truth = world.truth(10)
    for name, tolerance in ((MOMENTS, 0.012), (BY_CLASS, 0.012), (COMPOSITION, 0.0015)):
        assert np.mean([each[name].value for each in found]) == pytest.approx(truth[name], abs=tolerance)
        assert all(each[name].lo < each[name].value < each[name].hi for each in found)
    assert class_study(protocol, 0, 2) == found[2], "a study is its number"


def test_a_study_without_an_estimate_is_left_out_and_told() -> None:
    truth = CLASS_WORLDS["easy-liked"].truth(10)
    ends = np.array([[truth[name] + d for d in (0, -0.01, 0.01)] for name in TARGETS])
    nothing = np.tile([np.nan, -np.inf, np.inf], (len(TARGETS), 1))
    rows = pd.DataFrame({"study": range(21), "gaps": [nothing, *(ends + 1e-6 * k for k in range(20))]})
    classed = Classed(settings=Settings(num_by_class=21), rows=dict.fromkeys(CLASS_WORLDS, rows))
    pieces = list(classed_parts(classed))
    assert [each.verdict for each in pieces if isinstance(each, Claim)] == ["supported"] * 2
    said = [each for each in pieces if isinstance(each, str)]
    assert len(said) == len(CLASS_WORLDS) * len(TARGETS) and "1 of 21 simulated studies have no estimate" in said[0]


def test_claims_about_classes_need_studies() -> None:
    truth = CLASS_WORLDS["easy-liked"].truth(10)
    ends = np.array([[truth[name] + d for d in (0, -0.01, 0.01)] for name in TARGETS])
    for num, verdict in ((20, "supported"), (19, "undecided")):
        rows = pd.DataFrame({"study": range(num), "gaps": [ends + 1e-6 * k for k in range(num)]})
        classed = Classed(settings=Settings(num_by_class=num), rows=dict.fromkeys(CLASS_WORLDS, rows))
        claims = [piece for piece in classed_parts(classed) if isinstance(piece, Claim)]
        assert [each.verdict for each in claims] == [verdict] * 2
