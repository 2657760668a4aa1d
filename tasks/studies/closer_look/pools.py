"""Pools of steps with frozen filters. Nothing here changes an agent.

A block of a pool is one rollout of an update's length from the policy of a milestone, with its filters frozen. Its
random numbers are a function of the agent's seed, the milestone and the block's number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustray.tasks.lab import Context, block_function
from robustray.tasks.lab.protocol import Tensor
from robustray.tasks.policy_gradients.agent import Agent
from robustray.tasks.policy_gradients.batch import Batch, make_batch, outputs_of
from robustray.tasks.policy_gradients.environments import open_environment
from robustray.tasks.policy_gradients.rollout import Rollout, rollout
from robustray.tasks.policy_gradients.state import AgentState, policy_layout

Array = NDArray[Any]
Pool = Mapping[str, Array]
"""Columns of `collect_block`, (blocks, steps, ...)."""
POOL, LANDSCAPE = "closer look: pool", "closer look: landscape"
"""Purposes of rollouts."""
COLUMNS = ("observations", "actions", "values", "rewards", "advantages", "returns", "not_terminal", "complete")
"""The columns of a pool that analyses read."""


# --- Pools ------------------------------------------------------------------------------------------------------------


@block_function(
    version=2,
    columns={
        "observations": Tensor("float32"),
        "actions": Tensor("float32"),
        "values": Tensor("float32"),
        "rewards": Tensor("float64"),
        "advantages": Tensor("float32"),
        "returns": Tensor("float32"),
        "not_terminal": Tensor("bool"),
        "complete": Tensor("bool"),
        "episode_returns": pa.list_(pa.float64()),
    },
)
def collect_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Block numbers -> rollouts of an update's length, with values, advantages and returns by the milestone's networks.

    refs: agent.
    """
    agent: Agent = context.load("agent")
    state = agent.state
    rollouts = list(rollouts_of(agent, state.policy, items, POOL, state.spec.settings.steps_per_stream))
    batches = [make_batch(state, [each]) for each in rollouts]
    names = ("observations", "actions", "values", "advantages", "returns", "not_terminal", "complete")
    found: dict[str, Any] = {name: np.stack([getattr(batch, name) for batch in batches]) for name in names}
    found["rewards"] = np.stack([each.rewards for each in rollouts])
    return found | {"episode_returns": [each.episode_returns.tolist() for each in rollouts]}


def rollouts_of(
    agent: Agent, policy: NDArray[np.float32], streams: Sequence[int], purpose: str, num_steps: int
) -> Iterator[Rollout]:
    """Rollouts of any policy with the agent's filters, which stay as they are."""
    state = agent.state
    environment = open_environment(state.spec.environment, clip_actions=state.spec.settings.clip_actions)
    try:
        for stream in streams:
            yield rollout(
                environment,
                state.spec,
                policy,
                agent.filters,
                update=state.updates_done,
                stream=stream,
                purpose=purpose,
                learn=False,
                num_steps=num_steps,
            )
    finally:
        environment.close()


def steps_of(pool: Pool, first: int, num_steps: int) -> dict[str, Array]:
    """The first steps from block `first` on, as one row per step."""
    blocks = -(-num_steps // pool["values"].shape[1])
    return {name: pool[name][first : first + blocks].reshape(-1, *pool[name].shape[2:])[:num_steps] for name in COLUMNS}


def blocks_of(pool: Pool, ends: Sequence[int]) -> dict[str, Array]:
    """All steps of the blocks from ends[0] up to, not including, ends[1]."""
    first, end = ends
    return steps_of(pool, first, (end - first) * pool["values"].shape[1])


def batch_of(state: AgentState, rows: Mapping[str, Array]) -> Batch:
    """Rows as a batch, with what the policy says of them."""
    outputs = outputs_of(state, rows["observations"])
    free = policy_layout(state.spec.settings, state.shape).free(state.policy)
    kept = {name: rows[name] for name in COLUMNS if name != "rewards"}
    return Batch(outputs=outputs, log_probs=state.shape.head.log_prob(outputs, free, rows["actions"]), **kept)
