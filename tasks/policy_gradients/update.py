"""One update, whoever collected its rollouts: filters, value fit, policy step, measures.

The order is the reference's (arXiv 2005.12729, released code): advantages by the value network of before, then the
value fit, then the policy step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.lab import seeds
from robustray.tasks.policy_gradients import measures
from robustray.tasks.policy_gradients.batch import Batch, make_batch
from robustray.tasks.policy_gradients.filters import Snapshot
from robustray.tasks.policy_gradients.rollout import Rollout
from robustray.tasks.policy_gradients.state import AgentState, policy_layout, value_layout
from robustray.tasks.policy_gradients.steps import PPOStep, Trainee, fit_values, joint_step, ppo_step
from robustray.tasks.policy_gradients.trust_region import options_of, trpo_step

Row = dict[str, Any]
"""One update of a learning curve; its columns: docs/design/policy-gradients.md."""


def update(state: AgentState, rollouts: Sequence[Rollout], held_out: Sequence[Rollout] = ()) -> Row:
    """Bring `state` from before update k to before update k + 1, in place. Returns the update's row.

    `rollouts`: one per stream, in any order. `held_out` is measured before and after and changes nothing.

    Raises: AgentDiverged; ValueError for rollouts that are not those of this update.
    """
    settings, number = state.spec.settings, state.updates_done
    rollouts = _ordered(rollouts, number, settings.num_streams)
    batch = make_batch(state, rollouts)
    unseen = make_batch(state, held_out) if held_out else None
    old_free = policy_layout(settings, state.shape).free(state.policy).copy()

    row: Row = {"update": number, **measures.episodes(rollouts)}
    if settings.value_step == "joint":
        row |= _joint_step(state, batch)
    else:
        row |= _fit_values(state, batch)
        row |= _policy_step(state, batch)
    state.filters = merged(state.filters, rollouts)
    if settings.continue_streams:
        state.open_episodes = tuple(each.open_episode for each in rollouts)
    state.updates_done += 1
    state.env_steps += len(batch.advantages)
    row["env_steps"] = state.env_steps
    state.refuse_non_finite()

    row |= measures.trust_region(state, old_free, batch) | measures.value_prediction(state, batch)
    free = policy_layout(settings, state.shape).free(state.policy)
    row["entropy"] = float(state.shape.head.entropy(batch.outputs, old_free).mean(dtype=np.float64))
    row["action_std"] = float(np.exp(free).mean(dtype=np.float64)) if len(free) else math.nan
    found = measures.trust_region(state, old_free, unseen) | measures.value_prediction(state, unseen) if unseen else {}
    names = (*measures.TRUST_REGION, *measures.VALUES)
    return row | {f"heldout_{name}": found.get(name, math.nan) for name in names}


def merged(filters: Snapshot, rollouts: Sequence[Rollout]) -> Snapshot:
    """What the filters know after an update whose rollouts these are, in the order of their streams."""
    observations, rewards = filters.observations, filters.rewards
    for each in rollouts:
        observations = observations.merged(each.observation_moments)
        rewards = rewards.merged(each.reward_moments)
    return Snapshot(
        observations=observations, rewards=rewards, discounted=np.asarray([each.discounted for each in rollouts])
    )


def _ordered(rollouts: Sequence[Rollout], number: int, num_streams: int) -> list[Rollout]:
    ordered = sorted(rollouts, key=lambda each: each.stream)
    if [each.stream for each in ordered] != list(range(num_streams)) or any(r.update != number for r in ordered):
        have = [(each.update, each.stream) for each in ordered]
        raise ValueError(f"update {number} needs its own rollouts of streams 0 to {num_streams - 1}, got {have}")
    return ordered


def _fit_values(state: AgentState, batch: Batch) -> Row:
    settings, number = state.spec.settings, state.updates_done
    lr = settings.learning_rate(settings.value_lr, number, state.spec.schedule_horizon)
    loss = fit_values(
        value_layout(settings, state.shape),
        state.value,
        state.value_adam,
        batch.observations,
        batch.value_targets,
        batch.values,
        _counts(state, batch),
        seeds.stream(state.spec.seed, "value minibatches", number),
        epochs=settings.value_epochs,
        num_minibatches=settings.num_minibatches,
        clip=settings.value_clip,
        lr=lr,
        eps=settings.adam_eps,
    )
    return {"value_loss": loss, "value_lr": lr}


def _counts(state: AgentState, batch: Batch) -> NDArray[np.bool_]:
    """The steps that count in the value loss."""
    return np.ones_like(batch.not_terminal) if state.spec.settings.value_on_terminals else batch.not_terminal


def _joint_step(state: AgentState, batch: Batch) -> Row:
    settings, number, horizon = state.spec.settings, state.updates_done, state.spec.schedule_horizon
    policy_lr, value_lr = (
        settings.learning_rate(peak, number, horizon) for peak in (settings.policy_lr, settings.value_lr)
    )
    did = joint_step(
        Trainee(layout=policy_layout(settings, state.shape), flat=state.policy, adam=state.policy_adam, lr=policy_lr),
        Trainee(layout=value_layout(settings, state.shape), flat=state.value, adam=state.value_adam, lr=value_lr),
        state.shape.head,
        batch.observations,
        batch.actions,
        batch.log_probs,
        batch.advantages if settings.advantage == "gae" else batch.returns,
        batch.value_targets,
        batch.values,
        _counts(state, batch),
        seeds.stream(state.spec.seed, "policy minibatches", number),
        epochs=settings.policy_epochs,
        num_minibatches=settings.num_minibatches,
        ratio_clip=settings.ratio_clip,
        value_clip=settings.value_clip,
        value_weight=settings.value_weight,
        entropy_bonus=settings.entropy_bonus,
        gradient_clip=settings.gradient_clip,
        eps=settings.adam_eps,
    )
    return {
        "value_loss": did.value_loss,
        "value_lr": value_lr,
        **_ppo_row(policy_lr, did),
    }


def _ppo_row(lr: float, did: PPOStep) -> Row:
    return {
        "policy_lr": lr,
        "kl_limit": math.nan,
        "step_scale": math.nan,
        "policy_loss": did.loss,
        "gradient_norm": did.gradient_norm,
        "gradient_clipped": did.share_clipped,
    }


def _policy_step(state: AgentState, batch: Batch) -> Row:
    settings, number, horizon = state.spec.settings, state.updates_done, state.spec.schedule_horizon
    layout, head = policy_layout(settings, state.shape), state.shape.head
    wanted = batch.advantages if settings.advantage == "gae" else batch.returns
    if settings.step == "trpo":
        limit = settings.kl_limit(number, horizon)
        took = trpo_step(
            layout,
            head,
            state.policy,
            batch.observations,
            batch.actions,
            wanted,
            seeds.stream(state.spec.seed, "Fisher states", number),
            max_kl=limit,
            **options_of(settings),
        )
        return {
            "policy_lr": math.nan,
            "kl_limit": limit,
            "step_scale": took.scale,
            "policy_loss": -took.improvement,
            "gradient_norm": took.gradient_norm,
            "gradient_clipped": math.nan,
        }
    lr = settings.learning_rate(settings.policy_lr, number, horizon)
    did = ppo_step(
        layout,
        head,
        state.policy,
        state.policy_adam,
        batch.observations,
        batch.actions,
        batch.log_probs,
        wanted,
        seeds.stream(state.spec.seed, "policy minibatches", number),
        epochs=settings.policy_epochs,
        num_minibatches=settings.num_minibatches,
        clip=settings.ratio_clip,
        entropy_bonus=settings.entropy_bonus,
        gradient_clip=settings.gradient_clip,
        lr=lr,
        eps=settings.adam_eps,
    )
    return _ppo_row(lr, did)
