"""Evaluation inside RLlib: whole episodes, with the training's filters, the same ones for any number of runners."""

from __future__ import annotations

from typing import Any

import ray
import ray.exceptions
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EVALUATION_RESULTS, NUM_EPISODES, NUM_EPISODES_LIFETIME
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from robustray.distributed.rllib.collecting import lost, wait_for_runners
from robustray.tasks.lab import seeds
from robustray.tasks.policy_gradients import files


def evaluate_episodes(algorithm: Any, group: Any) -> tuple[dict[str, Any], int, int]:
    """RLlib's `custom_evaluation_function`: exactly `evaluation_duration` episodes, numbered, dealt out in turn.

    An episode depends on the agent and its number only: those of a runner that dies are played by another. Actions are
    drawn unless the evaluation's config says explore=False.

    Raises: EnvironmentFailed, from a remote runner as Ray's error of that kind; RuntimeError when all runners are gone.
    """
    state = algorithm.agent
    data = files.state_bytes(state)
    seed = seeds.integer(state.spec.seed, "evaluation in RLlib", state.updates_done) % 2**31
    deterministic = not algorithm.evaluation_config.explore
    numbers = list(range(algorithm.config.evaluation_duration))
    group = group if group is not None else algorithm.env_runner_group
    if group.num_remote_env_runners():
        rows = _played(group, ray.put(data), numbers, seed, deterministic)
    else:
        rows = group.local_env_runner.play(data, numbers, seed, deterministic)
    rows.sort(key=lambda row: row["episode"])
    returns, lengths = [row["episode_return"] for row in rows], [row["length"] for row in rows]
    logger = MetricsLogger(stats_cls_lookup=algorithm.config.stats_cls_lookup, root=False)
    for name, value in (
        ("episode_return_mean", sum(returns) / len(returns)),
        ("episode_return_min", min(returns)),
        ("episode_return_max", max(returns)),
        ("episode_len_mean", sum(lengths) / len(lengths)),
    ):
        logger.log_value(name, value, reduce="item")
    logger.log_value(NUM_EPISODES, len(rows), reduce="sum")
    logger.log_value(NUM_EPISODES_LIFETIME, len(rows), reduce="lifetime_sum")
    algorithm.metrics.aggregate([logger.reduce()], key=(EVALUATION_RESULTS, ENV_RUNNER_RESULTS))
    algorithm.evaluated = rows
    return {ENV_RUNNER_RESULTS: {NUM_EPISODES: len(rows)}}, sum(lengths), sum(lengths)


def _played(group: Any, sent: Any, numbers: list[int], seed: int, deterministic: bool) -> list[dict[str, Any]]:
    """Rows of these episodes, in any order, from the runners that are alive."""
    rows: list[dict[str, Any]] = []
    while numbers:
        runners = wait_for_runners(group)
        shares = {runner: numbers[i :: len(runners)] for i, runner in enumerate(runners)}
        handles = group._worker_manager.actors()
        answers = {
            runner: handles[runner].play.remote(sent, share, seed, deterministic)
            for runner, share in shares.items()
            if share
        }
        numbers = []
        for runner, answer in answers.items():
            try:
                rows += ray.get(answer)
            except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError):
                lost(group, runner)
                numbers += shares[runner]
    return rows
