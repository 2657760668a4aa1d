"""Samplers and fitted distributions: hand-made cases, Bayes' rule, and the replica that needs no correction."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from robustray.tasks.crowds.betas import SHAPES, Betas, _loss, fit_betas
from robustray.tasks.crowds.replicas.chosen import BINS, EASY, HALF, POSTERIOR, SAMPLERS, THRESHOLD, TOP, choose_by_all
from robustray.tasks.crowds.replicas.estimators import RAW
from robustray.tasks.crowds.replicas.posterior import match_posterior, posterior_plan
from robustray.tasks.crowds.replicas.samplers import above_threshold, highest
from robustray.tasks.crowds.replicas.scenarios import GOOD, POOR, SCENARIOS
from robustray.tasks.crowds.replicas.simulate import Protocol
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context
from robustray.tasks.studies.replication.blocks import SamplerProtocol, sampler_block
from robustray.tasks.studies.replication.sampling import Sampled, sampled_parts
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.study import Claim

# -- distributions of true frequencies ---------------------------------------------------------------------------------


def test_counts_of_one_beta_are_scipys_beta_binomial() -> None:
    one = Betas(weight=(1.0,), a=(2.5,), b=(0.6,))
    assert one.counts(12) == pytest.approx(stats.betabinom.pmf(np.arange(13), 12, 2.5, 0.6), rel=1e-12)
    assert one.cdf([0.2, 0.9]) == pytest.approx(stats.beta.cdf([0.2, 0.9], 2.5, 0.6))
    assert GOOD.counts(10).sum() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize(("a", "b"), [(40, 0.6), (1, 1), (0.3, 0.4), (1_500, 900), (2.0, 1_999)])
def test_nodes_integrate_polynomials_exactly(a: float, b: float) -> None:
    s, w = Betas(weight=(1.0,), a=(a,), b=(b,)).nodes()
    moments = np.cumprod((a + np.arange(12)) / (a + b + np.arange(12)))  # E s, E s^2, ...
    assert [float(w @ s**j) for j in range(1, 13)] == pytest.approx(moments.tolist(), rel=1e-10)
    assert w.sum() == pytest.approx(1, abs=1e-12) and (w >= 0).all()
    if max(a, b) < 100:
        x, weights = special.roots_jacobi(120, b - 1, a - 1)
        assert s == pytest.approx((x + 1) / 2, abs=1e-9) and w == pytest.approx(weights / weights.sum(), abs=1e-9)


def test_given_a_count_is_bayes_rule() -> None:
    """The mixture over all counts is the distribution itself; each mean is that of the integral."""
    n, grid = 7, np.linspace(0.05, 0.95, 19)
    mixed = sum(share * POOR.given(k, n).cdf(grid) for k, share in enumerate(POOR.counts(n)))
    assert mixed == pytest.approx(POOR.cdf(grid), abs=1e-12)
    s, w = POOR.nodes()
    likelihood = w * stats.binom.pmf(5, n, s)
    assert POOR.given(5, n).mean() == pytest.approx(likelihood @ s / likelihood.sum(), abs=1e-12)


def test_the_gradient_is_that_of_the_likelihood() -> None:
    rng = np.random.default_rng(0)
    n = np.array([5, 5, 9, 12, 12])
    k = np.array([0, 4, 9, 3, 12])
    share = rng.dirichlet(np.ones(5))
    point = rng.normal(0, 1, 6)
    _, gradient = _loss(point, k, n, share)
    steps = 1e-6 * np.eye(6)
    numeric = [(_loss(point + step, k, n, share)[0] - _loss(point - step, k, n, share)[0]) / 2e-6 for step in steps]
    assert gradient == pytest.approx(numeric, abs=1e-8)
    mixed = np.zeros(5)
    parts = zip(np.exp(point[:2]) / np.exp(point[:2]).sum(), np.exp(point[2:4]), np.exp(point[4:]), strict=True)
    for weight, a, b in parts:
        mixed += weight * stats.betabinom.pmf(k, n, a, b) / special.comb(n, k)
    assert _loss(point, k, n, share)[0] == pytest.approx(-(share @ np.log(mixed)), abs=1e-12)


def test_one_beta_is_fitted_as_scipy_fits_it() -> None:
    rng = np.random.default_rng(1)
    k = rng.binomial(12, rng.beta(3, 1.5, 5_000))
    found = fit_betas(k, np.full(5_000, 12), num_components=1)
    by_scipy = stats.fit(stats.betabinom, k, {"a": (0.1, 50), "b": (0.1, 50), "n": (12, 12)})
    assert [found.betas.a[0], found.betas.b[0]] == pytest.approx([by_scipy.params.a, by_scipy.params.b], rel=0.01)
    assert not found.at_bound and found.num_failed == 0
    cells = np.bincount(k, minlength=13)
    again = fit_betas(np.arange(13), np.full(13, 12), num_components=1, weights=cells)
    assert again.betas.a == pytest.approx(found.betas.a), "weights are as many images"
    warm = fit_betas(k, np.full(5_000, 12), num_components=1, initial=found.betas)
    assert warm.log_likelihood == pytest.approx(found.log_likelihood, abs=1e-10)


def test_mixtures_come_back() -> None:
    """60,000 images: the fitted distribution is near the true one; three components are not worse than two."""
    rng = np.random.default_rng(2)
    k = rng.binomial(10, POOR.draw(rng, 60_000))
    two, three = (fit_betas(k, np.full(len(k), 10), num_components=num) for num in (2, 3))
    grid = np.linspace(0, 1, 101)
    assert np.abs(two.betas.cdf(grid) - POOR.cdf(grid)).max() < 0.015
    assert three.log_likelihood > two.log_likelihood - 1e-6
    one = fit_betas(k, np.full(len(k), 10), num_components=1)
    assert np.abs(one.betas.cdf(grid) - POOR.cdf(grid)).max() > 0.015


def test_binomial_counts_do_not_run_away() -> None:
    """All images alike: shapes end at their bound, and the likelihood is that of the binomial, not above it."""
    rng = np.random.default_rng(3)
    k = rng.binomial(10, 0.7, 4_000)
    found = fit_betas(k, np.full(4_000, 10), num_components=1)
    binomial = float((k * np.log(k.mean() / 10) + (10 - k) * np.log(1 - k.mean() / 10)).mean())
    assert max(found.betas.a[0], found.betas.b[0]) <= SHAPES[1] * 1.001
    assert found.log_likelihood == pytest.approx(binomial, abs=2e-3)
    with pytest.raises(InputError, match="needs 8 answers"):
        fit_betas([3, 4], [7, 7], num_components=3)


# -- threshold and top images, by hand ---------------------------------------------------------------------------------


def test_thresholds_compare_whole_numbers() -> None:
    """6 of 10 reach .6, though 0.6 * 10 or 6 / 10 may not in floating point; 13 of 19 do not reach .7, 14 of 20 do."""
    rng = np.random.default_rng(0)
    selected, shown = [6, 5, 12, 3, 59], [10, 10, 20, 5, 100]
    found = above_threshold(selected, shown, [0] * 5, 5, Fraction(3, 5), rng)
    assert sorted(found.tolist()) == [0, 2, 3]
    assert sorted(above_threshold([13, 14, 7], [19, 20, 10], [0, 0, 0], 9, Fraction(7, 10), rng).tolist()) == [1, 2]


def test_a_threshold_draws_uniformly_within_classes() -> None:
    rng = np.random.default_rng(1)
    classes = np.repeat([0, 1], 5)
    times = np.zeros(10)
    for _ in range(2_000):
        found = above_threshold([9, 9, 9, 9, 1, 9, 9, 9, 2, 3], [10] * 10, classes, 2, Fraction(7, 10), rng)
        assert np.bincount(classes[found]).tolist() == [2, 2]
        times[found] += 1
    assert times / 2_000 == pytest.approx([0.5] * 4 + [0] + [2 / 3] * 3 + [0, 0], abs=0.05)


def test_top_images_break_ties_by_answers_then_order() -> None:
    selected, shown = [9, 18, 10, 9, 5, 27], [10, 20, 10, 10, 5, 30]
    # 1.0 by ten answers, 1.0 by five, then .9 by 30, 20 and 10 answers
    assert highest(selected, shown, [0] * 6, 4).tolist() == [2, 4, 5, 1]
    assert highest(selected, shown, [0] * 6, 5).tolist() == [2, 4, 5, 1, 0]
    assert highest([1, 2, 3, 4], [4, 4, 4, 4], [0, 1, 0, 1], 1).tolist() == [2, 3]


# -- posterior matching ------------------------------------------------------------------------------------------------


def expected_gap(plan_shares: np.ndarray, n: int) -> float:
    """Raw gap of infinitely many images in the reference study."""
    scenario = SCENARIOS["reference"]
    s, w = GOOD.nodes()
    gap = w @ scenario.chance(s, candidate=False).mean(axis=-1)
    for k, share in enumerate(plan_shares):
        s, w = POOR.given(k, n).nodes()
        gap -= share * (w @ scenario.chance(s, candidate=True).mean(axis=-1))
    return float(gap)


@pytest.mark.parametrize(("n", "left", "needed"), [(5, 0.033, 11), (10, 0.004, 27), (20, 0.0003, 48)])
def test_posterior_matching_leaves_next_to_nothing(n: int, left: float, needed: float) -> None:
    """Bins leave .162, .121 and .088 in the same study."""
    plan = posterior_plan(GOOD, POOR, n)
    assert expected_gap(plan.shares, n) == pytest.approx(left, abs=1.5e-3)
    assert plan.candidates_needed == pytest.approx(needed, rel=0.05)
    assert plan.infeasible == 0 and plan.shares.sum() == pytest.approx(1) and (plan.shares >= 0).all()
    assert np.array_equal(plan.shares, plan.ideal)


def test_the_original_itself_needs_no_other_shares() -> None:
    """Candidates as good as the original: the shares are those of the counts, and one candidate per image is enough."""
    plan = posterior_plan(GOOD, GOOD, 10, candidates_per_image=1.0)
    assert plan.shares == pytest.approx(GOOD.counts(10), abs=0.01)
    assert plan.distance < 1e-3 and abs(plan.frequency_gap) < 1e-3


def test_scarce_counts_are_not_overdrawn() -> None:
    plan = posterior_plan(GOOD, POOR, 10, candidates_per_image=6.0)
    assert (plan.shares <= 6 * POOR.counts(10) + 1e-5).all()
    assert plan.infeasible > 0.3 and plan.distance > posterior_plan(GOOD, POOR, 10).distance
    assert expected_gap(plan.shares, 10) == pytest.approx(0.05, abs=0.01), "half of what bins leave, for want of images"


def test_drawn_replicas_have_the_plans_shares_and_classes() -> None:
    rng = np.random.default_rng(4)
    plan = posterior_plan(GOOD, POOR, 10)
    classes = np.arange(60_000) % 20
    k = rng.binomial(10, POOR.draw(rng, 60_000))
    found = match_posterior(plan, k, classes, 50, rng)
    assert len(np.unique(found)) == len(found) and len(found) >= 0.99 * 1_000
    assert np.bincount(k[found], minlength=11) / len(found) == pytest.approx(plan.shares, abs=0.01)
    assert np.bincount(classes[found]).max() == 50


# -- side by side ------------------------------------------------------------------------------------------------------

STUDY = Protocol(
    name="reference",
    scenario=SCENARIOS["reference"],
    num_images=6_000,
    num_candidates=60_000,
    num_classes=10,
    num_matching=10,
    num_answers=(10,),
    num_resamples=200,
)


def test_samplers_side_by_side() -> None:
    found = [choose_by_all(STUDY, 2_000, 10, 0, index) for index in range(6)]
    raw = {name: float(np.mean([study.gaps[name, RAW].value for study in found])) for name in SAMPLERS}
    assert raw[BINS] == pytest.approx(0.121, abs=0.015) and abs(raw[POSTERIOR]) < 0.02
    assert raw[TOP] < 0 < raw[POSTERIOR] + 0.02 < raw[THRESHOLD] < raw[BINS] < raw[HALF]
    assert raw[EASY] < raw[HALF] - 0.02, "another pool, another replica, though readings match either way"
    assert all(1_950 <= study.size[name] <= 2_000 for study in found for name in SAMPLERS)


def test_the_block_and_its_page() -> None:
    context = Context(
        settings=SamplerProtocol(study=STUDY, num_chosen=500, num_answers=10), seed=1, device="cpu", load=lambda _: None
    )
    whole, part = sampler_block([0, 1], context), sampler_block([1], context)
    assert all(np.array_equal(whole[name][1:], part[name]) for name in whole)
    rows = pd.DataFrame({name: list(values) for name, values in whole.items()})
    parts = list(sampled_parts(Sampled(settings=Settings(num_compared=2), rows=rows)))
    claims = [each for each in parts if isinstance(each, Claim)]
    fewer = list(sampled_parts(Sampled(settings=Settings(num_compared=2, num_matching=7), rows=rows)))
    said = next(each.test for each in fewer if isinstance(each, Claim) and "depends on the pool" in each.words)
    assert "half of 4 other answers" in said and "the same 3 answers" in said
    nothing = np.broadcast_to([np.nan, -np.inf, np.inf], rows.gaps[0].shape)
    rows["gaps"] = [nothing, rows.gaps[1]]
    lost = [each for each in sampled_parts(Sampled(settings=Settings(), rows=rows)) if isinstance(each, str)]
    assert len(lost) == len(SAMPLERS) and "1 of 2 simulated studies have no estimate" in lost[0]
    assert len(claims) == 2 and all(each.verdict == "undecided" for each in claims), "two studies decide nothing"
