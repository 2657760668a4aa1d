"""Doors of a study's settings: each takes fields by name, and refuses the first that does not fit, in one line.

    counts(at_least=1, block=self.block, num_seeds=self.num_seeds)
    shares(dropout=self.dropout)

Imports nothing heavy: settings modules call these in `__post_init__`. All raise InputError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from robustray.tasks.checks import as_float32, check_choice, check_count, check_radius, check_size
from robustray.tasks.errors import InputError


def counts(*, at_least: int = 0, **fields: int) -> None:
    """Whole numbers from `at_least` up."""
    for name, value in fields.items():
        check_count(name, value, at_least=at_least)


def sizes(**fields: float) -> None:
    """Finite numbers that are not negative."""
    for name, value in fields.items():
        check_size(name, value)


def positive(**fields: float) -> None:
    """Finite numbers above 0."""
    for name, value in fields.items():
        _finite(name, value)
        if value <= 0:
            raise InputError(f"{name} must be above 0, got {value:g}")


def shares(*, ends: str = "[]", **fields: float) -> None:
    """Numbers from 0 to 1. ends: "()" refuses both 0 and 1, "(]" refuses 0, "[)" refuses 1."""
    for name, value in fields.items():
        _finite(name, value)
        above, below = value > 0 or (ends[0] == "[" and value == 0), value < 1 or (ends[1] == "]" and value == 1)
        if not (above and below):
            raise InputError(f"{name} must be a share in {ends[0]}0, 1{ends[1]}, got {value:g}")


def choices(known: Sequence[str], **fields: str | Sequence[str]) -> None:
    """A word of `known`, or several of them; with the nearest one in the error."""
    for name, value in fields.items():
        for word in (value,) if isinstance(value, str) else value:
            check_choice(name, word, known)


def several(**fields: Sequence[Any]) -> None:
    """At least one value, and none twice."""
    for name, values in fields.items():
        if not values:
            raise InputError(f"{name}: at least one is needed")
        if len(set(values)) < len(values):
            raise InputError(f"{name}: {', '.join(map(str, values))} names one twice")


def ascending(*, largest: float = math.inf, **fields: Sequence[float]) -> None:
    """At least one finite number above 0, ascending without repeats, the last one at most `largest`."""
    for name, values in fields.items():
        _ascend(name, values)
        if values[-1] > largest:
            raise InputError(f"{name}: {values[-1]:g} is more than {largest:g}")


def radii(**fields: Sequence[float]) -> None:
    """Sizes of perturbations as `ascending`; those whose field is named `..._linf` stay within the pixel range."""
    for name, values in fields.items():
        _ascend(name, values)
        for value in values:
            check_radius(name, value)
        if len({as_float32(value) for value in values}) < len(values):
            listed = ", ".join(map(repr, values))
            raise InputError(f"{name}: two of the sizes {listed} are one in float32: leave one out")
        if name.endswith("linf") and values[-1] > 1:
            raise InputError(f"{name}: {values[-1]:g} is more than the whole pixel range; write 8/255, not 8")


def left_out(norms: Sequence[str], *fields: str) -> dict[str, str]:
    """The fields of norms that are not used, for `Settings.idle`: `{"eps_l2": "--norm leaves l2 out"}` for `"eps"`."""
    absent = [norm for norm in ("linf", "l2") if norm not in norms]
    return {f"{field}_{norm}": f"--norm leaves {norm} out" for norm in absent for field in fields}


def _ascend(name: str, values: Sequence[float]) -> None:
    listed = ", ".join(f"{value:g}" for value in values) or "none"
    if not values or any(not math.isfinite(value) or value <= 0 for value in values):
        raise InputError(f"{name}: sizes must be positive numbers, got {listed}")
    if list(values) != sorted(set(values)):
        raise InputError(f"{name}: sizes must ascend without repeats, got {listed}")


def _finite(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name} must be a finite number, got {value!r}")
