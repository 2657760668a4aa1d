"""An agent of `lab.learn` trained by RLlib, inside the worker that got the job; by itself, or with env runners."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

from robustray.tasks.lab.jobs import Receipt, Worker
from robustray.tasks.policy_gradients.jobs import LearnJob
from robustray.tasks.policy_gradients.loop import Training
from robustray.tasks.policy_gradients.settings import AgentSpec


@dataclass(frozen=True, kw_only=True)
class RllibJob(LearnJob):
    """The same job: only who makes an update differs."""

    runners: int = 0
    """Env runners that collect its streams, in processes of their own; 0: this process does."""

    def run(self, worker: Worker) -> Receipt:
        """Raises: EnvironmentFailed, AgentDiverged."""
        if self.wanted(worker.store, self.code) is None:
            return super().run(worker)
        algorithm = build_algorithm(self.spec, self.runners)
        try:
            return self.learn(worker.store, advance_in(algorithm))
        finally:
            algorithm.stop()


def in_rllib(job: LearnJob, *, runners: int = 0) -> RllibJob:
    """The job as `RayLab` places it, and a trial that has room for env runners."""
    return RllibJob(**{field.name: getattr(job, field.name) for field in dataclasses.fields(job)}, runners=runners)


def build_algorithm(spec: AgentSpec, runners: int = 0) -> Any:
    """The algorithm of a spec, with its environment in this process or in env runners beside it."""
    from robustray.distributed.rllib import PPOConfig, TRPOConfig

    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    config = (PPOConfig if spec.settings.step == "ppo" else TRPOConfig)()
    config.environment(spec.environment)
    config.env_runners(num_env_runners=runners).resources(num_cpus_for_main_process=0)  # it is in this process already
    config.training(settings=spec.settings, agent_seed=spec.seed, iterations=spec.iterations, horizon=spec.horizon)
    return config.build_algo()


def advance_in(algorithm: Any) -> Any:
    """An `Advance` that has an algorithm make the updates. The first one hands the training's state over."""

    def advance(training: Training, held_out: bool) -> None:
        if algorithm.training is not training:
            algorithm.learner.take(training.state)
            training.state = algorithm.agent
            algorithm.training = training
        algorithm.holds_out = held_out
        algorithm.train()

    return advance
