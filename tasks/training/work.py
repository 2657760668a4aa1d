"""What a training costs, counted before it. Imports nothing heavy: settings modules call it."""

from __future__ import annotations

from robustray.tasks.training.settings import TrainSpec


def training_passes(spec: TrainSpec, num_images: int) -> int:
    """Forward and gradient passes of single images in one training, with its checks on held-out images.

    num_images: in the training set, those that are held out among them.
    """
    held_out = spec.num_validation(num_images)
    attacked = spec.eps > 0
    attack = spec.num_steps + spec.use_best if attacked else 0
    check = spec.check_steps + 2 if attacked else 1
    return spec.epochs * ((num_images - held_out) * (1 + attack) + held_out * check)
