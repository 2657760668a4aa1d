"""The env runner: one environment, one stream at a time, as `rollout` collects it. It has no state worth keeping."""

from __future__ import annotations

from typing import Any

import ray
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable

from robustray.tasks.lab.jobs import fix_kernels, numerics
from robustray.tasks.policy_gradients import files
from robustray.tasks.policy_gradients.agent import Agent
from robustray.tasks.policy_gradients.environments import Environment, EnvironmentFailed, open_environment
from robustray.tasks.policy_gradients.episodes import OpenEpisode
from robustray.tasks.policy_gradients.filters import Snapshot
from robustray.tasks.policy_gradients.rollout import HELD_OUT, TRAINING, Rollout, rollout
from robustray.tasks.policy_gradients.state import AgentState

Sent = tuple[Any, Snapshot, tuple[OpenEpisode | None, ...]]
"""Weights, filters and open episodes of an agent: what the rollouts of an update are made from."""


def sent_of(state: AgentState) -> Sent:
    return state.policy, state.filters, state.open_episodes


class StreamEnvRunner(EnvRunner, Checkpointable):
    """Collects what it is asked for, from what it is sent: whoever restarts it has nothing to restore."""

    config: Any
    env: Any

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        fix_kernels()
        super().__init__(config=config, **kwargs)
        self.environment: Environment | None = None
        self._spaces = kwargs.get("spaces")
        if self.worker_index or not self.num_workers or config.create_env_on_local_worker:
            self.make_env()

    @ray.method
    def collect(self, stream: int, update: int, sent: Sent, held_out: bool) -> Rollout | str:
        """Collect the steps of one stream. An error of the environment is returned as text, because RLlib would restart
        the runner and try the same again if it were raised."""
        assert self.environment is not None, "the local runner of an algorithm with remote ones has no environment"
        policy, filters, episodes = sent
        try:
            with numerics(1):
                return rollout(
                    self.environment,
                    self.config.agent_spec,
                    policy,
                    filters,
                    update=update,
                    stream=stream,
                    purpose=HELD_OUT if held_out else TRAINING,
                    learn=not held_out,
                    episode=episodes[stream] if episodes and not held_out else None,
                )
        except EnvironmentFailed as error:
            return str(error)

    @ray.method
    def play(self, state: bytes, episodes: list[int], seed: int, deterministic: bool) -> list[dict[str, Any]]:
        """Whole episodes of an agent, with its filters frozen. Raises: EnvironmentFailed."""
        assert self.environment is not None
        agent = Agent(files.state_of(state))
        return [agent.play(self.environment, number, seed, deterministic) for number in episodes]

    def make_env(self) -> None:
        if self.environment is not None:
            self.environment.close()
        self.environment = self.env = open_environment(
            self.config.environment_name, clip_actions=self.config.clip_actions
        )

    def get_spaces(self) -> dict[str, Any]:
        spaces = self.environment.spaces if self.environment is not None else (self._spaces or {})[DEFAULT_MODULE_ID]
        return {INPUT_ENV_SPACES: spaces, DEFAULT_MODULE_ID: spaces}

    def assert_healthy(self) -> None:
        assert self.environment is not None or self.num_workers

    def stop(self) -> None:
        if self.environment is not None:
            self.environment.close()

    # --- What RLlib's frame asks for and ours does elsewhere ----------------------------------------------------------

    def make_module(self) -> None:
        """Make no module: weights come with each request."""

    def sample(self, **kwargs: Any) -> Any:
        raise NotImplementedError("training asks for `collect`, evaluation for `play`")

    def get_metrics(self) -> Any:
        return self.metrics.reduce()

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        return {}

    def set_state(self, state: Any) -> None:
        del state

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (), {"config": self.config, "worker_index": self.worker_index, "num_workers": self.num_workers}
