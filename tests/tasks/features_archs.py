"""Further networks for digits, as a user would bring them: architectures to transfer to."""

from __future__ import annotations

from torch import nn


def mlp(width: int, num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, num_classes))


def narrow(num_classes: int = 10) -> nn.Module:
    return mlp(24, num_classes)


def wide(num_classes: int = 10) -> nn.Module:
    return mlp(200, num_classes)


def linear(num_classes: int = 10) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
