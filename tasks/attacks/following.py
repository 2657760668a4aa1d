"""Whether an attack along gradients had any to follow. Imports no torch."""

from __future__ import annotations

import math
from typing import Any

LOST_SHARE = 0.05
"""Share of the attacked images without a first gradient from which on an attack says nothing about robustness."""


def is_lost(first_gradient: Any) -> Any:
    """Where there was nothing (or not all) to follow, of numbers as `AttackResult.first_gradient` has them: tensor,
    NumPy array or pandas column -> the same of bools. False where no gradient was taken."""
    return (first_gradient == 0) | (first_gradient == math.inf)


def has_lost(lost: int, taken: int) -> bool:
    """lost: images whose first gradient was exactly zero or not finite, of `taken`."""
    return taken > 0 and lost > LOST_SHARE * taken


def lost_words(attack: str, lost: int, taken: int) -> str:
    """The warning."""
    return (
        f"{attack}: the first gradient is exactly zero or not finite for {lost:,} of {taken:,} attacked images, so "
        "there was nothing (or not all) to follow, and the accuracy it leaves says nothing about robustness: try "
        "square, which needs no gradient, and where logits are so large that the loss is flat, apgd-dlr or apgd-t, "
        "which do not see their scale"
    )
