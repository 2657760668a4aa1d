"""How a number looks, on the page, in the terminal and on the axes of a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

NOTHING = "–"
"""Stands for None and NaN."""
FIGURE_SPACE, POINT_SPACE = "\u2007", "\u2008"
"""Spaces as wide as a digit and as a decimal point, where figures are tabular."""
NORM_WORDS: Mapping[str, str] = {"linf": "ℓ∞", "l2": "ℓ2"}
NORM_UNITS: Mapping[str, str] = {"linf": "largest change of a pixel", "l2": "Euclidean length"}


def format_value(value: Any, fmt: str = "") -> str:
    """A value in words, with its unit.

    | fmt | shown |
    |---|---|
    | "percent" | 0.375 -> "37.5 %"; more digits where one would say 0 or 100 for something else (0.0004 -> "0.04 %") |
    | "points" | a difference of shares: 0.031 -> "+3.1 points" |
    | "number", "" | whole numbers with separators, else three significant digits |
    | "eps" | 8/255 -> "8/255", half levels "0.5/255" (within 1e-6), 0.5 -> "0.5", else three significant digits |
    | "seconds" | 75.2 -> "1 min 15 s" |
    | anything else | a format specification: ".3f" |

    Text is returned as it is, None and NaN as "–".
    """
    digits = format_digits(value, fmt)
    return digits if digits in (NOTHING, "∞", "−∞") or not _is_number(value) else digits + unit_of(fmt)


def size_words(norm: str, eps: float) -> str:
    """The size of a ball: "ℓ∞ 8/255"."""
    return f"{NORM_WORDS[norm]} {format_value(eps, 'eps')}"


def unit_of(fmt: str) -> str:
    """What follows the digits: " %", " points" or nothing."""
    return {"percent": " %", "points": " points"}.get(fmt, "")


def format_digits(value: Any, fmt: str = "") -> str:
    """`format_value` without the unit, for a column whose head already says it."""
    kind = type(value).__name__
    if kind in ("bool", "bool_"):  # Python's and NumPy's, under its old name too
        return "yes" if value else "no"
    if value is None or kind in ("NAType", "NaTType") or value != value:  # pandas' own, and NaN
        return NOTHING
    if not _is_number(value):
        return str(value)
    number = float(value)
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    if fmt == "percent":
        return _share(number)
    if fmt == "points":
        return f"{100 * number:+.1f}".replace("-", "−") if round(100 * number, 1) else "0.0"
    if fmt == "eps":
        return _eps(number)
    if fmt == "seconds":
        return format_seconds(number)
    if fmt in ("", "number"):
        return _plain(value)
    return format(int(value) if fmt.endswith("d") else number, fmt).replace("-", "−")


def format_column(values: Sequence[Any], fmt: str = "") -> list[str]:
    """`format_digits` of each value; floats without a format share the decimals that give the smallest three digits."""
    floats = [abs(float(v)) for v in values if isinstance(v, float) and math.isfinite(v) and v]
    if fmt not in ("", "number") or not floats or max(floats) >= 1e7 or min(floats) < 1e-3:
        return [format_digits(value, fmt) for value in values]
    whole = all(value == int(value) for value in floats)
    decimals = 0 if whole else max(0, 2 - math.floor(math.log10(min(floats))))
    return [format_digits(v, f",.{decimals}f" if isinstance(v, float) else fmt) for v in values]


def format_interval(lo: Any, hi: Any, fmt: str = "") -> str:
    """`"[34.6, 40.4]"`: an interval without unit, as it follows its estimate."""
    return f"[{format_digits(lo, fmt)}, {format_digits(hi, fmt)}]"


def format_estimate(value: Any, interval: tuple[float, float] | None, fmt: str = "") -> str:
    """`"37.5 % [34.6, 40.4]"`."""
    return format_value(value, fmt) + (f" {format_interval(*interval, fmt)}" if interval is not None else "")


def format_seconds(seconds: float) -> str:
    """`"0.4 s"`, `"12 s"`, `"1 min 15 s"`, `"2 h 03 min"`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_left(seconds: float, at_least: bool) -> str:
    """`"about 40 s left"`, `"at least 3 min left"`, `"about 2 h 10 min left"`: no finer than an estimate is."""
    about = "at least" if at_least else "about"
    if seconds < 60:
        step = 1 if seconds < 10 else 5
        return f"{about} {max(1, step * round(seconds / step))} s left"
    minutes = seconds / 60
    if minutes < 60:
        return f"{about} {round(minutes)} min left"
    tens = 10 * round(minutes / 10)
    return f"{about} {tens // 60} h {tens % 60:02d} min left"


def exact(value: Any) -> str:
    """A setting as one would type it, without rounding: 0.1, `8/255` for what is exactly that, `pgd`."""
    if not isinstance(value, float) or len(repr(value)) <= 8:
        return str(value)
    numerator = round(255 * value)
    return f"{numerator}/255" if value == numerator / 255 else repr(value)


def pad_decimals(cells: Sequence[str]) -> list[str]:
    """Fill up after the decimals so that the points of right-aligned tabular figures are below each other.

    The fill is space as wide as the digits it replaces: nothing is added to the number itself. A dash is left alone,
    and so are all cells where one is a fraction: they have no common point.
    """
    if not all(_plain_digits(cell) or cell == NOTHING for cell in cells):
        return list(cells)
    decimals = [cell.partition(".")[2] if _plain_digits(cell) else "" for cell in cells]
    longest = max((len(d) for d in decimals), default=0)

    def fill(cell: str, own: str) -> str:
        if not longest or not _plain_digits(cell):
            return cell
        return cell + ("" if own else POINT_SPACE) + FIGURE_SPACE * (longest - len(own))

    return [fill(cell, own) for cell, own in zip(cells, decimals, strict=True)]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _plain_digits(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "", 1).lstrip("+−").isdigit()


def _share(share: float) -> str:
    percent = 100 * share
    # 0.04 % is not 0 % and 99.96 % is not 100 %: what a robust accuracy is about. Below 0.00005 % it is rounding error.
    for digits in (1, 2, 3, 4):
        shown = round(percent, digits)
        from_end = min(abs(percent), abs(percent - 100))
        if from_end < 5e-5 or (from_end > 0.999 * 10**-digits and shown not in (0, 100)):
            return f"{shown + 0.0:.{digits}f}".replace("-", "−") if abs(shown) >= 5e-5 else "0.0"
    return f"{percent:.4f}".replace("-", "−")


def _eps(eps: float) -> str:
    if abs(eps - round(eps, 2)) < 1e-9:  # 0.5 and 1 are l2 radii, not 127.5/255 and 255/255
        return f"{eps:g}".replace("-", "−")
    levels = round(2 * 255 * eps) / 2
    return f"{levels:g}/255" if levels and abs(eps - levels / 255) < 1e-6 else _significant(eps)


def _plain(value: Any) -> str:
    if isinstance(value, Integral):
        return f"{int(value):,}".replace("-", "−")
    return _significant(float(value))


def _significant(number: float) -> str:
    if number == 0:
        return "0"
    if abs(number) >= 999.5:
        return f"{number:,.0f}".replace("-", "−") if abs(number) < 1e9 else f"{number:.2e}".replace("-", "−")
    return f"{number:.3g}".replace("-", "−")
