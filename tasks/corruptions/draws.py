"""Random numbers that belong to an image: the same in any batch, block, worker and retry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from robustray.tasks.attacks.search import noise


@dataclass(frozen=True)
class Draws:
    """What one corruption at one severity may draw for a batch of images."""

    seed: int
    name: str
    """What is drawn: the corruption and its severity."""
    indices: Tensor
    """(batch,) int64, positions of the images in their split."""

    def normal(self, *shape: int, stream: int = 0) -> Tensor:
        """Standard Gaussians (batch, *shape). stream: draws of other numbers are independent."""
        return noise.normal(self.seed, self.name, stream, self.indices, shape, self.indices.device)

    def uniform(self, *shape: int, stream: int = 0) -> Tensor:
        """In [0, 1), (batch, *shape)."""
        return noise.uniform(self.seed, self.name, stream, self.indices, shape, self.indices.device)

    def within(self, low: float, high: float, shape: Sequence[int] = (), *, stream: int = 0) -> Tensor:
        """In [low, high), (batch, *shape)."""
        return low + (high - low) * self.uniform(*shape, stream=stream)
