"""What makes a unit a bad feature of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from robustray.tasks.attacks.objective import ModelOutput


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """Minus side * unit. `state` holds "unit", a coordinate of the latent, and "side", 1 or -1: (batch,) int64 each."""

    fake_relu: bool = True
    """A unit that is zero can be raised all the same."""
    no_relu: bool = False

    @property
    def needs_latent(self) -> bool:
        return True

    def loss(self, output: ModelOutput, images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        assert output.latent is not None
        return -state["side"] * output.latent.gather(1, state["unit"][:, None])[:, 0]

    def success(self, output: ModelOutput, images: Tensor, state: Mapping[str, Tensor]) -> None:
        return None
