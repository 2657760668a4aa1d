"""TRPO's step: natural gradient by conjugate gradients, then a line search. Source: arXiv 1502.05477, and the released
code of 2005.12729; where stable-baselines3-contrib does otherwise, that is an option.

It works on flat parameters and arrays of one dtype, float32 or float64, and knows nothing of agents.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.policy_gradients.advantages import standardised
from robustray.tasks.policy_gradients.heads import Head
from robustray.tasks.policy_gradients.mlp import Layout, backward, directional, forward
from robustray.tasks.policy_gradients.settings import KLDirection, PolicyGradient
from robustray.tasks.policy_gradients.steps import surrogate_gradient

Array = NDArray[Any]


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


def conjugate_gradient(
    product: Callable[[Array], Array],
    b: Array,
    num_steps: int,
    *,
    start: Array | None = None,
    tolerance: float = 0.0,
) -> Array:
    """An approximate solution of A x = b for a positive definite A, from `start` (None: from 0). It takes `num_steps`
    steps, fewer where the squared norm of the residual falls to `tolerance`."""
    x = np.zeros_like(b) if start is None else start.copy()
    residual = b.copy() if start is None else b - product(x)
    direction = residual.copy()
    square = float(residual @ residual)
    for _ in range(num_steps):
        if square <= tolerance:
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
    """Share of the full step that was taken: 1, 1/2, 1/4, ...; 0 where none was accepted and nothing changed."""
    kl: float
    """Mean KL over the batch, of what was taken, in the direction that was judged."""
    improvement: float
    """Improvement of the surrogate."""
    gradient_norm: float


def options_of(settings: PolicyGradient) -> dict[str, Any]:
    """What `trpo_step` takes from an agent's settings, but for the limit of the update."""
    return {
        "fisher_share": settings.fisher_share,
        "damping": settings.damping,
        "cg_steps": settings.cg_steps,
        "tries": settings.line_search_tries,
        "cg_start_noise": settings.cg_start_noise,
        "cg_tolerance": settings.cg_tolerance,
        "shrink": settings.line_search_shrink,
        "least_share": settings.line_search_share,
        "kl_direction": settings.kl_direction,
        "kl_per_action": settings.kl_per_action,
    }


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
    cg_start_noise: float = 0.0,
    cg_tolerance: float = 0.0,
    shrink: float = 0.5,
    least_share: float = 0.1,
    kl_direction: KLDirection = "old_new",
    kl_per_action: bool = False,
) -> TRPOStep:
    """One step in the trust region. Changes `flat` in place, or not at all.

    Computed in float64 whatever the dtype of `flat`; every candidate is rounded to it before it is judged, so that the
    KL that was accepted is that of the resulting parameters. Accepted is the first scale 1, `shrink`, `shrink`**2, ...
    with a better surrogate, a mean KL of at most `max_kl` on the whole batch, and an improvement of more than
    `least_share` of what the gradient promised.

    kl_per_action: a Gaussian's KL and Fisher matrix are divided by the number of action dimensions.

    Random numbers: the states of the Fisher products (unless all are taken), then where conjugate gradients start.
    """
    parts = max(head.num_free, 1) if kl_per_action else 1
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

    count = max(1, int(fisher_share * len(seen)))
    chosen = seen if count == len(seen) else seen[rng.choice(len(seen), size=count, replace=False)]
    passed = forward(layers, chosen, relu=relu)

    def product(vector: Array) -> Array:
        return fisher_product(layout, head, old, passed, vector, damping=damping * parts) / parts

    start = cg_start_noise * rng.standard_normal(len(old)) if cg_start_noise else None
    direction = conjugate_gradient(product, gradient, cg_steps, start=start, tolerance=cg_tolerance)
    curvature = float(direction @ product(direction))
    if not curvature > 0:
        return TRPOStep(scale=0.0, kl=0.0, improvement=0.0, gradient_norm=norm)
    step = direction * math.sqrt(2 * max_kl / curvature)
    promised = float(gradient @ step)
    for i in range(tries):
        scale = shrink**i
        candidate = (old + scale * step).astype(flat.dtype)
        new = candidate.astype(np.float64)
        new_outputs = forward(layout.layers(new), seen, relu=relu)[-1]
        ratios = np.exp(head.log_prob(new_outputs, layout.free(new), actions) - old_log_probs)
        improvement = float(np.mean(ratios * wanted)) - before
        pair = (outputs, free), (new_outputs, layout.free(new))
        (p, p_free), (q, q_free) = pair if kl_direction == "old_new" else pair[::-1]
        kl = float(np.mean(head.kl(p, p_free, q, q_free))) / parts
        if improvement > 0 and kl <= max_kl and improvement > least_share * scale * promised:
            flat[...] = candidate
            return TRPOStep(scale=scale, kl=kl, improvement=improvement, gradient_norm=norm)
    return TRPOStep(scale=0.0, kl=0.0, improvement=0.0, gradient_norm=norm)
