"""What a robust linear network reads out of a set: the part of D_rand and D_det that needs no non-robust features.

G. Goh, "Two examples of useful, non-robust features", Distill 2019: a linear network is trained robustly on D; a linear
head on its outputs is fitted on the set, and tested on original images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.seeds import stream
from robustray.tasks.latents.head import STRENGTHS, fit_head

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData

Floats = NDArray[np.float64]
BATCH = 128


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """Settings of `leak_block`."""

    eps: float
    """l2 size at which the linear network is trained."""
    epochs: int
    num_steps: int = 5
    """Gradient steps of the attack, each of half of eps."""


@block_function(
    version=1,
    columns={"strength": pa.float64(), "held_out": pa.float64(), "clean": pa.float64(), "prediction": Tensor("int64")},
)
def leak_block(seeds: Sequence[int], context: Context) -> Mapping[str, Any]:
    """For each seed of the linear network's training on "data", a head on the network's outputs, fitted on the images
    and labels of "set".

    settings: a `Leakage`. strength: C of the head, chosen by the accuracy on "held out" (true labels), which is
    `held_out`. clean: accuracy of the linear network itself on "test". prediction: of the head on "test" (n,).
    """
    d, made, held, test = (context.load(role) for role in ("data", "set", "held out", "test"))
    rows = []
    for seed in seeds:
        network = fit_linear(flat(d), d.labels, d.num_classes, context.settings, seed)
        scores = []
        for strength in STRENGTHS:
            head = fit_head(network.logits(flat(made)), made.labels, seed=seed, strengths=(strength,))
            scores.append((float((head.predict(network.logits(flat(held))) == held.labels).mean()), -strength, head))
        accuracy, strength, head = max(scores, key=lambda each: each[:2])
        answers = network.logits(flat(test))
        rows.append((-strength, accuracy, float((answers.argmax(1) == test.labels).mean()), head.predict(answers)))
    names = ("strength", "held_out", "clean", "prediction")
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearNetwork:
    """Logits = (x - mean) @ weights + bias."""

    mean: Floats
    """(pixels,): mean of the pixels."""
    weights: Floats
    """(pixels, classes): weights of the linear network."""
    bias: Floats
    """(classes,): bias of the linear network."""

    def logits(self, x: Floats) -> Floats:
        """Logits of images: (n, pixels) -> (n, classes)."""
        found: Floats = (x - self.mean) @ self.weights + self.bias
        return found


def fit_linear(x: Floats, labels: NDArray[np.int64], num_classes: int, how: Leakage, seed: int) -> LinearNetwork:
    """Multinomial logistic regression on adversarial images: SGD with momentum, a rate that falls to 0, from zero.

    x: (n, pixels) in [0, 1]. The attack ascends the cross-entropy of the batch as it is, within eps and [0, 1].
    """
    mean = x.mean(0)
    one_hot = np.eye(num_classes)
    network = LinearNetwork(mean=mean, weights=np.zeros((x.shape[1], num_classes)), bias=np.zeros(num_classes))
    velocity, bias_velocity = np.zeros_like(network.weights), np.zeros(num_classes)
    rate = 1 / float(np.square(x - mean).sum(1).mean())  # the loss curves no more than half the mean squared length
    size = min(BATCH, len(x))
    num_steps = how.epochs * (len(x) // size)
    for step in range(num_steps):
        epoch, place = divmod(step, len(x) // size)
        rows = stream(seed, "features-linear", epoch).permutation(len(x))[place * size :][:size]
        wanted = one_hot[labels[rows]]
        moved = _attacked(network, x[rows], wanted, how)
        errors = (_softmax(network.logits(moved)) - wanted) / size
        velocity = 0.9 * velocity + (moved - mean).T @ errors
        bias_velocity = 0.9 * bias_velocity + errors.sum(0)
        now = rate * (1 - step / num_steps)
        network = LinearNetwork(
            mean=mean, weights=network.weights - now * velocity, bias=network.bias - now * bias_velocity
        )
    return network


def _attacked(network: LinearNetwork, x: Floats, wanted: Floats, how: Leakage) -> Floats:
    moved = x
    for _ in range(how.num_steps):
        gradient = (_softmax(network.logits(moved)) - wanted) @ network.weights.T
        length = np.linalg.norm(gradient, axis=1, keepdims=True)
        step = moved + 0.5 * how.eps * gradient / np.where(length > 0, length, 1) - x
        far = np.linalg.norm(step, axis=1, keepdims=True)
        moved = np.clip(x + step * np.minimum(1, how.eps / np.where(far > 0, far, 1)), 0, 1)
    return moved


def _softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    found: Floats = shifted / shifted.sum(1, keepdims=True)
    return found


def flat(data: ImageData) -> Floats:
    """Images as (n, pixels) in [0, 1]."""
    images = data.images.reshape(len(data), -1).astype(np.float64)
    return images / 255 if data.images.dtype == np.uint8 else images
