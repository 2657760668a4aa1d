"""The study of what policy gradient methods do: pools, gradients against closed forms, and what never changes."""

from __future__ import annotations

import math
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.kit.frames import one
from robustray.tasks.policy_gradients.agent import Agent
from robustray.tasks.policy_gradients.environments import open_environment
from robustray.tasks.policy_gradients.loop import LocalCollector, advance_with, begin, train
from robustray.tasks.policy_gradients.mlp import forward
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from robustray.tasks.policy_gradients.state import policy_layout
from robustray.tasks.policy_gradients.steps import surrogate_gradient
from robustray.tasks.studies.closer_look import findings, reduce
from robustray.tasks.studies.closer_look.blocks import (
    collect_block,
    gradient_block,
    landscape_block,
    policy_gradient,
    step_block,
    steps_of,
    surrogate,
    value_block,
)
from robustray.tasks.studies.closer_look.reduce import Gradients
from robustray.tasks.studies.closer_look.settings import SIZES, Settings, agent_settings, agent_specs
from robustray.tasks.studies.closer_look.study import STUDY, _estimates, _points
from robustray.tasks.study import Claim, Description
from tests.tasks.rl_environments import HERE

STEPS = 128


@cache
def agent(step: str = "ppo") -> Agent:
    """Two updates in a tiny environment."""
    settings = PolicyGradient(step=step, hidden=(16,), steps_per_stream=STEPS, num_minibatches=4, policy_epochs=2)  # type: ignore[arg-type]
    spec = AgentSpec(environment=f"{HERE}:Target", settings=settings, seed=3, iterations=4)
    training = begin(spec)
    environment = open_environment(spec.environment, clip_actions=True)
    train(training, advance_with(LocalCollector(environment)), until=2)
    return Agent(training.state)


def context(settings: Any = None, **refs: Any) -> Any:
    return SimpleNamespace(settings=settings, seed=0, device="cpu", load=refs.__getitem__)


@cache
def pool(num_blocks: int = 12, step: str = "ppo") -> dict[str, Any]:
    return dict(collect_block(list(range(num_blocks)), context(agent=agent(step))))


def frozen(one_agent: Agent) -> tuple[bytes, ...]:
    state = one_agent.state
    return (*(array.tobytes() for array in state.arrays().values()), str(state.record()).encode())


# -- what never changes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["ppo", "trpo"])
def test_no_analysis_moves_filters_weights_or_moments(step: str) -> None:
    looked_at, before = agent(step), frozen(agent(step))
    rows = pool(step=step)
    given = context([4, (0, 4), (5, 7)], agent=looked_at, pool=rows)
    assert frozen(looked_at) == before
    value_block([0], given)
    directions = step_block([0], context(4, agent=looked_at, pool=rows))
    landscape_block([[0, 1.0, 0.0]], context([4, (5, 7), 64], agent=looked_at, pool=rows, directions=directions))
    gradient_block([[0, STEPS]], given)
    assert frozen(looked_at) == before


def test_a_pool_is_the_same_in_any_blocks_of_work() -> None:
    whole = pool()
    part = collect_block([5, 2], context(agent=agent()))
    for name in ("observations", "actions", "advantages", "returns"):
        assert (part[name] == whole[name][[5, 2]]).all()
    assert part["episode_returns"] == [whole["episode_returns"][5], whole["episode_returns"][2]]
    assert (whole["observations"][0] != whole["observations"][1]).any(), "other blocks, other random numbers"


def test_an_untrained_agent_is_looked_at_with_the_filters_of_its_first_update() -> None:
    spec = AgentSpec(environment=f"{HERE}:Target", settings=agent().state.spec.settings, seed=3, iterations=4)
    start = Agent(begin(spec).state)
    rows = collect_block([0], context(agent=start))
    assert start.state.filters.observations.count == 0 and np.abs(rows["observations"]).max() < 5


# -- gradients ---------------------------------------------------------------------------------------------------------


def test_the_gradient_is_that_of_expected_standardised_advantage() -> None:
    """sum of d log p(a|s) * A / N by central differences of the surrogate, for some parameters."""
    state, rows = agent().state, steps_of(pool(), 0, 3 * STEPS)
    found = policy_gradient(state, rows["observations"], rows["actions"], rows["advantages"])
    layout, head = policy_layout(state.spec.settings, state.shape), state.shape.head
    wanted = rows["advantages"].astype(np.float64)
    wanted = (wanted - wanted.mean()) / wanted.std(ddof=1)

    def log_probs(flat: np.ndarray) -> np.ndarray:
        x = forward(layout.layers(flat), rows["observations"].astype(np.float64), relu=False)[-1]
        return head.log_prob(x, layout.free(flat), rows["actions"])

    for index in (0, 7, 20, len(found) - 1):
        ends = []
        for sign in (1, -1):
            moved = state.policy.astype(np.float64)
            moved[index] += sign * 1e-6
            ends.append(float(np.mean(log_probs(moved) * wanted)))
        assert found[index] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-8)


def test_chunks_change_nothing_and_the_minibatch_gradient_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    state, rows = agent().state, steps_of(pool(), 0, 2 * STEPS)
    given = (rows["observations"], rows["actions"], rows["advantages"])
    whole = policy_gradient(state, *given)
    monkeypatch.setattr("robustray.tasks.studies.closer_look.blocks.CHUNK", 50)
    assert policy_gradient(state, *given) == pytest.approx(whole, abs=1e-12)

    layout, out = policy_layout(state.spec.settings, state.shape), np.empty_like(state.policy)
    old = log_probs_of(state, rows)
    wanted = rows["advantages"] - rows["advantages"].mean()
    wanted = wanted / (wanted.std(ddof=1) + 1e-8)
    surrogate_gradient(
        layout,
        state.shape.head,
        state.policy,
        rows["observations"],
        rows["actions"],
        old,
        wanted,
        clip=0.2,
        entropy_bonus=0.0,
        gradient=out,
    )
    assert -out == pytest.approx(whole, abs=1e-5), "PPO's first minibatch: no ratio has left 1"


def log_probs_of(state: Any, rows: Any) -> Any:
    from robustray.tasks.policy_gradients.batch import outputs_of

    free = policy_layout(state.spec.settings, state.shape).free(state.policy)
    return state.shape.head.log_prob(outputs_of(state, rows["observations"]), free, rows["actions"])


def test_estimates_use_the_steps_that_they_are_said_to_use() -> None:
    rows = pool()
    found = gradient_block([[2, STEPS], [2, 40], [2, 2 * STEPS]], context(agent=agent(), pool=rows))
    mine = policy_gradient(agent().state, *(rows[name][2, :40] for name in ("observations", "actions", "advantages")))
    assert found["gradient"][1] == pytest.approx(mine.astype(np.float32))
    ends = (~rows["not_terminal"][2]).cumsum()
    assert found["episodes"][:2] == [1 + ends[STEPS - 2], 1 + ends[38]]


def test_no_estimate_shares_a_step_with_another_or_with_the_truth() -> None:
    settings = Settings(update_steps=64, sample_sizes=(32, 64, 192), num_repeats=4, truth_blocks=5)
    asked = _estimates(settings)
    used = [set(range(first * 64, first * 64 + num)) for first, num in asked]
    largest, (truth, one_half, other_half) = used[8:12], used[-3:]
    assert sum(map(len, largest)) == len(set().union(*largest)) == 4 * 192
    assert not truth & set().union(*used[:-3]) and not one_half & other_half and one_half | other_half <= truth
    assert all(used[repeat] <= used[8 + repeat] for repeat in range(4)), "a repeat's sizes share their first steps"
    parts = settings.parts
    rest = {parts.update, *parts.heldout}
    assert not {step // 64 for step in set().union(*used)} & rest and max(rest) == parts.num_blocks - 1


def noisy(half: float, sizes: tuple[int, ...], repeats: int, dim: int = 400, seed: int = 0) -> Gradients:
    """Independent estimates m + noise, E |noise|^2 = half * |m|^2 / N."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=dim)
    scale = np.linalg.norm(truth) * math.sqrt(half / dim)
    by_size = {n: truth + scale / math.sqrt(n) * rng.normal(size=(repeats, dim)) for n in sizes}
    return Gradients(by_size=by_size, truth=truth, halves=np.stack([truth, truth]))


def test_cosines_follow_the_law_of_independent_noise() -> None:
    found = noisy(1000.0, (250, 1000, 4000), repeats=60, dim=2000)
    for size, c in ((250, 0.2), (1000, 0.5), (4000, 0.8)):
        assert reduce.pairwise(found, size).value == pytest.approx(c, abs=0.02)
        assert reduce.with_truth(found, size).value == pytest.approx(math.sqrt(c), abs=0.02)
    log = reduce.log_half_size(found)
    assert 2**log.value == pytest.approx(1000, rel=0.05) and log.lo < math.log2(1000) < log.hi
    assert reduce.half_size([10, 100], [10 / 60, 100 / 150]) == pytest.approx(50, rel=1e-4)
    assert reduce.half_size([10, 100], [-0.1, 0.0]) == math.inf
    rise = reduce.rise(found)
    assert rise.value == pytest.approx(0.6, abs=0.03) and rise.lo > 0.5 and rise.n == 60


def test_hand_made_cosines() -> None:
    rows = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    assert reduce.mean_pairwise(rows) == pytest.approx(1 / 3)
    found = Gradients(by_size={10: rows, 20: rows[[0, 0, 0]]}, truth=rows[0], halves=rows[[0, 2]])
    assert reduce.with_truth(found, 10).value == pytest.approx(2 / 3)
    same = reduce.pairwise(found, 20)
    assert (same.value, same.lo, same.hi) == pytest.approx((1, 1, 1))
    # Without each row the means are 0, 0 and 1: error^2 = 2/3 * (1/9 + 1/9 + 4/9).
    pairs = reduce.jackknife(lambda units: reduce.mean_pairwise(rows[units]), 3)
    assert pairs.hi - pairs.value == pytest.approx(4.302653 * 2 / 3, rel=1e-5)
    dead = Gradients(by_size={10: rows * [[0], [1], [1]], 20: rows}, truth=rows[0], halves=rows[[0, 2]])
    assert math.isnan(reduce.pairwise(dead, 10).value) and reduce.with_truth(dead, 10).n == 0


def test_the_jackknife_covers_where_resampling_pairs_does_not() -> None:
    many = (noisy(1000.0, (1000,), 40, dim=30, seed=seed).by_size[1000] for seed in range(900, 960))
    expected = float(np.mean([reduce.mean_pairwise(each) for each in many]))
    hits, too_narrow = 0, 0
    for seed in range(200):
        found = noisy(1000.0, (1000,), repeats=8, dim=30, seed=seed)
        estimate = reduce.pairwise(found, 1000)
        hits += estimate.lo <= expected <= estimate.hi
        pairs = reduce.cosines(found.by_size[1000], found.by_size[1000])[np.triu_indices(8, 1)]
        half = 1.96 * pairs.std(ddof=1) / math.sqrt(len(pairs))
        too_narrow += abs(pairs.mean() - expected) > half
    assert hits / 200 >= 0.92 and too_narrow / 200 > 0.1


# -- value functions and landscapes ------------------------------------------------------------------------------------


def test_the_true_value_function_knows_more_than_the_agents() -> None:
    found = value_block([0], context([8, (0, 8), (9, 12)], agent=agent(), pool=pool()))
    row = {name: values[0] for name, values in found.items()}
    assert row["true_explained_variance"] > row["explained_variance"] - 0.02
    assert all(math.isfinite(value) for value in row.values())


@pytest.mark.parametrize("step", ["ppo", "trpo"])
def test_a_landscape_starts_at_zero_and_climbs_along_the_step(step: str) -> None:
    looked_at, rows = agent(step), pool(step=step)
    directions = step_block([0], context(8, agent=looked_at, pool=rows))
    step_taken, aside = directions["step"][0], directions["random"][0]
    assert np.linalg.norm(aside) == pytest.approx(np.linalg.norm(step_taken), rel=1e-4)
    assert abs(float(step_taken @ aside)) < 0.5 * float(step_taken @ step_taken)
    given = context([8, (9, 12), 256], agent=looked_at, pool=rows, directions=directions)
    found = landscape_block([[0, 0.0, 0.0], [1, 1.0, 0.0], [2, 0.1, 0.0]], given)
    assert [found[name][0] for name in ("surrogate", "heldout_surrogate")] == pytest.approx([0, 0], abs=1e-9)
    assert found["surrogate"][1] > 0 and found["surrogate"][2] > 0
    seen = steps_of(rows, 8, STEPS)
    gradient = policy_gradient(looked_at.state, seen["observations"], seen["actions"], seen["advantages"])
    small = (1e-3 * gradient / np.linalg.norm(gradient)).astype(np.float32)
    gain = surrogate(looked_at.state, looked_at.state.policy + small, seen)
    assert gain == pytest.approx(1e-3 * np.linalg.norm(gradient), rel=0.1), "its slope is the gradient"
    assert all(np.mean(each) < 0 and len(each) > 5 for each in found["episode_returns"])


def landscape(gain: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for point, along, aside in _points(Settings()):
        returns = rng.normal(gain * along - aside, 0.1, 20).tolist()
        rows.append({"point": point, "along": along, "aside": aside, "episode_returns": returns, "episodes": 20})
    frame = pd.DataFrame(rows)
    means = [float(np.mean(each)) for each in frame.episode_returns]
    return frame.assign(mean_return=means, surrogate=frame.along - frame.aside, heldout_surrogate=-frame.along)


def test_what_a_step_gives_and_whether_the_surrogate_agrees() -> None:
    gain = reduce.step_gain(landscape(1.0))
    assert gain.value == pytest.approx(1.0, abs=0.1) and gain.lo > 0.8 and gain.n == 40
    assert reduce.agreement(landscape(1.0)) > 0.9 > 0 > reduce.agreement(landscape(5.0), "heldout_surrogate")
    empty = landscape(1.0).assign(episode_returns=[[]] * 16, mean_return=math.nan)
    assert reduce.step_gain(empty).n == 0 and math.isnan(reduce.agreement(empty))


# -- claims ------------------------------------------------------------------------------------------------------------


def results(num_agents: int, early: float, late: float, gain: float) -> findings.Results:
    settings = Settings(num_agents=num_agents, algorithms=("ppo",), num_repeats=6)
    first, last = settings.updates
    keys = [("ppo", agent, update) for agent in range(num_agents) for update in (first, last)]
    return findings.Results(
        settings=settings,
        pools=pd.DataFrame({"episodes": [3]}),
        gradients={
            key: noisy(early if key[2] == first else late, settings.sample_sizes, 6, dim=500, seed=key[1])
            for key in keys
        },
        values=pd.DataFrame(
            [
                {"algorithm": a, "agent": i, "update": u, "returns_mre_median": 0.5 + i / 100, "gae_mre_median": 0.2}
                for a, i, u in keys
            ]
        ),
        landscapes={("ppo", i, last): landscape(gain + i / 100) for i in range(num_agents)},
    )


def test_claims_are_decided_within_and_over_agents() -> None:
    assert decided(results(3, early=300.0, late=3000.0, gain=2.0)) == ["supported"] * 4
    opposite = decided(results(3, early=3000.0, late=300.0, gain=-2.0))
    assert opposite == ["supported", "supported", "contradicted", "supported"]
    alone = results(1, early=300.0, late=3000.0, gain=2.0)
    assert decided(alone) == ["supported"] * 2 + ["undecided"] * 2
    first = next(findings.claims(alone))
    assert isinstance(first, Claim) and "within one agent" in first.test and first.n == 6
    assert decided(results(1, early=1e9, late=1e9, gain=0.0))[:2] == ["undecided"] * 2
    assert math.isnan(reduce.over_agents([math.nan]).value)


def decided(found: findings.Results) -> list[str]:
    return [each.verdict for each in findings.claims(found) if isinstance(each, Claim)]


@pytest.mark.parametrize(("num_agents", "over"), [(3, "over agents"), (1, "over episodes, within one agent")])
def test_what_the_step_did_to_the_reward_is_described_and_not_judged(num_agents: int, over: str) -> None:
    *_, said = findings.claims(results(num_agents, early=300.0, late=3000.0, gain=-2.0))
    assert isinstance(said, Description) and said.measured.endswith(over)
    assert said.estimate == pytest.approx(-2.0 + (num_agents - 1) / 200, abs=0.05)


def test_warnings_name_what_is_weak() -> None:
    found = results(1, early=300.0, late=3000.0, gain=1.0)
    told = list(findings.warnings(found))
    assert len(told) == 1 and "1 agent of each algorithm" in told[0]
    key = next(iter(found.gradients))
    weak = Gradients(by_size=found.gradients[key].by_size, truth=found.gradients[key].truth, halves=np.eye(2, 500))
    noisy_truth = findings.Results(**{**vars_of(found), "gradients": {**found.gradients, key: weak}})
    assert any("--truth-blocks" in each for each in findings.warnings(noisy_truth))


def vars_of(found: findings.Results) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("settings", "pools", "gradients", "values", "landscapes")}


def test_tables_hold_each_estimate_once() -> None:
    table = results(1, early=300.0, late=3000.0, gain=1.0).concentration
    row = one(table, algorithm="ppo", agent=0, update=0, steps=256)
    assert -1 <= row.lo <= row.pairwise <= row.hi <= 1
    assert len(table) == 2 * len(Settings().sample_sizes) and row.n == 6


# -- settings ----------------------------------------------------------------------------------------------------------


def test_agents_are_the_papers_and_milestones_change_none() -> None:
    assert (
        agent_settings("ppo", "Hopper-v5").policy_lr == 4.5e-4 and agent_settings("ppo", "Hopper-v5").value_lr == 2e-4
    )
    assert agent_settings("trpo", "Humanoid-v5").max_kl == 0.07
    specs = agent_specs(Settings(num_agents=3)) + agent_specs(Settings(num_agents=3, seed=1))
    assert len({spec.seed for spec in specs}) == 12
    assert SIZES["small"].updates == (0, 46, 91, 138)
    assert STUDY.outline.estimate(SIZES["quick"]).counts["environment steps in trainings"] == 2 * 12 * 1024


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"sample_sizes": (1500, 2000)}, "whole multiples"),
        ({"sample_sizes": (512,)}, "two or more"),
        ({"landscape": (0.0, 2.0)}, "0 .* and 1"),
        ({"milestones": (0.0, 0.01)}, "the same of 12"),
        ({"milestones": (0.9, 0.1)}, "ascend"),
    ],
)
def test_refused_settings(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Settings(**changed)
