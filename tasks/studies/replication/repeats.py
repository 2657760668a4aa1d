"""What claims about simulated studies rest on."""

from __future__ import annotations

from robustray.tasks.kit.claims import Repeats


def simulated(count: int) -> Repeats:
    """count: simulated studies of each kind. Fewer than 20 decide no claim."""
    return Repeats(count=count, least=20, units="simulated studies", over="simulated studies")
