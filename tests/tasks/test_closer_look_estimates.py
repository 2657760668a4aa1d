"""The study of what policy gradient methods do: estimates against their laws, claims, warnings and tables."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.kit.frames import at, one
from robustray.tasks.studies.closer_look import concentration, findings, reduce
from robustray.tasks.studies.closer_look.concentration import Gradients
from robustray.tasks.studies.closer_look.results import MAIN, Results
from robustray.tasks.studies.closer_look.settings import ARMS, KINDS, Settings
from robustray.tasks.studies.closer_look.study import landscape, points
from robustray.tasks.study import Claim, Description


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
        assert concentration.pairwise(found, size).value == pytest.approx(c, abs=0.02)
        assert concentration.with_truth(found, size).value == pytest.approx(math.sqrt(c), abs=0.02)
    log = concentration.log_half_size(found)
    assert 2**log.value == pytest.approx(1000, rel=0.05) and log.lo < math.log2(1000) < log.hi
    assert concentration.half_size([10, 100], [10 / 60, 100 / 150]) == pytest.approx(50, rel=1e-4)
    assert concentration.half_size([10, 100], [-0.1, 0.0]) == math.inf
    rise = concentration.rise(found)
    assert rise.value == pytest.approx(0.6, abs=0.03) and rise.lo > 0.5 and rise.n == 60


def test_hand_made_cosines() -> None:
    rows = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    assert concentration.mean_pairwise(rows) == pytest.approx(1 / 3)
    found = Gradients(by_size={10: rows, 20: rows[[0, 0, 0]]}, truth=rows[0], halves=rows[[0, 2]])
    assert concentration.with_truth(found, 10).value == pytest.approx(2 / 3)
    same = concentration.pairwise(found, 20)
    assert (same.value, same.lo, same.hi) == pytest.approx((1, 1, 1))
    # Without each row the means are 0, 0 and 1: error^2 = 2/3 * (1/9 + 1/9 + 4/9).
    pairs = concentration.jackknife(lambda units: concentration.mean_pairwise(rows[units]), 3)
    assert pairs.hi - pairs.value == pytest.approx(4.302653 * 2 / 3, rel=1e-5)
    dead = Gradients(by_size={10: rows * [[0], [1], [1]], 20: rows}, truth=rows[0], halves=rows[[0, 2]])
    assert math.isnan(concentration.pairwise(dead, 10).value) and concentration.with_truth(dead, 10).n == 0


def test_the_jackknife_covers_where_resampling_pairs_does_not() -> None:
    many = (noisy(1000.0, (1000,), 40, dim=30, seed=seed).by_size[1000] for seed in range(900, 960))
    expected = float(np.mean([concentration.mean_pairwise(each) for each in many]))
    hits, too_narrow = 0, 0
    for seed in range(200):
        found = noisy(1000.0, (1000,), repeats=8, dim=30, seed=seed)
        estimate = concentration.pairwise(found, 1000)
        hits += estimate.lo <= expected <= estimate.hi
        pairs = concentration.cosines(found.by_size[1000], found.by_size[1000])[np.triu_indices(8, 1)]
        half = 1.96 * pairs.std(ddof=1) / math.sqrt(len(pairs))
        too_narrow += abs(pairs.mean() - expected) > half
    assert hits / 200 >= 0.92 and too_narrow / 200 > 0.1


def made(gain: float, num_points: int = 20, *, grid: bool = True) -> pd.DataFrame:
    """A landscape: the reward rises by `gain` a step and falls by 1 to the side."""
    rng, settings = np.random.default_rng(0), Settings()
    places = points(settings, grid=grid)
    returns = [rng.normal(gain * along - aside, 0.1, num_points).tolist() for *_, along, aside in places]
    frame = landscape(places, pd.DataFrame({"episode_returns": returns}))
    surrogate = frame.along - frame.aside
    return frame.assign(surrogate=surrogate, unclipped=surrogate, heldout_surrogate=-frame.along)


def test_what_a_step_gives_and_whether_the_surrogate_agrees() -> None:
    gain = reduce.step_gain(made(1.0))
    assert gain.value == pytest.approx(1.0, abs=0.1) and gain.lo > 0.8 and gain.n == 80
    assert reduce.agreement(made(1.0)) > 0.9 > 0 > reduce.agreement(made(5.0), "heldout_surrogate")
    empty = made(1.0).assign(episode_returns=[[]] * len(made(1.0)), mean_return=math.nan)
    along = reduce.slope(made(2.0, grid=False).query('source == "many steps"'))
    assert along.value == pytest.approx(2.0, abs=0.05) and along.lo < 2 < along.hi and along.hi - along.lo < 0.2
    assert reduce.step_gain(empty).n == 0 and math.isnan(reduce.agreement(empty))


# -- claims ------------------------------------------------------------------------------------------------------------


def results(
    num_agents: int, early: float, late: float, gain: float, *, better: float = 2.0, learned: float = 100.0
) -> Results:
    """better: by how much fewer steps a value function makes do, by kind; learned: what a baseline adds."""
    settings = Settings(num_agents=num_agents, algorithms=("ppo",), num_repeats=6)
    first, last = settings.updates
    keys = [("ppo", agent, update) for agent in range(num_agents) for update in (first, last)]
    shorter = {"agent, λ = 1": better, "true": better, "true, λ = 1": better**2}

    def estimated(key: tuple[str, int, int], kind: str) -> Gradients:
        half = (early if key[2] == first else late) / shorter.get(kind, 1.0)
        return noisy(half, settings.sample_sizes, 6, dim=500, seed=key[1])

    value = {"returns_mre_median": 0.5, "gae_mre_median": 0.2, "returns_error": 2.0, "true_returns_error": 1.0}
    rng = np.random.default_rng(0)
    curves = [
        {"arm": arm, "algorithm": "ppo", "agent": agent, "update": update}
        | dict.fromkeys(reduce.TRUST, 0.1)
        | {"episode_return": (learned if arm != "without a baseline" else 0.0) + rng.normal()}
        for arm in ARMS
        for agent in range(num_agents)
        for update in range(6)
    ]
    return Results(
        settings=settings,
        curves=pd.DataFrame(curves),
        pools=pd.DataFrame({"episodes": [3]}),
        gradients={key: {kind: estimated(key, kind) for kind in KINDS} for key in keys},
        steps={key: estimated(key, MAIN) for key in keys},
        values=pd.DataFrame(
            [
                {"algorithm": a, "agent": i, "update": u, "better": True}
                | {name: number + i / 100 for name, number in value.items()}
                for a, i, u in keys
            ]
        ),
        landscapes={(a, i, u): made(gain + i / 100, grid=i == 0 and u == last) for a, i, u in keys},
    )


def test_claims_are_decided_over_agents_and_never_by_one() -> None:
    """In order: rise early, rise late, growth, own targets, baseline, true baseline, arm, check of the fit."""
    assert decided(results(3, early=300.0, late=3000.0, gain=2.0)) == ["supported"] * 8
    opposite = decided(results(3, early=3000.0, late=300.0, gain=-2.0, better=0.5, learned=-100.0))
    assert opposite[2] == opposite[4] == opposite[5] == opposite[6] == "contradicted" and opposite[3] == "supported"
    alone = results(1, early=300.0, late=3000.0, gain=2.0)
    assert decided(alone) == ["undecided"] * 8
    first = next(findings.claims(alone))
    assert isinstance(first, Claim) and "within one agent" in first.test and first.n == 6
    assert first.interval is not None and first.interval[0] > 0, "the interval is shown, and decides nothing"
    assert math.isnan(reduce.over_agents([math.nan]).value)


def test_steps_that_lower_the_reward_are_counted_by_look_with_intervals_over_agents() -> None:
    found = results(3, early=300.0, late=3000.0, gain=-2.0)
    signs = reduce.sign_table(found.landscape_steps)
    assert len(signs) == 2 and (signs.looks == 6).all() and (signs.lowered == 1).all() and (signs.n == 3).all()
    assert signs.slope.tolist() == pytest.approx([-2 + 0.01] * 2, abs=0.05)
    assert reduce.sign_table(results(3, early=300.0, late=3000.0, gain=2.0).landscape_steps).lowered.max() == 0
    grids = found.landscape_steps.dropna(subset=["agreement_own"])
    assert len(grids) == 2 and grids.agreement_papers.notna().all(), "of one agent, at both scales"


def test_arms_and_trust_regions_are_over_agents() -> None:
    found = results(3, early=300.0, late=3000.0, gain=2.0)
    without = one(found.arms, algorithm="ppo", arm="without a baseline")
    assert without.difference == pytest.approx(-100, abs=2) and without.lo < -95 < without.hi + 10 and without.n == 3
    trust = reduce.trust_table(found.curves)
    assert len(trust) == len(ARMS) and trust.kl.tolist() == pytest.approx([0.1] * 3) and set(trust.n) == {3}


def test_each_kind_has_its_own_truth() -> None:
    table = results(1, early=300.0, late=3000.0, gain=2.0).baselines
    assert len(table) == 2 * len(KINDS) * len(Settings().sample_sizes)
    assert at(table, kind=MAIN).truths.tolist() == pytest.approx([1.0] * 6)


def decided(found: Results) -> list[str]:
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
    kinds = found.gradients[key]
    weak = Gradients(by_size=kinds[MAIN].by_size, truth=kinds[MAIN].truth, halves=np.eye(2, 500))
    noisy_truth = replace(found, gradients={**found.gradients, key: {**kinds, MAIN: weak}})
    assert any("--truth-blocks" in each for each in findings.warnings(noisy_truth))
    unfitted = replace(found, values=found.values.assign(better=False))
    assert any("--fit-blocks" in each for each in findings.warnings(unfitted))


def test_tables_hold_each_estimate_once() -> None:
    table = results(1, early=300.0, late=3000.0, gain=1.0).concentration
    row = one(table, algorithm="ppo", agent=0, update=0, steps=256)
    assert -1 <= row.lo <= row.pairwise <= row.hi <= 1
    assert len(table) == 2 * len(Settings().sample_sizes) and row.n == 6
