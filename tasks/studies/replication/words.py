"""Words that the answers of all kinds of runs share."""

from __future__ import annotations

from robustray.tasks.report.numbers import format_interval, format_value
from robustray.tasks.statistics import Estimate


def points(estimate: Estimate, decimals: int = 1) -> str:
    """An estimate in shares, as an answer says it: `"3.6 points [2.1, 5.1]"`; never -0."""
    value, lo, hi = (round(100 * each, decimals) + 0.0 for each in (estimate.value, estimate.lo, estimate.hi))
    fmt = f".{decimals}f"
    return f"{format_value(value, fmt)} points {format_interval(lo, hi, fmt)}"
