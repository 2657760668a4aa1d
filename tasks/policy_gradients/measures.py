"""What is measured of an update: trust region, value prediction, episodes. Raw numbers of one update, never smoothed.

Definitions: arXiv 2005.12729, section 5, and 1811.02553, sections 2 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.policy_gradients.batch import Batch, outputs_of, values_of
from robustray.tasks.policy_gradients.rollout import Rollout
from robustray.tasks.policy_gradients.state import AgentState, policy_layout

Array = NDArray[Any]
Row = dict[str, float]

TRUST_REGION = ("kl", "kl_max", "ratio_max", "ratio_99", "ratio_outside")
VALUES = ("value_error", "explained_variance", "gae_mre", "gae_mre_median", "returns_mre", "returns_mre_median")


def trust_region(state: AgentState, old_free: Array, batch: Batch) -> Row:
    """The policy now compared with the one before, over a batch: mean and largest KL(old || new) over states, largest
    ratio and its 99 % quantile, and the share of ratios outside [1 - bound, 1 + bound]."""
    head, settings = state.shape.head, state.spec.settings
    free = policy_layout(settings, state.shape).free(state.policy)
    outputs = outputs_of(state, batch.observations)
    kl = head.kl(batch.outputs, old_free, outputs, free)
    ratios = np.exp(head.log_prob(outputs, free, batch.actions).astype(np.float64) - batch.log_probs)
    outside = np.abs(ratios - 1) > settings.ratio_bound
    found = (kl.mean(dtype=np.float64), kl.max(), ratios.max(), np.quantile(ratios, 0.99), outside.mean())
    return dict(zip(TRUST_REGION, map(float, found), strict=True))


def value_prediction(state: AgentState, batch: Batch) -> Row:
    """Errors of the value network now: mean squared error to the GAE targets (V_old + A), 1 - Var(G - V) / Var(G), and
    the mean and median of |V - target| / |target| for GAE targets and for returns G.

    Steps that ended an episode are left out of all of them; of returns only complete episodes count, the others being
    cut. NaN where nothing is left.
    """
    values, targets = values_of(state, batch.observations), batch.value_targets
    whole = batch.complete & batch.not_terminal
    spread = float(np.var(batch.returns[whole], dtype=np.float64)) if whole.any() else 0.0
    left = float(np.var((batch.returns - values)[whole], dtype=np.float64)) if whole.any() else math.nan
    found = (
        float(np.mean(np.square(values - targets)[batch.not_terminal])) if batch.not_terminal.any() else math.nan,
        1 - left / spread if spread > 0 else math.nan,
        *_relative_error(values, targets, batch.not_terminal),
        *_relative_error(values, batch.returns, whole),
    )
    return dict(zip(VALUES, found, strict=True))


def episodes(rollouts: Sequence[Rollout]) -> Row:
    """Number, mean raw return and mean length of the episodes that ended; NaN where none did."""
    returns = np.concatenate([each.episode_returns for each in rollouts])
    lengths = np.concatenate([each.episode_lengths for each in rollouts])
    return {
        "episodes": len(returns),
        "episode_return": float(returns.mean()) if len(returns) else math.nan,
        "episode_length": float(lengths.mean()) if len(returns) else math.nan,
    }


def _relative_error(values: Array, targets: Array, among: NDArray[np.bool_]) -> tuple[float, float]:
    among = among & (targets != 0)
    if not among.any():
        return math.nan, math.nan
    errors = np.abs(values - targets)[among] / np.abs(targets[among])
    return float(errors.mean(dtype=np.float64)), float(np.median(errors))
