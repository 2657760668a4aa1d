"""Grids of agents: the two tables of "Implementation Matters" (arXiv:2005.12729)."""

from __future__ import annotations

from itertools import product
from typing import Any

from robustray.tasks.grids.settings import LATE_RETURN, Cell, Grid, Outcome
from robustray.tasks.policy_gradients.presets import ALGORITHMS, preset
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from robustray.tasks.study import Size

ENVIRONMENT, PAPER = "Hopper-v5", "arXiv:2005.12729"
OUTCOMES = [Outcome(name=LATE_RETURN, words="mean return of episodes in the last quarter of the training")]
SHORT: dict[str, Any] = {"steps_per_stream": 128, "num_minibatches": 4, "policy_epochs": 2, "value_epochs": 2}
"""Settings of the quick form only, which shows that everything works and learns nothing."""
UPDATES: dict[Size, int] = {"quick": 4, "small": 98, "paper": 488}
"""98 of 2,048 steps are 200,000 steps."""
SEEDS: dict[Size, int] = {"quick": 2, "small": 3, "paper": 10}


def code_level_2x4(size: Size) -> Grid:
    """PPO on Hopper with four code-level optimisations on and off, every combination: the paper's section 3.

    robustray tune code-level-2x4 --size quick     two CPU cores, under a minute; learns nothing
    robustray tune code-level-2x4 --size small     48 agents of 200,000 steps, two CPU cores, about an hour
    expected, quick: returns from 9 to 30 after 512 steps, intervals wider than any effect. The paper's figure has no
    numbers; it finds reward scaling, initialisation and annealing needed for the best score, and value clipping not.
    The larger sizes have not been run here
    """
    cells = []
    for value_clip, scaling, orthogonal, annealing in product((True, False), repeat=4):
        switched: dict[str, Any] = {
            "value_clip": 0.2 if value_clip else None,
            "reward_filter": "returns" if scaling else "none",
            "init": "orthogonal" if orthogonal else "xavier",
            "anneal_lr": annealing,
        }
        settings = preset("ppo", ENVIRONMENT, **switched, **(SHORT if size == "quick" else {}))
        levels = {"value_clip": value_clip, "reward_scaling": scaling, "orthogonal": orthogonal, "annealing": annealing}
        cells += [Cell(levels=levels | {"seed": seed}, settings=_agent(settings, size, seed)) for seed in _seeds(size)]
    return Grid(
        question="What do value clipping, reward scaling, initialisation and annealing each do to PPO's return?",
        paper=PAPER,
        outcomes=OUTCOMES,
        choose=("value_clip", "reward_scaling", "orthogonal", "annealing"),
        cells=cells,
    )


def five_algorithms(size: Size) -> Grid:
    """PPO and TRPO, each with and without code-level optimisations, and PPO without clipping: the paper's Table 2.

    robustray tune five-algorithms --size quick     two CPU cores, under a minute; learns nothing
    robustray tune five-algorithms --size small     15 agents of 200,000 steps, two CPU cores, half an hour
    robustray tune five-algorithms --size paper     50 agents of a million steps, 50 CPU cores, an hour
    expected, quick: returns from 8 to 27 after 512 steps, seeds as far apart as algorithms. Published for Hopper: with
    code-level optimisations PPO gains 17 % and TRPO 21 %. The larger sizes have not been run here
    """
    short = SHORT if size == "quick" else {}
    return Grid(
        question="Is it the algorithm or its code-level optimisations that decide the return?",
        paper=PAPER,
        outcomes=OUTCOMES,
        cells=[
            Cell(
                levels={"algorithm": algorithm, "seed": seed},
                settings=_agent(preset(algorithm, ENVIRONMENT, **short), size, seed),
            )
            for algorithm in ALGORITHMS
            for seed in _seeds(size)
        ],
    )


def _agent(settings: PolicyGradient, size: Size, seed: int) -> AgentSpec:
    return AgentSpec(environment=ENVIRONMENT, settings=settings, seed=seed, iterations=UPDATES[size])


def _seeds(size: Size) -> range:
    return range(SEEDS[size])
