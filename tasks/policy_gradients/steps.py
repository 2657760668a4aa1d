"""The three optimisations of an update: the value fit, PPO's step and TRPO's step. Source: arXiv 2005.12729, section 2
and its released code; TRPO: arXiv 1502.05477.

All three work on flat parameters and arrays of one dtype, float32 or float64, and know nothing of agents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.policy_gradients.adam import Adam
from robustray.tasks.policy_gradients.advantages import standardised
from robustray.tasks.policy_gradients.heads import Head
from robustray.tasks.policy_gradients.mlp import Layout, backward, directional, forward

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
    """Of the minibatches, whose gradient was clipped."""


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


# --- TRPO ---------------------------------------------------------------------------------------------------------


def fisher_product(
    layout: Layout, head: Head, flat: Array, passed: list[Array], vector: Array, *, damping: float
) -> Array:
    """(F + damping) v, F the Hessian of mean KL(old || new) at the old parameters, over the states that `passed`
    (from `forward`) holds. There it equals J^T M J, with J the outputs' Jacobian and M the head's Fisher matrix."""
    layers, relu = layout.layers(flat), layout.activation == "relu"
    moved = directional(layers, passed, layout.layers(vector), relu=relu)
    d_outputs, d_free = head.fisher(passed[-1], layout.free(flat), moved, layout.free(vector))
    product = np.empty_like(flat)
    backward(layers, passed, d_outputs, layout.layers(product), relu=relu)
    layout.free(product)[...] = d_free
    product += damping * vector
    return product


def conjugate_gradient(product: Callable[[Array], Array], b: Array, num_steps: int) -> Array:
    """An approximate solution of A x = b for a positive definite A, from 0, without a tolerance: exactly `num_steps`
    unless the residual is 0 before."""
    x = np.zeros_like(b)
    residual, direction = b.copy(), b.copy()
    square = float(residual @ residual)
    for _ in range(num_steps):
        if square == 0:
            break
        image = product(direction)
        size = square / float(direction @ image)
        x += size * direction
        residual -= size * image
        before, square = square, float(residual @ residual)
        direction = residual + (square / before) * direction
    return x


@dataclass(frozen=True, kw_only=True)
class TRPOStep:
    """What happened."""

    scale: float
    """Of the full step that was taken: 1, 1/2, 1/4, ...; 0: none was accepted and nothing changed."""
    kl: float
    """Mean KL(old || new) over the batch, of what was taken."""
    improvement: float
    """Of the surrogate."""
    gradient_norm: float


def trpo_step(
    layout: Layout,
    head: Head,
    flat: NDArray[Any],
    observations: Array,
    actions: Array,
    advantages: Array,
    rng: np.random.Generator,
    *,
    max_kl: float,
    fisher_share: float,
    damping: float,
    cg_steps: int,
    tries: int,
) -> TRPOStep:
    """One step in the trust region. Changes `flat` in place, or not at all.

    Computed in float64 whatever the dtype of `flat`; every candidate is rounded to it before it is judged, so that the
    KL that was accepted is that of the parameters that are kept. Accepted is the first scale with a better surrogate, a
    mean KL of at most `max_kl` on the whole batch, and an improvement of more than a tenth of what the gradient
    promised.
    """
    old = flat.astype(np.float64)
    seen = observations.astype(np.float64)
    wanted = standardised(advantages.astype(np.float64))
    layers, relu, free = layout.layers(old), layout.activation == "relu", layout.free(old)
    outputs = forward(layers, seen, relu=relu)[-1]
    old_log_probs = head.log_prob(outputs, free, actions)
    gradient = np.empty_like(old)
    before = -surrogate_gradient(
        layout, head, old, seen, actions, old_log_probs, wanted, clip=None, entropy_bonus=0.0, gradient=gradient
    )
    gradient *= -1  # of the surrogate, which is to grow
    norm = math.sqrt(float(gradient @ gradient))

    chosen = rng.choice(len(seen), size=max(1, int(fisher_share * len(seen))), replace=False)
    passed = forward(layers, seen[chosen], relu=relu)

    def product(vector: Array) -> Array:
        return fisher_product(layout, head, old, passed, vector, damping=damping)

    direction = conjugate_gradient(product, gradient, cg_steps)
    curvature = float(direction @ product(direction))
    if not curvature > 0:
        return TRPOStep(scale=0.0, kl=0.0, improvement=0.0, gradient_norm=norm)
    step = direction * math.sqrt(2 * max_kl / curvature)
    promised = float(gradient @ step)
    for i in range(tries):
        scale = 0.5**i
        candidate = (old + scale * step).astype(flat.dtype)
        new = candidate.astype(np.float64)
        new_outputs = forward(layout.layers(new), seen, relu=relu)[-1]
        ratios = np.exp(head.log_prob(new_outputs, layout.free(new), actions) - old_log_probs)
        improvement = float(np.mean(ratios * wanted)) - before
        kl = float(np.mean(head.kl(outputs, free, new_outputs, layout.free(new))))
        if improvement > 0 and kl <= max_kl and improvement > 0.1 * scale * promised:
            flat[...] = candidate
            return TRPOStep(scale=scale, kl=kl, improvement=improvement, gradient_norm=norm)
    return TRPOStep(scale=0.0, kl=0.0, improvement=0.0, gradient_norm=norm)
