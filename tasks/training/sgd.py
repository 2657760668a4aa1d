"""Stochastic gradient descent with momentum and weight decay, to the bit that of `torch.optim.SGD`.

Why not torch's own: the first optimizer that a process makes imports torch's compiler, two seconds of CPU time in every
process that trains (torch 2.14.1). A step of a small network takes a little less, too (docs/design/training-speed.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_LISTS: Any = torch
"""Operations on lists of tensors, one launch for all on a GPU: documented, but not among what torch exports to type
checkers."""


class SGD:
    """Moves parameters against their gradients; one without a gradient stays, and so does its momentum.

    With gradient g of a parameter p and its momentum m, 0 at first: m <- momentum * m + g + weight_decay * p, then
    p <- p - lr * m.
    """

    def __init__(self, parameters: Mapping[str, Tensor], *, momentum: float, weight_decay: float) -> None:
        """parameters: leaves by name, such as `dict(model.named_parameters())`; those that need no gradient are left
        out."""
        self._parameters = {name: each for name, each in parameters.items() if each.requires_grad}
        self._momentum, self._weight_decay = momentum, weight_decay
        self.momenta = {name: torch.zeros_like(each) for name, each in self._parameters.items()} if momentum else {}
        """By name; none where `momentum` is 0."""

    def clear(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float) -> None:
        moved = {name: each for name, each in self._parameters.items() if each.grad is not None}
        if not moved:
            return
        points = list(moved.values())
        moves = [each.grad for each in points if each.grad is not None]
        if self._weight_decay:
            moves = list(_LISTS._foreach_add(moves, points, alpha=self._weight_decay))
        if self._momentum:
            momenta = [self.momenta[name] for name in moved]
            _LISTS._foreach_mul_(momenta, self._momentum)
            _LISTS._foreach_add_(momenta, moves)
            moves = momenta
        _LISTS._foreach_add_(points, moves, alpha=-lr)

    def load(self, momenta: Mapping[str, Tensor]) -> None:
        """Take over what was read from `momenta`. One that is not among them stays."""
        for name, momentum in self.momenta.items():
            if name in momenta:
                momentum.copy_(momenta[name])
