"""The settings of the study, its cells, and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from robustray.tasks.cost import EnvironmentStep, Part, Work
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.policy_gradients.agent_seeds import MOST, Use, cell_seed
from robustray.tasks.policy_gradients.presets import ENVIRONMENTS, preset
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from robustray.tasks.study import Outline, Size

CORNERS = ("ppo", "ppo-m", "trpo+", "trpo")
"""The 2x2: clipped or trust-region step, with and without code-level optimisations."""
UNCLIPPED = ("ppo-noclip", "ppo-unclipped")
"""The paper's PPO-NoClip, which differs from PPO in five to eight settings, and PPO without its clipping alone."""
SCHEDULED = "trpo+scheduled"
"""TRPO+ whose bound on the mean KL moves over the training, as its configurations ask for. In the paper's own runs the
bound stayed where it began: the released schedule changes a number that nothing reads."""
ARMS = (*CORNERS, *UNCLIPPED, SCHEDULED)
SWITCHES: Mapping[str, Mapping[bool, Mapping[str, Any]]] = {
    "value_clip": {True: {"value_clip": 0.2}, False: {"value_clip": None}},
    "reward_scaling": {True: {"reward_filter": "returns"}, False: {"reward_filter": "none"}},
    "orthogonal_init": {True: {"init": "orthogonal"}, False: {"init": "xavier"}},
    "lr_annealing": {True: {"anneal_lr": True}, False: {"anneal_lr": False}},
}
"""The four optimisations that the paper ablates, each on and off, as settings of an agent."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Is PPO's advantage over TRPO its clipped step, or what its implementation does besides? Four corners (step x
    optimisations), two kinds of PPO without clipping, TRPO+ with its schedule, and the 16 cells of four optimisations
    on and off."""

    environments: tuple[str, ...] = ("Hopper-v5",)
    """Environments with their versions (Hopper-v5): any of Hopper, Walker2d and Humanoid, for which the paper's
    settings exist."""
    num_seeds: int = 2
    """Agents of each of the corners, of PPO without clipping and of TRPO+ with its schedule."""
    iterations: int = 3
    """Their updates; learning rates are annealed over these."""
    ablation: bool = True
    """Also train the 16 cells of the ablation."""
    ablation_lrs: tuple[float, ...] = (1e-4, 3e-4)
    """Learning rates of the policy that each cell chooses from; of a single one nothing is chosen."""
    num_selection_seeds: int = 1
    """Agents of each cell and learning rate that the choice is made by. They are in no reported number."""
    num_ablation_seeds: int = 2
    """Agents of each cell, at its chosen learning rate, that are reported; none of them took part in the choice."""
    ablation_iterations: int = 3
    """Updates of the agents of the cells, for choice and report alike."""
    steps: int = 512
    """Environment steps of one update."""
    heldout_every: int = 1
    """Every how many updates KL and ratios of the corners are also measured on steps that no update saw."""
    evaluation_episodes: int = 20
    """Whole episodes that every reported agent plays after its training, with drawn actions and as many with mean ones;
    0: none."""
    seed: int = 0
    """Seed from which every agent of a run gets its own; runs with different seeds share none."""

    def __post_init__(self) -> None:
        checks.several(environments=self.environments, ablation_lrs=self.ablation_lrs)
        for environment in self.environments:
            name, _, version = environment.partition("-v")
            if name not in ENVIRONMENTS or not version.isdecimal():
                raise InputError(
                    f"environments: {environment!r} has no settings in the paper; take "
                    f"{', '.join(f'{known}-v5' for known in ENVIRONMENTS)}"
                )
        checks.counts(
            at_least=1,
            num_seeds=self.num_seeds,
            iterations=self.iterations,
            num_selection_seeds=self.num_selection_seeds,
            num_ablation_seeds=self.num_ablation_seeds,
            ablation_iterations=self.ablation_iterations,
            heldout_every=self.heldout_every,
        )
        for name in ("num_seeds", "num_selection_seeds", "num_ablation_seeds"):
            if getattr(self, name) > MOST:
                raise InputError(f"{name} must be at most {MOST:,}, got {getattr(self, name):,}")
        checks.counts(at_least=32, steps=self.steps)  # one for each of the 32 minibatches
        checks.counts(seed=self.seed, evaluation_episodes=self.evaluation_episodes)
        for lr in self.ablation_lrs:
            checks.positive(ablation_lrs=lr)

    def idle(self) -> Mapping[str, str]:
        """Fields that do nothing beside the others."""
        if self.ablation:
            return {"num_selection_seeds": "there is one learning rate"} if len(self.ablation_lrs) == 1 else {}
        names = ("ablation_lrs", "num_selection_seeds", "num_ablation_seeds", "ablation_iterations")
        return dict.fromkeys(names, "ablation is off")


# --- Cells ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One kind of agent on one environment."""

    environment: str
    name: str
    """Name of a corner, "ppo-m"; or the switches that are on in a cell of the ablation,
    "reward_scaling+lr_annealing"."""
    number: int
    """Its place among all cells of a run: where its seeds begin."""
    settings: PolicyGradient
    on: frozenset[str] = frozenset()
    """The switches that are on, for a cell of the ablation."""


def corner_cells(environments: Sequence[str], *, steps: int) -> list[Cell]:
    """The corners, PPO without clipping and TRPO+ with its schedule, on each environment, by the paper's settings."""
    first = [(environment, name) for environment in environments for name in (*CORNERS, *UNCLIPPED)]
    numbered = list(enumerate(first))
    # The newest arm comes after the ablation, so that every older agent keeps its seed and its place in a store.
    numbered += enumerate(((environment, SCHEDULED) for environment in environments), start=_num_older(environments))
    return [
        Cell(environment=environment, name=name, number=number, settings=_arm(name, environment, steps))
        for number, (environment, name) in numbered
    ]


def _arm(name: str, environment: str, steps: int) -> PolicyGradient:
    if name == "ppo-unclipped":
        return preset("ppo", environment, ratio_clip=None, steps_per_stream=steps)
    if name == SCHEDULED:
        return preset("trpo+", environment, kl_schedule="linear", steps_per_stream=steps)
    return preset(name, environment, steps_per_stream=steps)


def _num_older(environments: Sequence[str]) -> int:
    return (len(CORNERS) + len(UNCLIPPED) + 2 ** len(SWITCHES)) * len(environments)


def ablation_cells(environments: Sequence[str], *, steps: int) -> list[Cell]:
    """The 16 cells of four optimisations on and off, on each environment: PPO as the paper has it otherwise."""
    first = (len(CORNERS) + len(UNCLIPPED)) * len(environments)
    levels = [(environment, on) for environment in environments for on in itertools.product((False, True), repeat=4)]
    cells = []
    for number, (environment, flags) in enumerate(levels, start=first):
        chosen = dict(zip(SWITCHES, flags, strict=True))
        changed = {name: value for switch, on in chosen.items() for name, value in SWITCHES[switch][on].items()}
        on = [switch for switch in SWITCHES if chosen[switch]]
        cells.append(
            Cell(
                environment=environment,
                name="+".join(on) or "none",
                number=number,
                settings=preset("ppo", environment, steps_per_stream=steps, **changed),
                on=frozenset(on),
            )
        )
    return cells


def agent_seed(seed: int, use: Use, cell: Cell, number: int) -> int:
    """Seed of agent `number` of a cell, by `cell_seed`, so that no agent that is reported took part in a choice."""
    return cell_seed(seed, use, cell.number, number)


def agents_of(
    cell: Cell, use: Use, count: int, *, seed: int, iterations: int, heldout_every: int | None = None, **changed: Any
) -> list[AgentSpec]:
    """The agents of a cell for one use, with some of their settings changed: a list for `lab.learn` or for a grid."""
    return [
        AgentSpec(
            environment=cell.environment,
            settings=replace(cell.settings, **changed),
            seed=agent_seed(seed, use, cell, number),
            iterations=iterations,
            heldout_every=heldout_every,
        )
        for number in range(count)
    ]


# --- Sizes ------------------------------------------------------------------------------------------------------------


def quick() -> Settings:
    """robustray run implementation-matters      two CPU cores, a minute: whether everything runs; no verdicts."""
    return Settings()


def small() -> Settings:
    """robustray run implementation-matters --size small      two CPU cores, about two hours; one environment."""
    return Settings(
        num_seeds=10,
        iterations=150,
        num_selection_seeds=2,
        num_ablation_seeds=4,
        ablation_iterations=75,
        steps=2048,
        heldout_every=10,
    )


def paper() -> Settings:
    """The paper's agents: 80 in each corner, five in each cell of the ablation, a million steps each."""
    return Settings(
        environments=("Hopper-v5", "Walker2d-v5", "Humanoid-v5"),
        num_seeds=80,
        iterations=488,
        ablation_lrs=(1e-5, 8e-5, 1.5e-4, 2.2e-4),
        num_selection_seeds=5,
        num_ablation_seeds=5,
        ablation_iterations=488,
        steps=2048,
        heldout_every=10,
    )


SIZES: Mapping[Size, Settings] = {"quick": quick(), "small": small(), "paper": paper()}


def estimate(settings: Settings) -> Work:
    """What `robustray show` says."""
    places = len(settings.environments)
    agents = reported = places * len(ARMS) * settings.num_seeds
    updates = agents * settings.iterations
    if settings.ablation:
        lrs = len(settings.ablation_lrs)
        tried = lrs * settings.num_selection_seeds if lrs > 1 else 0
        ablated = places * 2 ** len(SWITCHES) * (tried + settings.num_ablation_seeds)
        agents += ablated
        reported += places * 2 ** len(SWITCHES) * settings.num_ablation_seeds
        updates += ablated * settings.ablation_iterations
    return Work(
        counts={
            "environment steps": updates * settings.steps,
            "updates": updates,
            "agents": agents,
            "episodes of evaluation": 2 * reported * settings.evaluation_episodes,
        },
        note="Simulator and updates share the time. On Hopper one core does about 3,300 steps a second: "
        f"{updates * settings.steps / 3_300 / 60:,.1f} CPU-minutes, a second for the start of each three agents, and "
        "the evaluations, at 6,000 steps a second and up to 1,000 steps an episode. Humanoid takes about "
        "1.6 times as long.",
        parts=(
            Part(step="learn", items=agents, cost=(TRAINED * updates * settings.steps) / agents + BEGIN),
            Part(step="evaluate", items=2 * reported * settings.evaluation_episodes, cost=COLLECTED * EPISODE),
        ),
        unit=EnvironmentStep(environment=settings.environments[0]),
    )


TRAINED, COLLECTED = 1.6, 1.1
"""Steps of the simulator alone that a step costs with its update, and with the agent that acts; measured on Hopper."""
BEGIN = 1_100
"""The same of the start of an agent, a tenth of a second."""
EPISODE = 60
"""Steps of an evaluation's episode: of agents that have hardly learnt, as at quick size; at most 1,000."""


OUTLINE = Outline(
    name="implementation-matters",
    question="Is PPO's advantage over TRPO its clipped step, or what its implementation does besides?",
    paper="arXiv:2005.12729",
    settings=Settings,
    sizes=SIZES,
    estimate=estimate,
)
