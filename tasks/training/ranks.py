"""The processes that train one model together, as the loop sees them. Alone, there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn


class Ranks(Protocol):
    """What the loop asks of them. Every rank makes the same calls in the same order."""

    @property
    def rank(self) -> int:
        """0 .. num_ranks - 1. Rank 0 checks, keeps and reports."""
        ...

    @property
    def num_ranks(self) -> int: ...

    def wrap(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        """The forward pass whose backward pass averages gradients over all ranks."""
        ...

    def total(self, numbers: Tensor) -> Tensor:
        """The sum over all ranks, on all of them."""
        ...


class Alone:
    """One process."""

    rank = 0
    num_ranks = 1

    def wrap(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        return model

    def total(self, numbers: Tensor) -> Tensor:
        return numbers
