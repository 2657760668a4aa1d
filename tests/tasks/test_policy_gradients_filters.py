"""Running filters and advantages against closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from robustray.tasks.policy_gradients.advantages import advantages_and_returns, standardised
from robustray.tasks.policy_gradients.filters import Moments, ObservationFilter, RewardFilter
from robustray.tasks.policy_gradients.settings import PolicyGradient


def rows(num_rows: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(5, 3, size=(num_rows, 4))


@pytest.mark.parametrize("cuts", [(100,), (1, 99), (50, 50), (0, 100), (100, 0), (2, 3, 95), (33, 33, 34)])
def test_merged_moments_are_those_of_the_concatenated_stream(cuts: tuple[int, ...]) -> None:
    seen = rows(100)
    ends = np.cumsum(cuts)
    merged = Moments.none(4)
    for cut, end in zip(cuts, ends, strict=True):
        merged = merged.merged(Moments.of(seen[end - cut : end]))
    assert merged.count == 100
    np.testing.assert_allclose(merged.mean, seen.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(merged.std, seen.std(axis=0, ddof=1), rtol=1e-13)


def test_many_rounds_of_two_runners_have_the_moments_of_all_they_saw() -> None:
    """What RLlib's MeanStdFilter gets wrong: after 8 rounds of N(5, 1) by two runners it has mean 0.9 and std 3.4."""
    seen, known = np.random.default_rng(0).normal(5, 1, size=(16, 200, 1)), Moments.none(1)
    for half in seen:
        known = known.merged(Moments.of(half))
    assert known.mean[0] == pytest.approx(5, abs=0.1) and known.std[0] == pytest.approx(1, abs=0.05)


def test_an_observation_is_standardised_with_all_that_came_before_and_itself() -> None:
    seen = rows(30)
    observe = ObservationFilter(PolicyGradient(observation_clip=1.5), Moments.none(4))
    for t, row in enumerate(seen):
        found = observe(row)
        std = seen[: t + 1].std(axis=0, ddof=1) if t else np.abs(row)
        wanted = np.clip((row - seen[: t + 1].mean(axis=0)) / (std + 1e-8), -1.5, 1.5)
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        assert found.dtype == np.float32


def test_a_frozen_filter_learns_nothing_and_a_snapshot_is_never_changed() -> None:
    known = Moments.of(rows(20))
    frozen = ObservationFilter(PolicyGradient(), known, frozen=True)
    first = [frozen(row) for row in rows(10, seed=1)]
    np.testing.assert_array_equal(first, [frozen(row) for row in rows(10, seed=1)])
    before = known.mean.copy()
    ObservationFilter(PolicyGradient(), known)(rows(1)[0] + 100)
    np.testing.assert_array_equal(known.mean, before)


def test_without_normalisation_observations_pass_unclipped() -> None:
    observe = ObservationFilter(PolicyGradient(normalise_observations=False), Moments.none(4))
    np.testing.assert_array_equal(observe(np.full(4, 1e6)), np.full(4, 1e6, np.float32))


def test_rewards_are_scaled_by_the_deviation_of_the_discounted_return() -> None:
    """Five steps by hand, with a reset after the third; discount 0.5, clip 3."""
    scale = RewardFilter(PolicyGradient(discount=0.5, reward_clip=3.0), Moments.none(1))
    scale.reset()
    found = [scale(reward) for reward in (1.0, 2.0, -4.0)]
    scale.reset()
    found += [scale(reward) for reward in (1.0, 1.0)]
    sums = [1.0, 2.5, -2.75, 1.0, 1.5]
    deviations = [1.0, *(float(np.std(sums[:n], ddof=1)) for n in (2, 3, 4, 5))]
    wanted = [reward / (std + 1e-8) for reward, std in zip((1.0, 2.0, -4.0, 1.0, 1.0), deviations, strict=True)]
    assert found == pytest.approx([max(-3.0, min(3.0, each)) for each in wanted], rel=1e-12)
    assert wanted[1] < 3 and scale.seen == sums


def test_a_sum_that_never_restarts_runs_across_resets() -> None:
    scale = RewardFilter(PolicyGradient(discount=0.5, return_restarts="never"), Moments.none(1), discounted=8.0)
    for reward in (1.0, 2.0):
        scale.reset()
        scale(reward)
    assert scale.seen == [5.0, 4.5]


def test_the_third_mode_standardises_around_the_mean() -> None:
    scale = RewardFilter(PolicyGradient(reward_filter="rewards", reward_clip=2.5), Moments.none(1))
    rewards = [1.0, 3.0, 8.0, -20.0]
    found = [scale(reward) for reward in rewards]
    mean, std = np.mean(rewards[:3]), np.std(rewards[:3], ddof=1)
    assert found[2] == pytest.approx(min(2.5, (8 - mean) / (std + 1e-8) + mean))
    assert found[3] == -2.5 and scale.seen == rewards


def test_without_a_filter_rewards_pass_and_are_not_clipped() -> None:
    scale = RewardFilter(PolicyGradient(reward_filter="none", reward_clip=1.0), Moments.none(1))
    assert scale(50.0) == 50.0 and scale.seen == []


# --- Advantages ---------------------------------------------------------------------------------------------------

REWARDS = np.array([1.0, -2.0, 0.5, 3.0, 1.5, -1.0])
VALUES = np.array([0.3, 0.1, -0.2, 0.7, 0.4, 0.9])
NEXT = np.array([9.0, 9.0, 5.0, 9.0, 9.0, 7.0])
NEVER = np.zeros(6, dtype=bool)


def at(*steps: int) -> Any:
    return np.isin(np.arange(6), steps)


def ask(terminated: Any, truncated: Any, bootstrap: Any, gae_lambda: float = 0.8) -> tuple[Any, Any]:
    return advantages_and_returns(
        REWARDS, VALUES, terminated, truncated, NEXT, discount=0.9, gae_lambda=gae_lambda, bootstrap=bootstrap
    )


def naive(terminated: Any, truncated: Any, bootstrap: str, gae_lambda: float) -> tuple[Any, Any]:
    """By the definition: a sum over the steps that follow within the same piece of the stream."""
    advantages, returns = [], []
    for t in range(6):
        advantage, total = 0.0, 0.0
        for k in range(t, 6):
            done, last = terminated[k] or truncated[k], k == 5
            if bootstrap == "reference":
                after = 0.0 if done else (VALUES[5] if last else VALUES[k + 1])
                tail = 0.0
            else:
                cut = not terminated[k] and (truncated[k] or last)
                after = 0.0 if terminated[k] else (NEXT[k] if cut else VALUES[k + 1])
                tail = NEXT[k] if cut else 0.0
            advantage += (0.9 * gae_lambda) ** (k - t) * (REWARDS[k] + 0.9 * after - VALUES[k])
            total += 0.9 ** (k - t) * (REWARDS[k] + 0.9 * tail)
            if done:
                break
        advantages.append(advantage)
        returns.append(total)
    return advantages, returns


@pytest.mark.parametrize("bootstrap", ["reference", "correct"])
@pytest.mark.parametrize("gae_lambda", [0.0, 0.8, 1.0])
@pytest.mark.parametrize(
    ("terminated", "truncated"),
    [((), ()), ((2,), ()), ((), (2,)), ((1,), (3,)), ((5,), (2,)), ((), (5,)), ((2,), (2,))],
)
def test_advantages_and_returns_are_their_definition(
    bootstrap: Any, gae_lambda: float, terminated: tuple[int, ...], truncated: tuple[int, ...]
) -> None:
    ends = (at(*terminated), at(*truncated))
    for found, wanted in zip(ask(*ends, bootstrap, gae_lambda), naive(*ends, bootstrap, gae_lambda), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)


def test_with_lambda_one_advantages_are_returns_minus_values() -> None:
    advantages, returns = ask(at(5), NEVER, "reference", 1.0)
    np.testing.assert_allclose(advantages, returns - VALUES, rtol=1e-12)
    advantages, returns = ask(NEVER, at(2), "correct", 1.0)
    np.testing.assert_allclose(advantages, returns - VALUES, rtol=1e-12)


def test_standardised_advantages_have_mean_zero_and_deviation_one() -> None:
    found = standardised(REWARDS)
    assert found.mean() == pytest.approx(0, abs=1e-12) and found.std(ddof=1) == pytest.approx(1, rel=1e-7)
    assert standardised(np.array([3.0])).tolist() == [0.0]
    assert math.isfinite(standardised(np.full(4, 2.0)).sum())
