"""What a policy's outputs mean: a diagonal Gaussian or a categorical distribution over actions.

A head works on `outputs` (batch, num_outputs) of the policy's network and its free parameters. Besides densities it has
the derivatives that the hand-written gradients need.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Head(Protocol):
    """A family of distributions over actions."""

    num_outputs: int
    num_free: int
    """Free parameters beside the network: log standard deviations."""
    action_shape: tuple[int, ...]
    action_dtype: Any

    def noise(self, rng: np.random.Generator, num_steps: int) -> Array:
        """All random numbers of a rollout, one row per step."""
        ...

    def act(self, output: Array, free: Array, noise: Array) -> Array:
        """The action for one output (num_outputs,) and one row of noise."""
        ...

    def mode(self, output: Array) -> Array:
        """The action without noise: the mean, or the most probable one."""
        ...

    def log_prob(self, outputs: Array, free: Array, actions: Array) -> Array:
        """(batch,)"""
        ...

    def entropy(self, outputs: Array, free: Array) -> Array:
        """(batch,), in nats"""
        ...

    def kl(self, old: Array, old_free: Array, new: Array, new_free: Array) -> Array:
        """KL(old || new) (batch,), in nats."""
        ...

    def log_prob_gradient(self, outputs: Array, free: Array, actions: Array, weights: Array) -> tuple[Array, Array]:
        """Gradient of sum(weights * log_prob) with respect to outputs and free parameters; weights: (batch,)."""
        ...

    def entropy_gradient(self, outputs: Array, free: Array) -> tuple[Array, Array]:
        """Gradient of the mean entropy."""
        ...

    def fisher(self, outputs: Array, free: Array, d_outputs: Array, d_free: Array) -> tuple[Array, Array]:
        """The mean Hessian of KL(old || new) at new = old, times a direction: the Fisher information of the outputs,
        divided by the batch, and that of the free parameters."""
        ...


class Gaussian:
    """Independent normals: outputs are means, free parameters are log standard deviations, the same in all states."""

    num_outputs: int
    num_free: int
    action_shape: tuple[int, ...]
    action_dtype: Any = np.float32

    def __init__(self, num_actions: int) -> None:
        self.num_outputs = self.num_free = num_actions
        self.action_shape = (num_actions,)

    def noise(self, rng: np.random.Generator, num_steps: int) -> Array:
        return rng.standard_normal((num_steps, self.num_outputs), dtype=np.float32)

    def act(self, output: Array, free: Array, noise: Array) -> Array:
        return output + np.exp(free) * noise

    def mode(self, output: Array) -> Array:
        return output

    def log_prob(self, outputs: Array, free: Array, actions: Array) -> Array:
        z = (actions - outputs) * np.exp(-free)
        return -0.5 * (z * z).sum(axis=1) - (free.sum() + _HALF_LOG_2PI * self.num_outputs)

    def entropy(self, outputs: Array, free: Array) -> Array:
        each = free.sum() + self.num_outputs * (0.5 + _HALF_LOG_2PI)
        return np.full(len(outputs), each, dtype=outputs.dtype)

    def kl(self, old: Array, old_free: Array, new: Array, new_free: Array) -> Array:
        narrower = np.exp(-2 * new_free)
        spread = (2 * (new_free - old_free) - 1 + np.exp(2 * old_free) * narrower).sum()
        return 0.5 * (spread + (np.square(new - old) * narrower).sum(axis=1))

    def log_prob_gradient(self, outputs: Array, free: Array, actions: Array, weights: Array) -> tuple[Array, Array]:
        narrow = np.exp(-free)
        z = (actions - outputs) * narrow
        d_outputs = z * narrow
        d_outputs *= weights[:, None]
        return d_outputs, weights @ (z * z - 1)

    def entropy_gradient(self, outputs: Array, free: Array) -> tuple[Array, Array]:
        return np.zeros_like(outputs), np.ones_like(free)

    def fisher(self, outputs: Array, free: Array, d_outputs: Array, d_free: Array) -> tuple[Array, Array]:
        return d_outputs * (np.exp(-2 * free) / len(outputs)).astype(outputs.dtype), 2 * d_free


class Categorical:
    """One of `num_actions`: outputs are logits, there are no free parameters; actions are indices from 0."""

    num_free = 0
    action_shape: tuple[int, ...] = ()
    action_dtype: Any = np.int64

    def __init__(self, num_actions: int) -> None:
        self.num_outputs = num_actions

    def noise(self, rng: np.random.Generator, num_steps: int) -> Array:
        return rng.random(num_steps)

    def act(self, output: Array, free: Array, noise: Array) -> Array:
        shares = np.exp(output.astype(np.float64) - output.max()).cumsum()
        index = int(np.searchsorted(shares, noise * shares[-1], side="right"))
        return np.asarray(min(index, self.num_outputs - 1))

    def mode(self, output: Array) -> Array:
        return np.asarray(int(output.argmax()))

    def log_prob(self, outputs: Array, free: Array, actions: Array) -> Array:
        return _log_softmax(outputs)[np.arange(len(outputs)), actions]

    def entropy(self, outputs: Array, free: Array) -> Array:
        logs = _log_softmax(outputs)
        return -(np.exp(logs) * logs).sum(axis=1)

    def kl(self, old: Array, old_free: Array, new: Array, new_free: Array) -> Array:
        before = _log_softmax(old)
        return (np.exp(before) * (before - _log_softmax(new))).sum(axis=1)

    def log_prob_gradient(self, outputs: Array, free: Array, actions: Array, weights: Array) -> tuple[Array, Array]:
        d_outputs = -np.exp(_log_softmax(outputs))
        d_outputs[np.arange(len(outputs)), actions] += 1
        d_outputs *= weights[:, None]
        return d_outputs, free

    def entropy_gradient(self, outputs: Array, free: Array) -> tuple[Array, Array]:
        logs = _log_softmax(outputs)
        shares = np.exp(logs)
        entropy = -(shares * logs).sum(axis=1, keepdims=True)
        return -shares * (logs + entropy) / len(outputs), free

    def fisher(self, outputs: Array, free: Array, d_outputs: Array, d_free: Array) -> tuple[Array, Array]:
        shares = np.exp(_log_softmax(outputs))
        along = (shares * d_outputs).sum(axis=1, keepdims=True)
        return shares * (d_outputs - along) / len(outputs), d_free


def _log_softmax(outputs: Array) -> Array:
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
