"""The optimisations by Adam of an update: the value fit, PPO's step, and both in one pass. Source: arXiv 2005.12729,
section 2 and its released code; the joint pass: stable-baselines3's PPO. TRPO's step: `trust_region.py`.

All work on flat parameters and arrays of one dtype, float32 or float64, and know nothing of agents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.policy_gradients.adam import Adam
from robustray.tasks.policy_gradients.advantages import standardised
from robustray.tasks.policy_gradients.heads import Head
from robustray.tasks.policy_gradients.mlp import Layout, backward, forward

Array = NDArray[Any]


def minibatches(rng: np.random.Generator, num_rows: int, num_minibatches: int) -> tuple[Array, Iterator[slice]]:
    """A permutation of the rows, and the slices into which the reference cuts it: where the division leaves a rest, the
    first minibatches have one row more."""
    least, more = divmod(num_rows, num_minibatches)
    sizes = [least + 1] * more + [least] * (num_minibatches - more)
    ends = np.cumsum(sizes).tolist()
    return rng.permutation(num_rows), (slice(end - size, end) for size, end in zip(sizes, ends, strict=True) if size)


# --- The value network --------------------------------------------------------------------------------------------


def value_gradient(
    layout: Layout, flat: Array, observations: Array, targets: Array, old: Array, *, clip: float | None, gradient: Array
) -> float:
    """The value loss: the mean of (V - target)**2, or, clipped, of the larger of that and
    (old + clip(V - old, -c, c) - target)**2. Its gradient is written into `gradient`."""
    layers, relu = layout.layers(flat), layout.activation == "relu"
    passed = forward(layers, observations, relu=relu)
    values = passed[-1][:, 0]
    errors = values - targets
    d_values = errors * (2 / len(errors))
    if clip is None:
        loss = float(np.mean(errors * errors))
    else:
        moved = values - old
        clipped_errors = old + np.clip(moved, -clip, clip) - targets
        squares, clipped = errors * errors, clipped_errors * clipped_errors
        loss = float(np.mean(np.maximum(squares, clipped)))
        d_values *= (np.abs(moved) <= clip) | (squares > clipped)
    backward(layers, passed, d_values[:, None], layout.layers(gradient), relu=relu)
    return loss


def fit_values(
    layout: Layout,
    flat: Array,
    adam: Adam,
    observations: Array,
    targets: Array,
    old: Array,
    counts: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    epochs: int,
    num_minibatches: int,
    clip: float | None,
    lr: float,
    eps: float,
) -> float:
    """Adam on minibatches; rows that don't count are left out of their minibatch's mean. Returns the mean loss.

    A minibatch in which no row counts is skipped.
    """
    gradient, losses = np.empty_like(flat), []
    for _ in range(epochs):
        order, cuts = minibatches(rng, len(targets), num_minibatches)
        rows = (observations[order], targets[order], old[order])
        counted = counts[order]
        everything = bool(counted.all())
        for cut in cuts:
            seen, wanted, before = rows[0][cut], rows[1][cut], rows[2][cut]
            if not everything and not (among := counted[cut]).all():
                if not among.any():
                    continue
                seen, wanted, before = seen[among], wanted[among], before[among]
            losses.append(value_gradient(layout, flat, seen, wanted, before, clip=clip, gradient=gradient))
            adam.step(flat, gradient, lr=lr, eps=eps)
    return float(np.mean(losses)) if losses else math.nan


# --- PPO ----------------------------------------------------------------------------------------------------------


def surrogate_gradient(
    layout: Layout,
    head: Head,
    flat: Array,
    observations: Array,
    actions: Array,
    old_log_probs: Array,
    advantages: Array,
    *,
    clip: float | None,
    entropy_bonus: float,
    gradient: Array,
) -> float:
    """PPO's loss -mean(min(r A, clip(r, 1 - c, 1 + c) A)) - bonus * entropy for ratios r = exp(log p - old log p);
    unclipped for None. Its gradient is written into `gradient`. `advantages` are taken as they are."""
    layers, relu, free = layout.layers(flat), layout.activation == "relu", layout.free(flat)
    passed = forward(layers, observations, relu=relu)
    outputs = passed[-1]
    ratios = np.exp(head.log_prob(outputs, free, actions) - old_log_probs)
    gains = ratios * advantages
    weights = gains * (-1 / len(gains))
    if clip is not None:
        limited = np.clip(ratios, 1 - clip, 1 + clip) * advantages
        weights *= (gains < limited) | ((ratios >= 1 - clip) & (ratios <= 1 + clip))
        gains = np.minimum(gains, limited)
    d_outputs, d_free = head.log_prob_gradient(outputs, free, actions, weights)
    loss = -float(np.mean(gains))
    if entropy_bonus:
        e_outputs, e_free = head.entropy_gradient(outputs, free)
        d_outputs, d_free = d_outputs - entropy_bonus * e_outputs, d_free - entropy_bonus * e_free
        loss -= entropy_bonus * float(np.mean(head.entropy(outputs, free)))
    backward(layers, passed, d_outputs, layout.layers(gradient), relu=relu)
    layout.free(gradient)[...] = d_free
    return loss


@dataclass(frozen=True, kw_only=True)
class PPOStep:
    """What happened."""

    loss: float
    """Mean over minibatches."""
    gradient_norm: float
    """Mean over minibatches, before it was clipped."""
    share_clipped: float
    """Share of the minibatches whose gradient was clipped."""


def ppo_step(
    layout: Layout,
    head: Head,
    flat: Array,
    adam: Adam,
    observations: Array,
    actions: Array,
    old_log_probs: Array,
    advantages: Array,
    rng: np.random.Generator,
    *,
    epochs: int,
    num_minibatches: int,
    clip: float | None,
    entropy_bonus: float,
    gradient_clip: float | None,
    lr: float,
    eps: float,
) -> PPOStep:
    """Adam on minibatches, each with advantages standardised by its own mean and deviation."""
    gradient, losses, norms = np.empty_like(flat), [], []
    for _ in range(epochs):
        order, cuts = minibatches(rng, len(advantages), num_minibatches)
        seen, done, before, gains = (each[order] for each in (observations, actions, old_log_probs, advantages))
        for cut in cuts:
            losses.append(
                surrogate_gradient(
                    layout,
                    head,
                    flat,
                    seen[cut],
                    done[cut],
                    before[cut],
                    standardised(gains[cut]),
                    clip=clip,
                    entropy_bonus=entropy_bonus,
                    gradient=gradient,
                )
            )
            norm = math.sqrt(float(gradient.dot(gradient)))
            norms.append(norm)
            if gradient_clip is not None and norm > gradient_clip:
                gradient *= gradient_clip / (norm + 1e-6)  # the 1e-6 is torch's, in clip_grad_norm_
            adam.step(flat, gradient, lr=lr, eps=eps)
    return PPOStep(
        loss=float(np.mean(losses)),
        gradient_norm=float(np.mean(norms)),
        share_clipped=float(np.mean(np.asarray(norms) > gradient_clip)) if gradient_clip is not None else 0.0,
    )


# --- PPO and the value network in one pass ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class JointStep(PPOStep):
    """What happened. The norm is that of the policy's gradient and the weighted one of the values together."""

    value_loss: float
    """Mean over minibatches, not weighted."""


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """A network that a joint pass changes."""

    layout: Layout
    flat: Array
    adam: Adam
    lr: float


def joint_step(
    policy: Trainee,
    value: Trainee,
    head: Head,
    observations: Array,
    actions: Array,
    old_log_probs: Array,
    advantages: Array,
    targets: Array,
    old_values: Array,
    counts: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    epochs: int,
    num_minibatches: int,
    ratio_clip: float | None,
    value_clip: float | None,
    value_weight: float,
    entropy_bonus: float,
    gradient_clip: float | None,
    eps: float,
) -> JointStep:
    """PPO's loss plus `value_weight` times the value loss, minibatch by minibatch, the gradients of both networks
    clipped by their common norm. The networks share no weights, so beside that norm and the minibatches nothing joins
    them. Rows that don't count are left out of the value loss."""
    d_policy, d_value = np.empty_like(policy.flat), np.empty_like(value.flat)
    losses, value_losses, norms = [], [], []
    everything = (observations, actions, old_log_probs, advantages, targets, old_values, counts)
    for _ in range(epochs):
        order, cuts = minibatches(rng, len(advantages), num_minibatches)
        rows = [each[order] for each in everything]
        for cut in cuts:
            seen, done, before, gains, wanted, old, counted = (each[cut] for each in rows)
            losses.append(
                surrogate_gradient(
                    policy.layout,
                    head,
                    policy.flat,
                    seen,
                    done,
                    before,
                    standardised(gains),
                    clip=ratio_clip,
                    entropy_bonus=entropy_bonus,
                    gradient=d_policy,
                )
            )
            if counted.any():
                loss = value_gradient(
                    value.layout,
                    value.flat,
                    seen[counted],
                    wanted[counted],
                    old[counted],
                    clip=value_clip,
                    gradient=d_value,
                )
                value_losses.append(loss)
                d_value *= value_weight
            else:
                d_value[...] = 0
            norm = math.sqrt(float(d_policy.dot(d_policy)) + float(d_value.dot(d_value)))
            norms.append(norm)
            for trainee, gradient in ((policy, d_policy), (value, d_value)):
                if gradient_clip is not None and norm > gradient_clip:
                    gradient *= gradient_clip / (norm + 1e-6)
                trainee.adam.step(trainee.flat, gradient, lr=trainee.lr, eps=eps)
    return JointStep(
        loss=float(np.mean(losses)),
        value_loss=float(np.mean(value_losses)) if value_losses else math.nan,
        gradient_norm=float(np.mean(norms)),
        share_clipped=float(np.mean(np.asarray(norms) > gradient_clip)) if gradient_clip is not None else 0.0,
    )
