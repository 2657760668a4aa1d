"""What a run gave, and what follows from it: each estimate is made once, here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from robustray.tasks.kit.claims import Repeats
from robustray.tasks.studies.closer_look import concentration, reduce
from robustray.tasks.studies.closer_look.concentration import Gradients
from robustray.tasks.studies.closer_look.reduce import Key
from robustray.tasks.studies.closer_look.settings import KINDS, Settings

LEAST_AGENTS = 3
"""The fewest agents of an algorithm for a claim about its trainings: estimates within one agent say nothing of other
agents."""
NAMES = {"ppo": "PPO", "trpo": "TRPO"}
MAIN = next(iter(KINDS))
"""The kind of advantages that the algorithms use."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a run gave; keys are (algorithm, agent, update)."""

    settings: Settings
    curves: pd.DataFrame
    """Learning curves of all agents: also arm, algorithm, agent."""
    pools: pd.DataFrame
    gradients: Mapping[Key, Mapping[str, Gradients]]
    """Gradients by kind of advantages."""
    steps: Mapping[Key, Gradients | None]
    """The algorithm's steps in the place of gradients; None where no size is one that an update may have."""
    values: pd.DataFrame
    landscapes: Mapping[Key, pd.DataFrame]

    @cached_property
    def baselines(self) -> pd.DataFrame:
        return concentration.baseline_table(self.gradients)

    @cached_property
    def concentration(self) -> pd.DataFrame:
        return concentration.concentration_table({key: found[MAIN] for key, found in self.gradients.items()})

    @cached_property
    def half_sizes(self) -> pd.DataFrame:
        return concentration.half_size_table({key: found[MAIN] for key, found in self.gradients.items()})

    @cached_property
    def step_concentration(self) -> pd.DataFrame | None:
        known = {key: found for key, found in self.steps.items() if found is not None}
        return concentration.concentration_table(known) if known else None

    @cached_property
    def landscape_steps(self) -> pd.DataFrame:
        return reduce.landscape_table(self.landscapes)

    @cached_property
    def arms(self) -> pd.DataFrame:
        return reduce.arm_table(self.curves)

    @cached_property
    def repeats(self) -> Repeats:
        return Repeats(
            count=self.settings.num_agents,
            least=LEAST_AGENTS,
            units="agents of the algorithm",
            over="agents",
            unit="number",
        )
