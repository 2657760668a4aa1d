"""Doors of settings: one line that names the value and what it should be. Imports no torch."""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Sequence
from typing import Any

from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest

LARGEST = 2**62
"""Seeds and counts stay below: they are stored as 64-bit integers, and a study counts on from its seed."""
SMALLEST = 2.0**-24
"""A perturbation below this changes no float32 pixel above 1/2."""


def python_numbers(settings: Any) -> None:
    """Turn single numbers of NumPy and torch in the fields of a frozen dataclass into Python's, which every check, key
    and file expects."""
    for field in dataclasses.fields(settings):
        object.__setattr__(settings, field.name, python_number(getattr(settings, field.name)))


def python_number(value: Any) -> Any:
    """A NumPy or torch number, or array without dimensions, as a Python number; anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def check_size(name: str, value: object, *, at_most: float = math.inf) -> None:
    """Raises: InputError unless it is a finite number that is not negative, and not more than `at_most`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InputError(f"{name} must be a finite number and not negative, got {value!r}")
    if value > at_most:
        raise InputError(f"{name} must be at most {at_most:g}, got {value!r}")


def check_radius(name: str, value: object) -> None:
    """Raises: InputError unless it is 0, or a size in pixel units that float32 pixels can show."""
    check_size(name, value)
    assert isinstance(value, int | float)
    if 0 < value < SMALLEST:
        raise InputError(f"{name}: {value:g} is too small to change a float32 pixel; pixels are in [0, 1], write 1/255")


def as_float32(value: float) -> float:
    """What is kept of it where results are stored and attacks compute."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def check_count(name: str, value: object, *, at_least: int) -> None:
    """Raises: InputError unless it is a whole number from `at_least` up, and fits where seeds and counts are kept."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InputError(f"{name} must be a whole number of at least {at_least}, got {value!r}")
    if value >= LARGEST:
        raise InputError(f"{name} must be a whole number below 2^62, got {value}")


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Raises: InputError, with the nearest word, unless it is known."""
    if value not in known:
        raise InputError(f"{name} cannot be {value!r}{nearest(str(value), known)}")


def fraction(value: float) -> str:
    """`8/255` where that is exactly the number, else its shortest decimal form."""
    numerator = round(value * 255)
    return f"{numerator}/255" if 0 < numerator < 255 and value == numerator / 255 else repr(value)
