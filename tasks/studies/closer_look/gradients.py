"""Estimates of the policy gradient from steps of a pool, for several baselines at once. Changes no agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustray.tasks.lab import Context, block_function
from robustray.tasks.lab.protocol import Tensor
from robustray.tasks.policy_gradients.advantages import advantages_and_returns, standardised
from robustray.tasks.policy_gradients.batch import values_of
from robustray.tasks.policy_gradients.mlp import backward_rows, forward
from robustray.tasks.policy_gradients.state import AgentState, policy_layout
from robustray.tasks.studies.closer_look.pools import Array, Pool, steps_of
from robustray.tasks.studies.closer_look.settings import KINDS
from robustray.tasks.studies.closer_look.values import with_values

CHUNK = 16_384
"""Environment steps in one pass."""


def policy_gradients(state: AgentState, observations: Array, actions: Array, advantages: Array) -> NDArray[np.float64]:
    """Gradients of the surrogate, which is to grow, with regard to all parameters of the policy as it is, where every
    ratio is 1. advantages: (kinds, N), of which each kind is standardised over all steps. Returns: (kinds, parameters).

    The gradient of a step's log-probability is the same for all kinds, which only weigh it: one pass forward and one
    back, then a product of matrices for each kind. Computed in float64, in chunks.
    """
    layout, head = policy_layout(state.spec.settings, state.shape), state.shape.head
    flat = state.policy.astype(np.float64)
    layers, free, relu = layout.layers(flat), layout.free(flat), layout.activation == "relu"
    wanted = np.stack([standardised(each.astype(np.float64)) for each in advantages]) / advantages.shape[1]
    total = np.zeros((len(wanted), len(flat)))
    for start in range(0, wanted.shape[1], CHUNK):
        rows = slice(start, start + CHUNK)
        passed = forward(layers, observations[rows].astype(np.float64), relu=relu)
        ones = np.ones(len(passed[0]))
        d_outputs, _ = head.log_prob_gradient(passed[-1], free, actions[rows], ones)
        d_rows = backward_rows(layers, passed, d_outputs, relu=relu)
        for kind, weights in enumerate(wanted[:, rows]):
            for (d_weights, d_biases), d, entered in zip(layout.layers(total[kind]), d_rows, passed[:-1], strict=True):
                weighted = d * weights[:, None]
                d_weights += weighted.T @ entered
                d_biases += weighted.sum(axis=0)
            layout.free(total[kind])[...] += head.log_prob_gradient(passed[-1], free, actions[rows], weights)[1]
    return total


def advantages_of(state: AgentState, truth: AgentState, pool: Pool, first: int, num_steps: int) -> Array:
    """(kinds, num_steps) in the order of `KINDS`, of the steps from block `first` on.

    Advantages are those of whole blocks, also where an estimate uses the first steps of one only. Without a baseline,
    discounted returns are used instead.
    """
    rows = steps_of(pool, first, -(-num_steps // pool["values"].shape[1]) * pool["values"].shape[1])
    shape = (-1, pool["values"].shape[1])
    own, best = rows["values"], values_of(truth, rows["observations"])
    found = []
    for baseline, gae_lambda in KINDS.values():
        if baseline == "none":
            found.append(rows["returns"])
            continue
        values = (own if baseline == "agent" else best).reshape(shape)
        blocks = zip(rows["rewards"].reshape(shape), values, ~rows["not_terminal"].reshape(shape), strict=True)
        found.append(np.concatenate([_gae(state, *each, gae_lambda) for each in blocks]))
    return np.stack([each[:num_steps] for each in found])


def _gae(state: AgentState, rewards: Array, values: Array, done: Array, gae_lambda: float | None) -> Array:
    settings = state.spec.settings
    assert settings.bootstrap == "reference", "a pool does not keep the states that follow a cut"
    return advantages_and_returns(
        rewards,
        values,
        done,
        np.zeros_like(done),
        np.zeros_like(rewards),
        discount=settings.discount,
        gae_lambda=settings.gae_lambda if gae_lambda is None else gae_lambda,
        bootstrap="reference",
    )[0]


@block_function(version=2, columns={"gradients": Tensor("float32"), "episodes": pa.int64()})
def gradient_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """(first block, number of steps) -> (kinds, parameters): the gradients estimated from these steps with each kind of
    advantages; and the episodes that the steps touch. refs: agent, pool, truth (a value function)."""
    agent, pool = context.load("agent"), context.load("pool")
    truth = with_values(agent.state, context.load("truth")["value"][0])
    found, episodes = [], []
    for first, num_steps in items:
        rows = steps_of(pool, first, num_steps)
        advantages = advantages_of(agent.state, truth, pool, first, num_steps)
        found.append(policy_gradients(agent.state, rows["observations"], rows["actions"], advantages))
        starts = -(-num_steps // pool["values"].shape[1])
        episodes.append(starts + int((~rows["not_terminal"][:-1]).sum()))
    return {"gradients": np.stack(found).astype(np.float32), "episodes": episodes}
