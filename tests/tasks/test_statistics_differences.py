"""Welch, permutations of pairs, and equivalence: SciPy, enumeration, and what a margin means."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robustray.tasks.errors import InputError
from robustray.tasks.kit.rules import equivalent
from robustray.tasks.statistics import (
    Estimate,
    difference_of,
    newcombe_difference,
    permutation_difference,
    permutation_p,
    proportion,
    welch,
    within_margin,
)


def test_welch_by_its_formula() -> None:
    a, b = np.array([27.5, 21.0, 19.0, 23.6, 17.0, 17.9]), np.array([27.1, 22.0, 20.8, 23.4])
    va, vb = a.var(ddof=1) / 6, b.var(ddof=1) / 4
    freedom = (va + vb) ** 2 / (va**2 / 5 + vb**2 / 3)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(va + vb)
    found = welch(a, b)
    assert found.interval == pytest.approx((a.mean() - b.mean() - half, a.mean() - b.mean() + half))
    assert found.n == 10
    assert welch(b, a).interval == pytest.approx((-found.hi, -found.lo))


def test_welch_with_too_little() -> None:
    assert welch([1.0], [2.0, 3.0]).interval == (-math.inf, math.inf)
    assert welch([1.0, 1.0], [3.0, 3.0]).interval == (-2.0, -2.0)
    for bad in ([], [math.nan], [[1.0]]):
        with pytest.raises(InputError, match="finite"):
            welch(bad, [1.0])


def sign_flips(differences: np.ndarray, centre: float) -> float:
    """Two-sided p-value of the mean, by trying every change of signs."""
    from_centre = differences - centre
    signs = np.array(list(itertools.product([1, -1], repeat=len(differences))))
    means, seen = (signs * from_centre).mean(axis=1), from_centre.mean()
    return min(1.0, 2 * min((means >= seen - 1e-12).mean(), (means <= seen + 1e-12).mean()))


def test_permutation_is_the_enumeration_of_signs() -> None:
    a, b = np.array([5.1, 4.0, 6.2, 5.5, 7.0, 6.1, 4.9, 5.0]), np.array([4.2, 4.1, 5.0, 5.1, 5.9, 6.0, 4.0, 4.6])
    differences = a - b
    assert permutation_p(a, b) == pytest.approx(sign_flips(differences, 0.0))
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    assert permutation_p(a, b) == pytest.approx(theirs.pvalue)
    found = permutation_difference(a, b)
    assert sign_flips(differences, found.lo - 1e-6) <= 0.05 < sign_flips(differences, found.lo + 1e-6)
    assert sign_flips(differences, found.hi + 1e-6) <= 0.05 < sign_flips(differences, found.hi - 1e-6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-8, 12), min_size=6, max_size=10))
def test_interval_and_p_value_never_contradict(differences: list[int]) -> None:
    """Also with ties and zeros."""
    a = np.array(differences, dtype=float)
    found, p = permutation_difference(a, np.zeros_like(a)), permutation_p(a, np.zeros_like(a))
    assert (found.lo > 0 or found.hi < 0) == (p <= 0.05)
    assert p == pytest.approx(sign_flips(a, 0.0))


def test_few_pairs_prove_nothing() -> None:
    assert permutation_difference([9.0] * 5, [0.0] * 5).interval == (-math.inf, math.inf)
    assert permutation_p([9.0] * 5, [0.0] * 5) == 2 / 2**5
    assert permutation_p([1.0, 2.0], [1.0, 2.0]) == 1.0


def test_random_permutations_agree_with_students_t() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(0.2, 1, 200)
    b = np.zeros(200)
    theirs = stats.ttest_rel(a, b)
    assert permutation_p(a, b) == pytest.approx(theirs.pvalue, abs=0.01)
    ends = theirs.confidence_interval(0.95)
    assert permutation_difference(a, b).interval == pytest.approx((ends.low, ends.high), abs=0.02)
    assert permutation_difference(a, b, seed=1) == permutation_difference(a, b, seed=1)
    with pytest.raises(InputError, match="999"):
        permutation_p(a, b, num_permutations=100)
    with pytest.raises(InputError, match="two values"):
        permutation_p(a, b[1:])


def test_the_level_of_the_permutation_interval() -> None:
    """Symmetric, heavy tails, 12 pairs: exact, where Student's t would be approximate."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(600):
        found = permutation_difference(rng.standard_t(2, 12) + 1, np.zeros(12))
        hits += found.lo <= 1 <= found.hi
    assert 0.93 <= hits / 600 <= 0.975


def estimate(lo: float, hi: float, value: float | None = None) -> Estimate:
    return Estimate(value=(lo + hi) / 2 if value is None else value, lo=lo, hi=hi, n=10)


@pytest.mark.parametrize(
    ("lo", "hi", "verdict"),
    [
        (-0.02, 0.01, "equivalent"),
        (0.005, 0.02, "equivalent"),  # above 0 and yet as good as none
        (-0.02, 0.03, "equivalent"),  # the end of the margin is within it
        (0.03, 0.05, "undecided"),
        (0.031, 0.05, "different"),
        (-0.09, -0.04, "different"),
        (-0.05, 0.05, "undecided"),
        (-math.inf, math.inf, "undecided"),
    ],
)
def test_equivalence_is_inclusion_in_the_margin(lo: float, hi: float, verdict: str) -> None:
    assert within_margin(estimate(lo, hi, 0.0), 0.03) == verdict


def test_the_margin_of_claims_is_the_same() -> None:
    says = {"equivalent": "supported", "different": "contradicted", "undecided": "undecided"}
    for lo, hi in ((-0.03, 0.03), (-0.04, 0.0), (0.03, 0.05), (0.031, 0.05), (-0.05, -0.04), (-math.inf, math.inf)):
        found = estimate(lo, hi, 0.0)
        assert equivalent(0.03).verdict(found) == says[within_margin(found, 0.03)]


def test_inclusion_is_two_one_sided_tests() -> None:
    """A 90 % interval lies inside exactly when both one-sided t tests reject at 5 %."""
    rng = np.random.default_rng(2)
    seen = set()
    for _ in range(200):
        a, b = rng.normal(0, 1, 30), rng.normal(0, 1.5, 40)
        below = stats.ttest_ind(a + 0.7, b, equal_var=False, alternative="greater").pvalue < 0.05
        above = stats.ttest_ind(a - 0.7, b, equal_var=False, alternative="less").pvalue < 0.05
        verdict = within_margin(welch(a, b, level=0.9), 0.7)
        assert (verdict == "equivalent") == (below and above)
        seen.add(verdict)
    assert seen == {"equivalent", "undecided"}


def test_margins_are_positive_and_nothing_is_not_equivalent() -> None:
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="margin"):
            within_margin(estimate(0, 1), bad)
    assert within_margin(estimate(-math.inf, math.inf, math.nan), 1.0) == "undecided"


def test_the_difference_of_two_proportions_is_newcombes() -> None:
    found = difference_of(proportion([True] * 56 + [False] * 14), proportion([True] * 48 + [False] * 32))
    known = newcombe_difference(56, 70, 48, 80)
    assert found.interval == pytest.approx(known.interval) and found.value == pytest.approx(known.value)
    assert found.n == 70, "the smaller one, not the sum"


def test_the_difference_to_an_exact_number_is_the_estimate_moved() -> None:
    exact = Estimate(value=0.25, lo=0.25, hi=0.25, n=9)
    assert difference_of(Estimate(value=0.5, lo=0.4, hi=0.7, n=9), exact).interval == pytest.approx((0.15, 0.45))
