"""Whole episodes of trained agents: the third number of an agent beside its final and its best return."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from robustray.tasks.lab import Context, block_function
from robustray.tasks.policy_gradients.agent import Agent


@block_function(version=1, columns={"deterministic": pa.bool_(), "episode_return": pa.float64(), "length": pa.int64()})
def evaluate_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """(number of an episode, 1 for the mean action and 0 for drawn ones) -> its raw return and length.

    refs: agent. Filters are frozen; an episode depends on the run's seed for the agent and its number only.
    """
    agent: Agent = context.load("agent")
    with contextlib.closing(agent.open()) as environment:
        rows = [agent.play(environment, number, context.seed, bool(mean)) for number, mean in items]
    return {
        "deterministic": [bool(mean) for _, mean in items],
        "episode_return": [row["episode_return"] for row in rows],
        "length": [row["length"] for row in rows],
    }
