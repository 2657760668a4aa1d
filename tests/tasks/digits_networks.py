"""Digits networks that attacks succeed on at different steps, and what it means that two results are the same."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustray.tasks.attacks.result import AttackResult
from robustray.tasks.models.digits import DigitsCnn, DigitsMlp
from robustray.tasks.models.normalised import Normalised


class BatchNormNet(nn.Module):
    """Two convolutions with batch norm: something to fold."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, stride=2, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.AvgPool2d(4),
            nn.Flatten(),
            nn.Linear(24, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@cache
def trained(kind: str = "mlp", *, num_classes: int = 10) -> Normalised:
    """A network after a second of training: "mlp", "cnn" or "bn" (10 classes). Labels are taken modulo num_classes."""
    torch.manual_seed(0)
    backbones = {"mlp": DigitsMlp(num_classes), "cnn": DigitsCnn(num_classes), "bn": BatchNormNet()}
    net = Normalised(backbones[kind], [0.3], [0.37])
    images, labels = digits(1700)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for step in range(150):
        rows = torch.arange(step * 64, step * 64 + 64) % len(images)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[rows]), labels[rows] % num_classes).backward()
        optimizer.step()
    return net.eval()


@cache
def digits(count: int) -> tuple[Tensor, Tensor]:
    """The first images (count, 1, 8, 8) in [0, 1], and labels."""
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    images = torch.from_numpy(data.images.astype(np.float32) / 16)[:count, None]
    return images, torch.from_numpy(data.target.astype(np.int64))[:count]


def same(a: AttackResult, b: AttackResult, rows: Tensor | slice = slice(None)) -> bool:
    """`a` is what `b` has for `rows`, to the bit; NaN (no gradient was taken) is equal to NaN."""
    names = [field.name for field in fields(a) if isinstance(getattr(a, field.name), Tensor)]
    assert type(a) is type(b) and len(names) >= 7
    return (a.precision, a.folded) == (b.precision, b.folded) and all(
        torch.equal(getattr(a, name).nan_to_num(-1), getattr(b, name)[rows].nan_to_num(-1)) for name in names
    )
