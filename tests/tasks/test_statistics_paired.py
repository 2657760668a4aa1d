"""McNemar's exact test and Holm's step-down, against what can be counted by hand."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustray.tasks.errors import InputError
from robustray.tasks.statistics import holm, mcnemar_exact, paired_difference


def two_sided(k: int, n: int) -> float:
    """Twice the smaller tail of a fair coin, at most 1: for p = 1/2 the two-sided binomial test is symmetric."""
    tail = sum(Fraction(comb(n, i), 2**n) for i in range(min(k, n - k) + 1))
    return float(min(Fraction(1), 2 * tail))


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (0, 6), (5, 5), (1, 7), (12, 3), (40, 22)])
def test_mcnemar_is_a_fair_coin_on_the_images_that_differ(only_a: int, only_b: int) -> None:
    assert mcnemar_exact(only_a, only_b) == pytest.approx(two_sided(only_a, only_a + only_b))
    assert mcnemar_exact(only_a, only_b) == mcnemar_exact(only_b, only_a)


def test_the_interval_and_the_test_agree_where_it_is_clear() -> None:
    a = np.array([True] * 40 + [False] * 60)
    b = np.array([True] * 20 + [False] * 80)
    assert mcnemar_exact(20, 0) < 0.001 and paired_difference(a, b).lo > 0
    assert mcnemar_exact(1, 1) == 1.0


def test_holm_by_hand() -> None:
    """The example of four: 0.01 * 4, 0.02 * 3, 0.03 * 2, 0.04 * 1, none below its predecessor."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_and_keeps_the_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert (adjusted >= np.array(p)).all() and (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    assert (adjusted <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all(), "never harsher than Bonferroni"


@pytest.mark.parametrize("bad", [[1.5], [-0.1], [float("nan")], [[0.1]]])
def test_what_is_no_p_value_is_refused(bad: list[float]) -> None:
    with pytest.raises(InputError, match="p-values"):
        holm(bad)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(InputError, match="negative"):
        mcnemar_exact(-1, 2)
