"""The whole state of an agent before an update: written to a file and read back, its training continues to the same
bits.

Random numbers are functions of (seed, purpose, update, stream), so no generator is part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.lab import seeds
from robustray.tasks.policy_gradients.adam import Adam
from robustray.tasks.policy_gradients.environments import EnvironmentShape
from robustray.tasks.policy_gradients.episodes import OpenEpisode
from robustray.tasks.policy_gradients.filters import Moments, Snapshot
from robustray.tasks.policy_gradients.mlp import Layout, initial_weights
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient


class AgentDiverged(RuntimeError):
    """A weight was not finite after an update."""


def policy_layout(settings: PolicyGradient, shape: EnvironmentShape) -> Layout:
    head = shape.head
    sizes = (shape.num_inputs, *settings.hidden, head.num_outputs)
    return Layout(sizes=sizes, activation=settings.activation, extra=head.num_free)


def value_layout(settings: PolicyGradient, shape: EnvironmentShape) -> Layout:
    return Layout(sizes=(shape.num_inputs, *settings.hidden, 1), activation=settings.activation)


@dataclass(kw_only=True, eq=False)
class AgentState:
    """Networks, optimizers, filters and position. `updates_done` drives every schedule and every seed."""

    spec: AgentSpec
    shape: EnvironmentShape
    policy: NDArray[np.float32]
    """Flat parameters of the policy, as `policy_layout` says."""
    value: NDArray[np.float32]
    policy_adam: Adam
    """Unused by TRPO."""
    value_adam: Adam
    filters: Snapshot
    open_episodes: tuple[OpenEpisode | None, ...] = ()
    """For each stream the episode that it continues; empty before the first update, and where streams begin with a
    reset."""
    updates_done: int = 0
    env_steps: int = 0
    """Environment steps that updates learned from."""
    repeatable: bool = True
    """False where its environment was seen to give other numbers for the same seed."""

    @staticmethod
    def start(spec: AgentSpec, shape: EnvironmentShape) -> AgentState:
        settings = spec.settings
        layouts = {"policy": policy_layout(settings, shape), "value": value_layout(settings, shape)}
        gains = {"policy": 0.01, "value": 1.0}
        flat = {
            name: initial_weights(
                layout, settings.init, seeds.stream(spec.seed, f"initial {name}"), head_gain=gains[name]
            )
            for name, layout in layouts.items()
        }
        return AgentState(
            spec=spec,
            shape=shape,
            policy=flat["policy"],
            value=flat["value"],
            policy_adam=Adam.fresh(flat["policy"]),
            value_adam=Adam.fresh(flat["value"]),
            filters=Snapshot.start(shape.num_inputs, settings.num_streams),
        )

    @property
    def step(self) -> int:
        """Position, for checkpoints."""
        return self.updates_done

    def open_episode(self, stream: int) -> OpenEpisode | None:
        """The episode that a stream continues; None where it begins with a reset."""
        return self.open_episodes[stream] if self.open_episodes else None

    def refuse_non_finite(self) -> None:
        """Raises: AgentDiverged."""
        if not (np.isfinite(self.policy).all() and np.isfinite(self.value).all()):
            raise AgentDiverged(
                f"{self.spec.environment}, seed {self.spec.seed}: weights are not finite after update "
                f"{self.updates_done} of {self.spec.iterations}; lower policy_lr or value_lr"
            )

    # --- Written down -------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that is numbers, by name."""
        found: dict[str, NDArray[Any]] = {}
        for name, flat, layout in self._networks():
            tensors = [tensor for pair in layout.layers(flat) for tensor in pair]
            found |= {f"{name}/{key}": tensor for key, tensor in zip(layout.names(), tensors, strict=True)}
            if layout.extra:
                found[f"{name}/log_std"] = layout.free(flat)
        for name, adam in (("policy_adam", self.policy_adam), ("value_adam", self.value_adam)):
            found |= {f"{name}/first": adam.first, f"{name}/second": adam.second}
        for name, moments in (("observations", self.filters.observations), ("rewards", self.filters.rewards)):
            found |= {f"{name}/mean": moments.mean, f"{name}/squares": moments.squares}
        found["rewards/discounted"] = self.filters.discounted
        for stream, episode in enumerate(self.open_episodes):
            if episode is not None:
                found[f"episode-{stream}/actions"] = episode.actions
                found[f"episode-{stream}/observation"] = episode.observation
        return {name: np.ascontiguousarray(array) for name, array in found.items()}

    def record(self) -> dict[str, Any]:
        """Everything else, as JSON values."""
        about: dict[str, Any] = {
            "updates_done": self.updates_done,
            "env_steps": self.env_steps,
            "repeatable": self.repeatable,
            "adam_steps": {"policy": self.policy_adam.steps, "value": self.value_adam.steps},
            "counts": {
                "observations": self.filters.observations.count,
                "rewards": self.filters.rewards.count,
            },
        }
        if self.spec.settings.continue_streams:
            about["open_episodes"] = [
                None if episode is None else {"seed": episode.seed, "episode_return": episode.episode_return}
                for episode in self.open_episodes
            ]
        return about

    def load(self, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> None:
        """Become what was written down by `arrays` and `record` of a state of the same spec."""
        for name, flat, layout in self._networks():
            tensors = [tensor for pair in layout.layers(flat) for tensor in pair]
            for key, tensor in zip(layout.names(), tensors, strict=True):
                tensor[...] = arrays[f"{name}/{key}"]
            if layout.extra:
                layout.free(flat)[...] = arrays[f"{name}/log_std"]
        for name, adam in (("policy", self.policy_adam), ("value", self.value_adam)):
            adam.first[...], adam.second[...] = arrays[f"{name}_adam/first"], arrays[f"{name}_adam/second"]
            adam.steps = record["adam_steps"][name]
        moments = {
            name: Moments(
                count=record["counts"][name],
                mean=np.array(arrays[f"{name}/mean"]),
                squares=np.array(arrays[f"{name}/squares"]),
            )
            for name in ("observations", "rewards")
        }
        self.filters = Snapshot(**moments, discounted=np.array(arrays["rewards/discounted"]))
        if self.spec.settings.continue_streams:
            self.open_episodes = tuple(
                about
                and OpenEpisode(
                    actions=np.array(arrays[f"episode-{stream}/actions"]),
                    observation=np.array(arrays[f"episode-{stream}/observation"]),
                    **about,
                )
                for stream, about in enumerate(record["open_episodes"])
            )
        self.updates_done, self.env_steps = record["updates_done"], record["env_steps"]
        self.repeatable = record["repeatable"]

    def _networks(self) -> tuple[tuple[str, NDArray[np.float32], Layout], ...]:
        settings = self.spec.settings
        return (
            ("policy", self.policy, policy_layout(settings, self.shape)),
            ("value", self.value, value_layout(settings, self.shape)),
        )
