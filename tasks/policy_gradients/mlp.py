"""Multilayer perceptrons on one flat parameter vector: forward, backward, directional derivative, initial weights.

The arithmetic is NumPy's, by hand-derived gradients: for these small networks it is several times faster than autograd
(docs/design/policy-gradients.md). `torch_nets.py` is the same network in PyTorch; tests keep the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.policy_gradients.settings import Activation, Init

Array = NDArray[Any]
"""float32 in a training, float64 in tests."""
Layers = list[tuple[Array, Array]]
"""(weights (out, in), biases (out,)) per layer."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where in the flat vector the weights of a network lie: W1, b1, W2, b2, ..., then `extra` free numbers."""

    sizes: tuple[int, ...]
    """Inputs, hidden widths, outputs."""
    activation: Activation
    extra: int = 0
    """Free parameters behind the layers: the log standard deviations of a Gaussian policy."""

    @property
    def num_parameters(self) -> int:
        return sum((n + 1) * m for n, m in zip(self.sizes, self.sizes[1:], strict=False)) + self.extra

    def layers(self, flat: Array) -> Layers:
        """Views of `flat`."""
        layers, at = [], 0
        for n, m in zip(self.sizes, self.sizes[1:], strict=False):
            layers.append((flat[at : at + m * n].reshape(m, n), flat[at + m * n : at + m * n + m]))
            at += m * n + m
        return layers

    def free(self, flat: Array) -> Array:
        """A view of the extra parameters (extra,)."""
        return flat[len(flat) - self.extra :]

    def names(self) -> list[str]:
        """Names of the layers' tensors, in the order of the flat vector."""
        return [f"{i}.{name}" for i in range(len(self.sizes) - 1) for name in ("weight", "bias")]


def initial_weights(layout: Layout, init: Init, rng: np.random.Generator, *, head_gain: float) -> NDArray[np.float32]:
    """Fresh parameters: biases and extras 0; "orthogonal" with gain sqrt(2) in hidden layers and `head_gain` in the
    last; "xavier" uniform with gain 1 in all (arXiv 2005.12729, section 3)."""
    flat = np.zeros(layout.num_parameters, dtype=np.float32)
    layers = layout.layers(flat)
    for i, (weights, _) in enumerate(layers):
        if init == "xavier":
            bound = np.sqrt(6 / sum(weights.shape))
            weights[...] = rng.uniform(-bound, bound, weights.shape)
        else:
            weights[...] = (head_gain if i == len(layers) - 1 else np.sqrt(2)) * _orthogonal(weights.shape, rng)
    return flat


def _orthogonal(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Uniform over matrices with orthonormal rows or columns, whichever are fewer (Saxe et al. 2014)."""
    rows, columns = shape
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q = q * np.sign(np.diag(r))  # without it QR's own choice of signs would show
    return q if rows >= columns else q.T


def forward_one(layers: Layers, x: Array, *, relu: bool) -> Array:
    """Outputs (out,) for one input (in,). Rows of a batch differ from it in the last bits; rollouts use only this."""
    for weights, biases in layers[:-1]:
        x = weights @ x
        x += biases
        if relu:
            np.maximum(x, 0, out=x)
        else:
            np.tanh(x, out=x)
    weights, biases = layers[-1]
    x = weights @ x
    x += biases
    return x


def forward(layers: Layers, x: Array, *, relu: bool) -> list[Array]:
    """What enters each layer, then the outputs (batch, out)."""
    passed = [x]
    for i, (weights, biases) in enumerate(layers):
        x = x @ weights.T
        x += biases
        if i < len(layers) - 1:
            if relu:
                np.maximum(x, 0, out=x)
            else:
                np.tanh(x, out=x)
        passed.append(x)
    return passed


def backward(layers: Layers, passed: list[Array], d_outputs: Array, gradient: Layers, *, relu: bool) -> None:
    """Write the gradient of sum(outputs * d_outputs) with respect to the layers into `gradient`."""
    d = d_outputs
    for i in range(len(layers) - 1, -1, -1):
        d_weights, d_biases = gradient[i]
        np.matmul(d.T, passed[i], out=d_weights)
        d.sum(axis=0, out=d_biases)
        if i:
            d = d @ layers[i][0]
            d *= _slope(passed[i], relu)


def backward_rows(layers: Layers, passed: list[Array], d_outputs: Array, *, relu: bool) -> list[Array]:
    """What `backward` multiplies with `passed`: per layer (batch, out), the derivative of sum(outputs * d_outputs) with
    respect to what it gives before its activation. A row is linear in its row of `d_outputs`."""
    found = [d_outputs]
    for i in range(len(layers) - 1, 0, -1):
        found.append((found[-1] @ layers[i][0]) * _slope(passed[i], relu))
    return found[::-1]


def directional(layers: Layers, passed: list[Array], direction: Layers, *, relu: bool) -> Array:
    """Derivative (batch, out) of the outputs along a direction in parameter space."""
    moved = np.zeros_like(passed[0])
    for i, ((weights, _), (d_weights, d_biases)) in enumerate(zip(layers, direction, strict=True)):
        moved = moved @ weights.T + passed[i] @ d_weights.T + d_biases
        if i < len(layers) - 1:
            moved *= _slope(passed[i + 1], relu)
    return moved


def _slope(activated: Array, relu: bool) -> Array:
    """Derivative of the activation, from its value."""
    if relu:
        return (activated > 0).astype(activated.dtype)
    return 1 - activated * activated
