"""The replication study: published-scale expectations, samplers by hand, estimators by enumeration and simulation."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robustray.tasks.crowds.replicas.cells import Cells, Remeasured
from robustray.tasks.crowds.replicas.estimators import (
    HELD_OUT,
    JACKKNIFE,
    MOMENTS,
    NAIVE,
    RAW,
    Estimator,
    FactorialMoments,
    Jackknife,
    Naive,
    Raw,
    estimators_for,
    gaps,
    missing_mass,
)
from robustray.tasks.crowds.replicas.exact import Expectations
from robustray.tasks.crowds.replicas.samplers import frequency_bin, largest_remainder, match, upward
from robustray.tasks.crowds.replicas.scenarios import SCENARIOS
from robustray.tasks.crowds.replicas.simulate import Protocol, simulate
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context
from robustray.tasks.statistics import wilson
from robustray.tasks.studies.replication import findings
from robustray.tasks.studies.replication.blocks import simulated_block
from robustray.tasks.studies.replication.reduce import expected_gap, performance, study_frame
from robustray.tasks.studies.replication.settings import SCENARIO_NAMES, Settings

REFERENCE = Expectations(scenario=SCENARIOS["reference"], num_matching=10)

# -- expectations of the reference study, by quadrature ----------------------------------------------------------------


def test_expectations_are_those_of_the_reference_study() -> None:
    assert REFERENCE.frequencies() == pytest.approx((0.780, 0.669), abs=5e-4)
    assert REFERENCE.raw_gap() == pytest.approx(0.1214, abs=5e-5)
    naive = [REFERENCE.naive_gap(n) for n in (5, 10, 20, 40)]
    assert naive == pytest.approx([0.0717, 0.0519, 0.0336, 0.0196], abs=5e-5)
    jackknife = {(10, 1): 0.0248, (10, 5): 0.0322, (20, 1): 0.0102, (20, 10): 0.0152, (40, 1): 0.0034, (40, 20): 0.0057}
    for (n, d), gap in jackknife.items():
        assert REFERENCE.jackknife_gap(n, d) == pytest.approx(gap, abs=5e-5)


def test_a_residual_gap_adds_to_every_estimate() -> None:
    moved = Expectations(scenario=SCENARIOS["residual"], num_matching=10)
    assert SCENARIOS["residual"].true_gap() == pytest.approx(0.036, abs=1e-4)
    assert moved.naive_gap(10) - REFERENCE.naive_gap(10) == pytest.approx(0.036, abs=1e-4)
    assert moved.raw_gap() - REFERENCE.raw_gap() == pytest.approx(0.036, abs=1e-4)


def test_equal_pools_have_no_bias() -> None:
    same = Expectations(scenario=SCENARIOS["same"], num_matching=10)
    assert [same.raw_gap(), same.naive_gap(5), same.jackknife_gap(10, 1)] == pytest.approx([0, 0, 0], abs=1e-12)


def test_settings_know_all_scenarios() -> None:
    assert set(SCENARIO_NAMES) == set(SCENARIOS)


# -- the sampler, by hand ----------------------------------------------------------------------------------------------


def test_bins_compare_whole_numbers() -> None:
    """6 / 10 < .6 in floating point would be a matter of luck; 3 / 5, 12 / 20 are the same frequency."""
    assert frequency_bin([0, 1, 2, 5, 6, 7, 8, 10], [10] * 8).tolist() == [0, 0, 1, 2, 3, 3, 4, 4]
    assert frequency_bin([3, 12, 6, 4], [5, 20, 10, 5]).tolist() == [3, 3, 3, 4]


@pytest.mark.parametrize(
    ("histogram", "size", "scaled"),
    [
        ([2, 3, 5], 10, [2, 3, 5]),
        ([1, 1, 1], 10, [4, 3, 3]),  # equal remainders: the lower bin
        ([0, 7, 13], 10, [0, 4, 6]),  # 3.5 and 6.5
        ([1, 6, 13], 10, [1, 3, 6]),  # .5, 3.0 and 6.5: one of two equal remainders
        ([0, 0, 4, 0, 16], 10, [0, 0, 2, 0, 8]),
    ],
)
def test_largest_remainder(histogram: list[int], size: int, scaled: list[int]) -> None:
    assert largest_remainder(histogram, size).tolist() == scaled
    assert largest_remainder([histogram, histogram], size).sum() == 2 * size


@pytest.mark.parametrize(
    ("wanted", "available", "taken"),
    [
        ([2, 3, 5], [9, 9, 9], [2, 3, 5]),
        ([2, 3, 5], [0, 9, 9], [0, 5, 5]),
        ([2, 3, 5], [1, 3, 9], [1, 3, 6]),
        ([2, 3, 5], [9, 9, 4], [2, 3, 4]),  # nothing above the highest bin: the set stays smaller
    ],
)
def test_a_dry_bin_is_filled_from_the_next_higher(wanted: list[int], available: list[int], taken: list[int]) -> None:
    assert upward([wanted], [available])[0].tolist() == taken


def test_matching_gives_each_class_its_histogram() -> None:
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1], 50)
    bins = np.concatenate([rng.integers(3, 5, 50), rng.integers(0, 5, 50)])
    pool_classes, pool_bins = np.repeat([0, 1], 1_000), rng.integers(0, 5, 2_000)
    chosen = match(bins, classes, pool_bins, pool_classes, 20, rng)
    assert len(np.unique(chosen)) == len(chosen) == 40
    for c in (0, 1):
        wanted = largest_remainder(np.bincount(bins[classes == c], minlength=5), 20)
        assert np.bincount(pool_bins[chosen[pool_classes[chosen] == c]], minlength=5).tolist() == wanted.tolist()


def test_every_candidate_of_a_bin_is_as_likely() -> None:
    rng = np.random.default_rng(1)
    times = np.zeros(6)
    for _ in range(3_000):
        times[match(np.array([4, 4]), np.array([0, 0]), np.full(6, 4), np.zeros(6, dtype=int), 2, rng)] += 1
    assert times / 3_000 == pytest.approx(np.full(6, 1 / 3), abs=0.035)


# -- estimators --------------------------------------------------------------------------------------------------------


def rows(selected: list[int], correct: list[float], n: int) -> Remeasured:
    return Remeasured(
        n_shown=np.full(len(selected), n), n_selected=np.array(selected), correct=np.array(correct)[:, None]
    )


def value(estimator: Estimator, original: Remeasured, replica: Remeasured) -> float:
    ones = [np.ones((1, len(each.n_shown))) for each in (original, replica)]
    return float(accuracy(estimator, original, replica, *ones)[0, 0])


def accuracy(
    estimator: Estimator, original: Remeasured, replica: Remeasured, w1: np.ndarray, w2: np.ndarray
) -> np.ndarray:
    one, two = Cells(original), Cells(replica)
    return estimator.prepare(one, two)(one.sums(w1), two.sums(w2))


def test_naive_by_hand() -> None:
    """P1 = (1/4, 1/4, 1/2) on counts 0, 1, 2; the replica is right in 0, 1/2 and 1 of them."""
    original, replica = rows([0, 1, 2, 2], [0, 0, 0, 0], 2), rows([0, 1, 1, 2], [0, 1, 0, 1], 2)
    assert value(Naive(2), original, replica) == pytest.approx(0.25 * 0 + 0.25 * 0.5 + 0.5 * 1)
    assert value(Raw(), original, replica) == 0.5


def test_cells_that_the_replica_lacks_are_left_out_and_told() -> None:
    original, replica = rows([0, 1, 2, 2], [0, 0, 0, 0], 2), rows([1, 2], [0, 1], 2)
    assert value(Naive(2), original, replica) == pytest.approx((0.25 * 0 + 0.5 * 1) / 0.75)
    assert missing_mass(original, replica, 2) == pytest.approx(0.25)
    assert np.isnan(value(Naive(2), rows([0], [0], 2), rows([2], [1], 2)))


def test_the_jackknife_is_the_mean_over_deletions_on_histograms() -> None:
    """Against histograms of every explicit deletion: images enter A_{n-1} by the mean histogram."""
    rng = np.random.default_rng(0)
    n = 6
    first, second = rng.binomial(n, 0.7, 40), rng.binomial(n, 0.5, 40)
    correct = rng.random(40) < second / n
    thinned_first, thinned_second, right = np.zeros(n), np.zeros(n), np.zeros(n)
    for k in first:
        for kept in itertools.combinations([1] * k + [0] * (n - k), n - 1):
            thinned_first[sum(kept)] += 1 / n
    for k, f in zip(second, correct, strict=True):
        for kept in itertools.combinations([1] * k + [0] * (n - k), n - 1):
            thinned_second[sum(kept)] += 1 / n
            right[sum(kept)] += f / n
    fewer = float((thinned_first / 40 * right / thinned_second).sum())
    original, replica = rows(first.tolist(), [0.0] * 40, n), rows(second.tolist(), correct.tolist(), n)
    full = value(Naive(n), original, replica)
    assert value(Jackknife(n, 1), original, replica) == pytest.approx(n * full - (n - 1) * fewer, abs=1e-10)


def test_factorial_moments_are_exact_for_polynomials() -> None:
    """Infinitely many images, by cells of all counts with their probabilities: no bias at all, unlike the others."""
    n, s1, s2 = 9, np.array([0.3, 0.9, 0.95]), np.array([0.1, 0.5, 0.8, 0.9])
    g = lambda s: 0.1 + 0.5 * s + 0.3 * s**3  # noqa: E731
    counts = np.arange(n + 1)
    w1 = stats.binom.pmf(counts, n, s1[:, None]).mean(axis=0)
    joint = stats.binom.pmf(counts, n, s2[:, None])
    w2 = joint.mean(axis=0)
    chance = (joint * g(s2)[:, None]).mean(axis=0) / w2
    original, replica = rows(counts.tolist(), [0.0] * (n + 1), n), rows(counts.tolist(), chance.tolist(), n)
    found = accuracy(FactorialMoments(3), original, replica, w1[None, :], w2[None, :])
    assert found[0, 0] == pytest.approx(g(s1).mean(), abs=1e-9)
    naive = accuracy(Naive(n), original, replica, w1[None, :], w2[None, :])
    assert abs(naive[0, 0] - g(s1).mean()) > 0.01


def test_unequal_numbers_of_answers_need_no_thinning() -> None:
    """Half of the images with 9, half with 14 answers: the same expectation."""
    g = lambda s: 0.2 + 0.6 * s**2  # noqa: E731
    shown, selected, right, w1, w2 = [], [], [], [], []
    s1, s2 = np.array([0.6, 0.9]), np.array([0.2, 0.6, 0.9, 1.0])
    for n in (9, 14):
        counts = np.arange(n + 1)
        joint = stats.binom.pmf(counts, n, s2[:, None])
        shown += [n] * (n + 1)
        selected += counts.tolist()
        w1 += stats.binom.pmf(counts, n, s1[:, None]).mean(axis=0).tolist()
        w2 += joint.mean(axis=0).tolist()
        right += ((joint * g(s2)[:, None]).mean(axis=0) / joint.mean(axis=0)).tolist()
    both = Remeasured(n_shown=np.array(shown), n_selected=np.array(selected), correct=np.array(right)[:, None])
    found = accuracy(FactorialMoments(3), both, both, np.array([w1]), np.array([w2]))
    assert found[0, 0] == pytest.approx(g(s1).mean(), abs=1e-9)


def test_the_slope_of_leniency() -> None:
    """A tenth of a logit in the reference study is worth about 1.5 points; by finite differences of the truth."""
    scenario, n = SCENARIOS["reference"], 12
    counts = np.arange(n + 1)
    (s1, w1), (s2, w2) = scenario.original.nodes(), scenario.candidates.nodes()
    cells1 = w1 @ stats.binom.pmf(counts, n, s1[:, None])
    joint = w2[:, None] * stats.binom.pmf(counts, n, s2[:, None])
    g = lambda s: scenario.chance(s, candidate=False).mean(axis=-1)  # noqa: E731
    chance = g(s2) @ joint / joint.sum(axis=0)
    times = 200_000  # rows in proportion to their probability
    repeat = [np.repeat(counts, np.rint(times * cells).astype(int)) for cells in (cells1, joint.sum(axis=0))]
    original, replica = (rows(each.tolist(), chance[each].tolist(), n) for each in repeat)
    moved = [w1 @ g(1 / (1 + (1 - s1) / s1 * np.exp(-b))) for b in (-1e-4, 1e-4)]
    slope = FactorialMoments(3).slope(original, replica)[0]
    assert slope == pytest.approx((moved[1] - moved[0]) / 2e-4, rel=0.02)
    assert 0.1 * slope == pytest.approx(0.015, abs=0.002)


def test_estimators_say_how_many_answers_they_need() -> None:
    assert {name: each.least_answers for name, each in estimators_for(10).items()} == {
        RAW: 0,
        NAIVE: 10,
        JACKKNIFE: 10,
        "jackknife d = n/2": 10,
        MOMENTS: 9,
        "moments, degree 2": 8,
        "moments, degree 4": 10,
    }


def test_all_estimators_and_models_share_their_resamples() -> None:
    rng = np.random.default_rng(2)
    original = Remeasured(
        n_shown=np.full(60, 10), n_selected=rng.binomial(10, 0.8, 60), correct=rng.random((60, 2)).round()
    )
    replica = dataclasses.replace(original, n_selected=rng.binomial(10, 0.6, 60))
    weights = rng.multinomial(120, np.full(120, 1 / 120), size=5).astype(float)
    both = gaps(original, replica, [Raw(), FactorialMoments(3)])(weights)
    assert both.shape == (5, 4)
    alone = gaps(
        dataclasses.replace(original, correct=original.correct[:, 1:]),
        dataclasses.replace(replica, correct=replica.correct[:, 1:]),
        [FactorialMoments(3)],
    )(weights)
    assert both[:, 3] == pytest.approx(alone[:, 0])


def test_a_weight_is_as_many_images() -> None:
    """An image of weight 3 counts as three equal ones, in every estimator and in the raw gap."""
    rng = np.random.default_rng(3)
    k1, k2, times = rng.binomial(10, 0.8, 80), rng.binomial(10, 0.6, 80), rng.integers(1, 4, 80)
    correct = (rng.random((80, 2)) < k2[:, None] / 10).astype(float)
    original = Remeasured(n_shown=np.full(80, 10), n_selected=k1, correct=correct)
    replica = dataclasses.replace(original, n_selected=k2)
    weighted = [dataclasses.replace(each, weight=times.astype(float)) for each in (original, replica)]
    repeated = [
        Remeasured(
            n_shown=np.repeat(each.n_shown, times),
            n_selected=np.repeat(each.n_selected, times),
            correct=np.repeat(correct, times, axis=0),
        )
        for each in (original, replica)
    ]
    every = list(estimators_for(10).values())
    found = gaps(weighted[0], weighted[1], every)(np.ones((1, 160)))
    assert found == pytest.approx(gaps(repeated[0], repeated[1], every)(np.ones((1, 2 * times.sum()))))
    assert missing_mass(weighted[0], weighted[1], 10) == pytest.approx(missing_mass(repeated[0], repeated[1], 10))


# -- simulated studies -------------------------------------------------------------------------------------------------


def protocol(scenario: str = "reference", num_images: int = 4_000) -> Protocol:
    return Protocol(
        name=scenario,
        scenario=SCENARIOS[scenario],
        num_images=num_images,
        num_candidates=6 * num_images,
        num_classes=4,
        num_matching=10,
        num_answers=(5, 10),
        num_resamples=200,
    )


def test_simulated_studies_are_what_integration_expects() -> None:
    found = [simulate(protocol(), 0, index) for index in range(30)]
    for (n, name), exact in {
        (10, RAW): REFERENCE.raw_gap(),
        (5, NAIVE): REFERENCE.naive_gap(5),
        (10, NAIVE): REFERENCE.naive_gap(10),
        (10, JACKKNIFE): REFERENCE.jackknife_gap(10, 1),
        (10, MOMENTS): 0.0,
    }.items():
        values = np.array([study.gaps[n, name].value for study in found])
        assert values.mean() == pytest.approx(exact, abs=4 * values.std() / 30**0.5 + 5e-4), (n, name)
    held_out = np.array([study.held_out.value for study in found])
    assert held_out.mean() == pytest.approx(expected_gap("reference", HELD_OUT, 5, 10), abs=0.004)
    assert np.isnan(found[0].gaps[5, MOMENTS].value), "five answers are too few for nine moments"
    facts = found[0].facts
    assert facts["held_out_reading_replica"] < facts["held_out_reading_original"] - 0.1
    assert facts["new_reading_replica"] < facts["chosen_reading_replica"] - 0.05


def test_a_study_depends_on_seed_and_number_alone() -> None:
    small = protocol(num_images=400)
    context = Context(settings=small, seed=3, device="cpu", load=lambda name: None)
    whole, part = simulated_block([0, 1, 2], context), simulated_block([2], context)
    for name in ("gaps", "held_out", "facts"):
        assert np.array_equal(whole[name][2:], part[name], equal_nan=True)
    assert not np.array_equal(whole["gaps"][0], whole["gaps"][1], equal_nan=True)
    elsewhere = dataclasses.replace(context, settings=dataclasses.replace(small, name="another"))
    assert not np.array_equal(simulated_block([2], elsewhere)["facts"], part["facts"]), "scenarios share no luck"
    other = simulated_block([2], dataclasses.replace(context, seed=4))
    assert not np.array_equal(other["gaps"], part["gaps"], equal_nan=True)


def test_answers_that_chose_must_not_correct() -> None:
    """Fed with the answers of the choice, the naive estimate agrees with the original by construction: it finds the raw
    gap to be real. Moments are further off: given the choice, answers are no longer binomial. The true gap is 0."""
    rng = np.random.default_rng(0)
    scenario = SCENARIOS["reference"]
    s1, pool = scenario.original.draw(rng, 20_000), scenario.candidates.draw(rng, 120_000)
    k1, kf = rng.binomial(10, s1), rng.binomial(10, pool)
    zero = np.zeros(len(s1), dtype=int), np.zeros(len(pool), dtype=int)
    chosen = match(frequency_bin(k1, 10 + zero[0]), zero[0], frequency_bin(kf, 10 + zero[1]), zero[1], 20_000, rng)
    s2 = pool[chosen]
    g1, g2 = (scenario.chance(s, candidate=False).mean(axis=-1) for s in (s1, s2))

    def gap(estimator: Estimator, one: np.ndarray, two: np.ndarray) -> float:
        sets = rows(one.tolist(), g1.tolist(), 10), rows(two.tolist(), g2.tolist(), 10)
        return float(g1.mean()) - value(estimator, *sets)

    for estimator in (Naive(10), FactorialMoments(3)):
        anew = gap(estimator, rng.binomial(10, s1), rng.binomial(10, s2))
        reused = gap(estimator, k1, kf[chosen])
        assert abs(reused) > 0.07 > abs(anew) + 0.015, estimator


def test_performance_counts_hits_and_errors() -> None:
    gaps_of = np.array([[[[0.02, -0.01, 0.05]]], [[[0.06, 0.02, 0.10]]]])  # studies, answers, estimators, ends
    blocks = pd.DataFrame(
        {
            "study": [0, 1],
            "gaps": list(gaps_of),
            "held_out": [np.array([0.1, 0.0, 0.2])] * 2,
            "facts": [np.zeros(10)] * 2,
        }
    )
    frame = study_frame({"reference": blocks}, [10], [RAW], 10)
    assert len(frame) == 4 and set(frame.n) == {10, 5}
    row = performance(frame, 10).set_index("estimator").loc[RAW]
    assert row.gap == pytest.approx(0.04) and row.rmse == pytest.approx(np.sqrt((0.0004 + 0.0036) / 2))
    assert row.coverage == 0.5 and row.coverage_lo == pytest.approx(float(wilson(1, 2)[0]))
    assert row.width == pytest.approx(0.07) and np.isinf(row.width_hi), "two studies do not bound a median"
    assert row.bias == pytest.approx(0.04) and row.bias_hi - row.bias == pytest.approx(row.gap_hi - row.gap)
    squares = np.array([0.0004, 0.0036])
    assert row.rmse_se == pytest.approx(squares.std(ddof=1) / 2**0.5 / (2 * row.rmse))
    single = performance(frame[frame.study == 0], 10).set_index("estimator").loc[RAW]
    assert np.isnan([single.sd, single.sd_se, single.rmse_se]).all(), "one study shows no spread"


def test_standard_errors_of_spread_are_those_of_repetitions() -> None:
    """sd and rmse of 400 normal errors, over and over: their own standard errors say how much they vary."""
    rng = np.random.default_rng(1)
    found = []
    for error in rng.normal(0.01, 0.02, (60, 400)):
        found.append(performance(studies_of(error), 10).iloc[0])
    for name in ("sd", "rmse"):
        values, errors = ([row[column] for row in found] for column in (name, f"{name}_se"))
        assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.25)


def studies_of(error: np.ndarray, half_width: float = 0.03, **changes: object) -> pd.DataFrame:
    """A frame of studies with true gap 0 and these estimates."""
    columns = {"scenario": "reference", "study": np.arange(len(error)), "n": 10, "estimator": MOMENTS, "value": error}
    return pd.DataFrame(
        columns | {"lo": error - half_width, "hi": error + half_width, "true_gap": 0.0} | changes,
    )


@pytest.mark.parametrize(
    ("held", "half_width", "verdicts"),
    [
        (950, 0.015, ["supported", "supported"]),
        (925, 0.015, ["undecided", "supported"]),
        (880, 0.02, ["contradicted", "contradicted"]),
    ],
)
def test_single_scenarios_are_judged_by_1000_studies(held: int, half_width: float, verdicts: list[str]) -> None:
    error = np.where(np.arange(1_000) < held, 0.0, 1.0)
    studies = pd.concat(
        [studies_of(error, half_width, estimator=name) for name in (MOMENTS, RAW, NAIVE, JACKKNIFE)], ignore_index=True
    )
    results = findings.Results(
        settings=Settings(scenarios=("reference",), num_studies=1_000),
        rows={},
        studies=studies,
        performance=performance(studies, 10),
        readings=pd.DataFrame(),
    )
    found = {claim.words: claim for claim in findings._claims_of_scenarios(results)}
    assert [claim.verdict for words, claim in found.items() if "oments" in words] == verdicts
    assert all(claim.verdict == "contradicted" for words, claim in found.items() if "confidently" in words)
    fewer = dataclasses.replace(results, settings=Settings(scenarios=("reference",), num_studies=999))
    assert not list(findings._claims_of_scenarios(fewer))


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scenarios": ()}, "scenarios"),
        ({"scenarios": ("refernce",)}, "did you mean 'reference'"),
        ({"num_answers": (20, 10)}, "ascend"),
        ({"num_answers": (1, 10)}, "at least 2"),
        ({"claimed_answers": 15}, "none of num_answers"),
        ({"num_answers": (5, 8), "claimed_answers": 8}, "at least 9"),
        ({"num_images": 1_005}, "multiple of num_classes"),
        ({"num_candidates": 5_000}, "needs as many"),
        ({"num_resamples": 50}, "num_resamples"),
        ({"margin": 0.0}, "margin"),
        ({"data": "a.parquet"}, "--data needs --correctness"),
        ({"correctness": "a.parquet"}, "--correctness needs --data"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Settings(**changes)  # type: ignore[arg-type]
