"""Surrogate and reward around a policy. Changes no agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustray.tasks.lab import Context, block_function
from robustray.tasks.policy_gradients.advantages import standardised
from robustray.tasks.policy_gradients.mlp import forward
from robustray.tasks.policy_gradients.state import AgentState, policy_layout
from robustray.tasks.studies.closer_look.pools import LANDSCAPE, Array, blocks_of, rollouts_of
from robustray.tasks.studies.closer_look.steps import random_direction

PAPERS_LENGTH = 2.0
"""Norm of the paper's random direction, typically ten times that of a step."""


def surrogates(state: AgentState, policy: NDArray[np.float32], rows: Mapping[str, Array]) -> tuple[float, float]:
    """Mean of ratio times standardised advantage: with the ratio clipped where the agent's is, what the step climbs;
    and unclipped. Both are 0 at the agent's own policy."""
    settings, head = state.spec.settings, state.shape.head
    layout = policy_layout(settings, state.shape)
    relu, seen = layout.activation == "relu", rows["observations"].astype(np.float64)

    def log_probs(flat: Array) -> Array:
        flat = flat.astype(np.float64)
        return head.log_prob(forward(layout.layers(flat), seen, relu=relu)[-1], layout.free(flat), rows["actions"])

    ratios = np.exp(log_probs(policy) - log_probs(state.policy))
    wanted = standardised(rows["advantages"].astype(np.float64))
    gains = ratios * wanted
    clipped = gains
    if settings.step == "ppo" and settings.ratio_clip is not None:
        clipped = np.minimum(gains, np.clip(ratios, 1 - settings.ratio_clip, 1 + settings.ratio_clip) * wanted)
    return float(clipped.mean()), float(gains.mean())


@block_function(
    version=2,
    columns={
        "surrogate": pa.float64(),
        "unclipped": pa.float64(),
        "heldout_surrogate": pa.float64(),
        "episode_returns": pa.list_(pa.float64()),
    },
)
def landscape_block(items: Sequence[Sequence[float]], context: Context) -> Mapping[str, Any]:
    """(point, source of the step, 1 for the paper's length of the random direction and 0 for the step's own, along the
    step, along the random direction) -> surrogates on the environment steps that made the step and on held-out ones,
    and returns of the complete episodes that the policy plays there, raw and undiscounted.

    settings: ([(row of the step, first, end of the blocks behind it) of each source], (first, end) of held-out blocks,
    environment steps per point). refs: agent, pool, steps. Each point is drawn with random numbers that no other point
    uses.
    """
    agent, pool, steps = context.load("agent"), context.load("pool"), context.load("steps")["step"]
    sources, heldout, num_steps = context.settings
    seen = {source: blocks_of(pool, sources[source][1:]) for source in {int(item[1]) for item in items}}
    unseen = blocks_of(pool, heldout)
    found: dict[str, list[Any]] = {name: [] for name in landscape_block.columns}
    for point, source, papers, along, aside in items:
        step = steps[sources[int(source)][0]]
        length = PAPERS_LENGTH if papers else float(np.linalg.norm(step))
        moved = agent.state.policy + np.float32(along) * step
        if aside:
            moved = moved + np.float32(aside) * random_direction(agent.state, length)
        (played,) = rollouts_of(agent, moved, [int(point)], LANDSCAPE, num_steps)
        clipped, unclipped = surrogates(agent.state, moved, seen[int(source)])
        found["surrogate"].append(clipped)
        found["unclipped"].append(unclipped)
        found["heldout_surrogate"].append(surrogates(agent.state, moved, unseen)[0])
        found["episode_returns"].append(played.episode_returns.tolist())
    return found
