"""Using a trained agent: act, evaluate, and refer to it in later steps. No Ray, no torch.

agent = load_agent("path/to/state-000488-....safetensors")
action = agent.act(observation)
agent.evaluate(episodes=20, seed=1)["episode_return"].mean()
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.lab import seeds
from robustray.tasks.lab.store import Store, sha256
from robustray.tasks.policy_gradients import files
from robustray.tasks.policy_gradients.environments import (
    Environment,
    EnvironmentFailed,
    environment_modules,
    open_environment,
)
from robustray.tasks.policy_gradients.filters import ObservationFilter, Snapshot
from robustray.tasks.policy_gradients.loop import LocalCollector
from robustray.tasks.policy_gradients.mlp import forward_one
from robustray.tasks.policy_gradients.state import AgentState, policy_layout
from robustray.tasks.policy_gradients.update import merged

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.policy_gradients.clips import Clip

MAX_STEPS = 1_000_000
"""An episode of an evaluation that is longer than this is taken to have no end."""


class Agent:
    """An agent as it was before one of its updates. Nothing here changes it."""

    def __init__(self, state: AgentState, versions: Mapping[str, str] | None = None) -> None:
        self.state = state
        """Networks, optimizers and filters, for analyses. Copy what you want to change."""
        self.versions = versions or {}
        """Simulators that it was trained in, where that is known: Hopper of another MuJoCo is another Hopper."""
        layout = policy_layout(state.spec.settings, state.shape)
        self._layers, self._free = layout.layers(state.policy), layout.free(state.policy)
        self._to_action = state.shape.action_rule(clip=state.spec.settings.clip_actions)
        self._noise = seeds.stream(state.spec.seed, "actions of a loaded agent", state.updates_done)

    def act(self, observation: ArrayLike, deterministic: bool = True) -> Any:
        """The action for one raw observation, as the environment takes it: an array of its box, clipped if the agent
        was trained so, or one of its choices. Filters are frozen.

        deterministic: the mean, or the most probable choice; else a draw, from a generator of this object.

        Raises: InputError for an observation of another size, or one that is not finite.
        """
        raw = np.asarray(observation, dtype=np.float64).reshape(-1)
        if len(raw) != self.state.shape.num_inputs or not np.isfinite(raw).all():
            raise InputError(
                f"observation: {self.state.shape.num_inputs} finite numbers are expected, got shape "
                f"{np.shape(observation)}"
            )
        return self._to_action(self._act(raw, deterministic, self._noise))

    def evaluate(
        self,
        environment: str | None = None,
        episodes: int = 10,
        seed: int = 0,
        *,
        deterministic: bool = False,
    ) -> pd.DataFrame:
        """Whole episodes in the agent's own environment, or another one of the same shape: columns episode, seed (of
        its reset), length, episode_return (undiscounted, raw), terminated. By default actions are drawn, as in
        training.

        An episode depends on (seed, its number) only. Raises: InputError; EnvironmentFailed.
        """
        import pandas as pd

        if episodes < 1 or seed < 0:
            raise InputError(f"episodes must be at least 1 and seed not negative, got {episodes} and {seed}")
        with contextlib.closing(self.open(environment)) as opened:
            return pd.DataFrame([self.play(opened, number, seed, deterministic) for number in range(episodes)])

    def render(
        self,
        path: str | Path,
        environment: str | None = None,
        steps: int = 1000,
        seed: int = 0,
        *,
        deterministic: bool = False,
    ) -> Clip:
        """A clip of `steps` steps, "hopper.gif" or an animated "hopper.png": the episodes of `evaluate` with this seed,
        one after another.

        Raises: InputError, with what is needed, where the environment cannot be drawn; EnvironmentFailed.
        """
        from robustray.tasks.policy_gradients.clips import render

        return render(self, Path(path), environment, steps=steps, seed=seed, deterministic=deterministic)

    def open(self, environment: str | None = None, *, drawn: bool = False) -> Environment:
        """Its own environment, or another one that it can act in. Raises: InputError."""
        spec = self.state.spec
        opened = open_environment(environment or spec.environment, clip_actions=spec.settings.clip_actions, drawn=drawn)
        if not opened.shape.fits(self.state.shape):
            opened.close()
            raise InputError(
                f"environment {opened.name}: the agent was made for other observations or actions "
                f"({self.state.shape}, not {opened.shape})"
            )
        return opened

    @cached_property
    def filters(self) -> Snapshot:
        """What it standardises with. An untrained agent has seen nothing: its filters are those that its first rollouts
        leave, which collects one update's steps in its own environment."""
        settings = self.state.spec.settings
        if self.state.filters.observations.count or not settings.normalise_observations:
            return self.state.filters
        environment = open_environment(self.state.spec.environment, clip_actions=settings.clip_actions)
        try:
            rollouts, _ = LocalCollector(environment)(self.state, held_out=False)
        finally:
            environment.close()
        return merged(self.state.filters, rollouts)

    @cached_property
    def _observe(self) -> ObservationFilter:
        return ObservationFilter(self.state.spec.settings, self.filters.observations, frozen=True)

    def _act(self, raw: NDArray[np.float64], deterministic: bool, rng: np.random.Generator) -> NDArray[Any]:
        head, relu = self.state.shape.head, self.state.spec.settings.activation == "relu"
        output = forward_one(self._layers, self._observe(raw), relu=relu)
        return head.mode(output) if deterministic else head.act(output, self._free, head.noise(rng, 1)[0])

    def play(self, environment: Environment, number: int, seed: int, deterministic: bool) -> dict[str, Any]:
        """One episode: a row of `evaluate`. Raises: EnvironmentFailed, also for one that does not end."""
        for row in self.steps(environment, number, seed, deterministic):  # noqa: B007, the last one is wanted
            pass
        return row

    def steps(self, environment: Environment, number: int, seed: int, deterministic: bool) -> Iterator[dict[str, Any]]:
        """The row of an episode after the reset, and after each of its steps."""
        rng = seeds.stream(seed, "evaluation", number)
        reset = int(rng.integers(2**31 - 1))
        seen, total, terminated, truncated = environment.reset(seed=reset), 0.0, False, False
        for length in itertools.count():
            yield {
                "episode": number,
                "seed": reset,
                "length": length,
                "episode_return": total,
                "terminated": terminated,
            }
            if terminated or truncated:
                return
            if length == MAX_STEPS:
                raise EnvironmentFailed(
                    f"environment {environment.name}: an episode has not ended after {MAX_STEPS:,} steps; register it "
                    "with max_episode_steps"
                )
            seen, reward, terminated, truncated = environment.step(self._act(seen, deterministic, rng))
            total += reward


@dataclass(frozen=True, kw_only=True)
class AgentRef:
    """A state of an agent: a `robustray.tasks.lab.protocol.Reference` whose object is an `Agent`."""

    file: files.AgentFile
    environment: str
    store: Store | None = field(repr=False, compare=False)
    """Where the driver reads it; stays behind when the reference travels to a worker."""

    @property
    def name(self) -> str:
        return f"agent:{self.file.key}@{self.file.update}"

    @property
    def update(self) -> int:
        return self.file.update

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of the state's own hash: its bytes are the same wherever it was trained."""
        return sha256(f"agent {self.file.sha}".encode())

    @property
    def modules(self) -> tuple[str, ...]:
        """Roots of CODE: the agent, and the user's own environment."""
        return (f"{__name__}:{AgentRef.__name__}", *environment_modules(self.environment))

    def fetch(self) -> bytes:
        """The file. Raises: WorkFailed when it was removed or damaged."""
        assert self.store is not None, "references that have travelled to a worker bring no store"
        data = files.read_file(self.store, self.file)
        if data is None:
            raise WorkFailed(f"{self.name}: {self.file.name} is gone or damaged; run the same command again")
        return data

    def build(self, payload: bytes, device: str) -> Agent:
        """Build the agent, on the CPU whatever the device."""
        return _agent_of(bytes(payload))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "store": None}


def load_agent(name: str | Path, *, store: str | Path = "runs") -> Agent:
    """An agent by the path of a state, or by its key in a store: "KEY" is the last state that is stored there,
    "KEY@150" the one before update 150.

    Raises: InputError when there is none, when it is damaged, or when another version wrote it that this one can't
    read.
    """
    path = Path(name)
    if path.suffix == ".safetensors":
        try:
            data = path.read_bytes()
            if not files.is_whole(path.name, data):
                raise ValueError("its bytes are not those that its name promises: it is damaged, or was renamed")
            return _agent_of(data)
        except (OSError, ValueError) as error:
            raise InputError(f"agent {name}: {str(error).strip().splitlines()[0]}") from error
    key, _, update = str(name).removeprefix("agent:").partition("@")
    place = Store(store)
    states = [file for file in files.list_files(place, key) if file.kind == "state"]
    if not states:
        raise InputError(f"agent {name}: no such agent in {place.url}; give the path of a state, or another store")
    last = str(max(file.update for file in states))
    wanted = [file for file in states if str(file.update) == (update or last)]
    for found in place.newest([file.name for file in wanted]):
        kept = files.read_file(place, next(file for file in wanted if file.name == found))
        if kept is not None:
            try:
                return _agent_of(kept)
            except ValueError as error:
                raise InputError(f"agent {name}: {error}; another version of robustray wrote it") from error
    others = ", ".join(sorted({str(file.update) for file in states if file not in wanted}, key=int))
    problem = f"its state before update {update or last} is damaged" if wanted else f"no state before update {update}"
    rest = f"kept are those before update {others}" if others else "no other is kept"
    raise InputError(f"agent {name}: {problem}; {rest}")


def _agent_of(data: bytes) -> Agent:
    return Agent(files.state_of(data), files.versions_of(data))
