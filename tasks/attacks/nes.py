"""PGD on a model that gives scores and no gradients: settings. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robustray.tasks.attacks.family import Member
from robustray.tasks.attacks.precision import Precision
from robustray.tasks.attacks.settings import Plan
from robustray.tasks.checks import check_size
from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from robustray.tasks.attacks.search.rows import Search


@dataclass(frozen=True, kw_only=True, repr=False)
class NES(Member):
    """PGD on cross-entropy with gradients estimated from scores at random points around (arXiv:1804.08598)."""

    name: ClassVar[str] = "nes"
    uses_gradients: ClassVar[bool] = False

    num_steps: int = 20
    step_size: float | None = None
    """Pixel units; None for 2.5 * eps / num_steps."""
    num_samples: int = 50
    """Points looked at for each step, in pairs on both sides of the iterate: an even number."""
    radius: float = 0.01
    """Their distance from it, in l2, in pixel units."""
    num_restarts: int = 1
    """Random starts; an image begins again only without success."""
    precision: Precision = "fp32"
    """As in PGD. In bf16 the losses of points this close differ by rounding only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("radius", self.radius)
        if self.step_size is not None:
            check_size("step_size", self.step_size)
        if self.num_samples % 2:
            raise InputError(f"num_samples must be even (points on both sides of the iterate), got {self.num_samples}")

    def counts(self) -> Mapping[str, int]:
        return {"num_steps": self.num_steps, "num_samples": self.num_samples, "num_restarts": self.num_restarts}

    def plan(self) -> Plan:
        return self.filled_in(num_steps=self.num_steps, num_restarts=self.num_restarts)

    def kind(self) -> tuple[type[Search], Mapping[str, Any]]:
        from robustray.tasks.attacks.search.nes_search import NesSearch

        step_size = 2.5 * self.eps / self.num_steps if self.step_size is None else self.step_size
        return NesSearch, {"num_samples": self.num_samples, "radius": self.radius, "step_size": step_size}
