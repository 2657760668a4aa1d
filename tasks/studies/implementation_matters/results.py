"""What a run gave, and what follows from it: each estimate is made once, here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from robustray.tasks.kit.claims import Repeats
from robustray.tasks.kit.frames import estimate_of, one
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.implementation_matters import improvements, reduce
from robustray.tasks.studies.implementation_matters.settings import CORNERS, Cell, Settings

LEAST_AGENTS, LEAST_STEPS = 4, 150_000
"""Agents per cell, and environment steps of each, without which nothing is decided: with fewer agents an interval says
little of their spread, and earlier in a training differences are not yet those that the paper is about."""
UNITS = f"agents per cell with {LEAST_STEPS:,} environment steps each"


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Results of the 16 cells of the ablation."""

    cells: Sequence[Cell]
    agents: pd.DataFrame
    """Rows of `reduce.agent_table`, of reported agents only."""
    selection: pd.DataFrame | None
    """Returns by which the learning rates were chosen; None where there was only one."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Results of a run."""

    settings: Settings
    agents: pd.DataFrame
    """Rows of `reduce.agent_table`, of all arms."""
    trust: pd.DataFrame
    ablation: Ablation | None

    @cached_property
    def contrasts(self) -> pd.DataFrame:
        return reduce.contrast_table(self.agents)

    @cached_property
    def arms(self) -> pd.DataFrame:
        return reduce.arm_table(self.agents)

    @cached_property
    def effects(self) -> pd.DataFrame | None:
        return reduce.effect_table(self.ablation.cells, self.ablation.agents) if self.ablation else None

    @cached_property
    def false_alarms(self) -> dict[str, improvements.FalseAlarms]:
        """Environment -> how often the rule on ACLI - AAI is wrong; none where nothing is decided anyway."""
        settings = self.settings
        if self.repeats(settings.num_seeds, settings.iterations).too_few:
            return {}
        samples = {place: self.corners(place) for place in settings.environments}
        return {
            place: improvements.false_alarms(
                found,
                num_simulated=improvements.NUM_SIMULATED,
                num_resamples=improvements.NUM_RESAMPLES,
                seed=settings.seed,
            )
            for place, found in samples.items()
            if min(map(len, found)) > 1
        }

    @cached_property
    def excesses(self) -> dict[str, Estimate]:
        """Environment -> ACLI - AAI."""
        return {
            place: improvements.excess(self.corners(place), seed=self.settings.seed)
            for place in self.settings.environments
        }

    def corners(self, environment: str) -> list[np.ndarray]:
        """Final returns of the agents of each corner."""
        return [reduce.values(self.agents, "final", environment=environment, cell=name) for name in CORNERS]

    def contrast(self, environment: str, name: str) -> Estimate:
        return estimate_of(one(self.contrasts, environment=environment, contrast=name), "difference")

    def repeats(self, num_agents: int, iterations: int) -> Repeats:
        """The evidence behind claims: the number of agents per cell. Agents that learned from too few steps do not
        count."""
        count = num_agents if iterations * self.settings.steps >= LEAST_STEPS else 0
        return Repeats(count=count, least=LEAST_AGENTS, units=UNITS, over="agents", unit="number")
