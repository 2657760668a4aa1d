"""One training step: the same on one device and on every rank of several (arXiv:1706.06083, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustray.tasks.attacks.gradient.verdicts import own_copy
from robustray.tasks.lab import seeds
from robustray.tasks.training.adversary import Adversary, divergence
from robustray.tasks.training.batches import Batch
from robustray.tasks.training.ranks import Alone, Ranks
from robustray.tasks.training.state import TrainState


class TrainStep:
    """Attack the batch as the model is now, then update it once on what came out.

    The attack sees the model in evaluation mode and moves no statistics; the update runs in whatever mode each module
    is in, so batch norm that was frozen on purpose stays frozen, and learns its statistics from the perturbed images.
    """

    def __init__(
        self,
        state: TrainState,
        *,
        shape: torch.Size,
        steps_per_epoch: int,
        ranks: Ranks = Alone(),
    ) -> None:
        """shape: of an image. ranks: those that take each step together, every one on its part of the batch."""
        self._state, self._steps_per_epoch, self._ranks = state, steps_per_epoch, ranks
        self._num_steps = state.spec.epochs * steps_per_epoch
        self._forward = ranks.wrap(state.model)
        self._channels_last = any(isinstance(module, nn.Conv2d) for module in state.model.modules())
        self.adversary = Adversary(state.spec, state.model, shape)

    def __call__(self, batch: Batch) -> None:
        """Take step `batch.step`. Nothing here waits for the device: `state.first_bad` tells whether it went well."""
        state, spec = self._state, self._state.spec
        assert batch.step == state.step
        eps = spec.train_eps(batch.step / self._steps_per_epoch)
        perturbed = self.adversary(batch.images, batch.labels, batch.indices, eps=eps, epoch=batch.epoch)

        seeds.seed_torch(seeds.integer(spec.seed, "dropout", batch.step, self._ranks.rank))  # what a network draws
        loss, logits = self._loss(batch, perturbed)
        state.optimizer.clear()
        loss.backward()
        state.optimizer.step(spec.learning_rate(batch.step, self._num_steps))
        state.step += 1
        state.update_ema()

        with torch.no_grad():
            correct = (logits.detach().argmax(1) == batch.labels).sum()
            # Of all ranks, at every step: any checkpoint is whole, and all see a loss that is not finite in one step.
            sums = self._ranks.total(torch.stack((loss.detach().double(), correct.double())))
            state.loss_sum += sums[0] / self._ranks.num_ranks
            state.num_correct += sums[1]
            bad = ~torch.isfinite(sums[0]) & (state.first_bad < 0)
            state.first_bad.masked_fill_(bad, batch.step)

    def _loss(self, batch: Batch, perturbed: Tensor) -> tuple[Tensor, Tensor]:
        """The mean loss of the batch and the logits of what it was attacked with."""
        spec = self._state.spec
        logits = self._logits(perturbed)
        if spec.loss != "trades" or perturbed is batch.images:  # without a perturbation the divergence is zero
            return self._cross_entropy(logits, batch.labels), logits
        clean = self._logits(batch.images)
        loss = self._cross_entropy(clean, batch.labels) + spec.trades_beta * divergence(clean, logits).mean()
        return loss, logits

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=self._state.spec.label_smoothing)

    def _logits(self, images: Tensor) -> Tensor:
        images = own_copy(images, channels_last=self._channels_last)
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self._state.spec.precision == "bf16"):
            logits = self._forward(images)
        return logits.float()
