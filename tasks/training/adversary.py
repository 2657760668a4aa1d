"""The inner maximisation: perturbed images for a training step, found against the model of this moment.

The attack sees the model in evaluation mode, with batch norm folded and in the attack's precision. It touches neither
the model's modes nor its statistics and computes no parameter gradients (Madry et al., arXiv:1706.06083, section 2).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustray.tasks.attacks.gradient.folding import StandingCopy
from robustray.tasks.attacks.gradient.verdicts import own_copy
from robustray.tasks.attacks.objective import CrossEntropy, ModelOutput, Objective, OnLogits
from robustray.tasks.attacks.search import noise
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.training.settings import TrainSpec

_START = "training attack"
_NOISE = "training noise"


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Inside, `model` is in evaluation mode; afterwards every module has its own mode back, frozen ones stay frozen."""
    modes = [(module, module.training) for module in model.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@dataclass(frozen=True)
class Divergence(OnLogits):
    """KL(clean || perturbed) of the predicted distributions: what TRADES maximises. `state` are the clean logits."""

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        return divergence(state, output.logits)

    def success(self, output: ModelOutput, images: Tensor, state: Tensor) -> None:
        return None


def divergence(clean: Tensor, perturbed: Tensor) -> Tensor:
    """KL(softmax(clean) || softmax(perturbed)) of logits (batch, classes); (batch,)."""
    return functional.kl_div(perturbed.log_softmax(1), clean.log_softmax(1), reduction="none", log_target=True).sum(1)


class Adversary:
    """Perturbs batches as `spec` says. One per training; the copy of the model inside is brought up to date per call.

    The attack of TRADES starts where `random_start` says, not at its authors' Gaussian noise of 0.001 around the image.
    Without a random start this finds what `PGD(exit_rule="last", attack_misclassified=True, random_start=False)` finds.
    """

    def __init__(self, spec: TrainSpec, model: nn.Module, shape: torch.Size) -> None:
        """shape: of an image (channels, height, width)."""
        self._spec, self._model = spec, model
        self._geometry = GEOMETRIES[spec.norm]
        self._channels_last = any(isinstance(module, nn.Conv2d) for module in model.modules())
        self._objective: Objective = Divergence() if spec.loss == "trades" else CrossEntropy()
        self._copy: StandingCopy | None = None
        if spec.loss in ("adversarial", "trades"):
            with evaluation_mode(model):
                self._copy = StandingCopy(model, shape)

    @property
    def why_not_folded(self) -> str:
        """Why attacks run on the model itself, or on a copy without folding; empty if batch norm is folded, or if there
        are no attacks."""
        return "" if self._copy is None else self._copy.reason

    def __call__(self, images: Tensor, labels: Tensor, indices: Tensor, *, eps: float, epoch: int) -> Tensor:
        """images (b, ...) float32 in [0, 1]; the result too, within eps (Gaussian noise: of that length on average).
        The images themselves where eps is 0.

        indices: (b,) int64, positions in the split: a random start depends on (seed, epoch, position) and nothing else.
        """
        spec = self._spec
        if eps == 0 or spec.loss == "standard":
            return images
        if spec.loss == "noise":
            return (images + self._noise(images, indices, eps, epoch)).clamp_(0, 1)
        if self._copy is not None and self._copy.module is not None:
            self._copy.update()
            return self._ascend(self._copy.module, images, labels, indices, eps, epoch)
        with evaluation_mode(self._model):
            return self._ascend(self._model, images, labels, indices, eps, epoch)

    def _ascend(
        self, model: nn.Module, images: Tensor, labels: Tensor, indices: Tensor, eps: float, epoch: int
    ) -> Tensor:
        spec, geometry = self._spec, self._geometry
        step_size = 2.5 * eps / spec.num_steps if spec.step_size is None else spec.step_size
        state = labels
        if spec.loss == "trades":
            with torch.no_grad():
                state = self._logits(model, images)
        points = images
        if spec.random_start:
            drawn = geometry.draw(spec.seed, _START, torch.full_like(indices, epoch), indices, images.shape[1:])
            points = geometry.project(images + eps * geometry.start(drawn), images, eps)
        best, highest = points, torch.full((len(images),), -torch.inf, device=images.device)
        for _ in range(spec.num_steps):
            loss, gradient = self._gradient(model, points, state)
            if spec.use_best:
                best, highest = _better(best, highest, points, loss)
            points = geometry.project(points + step_size * geometry.direction(gradient), images, eps)
        if not spec.use_best:
            return points
        with torch.no_grad():
            loss = self._objective.loss(ModelOutput(self._logits(model, points)), points, state)
        return _better(best, highest, points, loss)[0]

    def _gradient(self, model: nn.Module, points: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """loss (b,) and its gradient (b, ...): of the sum, so that no image's gradient shrinks with the batch."""
        points = points.detach().requires_grad_(True)
        with torch.enable_grad():
            loss = self._objective.loss(ModelOutput(self._logits(model, points)), points, state)
            (gradient,) = torch.autograd.grad(loss.sum(), points)
        return loss.detach(), gradient.contiguous()

    def _logits(self, model: nn.Module, images: Tensor) -> Tensor:
        images = own_copy(images, channels_last=self._channels_last)
        low = self._spec.attack_precision == "bf16"
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=low):
            return model(images).float()

    def _noise(self, images: Tensor, indices: Tensor, eps: float, epoch: int) -> Tensor:
        seed, shape = self._spec.seed, images.shape[1:]
        if self._spec.norm == "linf":
            return noise.uniform(seed, _NOISE, epoch, indices, shape, images.device).mul_(2).sub_(1).mul_(eps)
        return noise.normal(seed, _NOISE, epoch, indices, shape, images.device).mul_(eps / shape.numel() ** 0.5)


def _better(best: Tensor, highest: Tensor, points: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
    """Per image the point of strictly higher loss."""
    higher = loss > highest
    chosen = higher.view(-1, *[1] * (points.ndim - 1))
    return torch.where(chosen, points, best), torch.where(higher, loss, highest)
