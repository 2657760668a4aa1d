"""Evaluation inside RLlib: whole episodes, with the training's filters, the same ones for any number of runners."""

from __future__ import annotations

from typing import Any

import ray
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EVALUATION_RESULTS, NUM_EPISODES, NUM_EPISODES_LIFETIME
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from robustray.tasks.lab import seeds
from robustray.tasks.policy_gradients import files


def evaluate_episodes(algorithm: Any, group: Any) -> tuple[dict[str, Any], int, int]:
    """RLlib's `custom_evaluation_function`: exactly `evaluation_duration` episodes, numbered, dealt out in turn.

    An episode depends on the agent and its number only. Actions are drawn unless the evaluation's config says
    explore=False. Raises: EnvironmentFailed, from a remote runner as RLlib's error.
    """
    state = algorithm.agent
    data = files.state_bytes(state)
    seed = seeds.integer(state.spec.seed, "evaluation in RLlib", state.updates_done) % 2**31
    deterministic = not algorithm.evaluation_config.explore
    numbers = list(range(algorithm.config.evaluation_duration))
    group = group if group is not None else algorithm.env_runner_group
    handles = [group._worker_manager.actors()[runner] for runner in group.healthy_env_runner_ids()]
    if handles:
        sent = ray.put(data)
        parts = [
            handle.play.remote(sent, numbers[i :: len(handles)], seed, deterministic)
            for i, handle in enumerate(handles)
            if numbers[i :: len(handles)]
        ]
        rows = [row for part in ray.get(parts) for row in part]
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
