"""Functions that attacks follow in a model's place: rescaled, smoothed, averaged over draws, or guided by another one.

All are plain functions of images (b, ...), so that nobody traces or folds them, and draw from a seed of their own. The
model is in evaluation mode while they are used (`models.watching.watched`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustray.tasks.attacks.gradient.draws import restored
from robustray.tasks.attacks.gradient.refusals import Model
from robustray.tasks.attacks.search.noise import uniform


class Through(torch.autograd.Function):
    """(source, value) -> value, whose gradient goes to the source: straight-through, of equal shapes."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0], None


def guided(model: Model, guide: Model) -> Model:
    """The model's logits with the guide's gradients (BPDA, arXiv:1802.00420, section 4.1)."""

    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            value = model(images.detach().clone())
        if not torch.is_grad_enabled():
            return value
        return Through.apply(guide(images), value)

    return run


def rescaled(model: Model, temperature: float) -> Model:
    """Logits divided by a power of two: the same predictions, and cross-entropy is not flat."""

    def run(images: Tensor) -> Tensor:
        return model(images) / temperature

    return run


def smoothed(model: Model, radius: float, *, samples: int, seed: int) -> Model:
    """The mean of the logits at `samples` points around, each pixel uniform within `radius`; the same offsets for all
    images and at every call."""

    def run(images: Tensor) -> Tensor:
        total: Tensor | int = 0
        for k in range(samples):
            drawn = uniform(seed, "smoothing", k, torch.zeros(1, dtype=torch.int64), images.shape[1:], images.device)
            total = total + model(images + radius * (2 * drawn - 1))
        assert isinstance(total, Tensor)
        return total / samples

    return run


def averaged(model: Model, *, samples: int, seed: int) -> Model:
    """The mean of the logits over `samples` draws of a random model, the same ones at every call (expectation over
    transformation, arXiv:1707.07397)."""

    def run(images: Tensor) -> Tensor:
        total: Tensor | int = 0
        with restored(images):
            for k in range(samples):
                torch.manual_seed(seed * 100_003 + k)
                total = total + model(images.clone())
        assert isinstance(total, Tensor)
        return total / samples

    return run


def votes(model: Model, *, draws: int, seed: int) -> Model:
    """How often each class is the largest in `draws` draws; draws are decided by the mean probability, which adds less
    than one vote."""

    @torch.no_grad()
    def run(images: Tensor) -> Tensor:
        counts: Tensor | int = 0
        shares: Tensor | int = 0
        with restored(images):
            for k in range(draws):
                torch.manual_seed(seed * 100_003 + 50_021 + k)
                logits = model(images.clone()).float()
                counts = counts + torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1])
                shares = shares + logits.softmax(1) / draws
        assert isinstance(counts, Tensor) and isinstance(shares, Tensor)
        return counts + 0.5 * shares

    return run
