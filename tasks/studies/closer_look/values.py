"""What value functions predict: the agent's, and one fitted to the returns of many more steps. No agent is changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustray.tasks.lab import Context, block_function, seeds
from robustray.tasks.lab.protocol import Tensor
from robustray.tasks.policy_gradients import measures
from robustray.tasks.policy_gradients.adam import Adam
from robustray.tasks.policy_gradients.batch import values_of
from robustray.tasks.policy_gradients.state import AgentState, value_layout
from robustray.tasks.policy_gradients.steps import fit_values
from robustray.tasks.studies.closer_look.pools import Array, batch_of, blocks_of, steps_of

ROUND_EPOCHS = (10, 10)
"""Passes over the pool at two learning rates in one round of the fit of the "true" value function."""
MOST_ROUNDS = 3
CHECKED = 8
"""Every how many blocks one is left out of that fit, to see whether it needs another round."""

VALUE_COLUMNS = (
    *measures.VALUES,
    "returns_error",
    "true_returns_error",
    "true_explained_variance",
    "true_returns_mre",
    "true_returns_mre_median",
    "to_true_mre",
    "to_true_mre_median",
)


def with_values(state: AgentState, value: NDArray[np.float32]) -> AgentState:
    """A copy with another value network; the rest is shared."""
    found = copy.copy(state)
    found.value = value
    return found


@block_function(version=1, columns={"value": Tensor("float32"), "rounds": pa.int64(), "better": pa.bool_()})
def truth_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """For its one item: the parameters of the value function that is taken for the true one. It has the agent's layers,
    started anew and fitted to the discounted returns of complete episodes.

    The fit is checked on blocks that are left out of it: its squared error must not be above that of the agent's value
    function. Otherwise it is fitted for another round, three at most. better: whether it passed the check. settings:
    (first, end) of its blocks. refs: agent, pool.
    """
    agent, pool = context.load("agent"), context.load("pool")
    first, end = context.settings
    left_out = list(range(first, end, CHECKED))
    rows = _joined(pool, [block for block in range(first, end) if block not in left_out])
    unseen = _joined(pool, left_out)
    state, settings = agent.state, agent.state.spec.settings
    start = AgentState.start(state.spec, state.shape)
    adam, rng = Adam.fresh(start.value), seeds.stream(state.spec.seed, "closer look: true values", state.updates_done)
    limit = squared_error(state, unseen)
    rounds, better = 0, False
    while rounds < MOST_ROUNDS and not better:
        for rate, epochs in zip((1e-3, 1e-4), ROUND_EPOCHS, strict=True):  # the second refines
            fit_values(
                value_layout(settings, state.shape),
                start.value,
                adam,
                rows["observations"],
                rows["returns"],
                rows["returns"],
                rows["complete"],
                rng,
                epochs=epochs,
                num_minibatches=max(1, len(rows["complete"]) // 64),
                clip=None,
                lr=rate,
                eps=settings.adam_eps,
            )
        rounds, better = rounds + 1, squared_error(with_values(state, start.value), unseen) <= limit
    num = len(items)
    return {"value": np.stack([start.value] * num), "rounds": [rounds] * num, "better": [better] * num}


def _joined(pool: Mapping[str, Array], blocks: Sequence[int]) -> dict[str, Array]:
    parts = [blocks_of(pool, (block, block + 1)) for block in blocks]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def squared_error(state: AgentState, rows: Mapping[str, Array]) -> float:
    """Mean of (V - G)**2 over steps of complete episodes; NaN without any."""
    among = rows["complete"]
    if not among.any():
        return float("nan")
    errors = values_of(state, rows["observations"][among]) - rows["returns"][among]
    return float(np.mean(np.square(errors), dtype=np.float64))


@block_function(version=2, columns={name: pa.float64() for name in VALUE_COLUMNS})
def value_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """(one item) How well value functions predict on steps that none was fitted on.

    settings: (update block, (first, end) of held-out blocks). The agent's is fitted on the update block as the training
    does, and compared with V_old + A and with returns. refs: agent, pool, truth.
    """
    agent, pool = context.load("agent"), context.load("pool")
    update, heldout = context.settings
    mine = fitted(agent.state, steps_of(pool, update, pool["values"].shape[1]))
    unseen = blocks_of(pool, heldout)
    batch = batch_of(agent.state, unseen)
    true = with_values(agent.state, context.load("truth")["value"][0])
    judged = measures.value_prediction(true, batch)
    best, own = values_of(true, batch.observations), values_of(mine, batch.observations)
    among = best != 0
    to_true = np.abs(own - best)[among] / np.abs(best[among])
    row = measures.value_prediction(mine, batch) | {
        "returns_error": squared_error(mine, unseen),
        "true_returns_error": squared_error(true, unseen),
        "true_explained_variance": judged["explained_variance"],
        "true_returns_mre": judged["returns_mre"],
        "true_returns_mre_median": judged["returns_mre_median"],
        "to_true_mre": float(np.mean(to_true, dtype=np.float64)),
        "to_true_mre_median": float(np.median(to_true)),
    }
    return {name: [row[name]] * len(items) for name in VALUE_COLUMNS}


def fitted(state: AgentState, rows: Mapping[str, Array]) -> AgentState:
    """A copy whose value network was fitted to V_old + A, as before a step of the training."""
    settings, number = state.spec.settings, state.updates_done
    found = copy.deepcopy(state)
    fit_values(
        value_layout(settings, state.shape),
        found.value,
        found.value_adam,
        rows["observations"],
        rows["values"] + rows["advantages"],
        rows["values"],
        rows["not_terminal"],
        seeds.stream(state.spec.seed, "closer look: value fit", number),
        epochs=settings.value_epochs,
        num_minibatches=settings.num_minibatches,
        clip=settings.value_clip,
        lr=settings.learning_rate(settings.value_lr, number, state.spec.schedule_horizon),
        eps=settings.adam_eps,
    )
    return found
