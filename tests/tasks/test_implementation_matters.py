"""The study of code-level optimisations: cells, seeds, choice of learning rates, contrasts, and what decides claims."""

from __future__ import annotations

import itertools
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.kit.frames import at, one
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.policy_gradients.curves import final_return
from robustray.tasks.policy_gradients.presets import preset
from robustray.tasks.statistics import welch, welch_contrast
from robustray.tasks.studies.implementation_matters import findings, improvements, reduce, spread
from robustray.tasks.studies.implementation_matters.published import PUBLISHED
from robustray.tasks.studies.implementation_matters.results import Ablation, Results
from robustray.tasks.studies.implementation_matters.settings import (
    ARMS,
    CORNERS,
    SCHEDULED,
    SIZES,
    SWITCHES,
    Settings,
    ablation_cells,
    agent_seed,
    agents_of,
    corner_cells,
)
from robustray.tasks.studies.implementation_matters.study import STUDY, door
from robustray.tasks.study import Claim
from robustray.tune_configs.implementation_matters import (
    code_level_lrs,
    kl_schedule,
    step_by_optimisations,
    without_clipping,
)

PLACE = "Hopper-v5"
TINY = Settings(num_seeds=1, iterations=1, ablation=False, steps=64, evaluation_episodes=2)


# -- cells and seeds ---------------------------------------------------------------------------------------------------


def test_cells_are_the_papers_settings_with_only_their_switches_changed() -> None:
    cells = {cell.name: cell for cell in corner_cells([PLACE], steps=2048)}
    assert list(cells) == list(ARMS)
    assert cells["trpo+"].settings == preset("trpo+", "Hopper")
    assert cells["ppo-unclipped"].settings == replace(preset("ppo", "Hopper"), ratio_clip=None)
    scheduled = cells[SCHEDULED].settings
    assert scheduled == replace(cells["trpo+"].settings, kl_schedule="linear")
    assert [scheduled.kl_limit(update, 10) for update in (0, 5, 10)] == pytest.approx([0.04, 0.055, 0.07])

    ablated = ablation_cells([PLACE], steps=2048)
    assert len({cell.on for cell in ablated}) == len({cell.settings for cell in ablated}) == 2 ** len(SWITCHES)
    by_name = {cell.name: cell for cell in ablated}
    everything = by_name["value_clip+reward_scaling+orthogonal_init+lr_annealing"].settings
    assert everything == preset("ppo", "Hopper", value_clip=0.2)
    off: dict[str, Any] = {"value_clip": None, "reward_filter": "none", "init": "xavier", "anneal_lr": False}
    assert by_name["none"].settings == replace(everything, **off)
    for a, b in itertools.combinations(ablated, 2):
        differ = {name for name in vars(a.settings) if vars(a.settings)[name] != vars(b.settings)[name]}
        assert differ <= off.keys() and len(differ) == len(a.on ^ b.on)


def test_no_two_agents_share_a_seed_and_what_chooses_reports_nothing() -> None:
    places = ("Hopper-v5", "Walker2d-v5")
    cells = [*corner_cells(places, steps=64), *ablation_cells(places, steps=64)]
    assert sorted(cell.number for cell in cells) == list(range(len(cells)))
    seeds = {
        use: [
            spec.seed for seed in (0, 1) for cell in cells for spec in agents_of(cell, use, 7, seed=seed, iterations=1)
        ]
        for use in ("select", "report")
    }
    assert not set(seeds["select"]) & set(seeds["report"])
    assert all(len(set(found)) == len(found) for found in seeds.values())
    assert agent_seed(0, "report", max(cells, key=lambda cell: cell.number), 999) < agent_seed(
        1, "select", cells[0], 0
    ), "runs don't overlap"


def test_sizes_and_refusals() -> None:
    work = {size: STUDY.outline.estimate(settings) for size, settings in SIZES.items()}
    assert work["quick"].counts["agents"] == 7 * 2 + 16 * (2 * 1 + 2)
    assert work["small"].counts["updates"] == 70 * 150 + 16 * (2 * 2 + 4) * 75
    refused: list[dict[str, Any]] = [{"environments": ("Hopper",)}, {"steps": 31}, {"num_seeds": 1001}]
    for changed in refused:
        with pytest.raises(InputError):
            Settings(**changed)


def test_without_mujoco_the_door_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.mujoco")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    lab: Any = None
    with pytest.raises(InputError, match=r"Hopper-v5: .*MuJoCo is not installed.*pip install.*gymnasium\[mujoco\]"):
        door(TINY, lab)


def test_grids_hold_the_studys_own_agents() -> None:
    """What a grid trains, the study finds: the specs are equal. Agents of a choice are in no report."""
    settings = SIZES["quick"]
    ablated = code_level_lrs("quick").cells
    assert len(ablated) == 4 * 2 * (settings.num_selection_seeds + settings.num_ablation_seeds)
    assert len(code_level_lrs("small").cells) == 16 * 2 * (2 + 4)
    seeds = {
        use: {each.settings.seed for each in ablated if str(each.levels["seed"]).startswith(use)}
        for use in ("select", "report")
    }
    assert seeds["select"] and seeds["report"] and not seeds["select"] & seeds["report"]
    cells = corner_cells(settings.environments, steps=settings.steps)
    given = {"seed": settings.seed, "iterations": settings.iterations, "heldout_every": settings.heldout_every}
    asked = {spec for cell in cells for spec in agents_of(cell, "report", settings.num_seeds, **given)}
    both = [*step_by_optimisations("quick").cells, *without_clipping("quick").cells, *kl_schedule("quick").cells]
    assert {each.settings for each in both} == asked


# -- from curves to estimates ------------------------------------------------------------------------------------------


def test_an_agents_final_return_is_that_of_its_last_five_updates() -> None:
    curve = pd.DataFrame({"episode_return": [100.0, 1.0, 2.0, math.nan, 4.0, 5.0]})
    assert final_return(curve) == 3.0 and reduce.best_return(curve) == 100.0
    nothing = pd.DataFrame({"episode_return": [7.0] + [math.nan] * 5})
    assert math.isnan(final_return(nothing))


def test_a_contrast_of_two_is_welchs_and_the_textbooks_of_four() -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(i, 1 + i, 5 + i) for i in range(4)]
    found, two = welch_contrast(samples[:2], (1, -1)), welch(samples[0], samples[1])
    assert found.n == two.n and (found.value, *found.interval) == pytest.approx((two.value, *two.interval))
    # Equal sizes and variances: the pooled t with all degrees of freedom.
    spread = np.array([-1.0, 0.0, 1.0])
    four = welch_contrast([spread + mean for mean in (8, 4, 2, 1)], (0.5, -0.5, 0.5, -0.5))
    assert four.value == pytest.approx(2.5) and four.hi - four.value == pytest.approx(
        2.306 * math.sqrt(1 / 3), rel=1e-3
    )
    assert math.isinf(welch_contrast([[1.0], [2.0, 3.0]], (1, -1)).hi)
    assert welch_contrast([[1.0], [2.0, 3.0]], (0, 1)).value == 2.5, "what does not count may be a single value"
    for refused, weights in (([[1.0]], (1, 1)), ([[], [1.0]], (1, 1)), ([[1.0]], (0,))):
        with pytest.raises(InputError):
            welch_contrast(refused, weights)


def test_the_contrast_covers_the_truth() -> None:
    """Unequal spreads, four agents a cell."""
    rng = np.random.default_rng(1)
    weights, hits = (0.5, -0.5, 0.5, -0.5), 0
    for _ in range(1000):
        samples = [rng.normal(mean, spread, 4) for mean, spread in ((3, 1), (1, 5), (0, 2), (1, 1))]
        found = welch_contrast(samples, weights)
        hits += found.lo <= 0.5 <= found.hi
    assert 0.93 <= hits / 1000 <= 0.985


def agents_with(means: dict[str, float], *, n: int = 10, spread: float = 10.0, **columns: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"environment": PLACE, "cell": name, "final": final, "best": final, "rejected": math.nan}
        | {"drawn": final, "deterministic": final, "step_scale": math.nan}
        | {column: columns.get(column, 0.01) for column in reduce.TRUST}
        for name, mean in means.items()
        for final in rng.normal(mean, spread, n)
    ]
    return pd.DataFrame(rows)


MEANS = {
    "ppo": 900.0,
    "ppo-m": 500.0,
    "trpo+": 800.0,
    "trpo": 300.0,
    "ppo-noclip": 850.0,
    "ppo-unclipped": 600.0,
    SCHEDULED: 750.0,
}
"""Optimisations: +450; step: +150; so they matter more."""


def test_contrasts_of_corners_with_known_means() -> None:
    table = reduce.contrast_table(agents_with(MEANS, spread=1e-9))
    found = table.set_index("contrast").difference.round(6).to_dict()
    assert found[reduce.OPTIMISATIONS] == 450 and found[reduce.STEP] == 150 and found[reduce.INTERACTION] == -50
    assert improvements.improvements([MEANS[name] for name in CORNERS]).tolist() == [200, 500]
    # What decides "the optimisations matter more": O - |S| is the smaller of two simple differences.
    assert min(found["ppo − trpo"], found["trpo+ − ppo-m"]) == 450 - 150


def test_the_smaller_of_two_covers_it() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(500):
        a, b = (reduce.mean_of(rng.normal(mean, 1, 5)) for mean in (1.0, 1.2))
        found = reduce.smaller_of(a, b)
        hits += found.lo <= 1.0 <= found.hi
    assert hits / 500 >= 0.93


def test_the_smaller_of_a_known_and_an_unknown_number_is_unknown() -> None:
    known, unknown = reduce.mean_of(np.array([1.0, 1.2])), reduce.mean_of(np.zeros(0))
    for found in (reduce.smaller_of(known, unknown), reduce.smaller_of(unknown, known)):
        assert math.isnan(found.value) and (found.lo, found.hi, found.n) == (-math.inf, known.hi, 2)


def test_effects_of_known_cells() -> None:
    cells = ablation_cells([PLACE], steps=64)
    rows = [
        {
            "environment": PLACE,
            "cell": cell.name,
            "policy_lr": 1e-4,
            "final": 100 * ("reward_scaling" in cell.on)
            + 40 * (cell.on >= {"reward_scaling", "lr_annealing"})
            - 7 * ("value_clip" in cell.on)
            + noise,
        }
        for cell in cells
        for noise in (-1.0, 1.0)
    ]
    table = reduce.effect_table(cells, pd.DataFrame(rows))
    effect = table.set_index("effect").difference.round(9).to_dict()
    assert len(table) == 4 + 6 and set(table.n) == {32}
    assert effect["reward_scaling"] == 120 and effect["lr_annealing"] == 20 and effect["value_clip"] == -7
    assert effect["reward_scaling × lr_annealing"] == 20 and effect["value_clip × orthogonal_init"] == 0
    best = reduce.cell_table(cells, pd.DataFrame(rows)).sort_values("final").iloc[-1]
    assert (best.value_clip, best.reward_scaling, best.lr_annealing) == ("off", "on", "on") and best.final == 140


def test_the_choice_of_learning_rates_sees_its_own_agents_only() -> None:
    rows = [(1e-4, 1.0), (1e-4, 3.0), (3e-4, 2.5), (3e-4, 2.0), (1e-3, 100.0), (1e-3, math.nan)]
    selection = pd.DataFrame(rows, columns=["policy_lr", "final"]).assign(environment=PLACE, cell="a")
    assert reduce.chosen_lrs(selection) == {(PLACE, "a"): 3e-4}, "best mean; not the one that ended no episode"
    equal = selection.assign(final=1.0)
    assert reduce.chosen_lrs(equal) == {(PLACE, "a"): 1e-4}
    table = reduce.selection_table(selection, {(PLACE, "a"): 3e-4})
    assert table[table.chosen].policy_lr.tolist() == [3e-4]


# -- ACLI and AAI ------------------------------------------------------------------------------------------------------


def four(rng: np.random.Generator, means: Any, n: int = 10, spread: float = 50.0) -> list[np.ndarray]:
    return [rng.normal(mean, spread, n) for mean in means]


def test_the_papers_improvements_are_maxima_and_their_difference_is_none() -> None:
    """ACLI - AAI = |O| - |S| for any four means; the paper's own, from its rounded means."""
    means = np.random.default_rng(0).normal(size=(200, 4))
    aai, acli = improvements.improvements(means).T
    step, optimisations = (np.abs(means @ reduce.CONTRASTS[name]) for name in (reduce.STEP, reduce.OPTIMISATIONS))
    assert acli - aai == pytest.approx(optimisations - step)
    for place, found in {"Hopper": (99, 423), "Walker2d": (242, 557), "Humanoid": (224, 444)}.items():
        printed = [PUBLISHED.number((place, name)) for name in CORNERS]
        assert improvements.improvements(printed).tolist() == list(found), "Hopper's ACLI is printed as 421"


def test_the_interval_of_their_difference_covers_it() -> None:
    """Ten agents a corner; O = 100, S = 30. At n = 10 the BCa bootstrap covers about 0.92."""
    rng, hits = np.random.default_rng(3), 0
    means = (215.0, 65.0, 135.0, 85.0)
    assert np.diff(improvements.improvements(means)) == pytest.approx([70])
    for seed in range(300):
        found = improvements.excess(four(rng, means), num_resamples=400, seed=seed)
        hits += found.lo <= 70 <= found.hi
    assert 0.88 <= hits / 300 <= 0.98
    alone = improvements.excess([np.array([1.0])] * 4)
    assert (alone.value, alone.lo, alone.hi) == (0, -math.inf, math.inf)


def test_the_bootstrap_sees_how_much_maxima_are_too_large() -> None:
    rng = np.random.default_rng(4)
    true = np.mean([improvements.improvements([x.mean() for x in four(rng, (0, 0, 0, 0))]) for _ in range(400)], axis=0)
    said = np.mean([improvements.biases(four(rng, (0, 0, 0, 0)), seed=seed) for seed in range(40)], axis=0)
    assert (true > 10).all() and (said > 0.2 * true).all(), "true means are 0: all of AAI and ACLI is bias"


def test_equal_means_are_equal_and_near_the_measured_ones() -> None:
    none, shifted = improvements.equal_means([900.0, 500.0, 800.0, 300.0])
    assert none == [625.0] * 4
    aai, acli = improvements.improvements(shifted)
    assert aai == pytest.approx(acli)
    for name, kept in ((reduce.STEP, 150.0), (reduce.INTERACTION, -50.0), (reduce.OPTIMISATIONS, 150.0)):
        assert np.dot(shifted, reduce.CONTRASTS[name]) == pytest.approx(kept)


def test_false_alarms_are_few_with_ten_agents_and_too_many_with_three() -> None:
    rng = np.random.default_rng(5)
    rates = {
        n: improvements.false_alarms(four(rng, (0, 0, 0, 0), n), num_simulated=250, num_resamples=250) for n in (3, 10)
    }
    assert rates[10].acceptable and rates[10].lo <= rates[10].rate <= rates[10].hi
    assert not rates[3].acceptable


def test_too_many_false_alarms_leave_it_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    alarms = improvements.FalseAlarms(rate=0.06, lo=0.05, hi=0.07, num_simulated=2000)
    monkeypatch.setattr(improvements, "false_alarms", lambda *_, **__: alarms)
    found = verdicts(LONG, agents_with(MEANS, heldout_ratio_max=3.0))
    assert found[LARGER] == "undecided" and found[MORE] == "supported"


# -- spreads -----------------------------------------------------------------------------------------------------------


def test_interquartile_means() -> None:
    x = np.array([100.0, 1, 2, 3, 4, 5, 6, -50])
    assert spread.interquartile_means(x, np.ones((1, 8)))[0] == 3.5
    # A quarter of six is one and a half: 1/2 * 2 + 3 + 4 + 1/2 * 5, by three.
    assert spread.interquartile_means(np.arange(1.0, 7), np.ones((1, 6)))[0] == pytest.approx((1 + 3 + 4 + 2.5) / 3)
    twice = spread.interquartile_means(np.arange(1.0, 4), np.array([[1.0, 2, 1]]))
    assert twice[0] == spread.interquartile_means(np.array([1.0, 2, 2, 3]), np.ones((1, 4)))[0] == 2
    rng = np.random.default_rng(6)
    found = spread.iqm(rng.normal(5, 1, 40))
    assert found.lo < 5 < found.hi and found.n == 40
    assert math.isnan(spread.iqm(rng.normal(5, 1, 9)).value), "of fewer than ten there is none"


def test_profiles_fall_from_all_to_none() -> None:
    table = spread.profile_table({"a": np.array([1.0, 2, 3, 4]), "b": np.array([2.5])})
    mine = at(table, of="a")
    assert mine.share.tolist() == [1, 0.75, 0.5, 0.5, 0.25, 0] and set(mine.n) == {4}
    assert ((mine.lo <= mine.share) & (mine.share <= mine.hi)).all()


def test_agents_needed_are_those_of_the_papers_own_intervals() -> None:
    """Its intervals over 80 agents give the spreads: 39 agents of PPO and PPO-M on Hopper by normal quantiles,
    and with degrees of freedom one or two more."""
    deviations = [math.sqrt(80) * half / 1.96 for half in (120.5, 135.5, 84, 86.5)]
    assert spread.agents_needed(371, deviations, reduce.CONTRASTS["ppo − ppo-m"]) in (40, 41)
    assert spread.agents_needed(423, deviations, reduce.CONTRASTS["trpo+ − trpo"]) in (15, 16, 17)
    # A textbook's: half a standard deviation takes 64 in each of two groups.
    assert spread.agents_needed(0.5, [1, 1, 9, 9], reduce.CONTRASTS["ppo − ppo-m"]) == 64
    assert spread.agents_needed(0.0, [1] * 4, reduce.CONTRASTS[reduce.STEP]) == math.inf
    assert math.isnan(spread.agents_needed(math.nan, [1] * 4, reduce.CONTRASTS[reduce.STEP]))


def test_the_power_is_that_of_the_test() -> None:
    rng, weights, hits = np.random.default_rng(7), reduce.CONTRASTS[reduce.OPTIMISATIONS], 0
    for _ in range(600):
        samples = [rng.normal(mean, sd, 6) for mean, sd in zip((1.2, 0, 1.2, 0), (1, 2, 0.5, 1), strict=True)]
        found = welch_contrast(samples, weights)
        hits += found.lo > 0 or found.hi < 0
    assert hits / 600 == pytest.approx(spread.power_of(1.2, (1, 2, 0.5, 1), weights, 6), abs=0.06)


# -- verdicts ----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def fewer_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to tell 3 % from 9 %."""
    monkeypatch.setattr(improvements, "NUM_SIMULATED", 300)
    monkeypatch.setattr(improvements, "NUM_RESAMPLES", 300)


def verdicts(settings: Settings, agents: pd.DataFrame, ablation: Ablation | None = None) -> dict[str, str]:
    results = Results(settings=settings, agents=agents, trust=pd.DataFrame(), ablation=ablation)
    return {claim.words: claim.verdict for claim in findings.claims(results) if isinstance(claim, Claim)}


LONG = Settings(num_seeds=10, iterations=100, steps=2048, ablation=False)
RATIOS = "No algorithm keeps ratios below 1 + ε = 1.2."
LARGER = "ACLI is larger than AAI, as the paper defines them."
MORE = "The optimisations matter more than the step."


def test_the_rules_decide_where_there_is_enough() -> None:
    found = verdicts(LONG, agents_with(MEANS, heldout_ratio_max=3.0))
    assert len(found) == 5 and set(found.values()) == {"supported"}
    opposite = {name: 1000 - mean for name, mean in MEANS.items()}
    found = verdicts(LONG, agents_with(opposite, heldout_ratio_max=1.1))
    assert found.pop(LARGER) == "supported", "the optimisations still change more, to the worse"
    assert set(found.values()) == {"contradicted"}
    # A step that matters more than the optimisations, in either direction.
    for ppo, trpo in ((900, 300), (300, 900)):
        corners = {"ppo": ppo + 50.0, "ppo-m": ppo, "trpo+": trpo + 50.0, "trpo": trpo}
        assert verdicts(LONG, agents_with(corners | {"ppo-noclip": 0.0}))[MORE] == "contradicted"
    assert verdicts(LONG, agents_with(MEANS, spread=1500.0))[MORE] == "undecided"


@pytest.mark.parametrize("changed", [{"num_seeds": 3}, {"iterations": 70}])
def test_few_agents_or_short_trainings_decide_nothing(changed: dict[str, Any]) -> None:
    settings = replace(LONG, **changed)
    found = verdicts(settings, agents_with(MEANS, n=settings.num_seeds, spread=0.1, heldout_ratio_max=3.0))
    assert set(found.values()) == {"undecided"}


def test_effects_are_judged_by_reported_agents() -> None:
    cells = ablation_cells([PLACE], steps=2048)
    rows = [
        {
            "environment": PLACE,
            "cell": cell.name,
            "policy_lr": 1e-4,
            "final": 50.0 * len(cell.on - {"lr_annealing"}) + noise,
        }
        for cell in cells
        for noise in (-2.0, -1.0, 1.0, 2.0)
    ]
    ablation = Ablation(cells=cells, agents=pd.DataFrame(rows), selection=None)
    settings = replace(LONG, ablation=True, num_ablation_seeds=4, ablation_iterations=75)
    found = verdicts(settings, agents_with(MEANS), ablation)
    assert found["Reward scaling raises the return."] == "supported"
    assert found["Annealing the learning rates raises the return."] == "undecided"
    short = verdicts(replace(settings, ablation_iterations=73), agents_with(MEANS), ablation)
    assert short["Reward scaling raises the return."] == "undecided"


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_a_run_reports_agents_that_chose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every agent that `lab.learn` is asked for, in order: corners, those that choose, those that report."""
    asked: list[Any] = []

    def learn(specs: Any) -> Any:
        asked.append(specs)
        curve = pd.DataFrame({"episode_return": [10.0], "episodes": [1], "env_steps": [64], "step_scale": [math.nan]})
        curve = curve.assign(update=0, **dict.fromkeys(set(reduce.CURVES) - {"episode_return"}, 0.1))

        def learned(spec: Any) -> Any:
            better = spec.settings.policy_lr == 3e-4
            return SimpleNamespace(spec=spec, curve=curve.assign(episode_return=20.0 if better else 10.0))

        return SimpleNamespace(result=lambda: [learned(spec) for spec in specs])

    settings = replace(
        TINY, ablation=True, ablation_lrs=(1e-4, 3e-4, 1e-3), num_ablation_seeds=2, evaluation_episodes=0
    )
    lab: Any = SimpleNamespace(learn=learn)
    found = STUDY.run(settings, lab)
    corners, selection, reported = asked
    assert (len(corners), len(selection), len(reported)) == (len(ARMS), 16 * 3, 16 * 2)
    assert not {spec.seed for spec in selection} & {spec.seed for spec in (*corners, *reported)}
    assert {spec.settings.policy_lr for spec in reported} == {3e-4}, "the chosen one"
    tables = {table.name: table.frame for table in found.tables}
    assert set(tables["ablation-agents"].seed) == {spec.seed for spec in reported}
    assert all(claim.verdict == "undecided" for claim in found.claims) and "too few" in found.warnings[0]


def test_a_run_in_the_plain_loop(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path / "runs")))
    found = STUDY.run(TINY, lab)
    arms = next(table.frame for table in found.tables if table.name == "trust-region")
    assert len(arms) == len(ARMS) and (arms.heldout_kl > 0).all() and (arms.heldout_ratio_max > 1).all()
    agents = next(table.frame for table in found.tables if table.name == "agents")
    assert math.isnan(at(agents, cell="ppo").rejected.iloc[0]) and one(agents, cell="trpo").rejected in (0.0, 1.0)
    assert isinstance(found.claims[0].n, int)
    assert agents.drawn.notna().all() and agents.deterministic.notna().all() and (agents.drawn != agents.best).any()
