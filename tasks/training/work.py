"""What a training costs, counted before it. Imports nothing heavy: settings modules call it."""

from __future__ import annotations

from robustray.tasks.training.settings import TrainSpec


def training_passes(spec: TrainSpec, num_images: int) -> int:
    """Forward and gradient passes of single images in one training, with its checks on held-out images.

    num_images: in the training set, those that are held out among them. Random noise costs no pass; TRADES takes two
    more than its attack, of the clean images: one for the attack to compare with, one for its loss.
    """
    held_out = spec.num_validation(num_images)
    attack = 0
    if spec.eps > 0 and spec.loss in ("adversarial", "trades"):
        attack = spec.num_steps + spec.use_best + 2 * (spec.loss == "trades")
    networks = 2 if spec.ema_decay else 1
    check = networks * (spec.check_steps + 2 if spec.eps > 0 else 1)
    num_checks = -(-spec.epochs // spec.check_every)  # the last epoch is always checked
    return spec.epochs * (num_images - held_out) * (1 + attack) + num_checks * held_out * check
