"""Objectives that do not see the scale of logits (arXiv:2003.01690 section 4), and the gap of FAB."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustray.tasks.attacks.objective import ModelOutput, OnLogits, class_goal
from robustray.tasks.errors import InputError

FLOOR = 1e-12
"""In the denominators: two equal leading logits give a finite ratio."""


@dataclass(frozen=True, kw_only=True)
class DLR(OnLogits):
    """Difference of logits ratio, -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)); z_(k): the k-th largest logit.

    Unchanged when logits are shifted or scaled; positive exactly where the label is not predicted. `state`: labels.
    """

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        """Raises: InputError for fewer than three classes."""
        ranked = _ranked(output.logits, 3, "the DLR loss")
        label = output.logits.gather(1, state[:, None])[:, 0]
        # the largest other logit is the first or, where that is the label's, the second
        is_label = output.logits.argmax(1) == state
        other = torch.where(is_label, ranked[:, 1], ranked[:, 0])
        return (other - label) / (ranked[:, 0] - ranked[:, 2] + FLOOR)

    def success(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        return class_goal(output.logits, state, targeted=False)


@dataclass(frozen=True, kw_only=True)
class TargetedDLR(OnLogits):
    """-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), towards t and away from y. `state`: (batch, 2), y and t.

    Any wrong prediction is a success, as in AutoAttack: the target is a direction to try and not the goal.
    """

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        """Raises: InputError for fewer than four classes."""
        ranked = _ranked(output.logits, 4, "the targeted DLR loss")
        label, target = output.logits.gather(1, state).unbind(1)
        return (target - label) / (ranked[:, 0] - (ranked[:, 2] + ranked[:, 3]) / 2 + FLOOR)

    def success(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        return class_goal(output.logits, state[:, 0], targeted=False)


@dataclass(frozen=True, kw_only=True)
class Gap(OnLogits):
    """z_t - z_y, linear in the logits: its zero is the boundary between two classes. `state`: (batch, 2), y and t."""

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        label, target = output.logits.gather(1, state).unbind(1)
        return target - label

    def success(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        return class_goal(output.logits, state[:, 0], targeted=False)


def ranked_targets(logits: Tensor, labels: Tensor, count: int | None) -> Tensor:
    """(batch, min(count, classes - 1)): the classes other than the label by falling logit (batch, classes), equal ones
    in class order. count: None for all."""
    limit = max(logits.shape[1] - 1, 0)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.argsort(dim=1, descending=True, stable=True)[:, : limit if count is None else min(count, limit)]


def require_classes(num_classes: int, least: int, what: str) -> None:
    """Raises: InputError if the model has too few classes for `what`."""
    if num_classes < least:
        raise InputError(
            f"{what} needs at least {least} classes, the model has {num_classes}: use apgd-ce, fab-t and square"
        )


def _ranked(logits: Tensor, least: int, what: str) -> Tensor:
    """(batch, least): the largest logits, falling."""
    require_classes(logits.shape[1], least, what)
    return logits.topk(least, dim=1).values
