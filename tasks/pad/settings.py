"""How a landing goes. Imports nothing heavy.

Numbers of arXiv:2012.12235's drone are not published; these are ours, fixed on pilot episodes so that doing nothing
lands almost never, and a plain pad in weather sometimes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from robustray.tasks.checks import check_count
from robustray.tasks.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Flight:
    """A camera that looks straight down, its start, and its steps. Lengths in metres; the pad is at the origin."""

    side: int = 32
    """Pixels of a side of what the camera sees."""
    angle: float = 60.0
    """Degrees of its field of view."""
    lowest: float = 4.0
    """Smallest height at the start."""
    highest: float = 6.0
    """Largest height at the start."""
    reach: float = 0.4
    """Largest offset at the start, as a share of the height; uniform in that disc. The view ends at 0.58."""
    pad: float = 1.0
    """Side of the square pad."""
    clutter: int = 12
    """Patches of other colours on each tile of the ground, of about the pad's size."""
    num_steps: int = 30
    gain: float = 0.5
    """Share of the predicted offset that is flown in a step."""
    descent: float = 0.05
    """Share of the height that is given up in a step."""
    landed: float = 0.25
    """A flight succeeds that ends nearer than this to the middle of the pad."""

    def __post_init__(self) -> None:
        check_count("side", self.side, at_least=16)
        check_count("num_steps", self.num_steps, at_least=1)
        check_count("clutter", self.clutter, at_least=0)
        if not 10 <= self.angle <= 120:
            raise InputError(f"the camera's field of view must be within 10 and 120 degrees, got {self.angle:g}")
        if not 1 <= self.lowest <= self.highest <= 20:
            raise InputError(
                f"heights must be within 1 and 20 m and in order, got {self.lowest:g} and {self.highest:g}"
            )
        if not 0 < self.reach < self.tangent:
            raise InputError(f"reach must be above 0 and below {self.tangent:.2f}, where the view ends: {self.reach:g}")
        for name in ("gain", "descent"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} must be a share in (0, 1], got {getattr(self, name):g}")
        if not (0 < self.pad < 4 and 0 < self.landed < 4):
            raise InputError(f"pad and landed must be within 0 and 4 m, got {self.pad:g} and {self.landed:g}")

    @property
    def tangent(self) -> float:
        """Of half the field of view: half of what is seen, as a share of the height."""
        return math.tan(math.radians(self.angle) / 2)
