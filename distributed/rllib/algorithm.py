"""The algorithms: RLlib's outer frame around `rollout` and `update` of `tasks/policy_gradients/`."""

from __future__ import annotations

import math
import tempfile
import time
from typing import Any

import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_AGENT_ID, DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MEAN,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    TIMERS,
)

from robustray.distributed.rllib.collecting import RemoteCollector
from robustray.distributed.rllib.config import PolicyGradientConfig, PPOConfig, TRPOConfig
from robustray.distributed.rllib.learner import PolicyGradientLearner, RolloutData
from robustray.distributed.rllib.runner import sent_of
from robustray.tasks.errors import InputError
from robustray.tasks.kit.words import plural
from robustray.tasks.lab.jobs import fix_kernels, numerics
from robustray.tasks.policy_gradients.environments import EnvironmentFailed
from robustray.tasks.policy_gradients.loop import Training
from robustray.tasks.policy_gradients.rollout import Rollout
from robustray.tasks.policy_gradients.state import AgentState


class PolicyGradientAlgorithm(Algorithm):
    """Shared by PPO and TRPO, which differ in their default configuration only.

    `agent` is the state before the next update; `training` has the curve and episodes of the updates that this object
    made.
    """

    config: Any
    """Always a `PolicyGradientConfig`."""
    metrics: Any
    learner_group: Any
    env_runner_group: Any
    training: Training
    _logdir: Any
    _folder: tempfile.TemporaryDirectory[str] | None = None
    holds_out: bool | None
    """Whether the next updates are measured on held-out steps. None means as `heldout_every` says."""
    evaluated: list[dict[str, Any]]
    """Episodes of the last evaluation."""

    def setup(self, config: Any) -> None:
        fix_kernels()
        if ray.is_initialized():
            check_resources(self.config, type(self), itself=False)
        super().setup(config)
        self.training = Training(state=self.agent)
        self.holds_out = None
        self.evaluated = []

    def _setup_logdir(self) -> None:
        """Without Tune: a folder that goes with the algorithm. RLlib would leave one behind in the home folder."""
        if self._storage:
            super()._setup_logdir()
        else:
            self._folder = tempfile.TemporaryDirectory(prefix="robustray-")
            self._logdir = self._folder.name

    def cleanup(self) -> None:
        super().cleanup()
        if self._folder is not None:
            self._folder.cleanup()

    def __repr__(self) -> str:
        """RLlib's own fails for an algorithm whose configuration was refused, and hides why."""
        return type(self).__name__ if self.config is None else super().__repr__()

    @property
    def agent(self) -> AgentState:
        return self.learner.agent

    @property
    def learner(self) -> PolicyGradientLearner:
        """The one local learner."""
        (result,) = self.learner_group.foreach_learner(lambda learner: learner)
        return result.get()

    def get_module(self, module_id: str = DEFAULT_MODULE_ID) -> Any:
        """The policy of the learner; runners hold none."""
        return self.learner.module[module_id]

    def training_step(self) -> None:
        """One update. Raises: EnvironmentFailed, AgentDiverged."""
        planned = self.agent.spec.holds_out(self.agent.updates_done)
        held_out = planned if self.holds_out is None else self.holds_out
        began = time.perf_counter()
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            rollouts, unseen = self._collect(held_out)
        collected = time.perf_counter()
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)), numerics(1):
            results = self.learner_group.update(training_data=RolloutData(rollouts=rollouts, held_out=unseen))
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        row = self.learner.row
        self._log_sampled(row, sum(len(each.rewards) for each in rollouts))
        self.training.state = self.agent
        self.training.note(
            row, rollouts, collect_seconds=collected - began, learn_seconds=time.perf_counter() - collected
        )

    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """Runners that are back are used again; they need no state."""
        return env_runner_group.probe_unhealthy_env_runners()

    @classmethod
    def default_resource_request(cls, config: Any) -> Any:
        """See RLlib. Raises: InputError for what the cluster has no room for: it would wait for ever."""
        filled: Any = cls.get_default_config().update_from_dict(
            config.to_dict() if isinstance(config, PolicyGradientConfig) else config
        )
        if ray.is_initialized():
            check_resources(filled, cls, itself=True)
        return super().default_resource_request(config)

    def _collect(self, held_out: bool) -> tuple[list[Rollout], list[Rollout]]:
        group, state = self.env_runner_group, self.agent
        assert group is not None
        if group.num_remote_env_runners():
            return RemoteCollector(group, deadline_s=self.config.stream_deadline_s)(state, held_out=held_out)
        streams = range(state.spec.settings.num_streams)
        sent, runner = sent_of(state), group.local_env_runner
        found = [runner.collect(stream, state.updates_done, sent, False) for stream in streams]
        unseen = [runner.collect(stream, state.updates_done, sent, True) for stream in streams if held_out]
        for each in (*found, *unseen):
            if isinstance(each, str):
                raise EnvironmentFailed(each)
        return found, unseen

    def _log_sampled(self, row: dict[str, Any], num_steps: int) -> None:
        """Log what RLlib itself and Tune's stoppers read. Episodes are those that ended in this update."""
        for name, value, reduce in (
            (NUM_ENV_STEPS_SAMPLED, num_steps, "sum"),
            (NUM_ENV_STEPS_SAMPLED_LIFETIME, num_steps, "lifetime_sum"),
            (NUM_EPISODES, row["episodes"], "sum"),
            (EPISODE_RETURN_MEAN, row["episode_return"], "item"),
            (EPISODE_LEN_MEAN, row["episode_length"], "item"),
        ):
            self.metrics.log_value((ENV_RUNNER_RESULTS, name), value, reduce=reduce)
        key = (ENV_RUNNER_RESULTS, NUM_AGENT_STEPS_SAMPLED_LIFETIME, DEFAULT_AGENT_ID)
        self.metrics.log_value(key, num_steps, reduce="lifetime_sum")


class PPO(PolicyGradientAlgorithm):
    """PPO as `PPOConfig` describes it."""

    @classmethod
    def get_default_config(cls) -> PPOConfig:
        return PPOConfig()


class TRPO(PolicyGradientAlgorithm):
    """TRPO as `TRPOConfig` describes it."""

    @classmethod
    def get_default_config(cls) -> TRPOConfig:
        return TRPOConfig()


def check_resources(config: Any, algorithm: type, *, itself: bool) -> None:
    """An actor lives on one node, so what one asks for is compared with the largest node, and all with all nodes.

    itself: a trial of Tune reserves CPUs for the algorithm too; built in a driver, it has its process already.

    Raises: InputError, with the flag that mends it, for what can never be placed.
    """
    evaluation = config.evaluation_num_env_runners or 0
    runners = config.num_env_runners + evaluation
    own = config.num_cpus_for_main_process if itself else 0
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = ([node.get(name, 0.0) for node in nodes] for name in ("CPU", "GPU"))
    each_cpus, each_gpus = config.num_cpus_per_env_runner, config.num_gpus_per_env_runner
    for who, asked, kind, there, flag in (
        ("itself", own, "CPUs", cpus, "num_cpus_for_main_process"),
        ("an env runner", each_cpus if runners else 0, "CPUs", cpus, "num_cpus_per_env_runner"),
        ("an env runner", each_gpus if runners else 0, "GPUs", gpus, "num_gpus_per_env_runner"),
    ):
        if asked > max(there):
            raise InputError(
                f"{algorithm.__name__} asks for {asked:g} {kind} for {who}, the largest node has {max(there):g}: "
                f"lower {flag}"
            )

    def room(node: int, taken: float) -> float:
        """Env runners on a node of which something is taken."""
        by_cpus = (cpus[node] - taken) // each_cpus if each_cpus else math.inf
        return min(by_cpus, gpus[node] // each_gpus if each_gpus else math.inf)

    beside = max(
        sum(room(node, own if node == home else 0) for node in range(len(nodes)))
        for home in range(len(nodes))
        if cpus[home] >= own
    )
    if runners > beside:
        gpus_too = f" and {each_gpus:g} GPUs" if each_gpus else ""
        raise InputError(
            f"{algorithm.__name__} asks for {own + runners * each_cpus:g} CPUs ({own:g} for itself, "
            f"{plural(runners, 'env runner')} with {each_cpus:g} each{gpus_too}), the cluster has {sum(cpus):g}, with "
            f"room for {plural(int(beside), 'env runner')} on {plural(len(nodes), 'node')}: lower num_env_runners"
            + (" or evaluation_num_env_runners" if evaluation else "")
        )
