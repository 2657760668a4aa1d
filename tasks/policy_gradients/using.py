"""What a user does with stored agents: find them, evaluate one with an interval, export one. Works without Ray."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustray.tasks.errors import InputError
from robustray.tasks.lab import keys
from robustray.tasks.lab.store import Store
from robustray.tasks.policy_gradients import files
from robustray.tasks.policy_gradients.agent import Agent
from robustray.tasks.policy_gradients.environments import is_repeatable, library_versions
from robustray.tasks.statistics import Estimate, mean_interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Whole episodes of one agent."""

    environment: str
    seed: int
    deterministic: bool
    episodes: pd.DataFrame
    """Episodes as `Agent.evaluate` gives them."""
    mean_return: Estimate
    """Student's t over episodes, which are independent. Of this agent; other trainings differ by more."""
    warnings: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """JSON values; the limits of a single episode are null."""
        limits = [limit if math.isfinite(limit) else None for limit in self.mean_return.interval]
        return {
            "environment": self.environment,
            "seed": self.seed,
            "deterministic": self.deterministic,
            "mean_return": {"value": self.mean_return.value, "interval": limits, "n": self.mean_return.n},
            "episodes": self.episodes.to_dict(orient="records"),
            "warnings": list(self.warnings),
        }


def evaluate(
    agent: Agent, environment: str | None = None, *, episodes: int, seed: int, deterministic: bool = False
) -> Evaluation:
    """Result of `Agent.evaluate`, its means with intervals, and the reasons not to compare them.

    Raises: InputError; EnvironmentFailed.
    """
    rows = agent.evaluate(environment, episodes, seed, deterministic=deterministic)
    name = environment or agent.state.spec.environment
    warnings = []
    if not is_repeatable(name):
        warnings.append(f"{name} gives other numbers for the same seed: these episodes cannot be played again")
    for package, now in library_versions().items():
        then = agent.versions.get(package, now)
        if then != now:
            warnings.append(
                f"the agent was trained with {package} {then}, here is {now}: its environment may be another one"
            )
    return Evaluation(
        environment=name,
        seed=seed,
        deterministic=deterministic,
        episodes=rows,
        mean_return=mean_interval(rows["episode_return"]),
        warnings=tuple(warnings),
    )


def about(agent: Agent) -> dict[str, Any]:
    """What an agent is, as JSON values."""
    state = agent.state
    return {
        "step": state.spec.settings.step,
        "environment": state.spec.environment,
        "seed": state.spec.seed,
        "update": state.updates_done,
        "iterations": state.spec.iterations,
        "env_steps": state.env_steps,
        "repeatable": state.repeatable,
        "versions": dict(agent.versions),
    }


def list_agents(store: Store) -> list[dict[str, Any]]:
    """Agents of a store by their keys: `about` the last state that is whole and that this version can read, and `kept`,
    the updates before which there is a state. One without such a state is left out."""
    found = []
    for key in store.folders(files.FOLDER):
        states = [file for file in files.list_files(store, key) if file.kind == "state"]
        for file in sorted(states, key=lambda file: file.update, reverse=True):
            data = files.read_file(store, file)
            if data is None:
                continue
            try:
                agent = Agent(files.state_of(data), files.versions_of(data))
            except ValueError:  # of another version, whose settings this one does not know
                continue
            found.append({"key": key, **about(agent), "kept": sorted({state.update for state in states})})
            break
    return found


def export(agent: Agent, folder: Path) -> tuple[Path, Path]:
    """policy.safetensors, a plain PyTorch module (`export.load_policy`), and agent.json: what it is, its whole spec.

    Raises: InputError for a folder that cannot be made.
    """
    from robustray.tasks.policy_gradients.export import save_policy

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"export to {folder}: {error.strerror}") from error
    policy, described = folder / "policy.safetensors", folder / "agent.json"
    save_policy(agent, policy)
    shape = dataclasses.asdict(agent.state.shape)
    whole = {**about(agent), "spec": keys.plain(agent.state.spec), "shape": shape}
    described.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return policy, described
