"""The check on held-out training images, and what a learning curve that goes wrong looks like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.settings import PGD
from robustray.tasks.data.images import ImageData
from robustray.tasks.statistics.intervals import wilson
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.state import Row

ROBUST_OVERFITTING = "robust overfitting"
CATASTROPHIC_OVERFITTING = "catastrophic overfitting"

_CHUNK = 1024
"""Images that are decoded to floats at once."""
_COLLAPSE = 0.5
"""Robust accuracy below this share of its best is a collapse."""


def count_correct(
    spec: TrainSpec, model: nn.Module, data: ImageData, held_out: NDArray[np.int64], device: str
) -> tuple[int, int]:
    """(clean, robust): how many of the held-out images are classified correctly as they are, and after PGD from a
    random start with `spec.check_steps` steps. Verdicts are fp32, of the model in evaluation mode. Where `spec.eps` is
    0 both are the same.
    """
    attack = PGD(norm=spec.norm, eps=spec.eps, num_steps=spec.check_steps, precision=spec.attack_precision)
    clean = robust = 0
    for start in range(0, len(held_out), _CHUNK):
        chosen = held_out[start : start + _CHUNK]
        images, labels = (tensor.to(device) for tensor in data.batch(chosen))
        if spec.eps == 0:
            right = int((predict_logits(model, images).argmax(1) == labels).sum())
            clean, robust = clean + right, robust + right
            continue
        result = attack(model, images, labels, seed=spec.seed, indices=torch.from_numpy(chosen).to(device))
        clean += int((result.clean_predictions == labels).sum())
        robust += int((~result.success).sum())
    return clean, robust


def flag(row: Row, earlier: Sequence[Row], num_held_out: int, num_classes: int) -> str:
    """What `row` shows, compared with the earlier rows of its curve: "" if nothing is wrong.

    `ROBUST_OVERFITTING`: the 95 % interval (Wilson) of the robust accuracy lies below the best one so far, which was
    better than chance. It may come and go while the learning rate is high.
    `CATASTROPHIC_OVERFITTING`: moreover it is less than half of the best, while the loss on the training's own
    adversarial images is lower than it was then (arXiv:2001.03994): the model has learnt to fool that attack.
    """
    checked = [each for each in earlier if "robust_accuracy" in each]
    if "robust_accuracy" not in row or not checked:
        return ""
    best = max(checked, key=lambda each: each["robust_accuracy"])
    now, then = row["robust_accuracy"], best["robust_accuracy"]
    _, upper = wilson(round(now * num_held_out), num_held_out)
    lower, _ = wilson(round(then * num_held_out), num_held_out)
    if upper >= then or lower <= 1 / num_classes:
        return ""
    return CATASTROPHIC_OVERFITTING if now < _COLLAPSE * then and row["loss"] < best["loss"] else ROBUST_OVERFITTING
