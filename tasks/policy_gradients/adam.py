"""Adam (arXiv 1412.6980) on one flat vector, with torch's arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BETA1, BETA2 = 0.9, 0.999


@dataclass(kw_only=True, eq=False)
class Adam:
    """Its moments; parameters and gradients belong to the caller."""

    first: NDArray[Any]
    second: NDArray[Any]
    steps: int = 0
    _scratch: NDArray[Any] = field(init=False)

    def __post_init__(self) -> None:
        self._scratch = np.empty_like(self.first)

    @staticmethod
    def fresh(parameters: NDArray[Any]) -> Adam:
        return Adam(first=np.zeros_like(parameters), second=np.zeros_like(parameters))

    def step(self, parameters: NDArray[Any], gradient: NDArray[Any], *, lr: float, eps: float) -> None:
        """Change `parameters` in place; `gradient` is overwritten."""
        self.steps += 1
        scratch = self._scratch
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1 - BETA2
        self.second *= BETA2
        self.second += scratch
        gradient *= 1 - BETA1
        self.first *= BETA1
        self.first += gradient
        np.sqrt(self.second, out=scratch)
        scratch *= 1 / math.sqrt(1 - BETA2**self.steps)
        scratch += eps
        np.divide(self.first, scratch, out=scratch)
        scratch *= lr / (1 - BETA1**self.steps)
        parameters -= scratch
