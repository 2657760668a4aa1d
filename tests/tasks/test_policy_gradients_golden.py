"""Ours against the original implementation's own arrays (tests/golden/make.py), on the same inputs and permutations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustray.tasks.policy_gradients.adam import Adam
from robustray.tasks.policy_gradients.advantages import advantages_and_returns
from robustray.tasks.policy_gradients.filters import Moments, ObservationFilter, RewardFilter
from robustray.tasks.policy_gradients.heads import Gaussian
from robustray.tasks.policy_gradients.settings import PolicyGradient
from robustray.tasks.policy_gradients.steps import fit_values, ppo_step
from robustray.tasks.policy_gradients.trust_region import trpo_step
from tests.golden import cases

HEAD = Gaussian(cases.NUM_ACTIONS)


@pytest.fixture(scope="module")
def golden(repository: Path) -> dict[str, Any]:
    with np.load(repository / "tests/golden/policy_gradients.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def batch() -> dict[str, Any]:
    found = cases.steps()
    advantages, returns = advantages_and_returns(
        found["rewards"],
        found["values"],
        found["done"],
        np.zeros_like(found["done"]),
        np.zeros(cases.NUM_STEPS),
        discount=cases.DISCOUNT,
        gae_lambda=cases.LAMBDA,
        bootstrap="reference",
    )
    return found | {"advantages": advantages, "returns": returns}


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10)


def test_advantages_and_returns(golden: dict[str, Any], batch: dict[str, Any]) -> None:
    assert batch["done"].sum() > 20
    close(batch["advantages"], golden["advantages"])
    close(batch["returns"], golden["returns"])


@pytest.mark.parametrize(("name", "clip"), [("value", None), ("value-clipped", 0.2)])
def test_the_value_fit(golden: dict[str, Any], batch: dict[str, Any], name: str, clip: float | None) -> None:
    flat = batch["value"].copy()
    fit_values(
        cases.VALUE,
        flat,
        Adam.fresh(flat),
        batch["observations"],
        batch["values"] + batch["advantages"],
        batch["values"],
        ~batch["done"],
        np.random.default_rng(1),
        epochs=cases.EPOCHS,
        num_minibatches=cases.NUM_MINIBATCHES,
        clip=clip,
        **cases.ADAM,
    )
    close(flat, golden[name])
    assert np.abs(golden["value"] - golden["value-clipped"]).max() > 1e-3


@pytest.mark.parametrize("name", cases.PPO)
def test_ppos_step(golden: dict[str, Any], batch: dict[str, Any], name: str) -> None:
    flat = batch["policy"].copy()
    ppo_step(
        cases.POLICY,
        HEAD,
        flat,
        Adam.fresh(flat),
        batch["observations"],
        batch["actions"],
        batch["log_probs"],
        batch["advantages"],
        np.random.default_rng(2),
        epochs=cases.EPOCHS,
        num_minibatches=cases.NUM_MINIBATCHES,
        **cases.PPO[name],
        **cases.ADAM,
    )
    close(flat, golden[name])


@pytest.mark.parametrize(("name", "scale"), [("trpo-full", 1.0), ("trpo-half", 0.5), ("trpo-rejected", 0.0)])
def test_trpos_step(golden: dict[str, Any], batch: dict[str, Any], name: str, scale: float) -> None:
    flat = batch["policy"].copy()
    took = trpo_step(
        cases.POLICY,
        HEAD,
        flat,
        batch["observations"],
        batch["actions"],
        batch["advantages"],
        np.random.default_rng(3),
        fisher_share=cases.FISHER_SHARE,
        damping=cases.DAMPING,
        cg_steps=cases.CG_STEPS,
        **cases.TRPO[name],
    )
    assert took.scale == scale
    close(flat, golden[name])


@pytest.mark.parametrize("mode", ["returns", "rewards", "none"])
def test_the_reward_filters_over_resets(golden: dict[str, Any], mode: Any) -> None:
    settings = PolicyGradient(reward_filter=mode, reward_clip=cases.CLIP, discount=cases.DISCOUNT)
    scale, found = RewardFilter(settings, Moments.none(1)), []
    for t, reward in enumerate(cases.stream()[1]):
        if t in cases.RESET_AT:
            scale.reset()
        found.append(scale(float(reward)))
    close(found, golden[f"rewards-{mode}"])


def test_the_observation_filter(golden: dict[str, Any]) -> None:
    observe = ObservationFilter(PolicyGradient(observation_clip=cases.CLIP), Moments.none(cases.NUM_INPUTS))
    found = [observe(row) for row in cases.stream()[0]]
    np.testing.assert_allclose(found, golden["filtered-observations"], rtol=1e-6, atol=1e-7)  # ours leave in float32
