"""The settings of the study, its agents, its pools, and its three sizes. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from robustray.tasks.cost import EnvironmentStep, Part, Work
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.policy_gradients.agent_seeds import MOST, TRPO_CELL, cell_seed
from robustray.tasks.policy_gradients.presets import ENVIRONMENTS, preset
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from robustray.tasks.study import Outline, Size

ALGORITHMS = ("ppo", "trpo")
_LEARNING_RATES: Mapping[str, tuple[float, float]] = {
    "Hopper": (4.5e-4, 2e-4),
    "Walker2d": (4e-4, 3e-4),
    "Humanoid": (2.5e-4, 1e-4),
}
"""Learning rates of PPO's policy and value network in this paper's table 1. TRPO, and everything else, is as in
arXiv:2005.12729."""
KINDS: Mapping[str, tuple[Literal["agent", "true", "none"], float | None]] = {
    "agent": ("agent", None),
    "agent, λ = 1": ("agent", 1.0),
    "true": ("true", None),
    "true, λ = 1": ("true", 1.0),
    "none": ("none", None),
}
"""Kinds of advantages: the value function in them (the agent's; the one fitted to many more steps, taken for the true
one; or none, which leaves discounted returns, whose mean is taken out by standardising), and GAE's λ (None: the
agent's). At λ = 1 a value function changes only the variance of an estimate; below 1 it also changes what is estimated.
The first kind is what the algorithms use."""
SOURCES = ("an update's steps", "many steps")
"""What the step of a landscape is made from: as many steps as an update has, or those behind the "true" gradient."""
ARMS: Mapping[str, Mapping[str, Any]] = {
    "as in the paper": {},
    "without a baseline": {"advantage": "returns"},
    "bootstrap at time limits": {"bootstrap": "correct"},
}
"""Trainings beside each other; the first one's agents are those that are looked at."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure how well deep policy gradient methods do what they are derived from: how far estimates of the gradient
    agree, how well the value function predicts, and whether the objective that a step climbs is the reward."""

    environment: str = "Hopper-v5"
    """Environment with its version: one of Hopper, Walker2d and Humanoid, for which the paper's settings exist."""
    algorithms: tuple[str, ...] = ALGORITHMS
    """Which of ppo and trpo are trained."""
    num_agents: int = 1
    """Agents of each algorithm."""
    iterations: int = 12
    """Updates of each agent."""
    update_steps: int = 1024
    """Environment steps of one update, and of one block of a pool."""
    milestones: tuple[float, ...] = (0.0, 0.92)
    """Shares of the training at which agents are looked at; 0 is the untrained agent."""
    arms: bool = True
    """Also train agents without a baseline, and agents that bootstrap at time limits and at the end of a rollout."""
    heldout_every: int = 4
    """Every how many updates of a training KL, ratios and value errors are also measured on held-out steps."""
    sample_sizes: tuple[int, ...] = (256, 1024, 2048)
    """Steps behind an estimate of the gradient, ascending."""
    num_repeats: int = 8
    """Independent estimates of each size."""
    truth_blocks: int = 16
    """Blocks behind the gradient that is taken for the true one, and behind the large step of a landscape."""
    fit_blocks: int = 8
    """Blocks behind the value function that is taken for the true one. No gradient is estimated from them."""
    heldout_blocks: int = 2
    """Blocks on which value functions are judged, and the surrogate that a step has not seen."""
    landscape: tuple[float, ...] = (0.0, 1.0, 3.0)
    """Places along the step that the algorithm takes, at every milestone of every agent; and, at the last one, along a
    random direction, too: a grid."""
    landscape_agents: int = 1
    """Agents of each algorithm that get a grid; the others get the line along the step."""
    landscape_steps: int = 512
    """Environment steps behind the reward at a point."""
    seed: int = 0
    """Runs with different seeds share no agent."""

    def __post_init__(self) -> None:
        name, _, version = self.environment.partition("-v")
        if name not in ENVIRONMENTS or not version.isdecimal():
            raise InputError(
                f"environment: {self.environment!r} has no settings in the paper; take "
                f"{', '.join(f'{known}-v5' for known in ENVIRONMENTS)}"
            )
        checks.several(algorithms=self.algorithms, milestones=self.milestones, landscape=self.landscape)
        checks.choices(ALGORITHMS, algorithms=self.algorithms)
        for share in self.milestones:
            checks.shares(ends="[)", milestones=share)
        if list(self.milestones) != sorted(self.milestones):
            raise InputError(f"milestones must ascend, got {', '.join(f'{share:g}' for share in self.milestones)}")
        checks.ascending(sample_sizes=self.sample_sizes)
        checks.counts(at_least=32, update_steps=self.update_steps)  # one for each of the 32 minibatches
        checks.counts(at_least=2, truth_blocks=self.truth_blocks, fit_blocks=self.fit_blocks)
        checks.counts(at_least=3, num_repeats=self.num_repeats)
        checks.counts(
            at_least=1,
            num_agents=self.num_agents,
            iterations=self.iterations,
            heldout_blocks=self.heldout_blocks,
            landscape_steps=self.landscape_steps,
            heldout_every=self.heldout_every,
        )
        checks.counts(seed=self.seed, landscape_agents=self.landscape_agents)
        if self.num_agents > MOST:
            raise InputError(f"num_agents must be at most {MOST:,}, got {self.num_agents:,}")
        steps = self.update_steps
        if len(self.sample_sizes) < 2 or any(size > steps and size % steps for size in self.sample_sizes):
            raise InputError(
                f"sample_sizes: {', '.join(map(str, self.sample_sizes))} must be two or more, those above an update's "
                f"{steps} steps in whole multiples of them"
            )
        if len(set(self.updates)) < len(self.milestones):
            raise InputError(
                f"milestones: two of {', '.join(f'{share:g}' for share in self.milestones)} are the same of "
                f"{self.iterations} iterations: {', '.join(map(str, self.updates))}"
            )
        for place in self.landscape:
            checks.sizes(landscape=place)
        if not {0.0, 1.0} <= set(self.landscape) or list(self.landscape) != sorted(self.landscape):
            raise InputError("landscape must ascend, and have 0 (the policy as it is) and 1 (the step that is taken)")

    @property
    def updates(self) -> tuple[int, ...]:
        """Before which agents are looked at."""
        return tuple(math.floor(share * self.iterations) for share in self.milestones)

    @property
    def parts(self) -> Parts:
        return Parts(
            per_repeat=math.ceil(self.sample_sizes[-1] / self.update_steps),
            repeats=self.num_repeats,
            truth_blocks=self.truth_blocks,
            fit_blocks=self.fit_blocks,
            heldout_blocks=self.heldout_blocks,
        )

    @property
    def step_sizes(self) -> tuple[int, ...]:
        """Steps behind an estimate of the algorithm's step: not fewer than an update has."""
        return tuple(size for size in self.sample_sizes if size >= self.update_steps)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """How the blocks of a pool are divided: what is compared shares no step."""

    per_repeat: int
    repeats: int
    truth_blocks: int
    fit_blocks: int
    heldout_blocks: int

    @property
    def truth(self) -> range:
        first = self.repeats * self.per_repeat
        return range(first, first + self.truth_blocks)

    @property
    def fit(self) -> range:
        return range(self.truth.stop, self.truth.stop + self.fit_blocks)

    @property
    def update(self) -> int:
        """The block that the value function is fitted on and the step is made from, as in a training."""
        return self.fit.stop

    @property
    def heldout(self) -> range:
        return range(self.update + 1, self.update + 1 + self.heldout_blocks)

    @property
    def num_blocks(self) -> int:
        return self.heldout.stop

    def repeat(self, number: int) -> int:
        """First block of a repetition."""
        return number * self.per_repeat


def agent_settings(algorithm: str, environment: str, *, update_steps: int = 2048) -> PolicyGradient:
    """Settings of an algorithm as in the paper's table 1, with the given number of steps for an update."""
    if algorithm == "trpo":
        return preset("trpo", environment, steps_per_stream=update_steps)
    policy_lr, value_lr = _LEARNING_RATES[environment.partition("-v")[0]]
    return preset("ppo", environment, policy_lr=policy_lr, value_lr=value_lr, steps_per_stream=update_steps)


def agent_specs(settings: Settings) -> dict[tuple[str, str, int], AgentSpec]:
    """(arm, algorithm, number) -> agent. Only those of the first arm have milestones."""
    arms = list(ARMS) if settings.arms else list(ARMS)[:1]
    return {
        (arm, algorithm, number): AgentSpec(
            environment=settings.environment,
            settings=replace(
                agent_settings(algorithm, settings.environment, update_steps=settings.update_steps), **ARMS[arm]
            ),
            seed=_seed(settings.seed, place, algorithm, number),
            iterations=settings.iterations,
            milestones=() if place else settings.updates,
            heldout_every=settings.heldout_every,
        )
        for place, arm in enumerate(arms)
        for algorithm in settings.algorithms
        for number in range(settings.num_agents)
    }


def _seed(seed: int, arm: int, algorithm: str, number: int) -> int:
    """TRPO's agents of the first arm are those of the study implementation-matters, which so are trained once."""
    if algorithm == "trpo" and not arm:
        return cell_seed(seed, "report", TRPO_CELL, number)
    return ((seed * len(ARMS) + arm) * len(ALGORITHMS) + ALGORITHMS.index(algorithm)) * MOST + number


def quick() -> Settings:
    """robustray run closer-look      two CPU cores, a minute: two small agents, one look early and one late."""
    return Settings()


def small() -> Settings:
    """robustray run closer-look --size small      two CPU cores, about a quarter of an hour: three agents of each."""
    return Settings(
        num_agents=3,
        iterations=150,
        update_steps=2048,
        milestones=(0.0, 0.31, 0.61, 0.92),
        sample_sizes=(512, 2048, 4096, 8192),
        num_repeats=10,
        heldout_every=10,
        truth_blocks=30,
        fit_blocks=20,
        heldout_blocks=6,
        landscape=(0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
        landscape_steps=2048,
    )


def paper() -> Settings:
    """The paper's lengths: 488 updates, estimates from up to half a million steps against one from a million."""
    return Settings(
        num_agents=10,
        iterations=488,
        update_steps=2048,
        milestones=(0.0, 0.31, 0.61, 0.92),
        sample_sizes=(512, 2048, 8192, 32_768, 131_072, 524_288),
        num_repeats=10,
        heldout_every=10,
        truth_blocks=488,
        fit_blocks=2441,
        heldout_blocks=10,
        landscape=(0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
        landscape_steps=1_000_000,
    )


SIZES: Mapping[Size, Settings] = {"quick": quick(), "small": small(), "paper": paper()}


def estimate(settings: Settings) -> Work:
    """What `robustray show` says."""
    agents = len(settings.algorithms) * settings.num_agents
    looks = agents * len(settings.updates)
    trained = agents * (len(ARMS) if settings.arms else 1) * settings.iterations * settings.update_steps
    pooled = looks * settings.parts.num_blocks * settings.update_steps
    side = len(settings.landscape)
    grids = len(settings.algorithms) * min(settings.landscape_agents, settings.num_agents)
    drawn = 2 * (looks * side + grids * 2 * side * (side - 1)) * settings.landscape_steps
    return Work(
        counts={
            "environment steps in pools": pooled,
            "environment steps in landscapes": drawn,
            "environment steps in trainings": trained,
        },
        note="The simulator dominates. On Hopper one core collects about 6,000 steps a second and trains on 3,300: "
        f"{((pooled + drawn) / 6_000 + trained / 3_300) / 60:,.1f} CPU-minutes; Humanoid takes about twice as long.",
        parts=plan(settings),
        unit=EnvironmentStep(environment=settings.environment),
    )


TRAINED, COLLECTED, DRAWN, PASSED = 1.6, 1.1, 1.9, 0.1
"""Steps of the simulator alone that a step costs: with its update, in a pool, in a landscape, and in a gradient of a
pool; measured on Hopper at quick size."""


def plan(settings: Settings) -> tuple[Part, ...]:
    """The steps of a run."""
    looks = len(settings.algorithms) * settings.num_agents * len(settings.updates)
    steps, side = settings.update_steps, len(settings.landscape)
    grids = len(settings.algorithms) * min(settings.landscape_agents, settings.num_agents)
    drawn = 2 * (looks * side + grids * 2 * side * (side - 1))
    truth = 2 * settings.truth_blocks * steps

    def estimates(sizes: Sequence[int]) -> tuple[int, float]:
        """Gradients of an agent, and the mean number of steps behind each."""
        number = len(sizes) * settings.num_repeats + 3
        return number, (settings.num_repeats * sum(sizes) + truth) / number

    (gradients, behind), (walked, before) = estimates(settings.sample_sizes), estimates(settings.step_sizes)
    return (
        Part(step="learn", items=len(agent_specs(settings)), cost=TRAINED * settings.iterations * steps),
        Part(step="collect", items=looks * settings.parts.num_blocks, cost=COLLECTED * steps),
        Part(step="truth", items=looks, cost=3 * PASSED * settings.fit_blocks * steps),
        Part(step="gradients", items=looks * gradients, cost=PASSED * behind),
        Part(step="steps", items=looks * (walked + 1), cost=PASSED * before),
        Part(step="values", items=looks, cost=PASSED * settings.fit_blocks * steps),
        Part(step="landscape", items=drawn, cost=DRAWN * settings.landscape_steps),
    )


OUTLINE = Outline(
    name="closer-look",
    question="Do deep policy gradient methods do what they are derived from: follow the gradient, use the value "
    "function, climb the reward?",
    paper="arXiv:1811.02553",
    settings=Settings,
    sizes=SIZES,
    estimate=estimate,
)
