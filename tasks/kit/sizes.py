"""The size of a perturbation at which a study answers. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robustray.tasks.attacks.settings import Norm

CUSTOMARY: Mapping[Norm, float] = {"linf": 8 / 255, "l2": 0.5}
"""Norm -> the size at which the field reports robust accuracy on small images."""


def reference_size(norm: Norm, sizes: Sequence[float], *, otherwise: int | None = None) -> float:
    """The size at which claims are made, fixed before the run: 8/255 (l-inf) or 0.5 (l2) if it is among the sizes.

    otherwise: the place of the one to take if not; the middle one by default, -1 for the largest. sizes: ascending.
    """
    place = len(sizes) // 2 if otherwise is None else otherwise
    return next((size for size in sizes if abs(size - CUSTOMARY[norm]) < 1e-6), sizes[place])
