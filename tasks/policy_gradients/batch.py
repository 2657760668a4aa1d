"""The rollouts of one update as one batch: values, advantages, returns, and what measures leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.policy_gradients.advantages import advantages_and_returns
from robustray.tasks.policy_gradients.mlp import forward
from robustray.tasks.policy_gradients.rollout import Rollout
from robustray.tasks.policy_gradients.state import AgentState, policy_layout, value_layout

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Steps of all streams, in their order; (N, ...) arrays. Outputs and values are those of before the update."""

    observations: Array
    actions: Array
    outputs: Array
    """(N, num_outputs) of the policy."""
    log_probs: Array
    values: Array
    """(N,) of the dtype of the parameters: float32 in a training"""
    advantages: Array
    """(N,), of GAE."""
    returns: Array
    """(N,), discounted, of filtered rewards."""
    not_terminal: NDArray[np.bool_]
    """Steps that no end of an episode followed."""
    complete: NDArray[np.bool_]
    """Steps of episodes that ended within their stream: the others' returns are too small."""

    @property
    def value_targets(self) -> Array:
        """V_old + A_GAE."""
        return self.values + self.advantages


def values_of(state: AgentState, observations: Array) -> Array:
    """(N,) by the value network as it is now."""
    settings = state.spec.settings
    layers = value_layout(settings, state.shape).layers(state.value)
    return forward(layers, observations, relu=settings.activation == "relu")[-1][:, 0]


def outputs_of(state: AgentState, observations: Array) -> Array:
    """(N, num_outputs) by the policy as it is now."""
    settings = state.spec.settings
    layers = policy_layout(settings, state.shape).layers(state.policy)
    return forward(layers, observations, relu=settings.activation == "relu")[-1]


def make_batch(state: AgentState, rollouts: Sequence[Rollout]) -> Batch:
    """Make a batch of rollouts in the order of their streams."""
    settings = state.spec.settings
    observations = np.concatenate([each.observations for each in rollouts])
    actions = np.concatenate([each.actions for each in rollouts])
    values = values_of(state, observations)
    advantages, returns, complete, at = [], [], [], 0
    for each in rollouts:
        num_steps = len(each.rewards)
        next_values = np.zeros(num_steps)
        if settings.bootstrap == "correct" and len(each.next_steps):
            next_values[each.next_steps] = values_of(state, each.next_observations)
        found = advantages_and_returns(
            each.rewards,
            values[at : at + num_steps].astype(np.float64),
            each.terminated,
            each.truncated,
            next_values,
            discount=settings.discount,
            gae_lambda=settings.gae_lambda,
            bootstrap=settings.bootstrap,
        )
        advantages.append(found[0])
        returns.append(found[1])
        complete.append(np.arange(num_steps) <= (each.episode_ends[-1] if len(each.episode_ends) else -1))
        at += num_steps
    outputs = outputs_of(state, observations)
    free = policy_layout(settings, state.shape).free(state.policy)
    done = np.concatenate([each.terminated | each.truncated for each in rollouts])
    return Batch(
        observations=observations,
        actions=actions,
        outputs=outputs,
        log_probs=state.shape.head.log_prob(outputs, free, actions),
        values=values,
        advantages=np.concatenate(advantages).astype(values.dtype),
        returns=np.concatenate(returns).astype(values.dtype),
        not_terminal=~done,
        complete=np.concatenate(complete),
    )
