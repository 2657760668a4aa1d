"""Advantages and returns of one stream. Source: arXiv 2005.12729 and its released code; GAE: arXiv 1506.02438."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.policy_gradients.settings import Bootstrap

Array = NDArray[Any]


def advantages_and_returns(
    rewards: Array,
    values: Array,
    terminated: Array,
    truncated: Array,
    next_values: Array,
    *,
    discount: float,
    gae_lambda: float,
    bootstrap: Bootstrap,
) -> tuple[Array, Array]:
    """(advantages, discounted returns), float64 (steps,).

    rewards are filtered ones. values: V(s_t). next_values: V(s_{t+1}) where an episode or the stream was cut, read for
    "correct" only, and there only where `truncated` or at the last step.

    "reference": a truncated episode has ended, the value after the last step is V of the last state itself, and the
    last return is cut without bootstrap. "correct": a truncated episode and the end of the stream go on with the value
    of the state that follows, in advantages and returns; nothing runs across a reset.
    """
    done = terminated | truncated
    num_steps = len(rewards)
    after = np.append(values[1:], values[-1]).astype(np.float64)
    cut = np.zeros(num_steps, dtype=bool)
    """Where the state that follows has a value, but no steps in this stream."""
    if bootstrap == "correct":
        cut = truncated & ~terminated
        cut[-1] = not terminated[-1]
        after[cut] = next_values[cut]
    goes_on = ~done | cut
    deltas = rewards + discount * after * goes_on - values
    joined = (~done & ~cut).tolist()
    tail = (discount * after * cut).tolist()
    advantages, returns = [0.0] * num_steps, [0.0] * num_steps
    advantage = total = 0.0
    decay = discount * gae_lambda
    for t, (delta, reward) in reversed(list(enumerate(zip(deltas.tolist(), rewards.tolist(), strict=True)))):
        advantage = delta + (decay * advantage if joined[t] else 0.0)
        total = reward + (discount * total if joined[t] else tail[t])
        advantages[t], returns[t] = advantage, total
    return np.asarray(advantages), np.asarray(returns)


def standardised(advantages: Array) -> Array:
    """(A - mean) / (std + 1e-8), std with n - 1; zeros where there is one only."""
    centred = advantages - advantages.mean()
    if len(advantages) < 2:
        return centred
    return centred / (np.sqrt((centred * centred).sum() / (len(centred) - 1)) + 1e-8)
