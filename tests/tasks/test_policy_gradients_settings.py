"""Presets are the paper's tables, and settings that cannot be used are refused in words."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.policy_gradients.presets import ALGORITHMS, ENVIRONMENTS, preset
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient

SWITCHES = (
    "value_clip",
    "reward_filter",
    "init",
    "anneal_lr",
    "reward_clip",
    "normalise_observations",
    "observation_clip",
    "activation",
    "gradient_clip",
)
# arXiv 2005.12729, the released configurations: environment, algorithm, policy lr or KL limit, value lr, value
# clipping, reward filter, initialisation, annealing, reward clip, observation clip, gradient clip, lambda, entropy.
TABLE = """
Hopper   ppo        3e-4    2.5e-4 -   returns orthogonal on  10  10 -   0.95  0
Hopper   ppo-m      1.7e-4  4e-4   -   none    xavier     off -   -  -   0.95  0
Hopper   ppo-noclip 6e-5    4e-4   -   rewards orthogonal on  2.5 10 4   0.925 -0.005
Hopper   trpo       0.13    2e-4   -   none    xavier     off -   -  -   0.95  0
Hopper   trpo+      0.04    2e-4   -   returns orthogonal off 10  10 -   0.95  0
Walker2d ppo        4e-4    3e-4   0.2 returns orthogonal on  10  10 -   0.95  0
Walker2d ppo-m      1e-4    2e-4   -   none    xavier     off -   -  -   0.95  0
Walker2d ppo-noclip 7.25e-5 6e-4   -   rewards orthogonal on  30  -  0.1 0.85  -0.01
Walker2d trpo       0.04    3e-4   -   none    xavier     off -   -  -   0.95  0
Walker2d trpo+      0.07    1e-4   -   returns orthogonal off 10  10 -   0.95  0
Humanoid ppo        1.5e-4  1e-4   0.2 returns orthogonal on  10  10 -   0.95  0
Humanoid ppo-m      9e-5    4e-4   -   none    xavier     off -   -  -   0.95  0
Humanoid ppo-noclip 2e-5    5e-5   0.2 returns xavier     off 10  10 0.5 0.85  0.005
Humanoid trpo       0.07    3e-4   -   none    xavier     off -   -  -   0.95  0
Humanoid trpo+      0.1     5e-5   0.2 returns xavier     off 10  10 -   0.85  0
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]


def test_the_table_names_every_preset() -> None:
    assert [(row[0], row[1]) for row in ROWS] == [(e, a) for e in ENVIRONMENTS for a in ALGORITHMS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_presets_are_the_papers(row: list[str]) -> None:
    def size(text: str) -> float | None:
        return None if text == "-" else float(text)

    found = preset(row[1], f"{row[0]}-v5")
    assert found.step == ("trpo" if row[1].startswith("trpo") else "ppo")
    assert (found.max_kl if found.step == "trpo" else found.policy_lr) == float(row[2])
    assert found.value_lr == float(row[3]) and found.value_clip == size(row[4])
    assert (found.reward_filter, found.init, found.anneal_lr) == (row[5], row[6], row[7] == "on")
    assert (found.reward_clip, found.observation_clip, found.gradient_clip) == tuple(map(size, row[8:11]))
    assert (found.gae_lambda, found.entropy_bonus) == (float(row[11]), float(row[12]))
    assert found.normalise_observations and found.activation == "tanh" and not found.clip_actions
    assert found.ratio_clip == (None if row[1] == "ppo-noclip" else 0.2)
    assert (found.discount, found.adam_eps, found.steps_per_update) == (0.99, 1e-5, 2048)
    assert (found.num_minibatches, found.policy_epochs, found.value_epochs) == (32, 10, 10)
    assert (found.fisher_share, found.cg_steps, found.damping, found.line_search_tries) == (0.1, 10, 0.1, 10)
    assert (found.bootstrap, found.kl_schedule, found.advantage) == ("reference", "constant", "gae")


@pytest.mark.parametrize("algorithm", ["ppo-m", "trpo"])
def test_strict_takes_away_what_the_minimal_configurations_keep(algorithm: str) -> None:
    strict, code = preset(algorithm, "Hopper", "strict"), preset(algorithm, "Hopper")
    changed = {f.name for f in dataclasses.fields(code) if getattr(strict, f.name) != getattr(code, f.name)}
    assert changed == {"normalise_observations", "activation"}
    off = (None, "none", "xavier", False, None, False, None, "relu", None)
    assert tuple(getattr(strict, name) for name in SWITCHES) == off


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: preset("ppo", "Hopper", "strict"), "strict"),
        (lambda: preset("ppp", "Hopper"), "did you mean"),
        (lambda: preset("ppo", "Hoper-v5"), "did you mean 'Hopper'"),
        (lambda: preset("ppo", "Hopper", learning_rate=1), "learning_rate"),
        (lambda: PolicyGradient(step="pro"), "did you mean 'ppo'"),  # type: ignore[arg-type]
        (lambda: PolicyGradient(policy_lr=float("nan")), "policy_lr"),
        (lambda: PolicyGradient(value_clip=0), "None turns it off"),
        (lambda: PolicyGradient(discount=1.1), "discount"),
        (lambda: PolicyGradient(num_minibatches=3000), "num_minibatches"),
        (lambda: PolicyGradient(kl_schedule="linear"), "max_kl_final"),
        (lambda: PolicyGradient(hidden=(0,)), "hidden"),
        (lambda: PolicyGradient(fisher_share=0), "fisher_share"),
        (lambda: AgentSpec(environment="", iterations=1), "environment"),
        (lambda: AgentSpec(environment="x", iterations=5, horizon=4), "horizon"),
        (lambda: AgentSpec(environment="x", iterations=5, milestones=(6,)), "milestone 6"),
        (lambda: AgentSpec(environment="x", heldout_every=0), "heldout_every"),
    ],
)
def test_bad_settings_are_refused_in_words(make: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make()


def test_schedules_are_linear_in_updates() -> None:
    annealed = PolicyGradient(policy_lr=1.0)
    assert [annealed.learning_rate(1.0, i, 4) for i in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert PolicyGradient(anneal_lr=False).learning_rate(1.0, 3, 4) == 1.0
    moving = PolicyGradient(step="trpo", max_kl=0.04, max_kl_final=0.08, kl_schedule="linear")
    assert [moving.kl_limit(i, 4) for i in (0, 2)] == pytest.approx([0.04, 0.06])
    constant = preset("trpo+", "Hopper")
    assert constant.max_kl_final == 0.07 and constant.kl_limit(300, 488) == 0.04


def test_the_states_that_are_kept() -> None:
    spec = AgentSpec(environment="x", iterations=10, milestones=(5, 0, 5), heldout_every=4)
    assert spec.kept == (0, 5, 10)
    assert [i for i in range(10) if spec.holds_out(i)] == [0, 4, 8]
