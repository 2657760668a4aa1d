"""The steps that an algorithm takes from steps of a pool, and directions of landscapes. Changes no agent."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.lab import Context, block_function, seeds
from robustray.tasks.lab.protocol import Tensor
from robustray.tasks.policy_gradients.state import AgentState, policy_layout
from robustray.tasks.policy_gradients.steps import ppo_step
from robustray.tasks.policy_gradients.trust_region import options_of, trpo_step
from robustray.tasks.studies.closer_look.pools import Array, batch_of, steps_of


def taken_step(state: AgentState, rows: Mapping[str, Array], number: int) -> NDArray[np.float32]:
    """The step of the policy that the algorithm takes from these rows, in all parameters: that of an update, whatever
    the number of rows. The value function stays as it is. number: names the minibatches and the Fisher states."""
    moved = copy.deepcopy(state)
    settings, update, horizon = moved.spec.settings, moved.updates_done, moved.spec.schedule_horizon
    layout, head = policy_layout(settings, moved.shape), moved.shape.head
    rng = seeds.stream(moved.spec.seed, "closer look: step", update, number)
    if settings.step == "trpo":
        trpo_step(
            layout,
            head,
            moved.policy,
            rows["observations"],
            rows["actions"],
            rows["advantages"],
            rng,
            max_kl=settings.kl_limit(update, horizon),
            **options_of(settings),
        )
    else:
        ppo_step(
            layout,
            head,
            moved.policy,
            moved.policy_adam,
            rows["observations"],
            rows["actions"],
            batch_of(moved, rows).log_probs,
            rows["advantages"],
            rng,
            epochs=settings.policy_epochs,
            num_minibatches=settings.num_minibatches,
            clip=settings.ratio_clip,
            entropy_bonus=settings.entropy_bonus,
            gradient_clip=settings.gradient_clip,
            lr=settings.learning_rate(settings.policy_lr, update, horizon),
            eps=settings.adam_eps,
        )
    return moved.policy - state.policy


@block_function(version=2, columns={"step": Tensor("float32")})
def step_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """(first block, number of steps) -> the step that the algorithm takes from these. refs: agent, pool."""
    agent, pool = context.load("agent"), context.load("pool")
    return {"step": np.stack([taken_step(agent.state, steps_of(pool, *item), item[0]) for item in items])}


def random_direction(state: AgentState, length: float) -> NDArray[np.float32]:
    """One Gaussian direction per agent and milestone, of a length."""
    drawn = seeds.stream(state.spec.seed, "closer look: direction", state.updates_done)
    direction = drawn.standard_normal(len(state.policy))
    return (direction * (length / np.linalg.norm(direction))).astype(np.float32)
