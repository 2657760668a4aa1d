"""The agents of the study `implementation-matters` as grids: trained by Tune, and there when the study is run
(arXiv:2005.12729). Seeds, cells and lengths are the study's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from robustray.tasks.grids.settings import LATE_RETURN, Cell, Grid, Level, Outcome
from robustray.tasks.policy_gradients.settings import AgentSpec
from robustray.tasks.studies.implementation_matters.settings import (
    CORNERS,
    SCHEDULED,
    SIZES,
    SWITCHES,
    UNCLIPPED,
    Settings,
    ablation_cells,
    agents_of,
    corner_cells,
)
from robustray.tasks.study import Size

PAPER = "arXiv:2005.12729"
OUTCOMES = [Outcome(name=LATE_RETURN, words="mean return of episodes in the last quarter of the training")]


def code_level_lrs(size: Size) -> Grid:
    """The 16 cells of four optimisations, each at every learning rate, by agents that choose and others that report.

    robustray tune code-level-lrs --size quick     24 agents of 1,536 steps, a minute of CPU time; learns nothing. Four
    of the 16 cells: value clipping off, annealing on
    robustray tune code-level-lrs --size small     192 agents of 153,600 steps, 2.5 CPU-hours
    expected, quick: returns from 10 to 35. The study chooses a rate for each cell by its agents `select` and reports
    its agents `report` at that rate; no agent is both. The rates that were not chosen say how far effects depend on
    them. The larger sizes have not been run here
    """
    settings = SIZES[size]
    uses: dict[Literal["select", "report"], int] = {
        "select": settings.num_selection_seeds,
        "report": settings.num_ablation_seeds,
    }
    common = {"seed": settings.seed, "iterations": settings.ablation_iterations}
    cells = ablation_cells(settings.environments[:1], steps=settings.steps)
    if size == "quick":
        cells = [cell for cell in cells if "lr_annealing" in cell.on and "value_clip" not in cell.on]
    return Grid(
        question="What do four code-level optimisations each do to PPO's return, at each learning rate?",
        paper=PAPER,
        outcomes=OUTCOMES,
        choose=("policy_lr",),
        choosing_seeds=[f"select {number}" for number in range(uses["select"])],
        cells=[
            Cell(
                levels={switch: switch in cell.on for switch in SWITCHES}
                | {"policy_lr": lr, "seed": f"{use} {number}"},
                settings=spec,
            )
            for cell in cells
            for lr in settings.ablation_lrs
            for use, count in uses.items()
            for number, spec in enumerate(agents_of(cell, use, count, policy_lr=lr, **common))
        ],
    )


def step_by_optimisations(size: Size) -> Grid:
    """Clipped or trust-region step, with and without code-level optimisations; KL and ratios on held-out steps, too.

    robustray tune step-by-optimisations --size quick     8 agents of 1,536 steps, half a minute of CPU time
    robustray tune step-by-optimisations --size small     40 agents of 307,200 steps, about an hour of CPU time
    expected, quick: returns from 10 to 40. The study makes signed contrasts of the same agents. Published for Hopper:
    optimisations +397, step +73. Learning curves, with KL and ratios of each update, are stored with each agent. The
    larger sizes have not been run here
    """
    named: dict[str, dict[str, Level]] = {
        name: {"step": "ppo" if name in ("ppo", "ppo-m") else "trpo", "optimisations": name in ("ppo", "trpo+")}
        for name in CORNERS
    }
    return Grid(
        question="Is it the step or the code-level optimisations that decide the return?",
        paper=PAPER,
        outcomes=OUTCOMES,
        cells=[
            Cell(levels=named[name] | {"seed": number}, settings=spec)
            for name, number, spec in _arms(SIZES[size])
            if name in CORNERS
        ],
    )


def without_clipping(size: Size) -> Grid:
    """PPO and PPO-M beside PPO without its clipping: with the paper's other settings, and with nothing else changed.

    robustray tune without-clipping --size quick     8 agents of 1,536 steps, half a minute of CPU time
    robustray tune without-clipping --size small     40 agents of 307,200 steps, about an hour of CPU time
    expected, quick: returns from 10 to 50. Published for Hopper: PPO-NoClip 2371, PPO 2513, PPO-M 2142; PPO with
    only the clipping off is not in the paper. The larger sizes have not been run here
    """
    wanted = ("ppo", "ppo-m", *UNCLIPPED)
    return Grid(
        question="Does PPO need its clipping?",
        paper=PAPER,
        outcomes=OUTCOMES,
        cells=[
            Cell(levels={"algorithm": name, "seed": number}, settings=spec)
            for name, number, spec in _arms(SIZES[size])
            if name in wanted
        ],
    )


def kl_schedule(size: Size) -> Grid:
    """TRPO+ with the bound on the mean KL that its configurations move over the training, and with one that stays.

    robustray tune kl-schedule --size quick     4 agents of 1,536 steps, a quarter of a minute of CPU time
    robustray tune kl-schedule --size small     20 agents of 307,200 steps, about half an hour of CPU time
    expected, quick: returns from 10 to 50. Published for Hopper: TRPO+ 2466, with a bound that stayed. The larger sizes
    have not been run here
    """
    return Grid(
        question="Does TRPO+ learn more if its trust region changes as it was meant to?",
        paper=PAPER,
        outcomes=OUTCOMES,
        cells=[
            Cell(levels={"algorithm": name, "seed": number}, settings=spec)
            for name, number, spec in _arms(SIZES[size])
            if name in ("trpo+", SCHEDULED)
        ],
    )


def _arms(settings: Settings) -> Iterator[tuple[str, int, AgentSpec]]:
    """(arm, number, agent) of the study's first environment."""
    for cell in corner_cells(settings.environments[:1], steps=settings.steps):
        agents = agents_of(
            cell,
            "report",
            settings.num_seeds,
            seed=settings.seed,
            iterations=settings.iterations,
            heldout_every=settings.heldout_every,
        )
        for number, spec in enumerate(agents):
            yield cell.name, number, spec
