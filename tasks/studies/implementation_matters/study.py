"""Is PPO's advantage over TRPO its clipped step, or what its implementation does besides?  (arXiv:2005.12729)

Agents of four corners, clipped or trust-region step with and without code-level optimisations, of two kinds of PPO
without clipping and of TRPO+ with its schedule, with KL and ratios measured on steps that no update saw; and a 2^4
ablation whose learning rates are chosen by agents that are in no reported number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.policy_gradients.environments import library_versions, open_environment
from robustray.tasks.studies.implementation_matters import findings, reduce, results
from robustray.tasks.studies.implementation_matters.blocks import evaluate_block
from robustray.tasks.studies.implementation_matters.settings import (
    OUTLINE,
    Settings,
    ablation_cells,
    agents_of,
    corner_cells,
)
from robustray.tasks.study import LEARN, Opened, Study

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from robustray.tasks.lab import Lab
    from robustray.tasks.policy_gradients.jobs import Learned
    from robustray.tasks.study import Findings


def door(settings: Settings, lab: Lab) -> Opened:
    """Make every environment once. Raises: InputError, with what to install, where one cannot be made."""
    for environment in settings.environments:
        open_environment(environment, clip_actions=False).close()
    return Opened(refs={}, decided=library_versions())


def run(settings: Settings, lab: Lab) -> Findings:
    # 1. Corners, PPO without clipping and TRPO+ with its schedule, with the paper's settings.
    arms = [
        (cell, spec)
        for cell in corner_cells(settings.environments, steps=settings.steps)
        for spec in agents_of(
            cell,
            "report",
            settings.num_seeds,
            seed=settings.seed,
            iterations=settings.iterations,
            heldout_every=settings.heldout_every,
        )
    ]
    trained = lab.learn([spec for _, spec in arms])

    # 2. The ablation: each cell chooses its learning rate, then trains other agents with it.
    ablation = _ablation(settings, lab) if settings.ablation else None
    learned = trained.result()
    cells = [cell for cell, _ in arms]
    agents = reduce.agent_table(cells, learned, _evaluations(settings, lab, learned))
    return findings.findings(
        results.Results(settings=settings, agents=agents, trust=reduce.trust_table(cells, learned), ablation=ablation)
    )


def _evaluations(settings: Settings, lab: Lab, learned: Sequence[Learned]) -> list[pd.DataFrame] | None:
    """Whole episodes of each agent, by its own seed: agents share no random numbers here, either."""
    asked = [[number, mean] for mean in (0, 1) for number in range(settings.evaluation_episodes)]
    if not asked:
        return None
    handles = [
        lab.map("evaluate", evaluate_block, asked, block=len(asked), seed=each.spec.seed, refs={"agent": each.final})
        for each in learned
    ]
    return [handle.result() for handle in handles]


def _ablation(settings: Settings, lab: Lab) -> results.Ablation:
    cells = ablation_cells(settings.environments, steps=settings.steps)
    common = {"seed": settings.seed, "iterations": settings.ablation_iterations}
    chosen = {(cell.environment, cell.name): settings.ablation_lrs[0] for cell in cells}
    selection: pd.DataFrame | None = None
    if len(settings.ablation_lrs) > 1:
        tried = [
            (cell, spec)
            for cell in cells
            for lr in settings.ablation_lrs
            for spec in agents_of(cell, "select", settings.num_selection_seeds, policy_lr=lr, **common)
        ]
        selection = reduce.agent_table([cell for cell, _ in tried], lab.learn([spec for _, spec in tried]).result())
        chosen = reduce.chosen_lrs(selection)
    reported = [
        (cell, spec)
        for cell in cells
        for spec in agents_of(
            cell, "report", settings.num_ablation_seeds, policy_lr=chosen[cell.environment, cell.name], **common
        )
    ]
    learned = lab.learn([spec for _, spec in reported]).result()
    return results.Ablation(
        cells=cells,
        agents=reduce.agent_table([cell for cell, _ in reported], learned, _evaluations(settings, lab, learned)),
        selection=reduce.selection_table(selection, chosen) if selection is not None else None,
    )


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={"learn": LEARN, "evaluate": evaluate_block},
    compare=comparison(
        Compared(table="contrasts", keys=("environment", "contrast"), value="difference", unit="number")
    ),
)
