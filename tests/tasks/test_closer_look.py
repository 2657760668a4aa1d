"""The study of what policy gradient methods do: pools, gradients against closed forms, and what never changes."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.gradient_estimates import autograd_loop
from benchmarks.landscapes import plain_surrogate
from robustray.tasks.errors import InputError
from robustray.tasks.policy_gradients.agent import Agent
from robustray.tasks.policy_gradients.environments import open_environment
from robustray.tasks.policy_gradients.jobs import agent_key
from robustray.tasks.policy_gradients.loop import LocalCollector, advance_with, begin, train
from robustray.tasks.policy_gradients.mlp import forward
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from robustray.tasks.policy_gradients.state import policy_layout
from robustray.tasks.policy_gradients.steps import surrogate_gradient
from robustray.tasks.studies.closer_look import concentration, gradients, reduce
from robustray.tasks.studies.closer_look.concentration import Gradients
from robustray.tasks.studies.closer_look.gradients import advantages_of, gradient_block, policy_gradients
from robustray.tasks.studies.closer_look.landscapes import PAPERS_LENGTH, landscape_block, surrogates
from robustray.tasks.studies.closer_look.pools import blocks_of, collect_block, steps_of
from robustray.tasks.studies.closer_look.results import MAIN
from robustray.tasks.studies.closer_look.settings import ARMS, KINDS, SIZES, Settings, agent_settings, agent_specs
from robustray.tasks.studies.closer_look.steps import random_direction, step_block, taken_step
from robustray.tasks.studies.closer_look.study import STUDY, estimates, points, step_estimates
from robustray.tasks.studies.closer_look.values import squared_error, truth_block, value_block, with_values
from robustray.tasks.studies.implementation_matters.settings import agents_of, corner_cells
from tests.tasks.rl_environments import HERE

STEPS = 128
MINE = next(iter(ARMS))


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


@cache
def truth(step: str = "ppo") -> dict[str, Any]:
    """As `lab.rows` gives it."""
    found = truth_block([0], context([0, 8], agent=agent(step), pool=pool(step=step)))
    return {"value": found["value"], "better": found["better"]}


def policy_gradient(state: Any, observations: Any, actions: Any, advantages: Any) -> np.ndarray:
    """Of one kind of advantages."""
    return policy_gradients(state, observations, actions, advantages[None])[0]


def frozen(one_agent: Agent) -> tuple[bytes, ...]:
    state = one_agent.state
    return (*(array.tobytes() for array in state.arrays().values()), str(state.record()).encode())


# -- what never changes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["ppo", "trpo"])
def test_no_analysis_moves_filters_weights_or_moments(step: str) -> None:
    looked_at, before = agent(step), frozen(agent(step))
    rows = pool(step=step)
    assert frozen(looked_at) == before
    found = truth(step)
    value_block([0], context([4, (5, 7)], agent=looked_at, pool=rows, truth=found))
    steps = step_block([[4, STEPS], [4, 3 * STEPS]], context(agent=looked_at, pool=rows))
    sources = [[0, 4, 5], [1, 4, 7]]
    given = context([sources, (5, 7), 64], agent=looked_at, pool=rows, steps=steps)
    landscape_block([[0, 0, 0, 1.0, 0.0], [1, 1, 1, 1.0, 2.0]], given)
    gradient_block([[0, STEPS]], context(agent=looked_at, pool=rows, truth=found))
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
    monkeypatch.setattr(gradients, "CHUNK", 50)
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


def test_estimates_are_those_of_a_plain_loop_of_autograd() -> None:
    """The loop that `benchmarks/gradient_estimates.py` times: one trajectory after the other, by PyTorch."""
    state, rows = agent().state, steps_of(pool(), 0, 3 * STEPS)
    mine = policy_gradient(state, rows["observations"], rows["actions"], rows["advantages"])
    assert autograd_loop(state, rows, rows["advantages"]) == pytest.approx(mine, abs=1e-5)


def test_surrogates_are_those_of_a_plain_loop() -> None:
    """The one that `benchmarks/landscapes.py` times: the exported network in PyTorch."""
    state, rows = agent().state, steps_of(pool(), 0, 2 * STEPS)
    moved = state.policy + random_direction(state, 0.3)
    assert plain_surrogate(state, moved, rows) == pytest.approx(surrogates(state, moved, rows)[1], rel=1e-6)
    assert plain_surrogate(state, state.policy, rows) == pytest.approx(0, abs=1e-12)


def log_probs_of(state: Any, rows: Any) -> Any:
    from robustray.tasks.policy_gradients.batch import outputs_of

    free = policy_layout(state.spec.settings, state.shape).free(state.policy)
    return state.shape.head.log_prob(outputs_of(state, rows["observations"]), free, rows["actions"])


def test_estimates_use_the_steps_that_they_are_said_to_use() -> None:
    rows = pool()
    given = context(agent=agent(), pool=rows, truth=truth())
    found = gradient_block([[2, STEPS], [2, 40], [2, 2 * STEPS]], given)
    mine = policy_gradient(agent().state, *(rows[name][2, :40] for name in ("observations", "actions", "advantages")))
    assert found["gradients"][1][0] == pytest.approx(mine, rel=1e-4, abs=1e-6)
    ends = (~rows["not_terminal"][2]).cumsum()
    assert found["episodes"][:2] == [1 + ends[STEPS - 2], 1 + ends[38]]
    alone = gradient_block([[2, 2 * STEPS]], given)
    assert (alone["gradients"][0] == found["gradients"][2]).all(), "in any blocks of work, the same bits"


def test_kinds_of_advantages() -> None:
    """By definition: the first kind is the pool's own; λ = 1 is returns minus values up to what a cut leaves; none is
    returns; the true one differs by its values only."""
    state, rows = agent().state, pool()
    best = with_values(state, truth()["value"][0])
    found = dict(zip(KINDS, advantages_of(state, best, rows, 2, 3 * STEPS), strict=True))
    mine = steps_of(rows, 2, 3 * STEPS)
    assert found[MAIN] == pytest.approx(mine["advantages"], abs=1e-4)
    assert (found["none"] == mine["returns"]).all()
    whole = mine["complete"]
    assert found["agent, λ = 1"][whole] == pytest.approx((mine["returns"] - mine["values"])[whole], abs=1e-4)
    assert found["true, λ = 1"][whole] != pytest.approx(found["agent, λ = 1"][whole], abs=1e-2)
    own = advantages_of(state, with_values(state, state.value), rows, 2, STEPS)
    for kind, other in (("true", MAIN), ("true, λ = 1", "agent, λ = 1")):
        names = list(KINDS)
        assert own[names.index(kind)] == pytest.approx(own[names.index(other)], abs=1e-4)


def test_all_kinds_in_one_pass_are_what_each_is_alone() -> None:
    state, rows = agent().state, steps_of(pool(), 0, 2 * STEPS)
    kinds = np.random.default_rng(0).normal(size=(3, 2 * STEPS))
    together = policy_gradients(state, rows["observations"], rows["actions"], kinds)
    for kind, alone in zip(kinds, together, strict=True):
        assert policy_gradient(state, rows["observations"], rows["actions"], kind) == pytest.approx(alone, abs=1e-12)
        out = np.empty_like(state.policy, dtype=np.float64)
        layout, wanted = policy_layout(state.spec.settings, state.shape), (kind - kind.mean()) / kind.std(ddof=1)
        surrogate_gradient(
            layout,
            state.shape.head,
            state.policy.astype(np.float64),
            rows["observations"].astype(np.float64),
            rows["actions"],
            log_probs_of(state, rows).astype(np.float64),
            wanted,
            clip=None,
            entropy_bonus=0.0,
            gradient=out,
        )
        assert -out == pytest.approx(alone, abs=1e-5)


def test_a_linear_policy_in_a_quadratic_task_has_the_gradient_of_the_closed_form() -> None:
    """See s in [-1, 1], answer a, reward -(a - s)**2, one step: for a mean w s + b with deviation d the gradient of the
    mean reward is (2/3 (1 - w), -2 b, -2 d**2) in w, b and log d."""
    settings = PolicyGradient(hidden=(), steps_per_stream=32, num_minibatches=1)
    spec = AgentSpec(environment=f"{HERE}:Target", settings=settings, seed=1, iterations=1)
    state = begin(spec).state
    w, b, d = 0.4, 0.3, 0.5
    state.policy[:] = [w, b, math.log(d)]
    rng = np.random.default_rng(0)
    seen = rng.uniform(-1, 1, (400_000, 1))
    actions = (w * seen + b + d * rng.normal(size=seen.shape)).astype(np.float32)
    rewards = -((actions - seen)[:, 0] ** 2)
    found = policy_gradient(state, seen.astype(np.float32), actions, rewards) * rewards.std(ddof=1)
    true = np.array([2 / 3 * (1 - w), -2 * b, -2 * d * d])
    assert found == pytest.approx(true, abs=0.01)

    def repeats(size: int, first: int) -> np.ndarray:
        cut = [slice(first + i * size, first + (i + 1) * size) for i in range(40)]
        return np.stack([policy_gradient(state, seen[c].astype(np.float32), actions[c], rewards[c]) for c in cut])

    by_size = {size: repeats(size, 0) for size in (25, 100, 400, 1600)}
    law = Gradients(by_size=by_size, truth=true, halves=np.stack([true, true]))
    to_truth = [concentration.with_truth(law, size).value for size in law.sizes]
    assert to_truth == sorted(to_truth) and to_truth[-1] > 0.99, "cosine with the truth goes to 1"
    half = 2 ** concentration.log_half_size(law).value
    for size, cosine in zip(law.sizes, to_truth, strict=True):
        assert cosine == pytest.approx(math.sqrt(size / (size + half)), abs=0.06), "and follows the root of c(N)"
        assert concentration.pairwise(law, size).value == pytest.approx(cosine**2, abs=0.08)


def test_no_estimate_shares_a_step_with_another_or_with_the_truth() -> None:
    settings = Settings(update_steps=64, sample_sizes=(32, 64, 192), num_repeats=4, truth_blocks=5, fit_blocks=4)
    asked = estimates(settings)
    used = [set(range(first * 64, first * 64 + num)) for first, num in asked]
    largest, (truth, one_half, other_half) = used[8:12], used[-3:]
    assert sum(map(len, largest)) == len(set().union(*largest)) == 4 * 192
    assert not truth & set().union(*used[:-3]) and not one_half & other_half and one_half | other_half <= truth
    assert all(used[repeat] <= used[8 + repeat] for repeat in range(4)), "a repeat's sizes share their first steps"
    parts = settings.parts
    rest = {parts.update, *parts.heldout, *parts.fit}
    assert not {step // 64 for step in set().union(*used)} & rest and max(rest) == parts.num_blocks - 1


# -- value functions and landscapes ------------------------------------------------------------------------------------


def test_the_true_value_function_knows_more_than_the_agents() -> None:
    given = context([8, (9, 12)], agent=agent(), pool=pool(), truth=truth())
    row = {name: values[0] for name, values in value_block([0], given).items()}
    assert row["true_explained_variance"] > row["explained_variance"] - 0.02
    assert row["true_returns_error"] < 1.05 * row["returns_error"]
    assert all(math.isfinite(value) for value in row.values())


def test_a_fit_that_is_no_better_is_fitted_longer_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that already knows the returns can't be beaten: three rounds, and "better" is False."""
    found = truth_block([0], context([0, 10], agent=agent(), pool=pool()))
    assert found["rounds"][0] in (1, 2, 3) and found["better"][0] in (True, False)
    rows = blocks_of(pool(), (0, 10))
    knows = {**pool(), "returns": pool()["values"]}
    assert squared_error(agent().state, steps_of(knows, 0, STEPS)) == pytest.approx(0, abs=1e-8)
    never = truth_block([0], context([0, 10], agent=agent(), pool=knows))
    assert never["rounds"] == [3] and never["better"] == [False] and rows["complete"].any()


@pytest.mark.parametrize("step", ["ppo", "trpo"])
def test_a_landscape_starts_at_zero_and_climbs_along_the_step(step: str) -> None:
    looked_at, rows = agent(step), pool(step=step)
    steps = step_block([[8, STEPS]], context(agent=looked_at, pool=rows))
    taken = steps["step"][0]
    aside = random_direction(looked_at.state, float(np.linalg.norm(taken)))
    assert np.linalg.norm(aside) == pytest.approx(np.linalg.norm(taken), rel=1e-4)
    assert abs(float(taken @ aside)) < 0.5 * float(taken @ taken)
    given = context([[[0, 8, 9]], (9, 12), 256], agent=looked_at, pool=rows, steps=steps)
    found = landscape_block([[0, 0, 0, 0.0, 0.0], [1, 0, 0, 1.0, 0.0], [2, 0, 0, 0.1, 0.0], [3, 0, 1, 0.0, 1.0]], given)
    for name in ("surrogate", "unclipped", "heldout_surrogate"):
        assert found[name][0] == pytest.approx(0, abs=1e-9)
    assert found["surrogate"][1] > 0 and found["surrogate"][2] > 0 and found["unclipped"][1] >= found["surrogate"][1]
    seen = steps_of(rows, 8, STEPS)
    far = looked_at.state.policy + random_direction(looked_at.state, PAPERS_LENGTH)
    assert found["surrogate"][3] == pytest.approx(surrogates(looked_at.state, far, seen)[0], rel=1e-4)
    gradient = policy_gradient(looked_at.state, seen["observations"], seen["actions"], seen["advantages"])
    small = (1e-3 * gradient / np.linalg.norm(gradient)).astype(np.float32)
    gain, _ = surrogates(looked_at.state, looked_at.state.policy + small, seen)
    assert gain == pytest.approx(1e-3 * np.linalg.norm(gradient), rel=0.1), "its slope is the gradient"
    assert all(np.mean(each) < 0 and len(each) > 5 for each in found["episode_returns"])


def test_the_reward_at_the_start_is_the_agents_own_and_chance_directions_are_across() -> None:
    looked_at, rows = agent(), pool()
    steps = {"step": np.zeros((1, len(looked_at.state.policy)), np.float32)}
    given = context([[[0, 8, 9]], (9, 12), 12 * STEPS], agent=looked_at, pool=rows, steps=steps)
    here = landscape_block([[0, 0, 0, 0.0, 0.0]], given)["episode_returns"][0]
    found = reduce.difference(np.asarray(here), np.concatenate([np.asarray(each) for each in rows["episode_returns"]]))
    assert found.lo < 0 < found.hi and found.n > 100
    seen = steps_of(rows, 0, 8 * STEPS)
    gradient = policy_gradient(looked_at.state, seen["observations"], seen["actions"], seen["advantages"])
    aside = random_direction(looked_at.state, 1.0).astype(np.float64)
    cosine = concentration.cosines(gradient[None], aside[None])[0, 0]
    assert abs(cosine) < 4 / math.sqrt(len(gradient))


def test_the_step_is_the_trainings_own_and_more_steps_make_another() -> None:
    looked_at, rows = agent("trpo"), pool(step="trpo")
    one, again, more = (taken_step(looked_at.state, steps_of(rows, 4, n * STEPS), 4) for n in (1, 1, 4))
    assert (one == again).all() and (one != more).any() and one @ more > 0


# -- settings ----------------------------------------------------------------------------------------------------------


def test_agents_are_the_papers_and_milestones_change_none() -> None:
    assert (
        agent_settings("ppo", "Hopper-v5").policy_lr == 4.5e-4 and agent_settings("ppo", "Hopper-v5").value_lr == 2e-4
    )
    assert agent_settings("trpo", "Humanoid-v5").max_kl == 0.07
    specs = [spec for seed in (0, 1) for spec in agent_specs(Settings(num_agents=3, seed=seed)).values()]
    assert len({spec.seed for spec in specs}) == 2 * 3 * 2 * 3
    first, without, bootstrap = (agent_specs(Settings())[arm, "ppo", 0] for arm in ARMS)
    assert first.milestones and not without.milestones and not bootstrap.milestones
    assert without.settings == replace(first.settings, advantage="returns")
    assert bootstrap.settings == replace(first.settings, bootstrap="correct")
    assert SIZES["small"].updates == (0, 46, 91, 138)
    assert STUDY.outline.estimate(SIZES["quick"]).counts["environment steps in trainings"] == 3 * 2 * 12 * 1024
    assert SIZES["small"].parts.num_blocks * 2048 == 198_656, "pools of about 200,000 steps"
    assert max(size for size in SIZES["paper"].step_sizes) == 524_288 and Settings().step_sizes == (1024, 2048)


def test_trpos_agents_are_those_of_the_other_study() -> None:
    """Their keys are equal: what one study trains, the other finds."""
    cells = {cell.name: cell for cell in corner_cells(["Hopper-v5"], steps=2048)}
    theirs = agents_of(cells["trpo"], "report", 3, seed=0, iterations=150, heldout_every=10)
    mine = [spec for (arm, name, _), spec in agent_specs(SIZES["small"]).items() if (arm, name) == (MINE, "trpo")]
    assert [agent_key(a) for a in mine] == [agent_key(b) for b in theirs] and mine[0].milestones


def test_points_of_a_grid_hold_the_line_once() -> None:
    settings = Settings(landscape=(0.0, 1.0, 3.0))
    line, grid = points(settings, grid=False), points(settings, grid=True)
    assert grid[: len(line)] == line and len(line) == 2 * 3 and len(grid) == 2 * (3 + 2 * 2 * 3)
    assert [each[0] for each in grid] == list(range(len(grid))), "each has random numbers of its own"
    asked = step_estimates(settings)
    assert asked[-1] == [settings.parts.update, settings.update_steps] and asked[-4][0] == settings.parts.truth.start


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
