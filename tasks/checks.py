"""Doors of settings: one line that names the value and what it should be. Imports no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest


def python_numbers(settings: Any) -> None:
    """Turn single numbers of NumPy and torch in the fields of a frozen dataclass into Python's, which every check, key
    and file expects."""
    for field in dataclasses.fields(settings):
        object.__setattr__(settings, field.name, python_number(getattr(settings, field.name)))


def python_number(value: Any) -> Any:
    """A NumPy or torch number, or array without dimensions, as a Python number; anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def check_size(name: str, value: object) -> None:
    """Raises: InputError unless it is a finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InputError(f"{name} must be a finite number and not negative, got {value!r}")


def check_count(name: str, value: object, *, at_least: int) -> None:
    """Raises: InputError unless it is a whole number from `at_least` up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InputError(f"{name} must be a whole number of at least {at_least}, got {value!r}")


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Raises: InputError, with the nearest word, unless it is known."""
    if value not in known:
        raise InputError(f"{name} cannot be {value!r}{nearest(str(value), known)}")


def fraction(value: float) -> str:
    """`8/255` where that is exactly the number, else its shortest decimal form."""
    numerator = round(value * 255)
    return f"{numerator}/255" if 0 < numerator < 255 and value == numerator / 255 else repr(value)
