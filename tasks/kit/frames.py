"""Rows of tables: find them, and put estimates into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from robustray.tasks.statistics import Estimate


def at(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows in which every named column has this value; floats to rounding."""
    keep = pd.Series(True, index=table.index)
    for column, value in where.items():
        keep &= np.isclose(table[column], value) if isinstance(value, float) else table[column] == value
    return table[keep]


def one(table: pd.DataFrame, **where: Any) -> Any:
    """The one row that `at` finds, its columns as attributes. Raises: KeyError unless there is exactly one."""
    rows = at(table, **where)
    if len(rows) != 1:
        raise KeyError(f"{len(rows)} rows with {where}")
    return next(rows.itertuples(index=False))


def columns(name: str, estimate: Estimate, lo: str = "lo", hi: str = "hi") -> dict[str, float]:
    """An estimate as columns of a row: `{"accuracy": 0.5, "lo": 0.4, "hi": 0.6}`; `n` is the row's own business."""
    return {name: estimate.value, lo: estimate.lo, hi: estimate.hi}


def estimate_of(row: Any, name: str, lo: str = "lo", hi: str = "hi", n: str = "n") -> Estimate:
    """The way back: an estimate from a row (of `one` or `itertuples`)."""
    return Estimate(
        value=float(getattr(row, name)), lo=float(getattr(row, lo)), hi=float(getattr(row, hi)), n=int(getattr(row, n))
    )


def side_by_side(parts: Mapping[str, pd.DataFrame], name: str, *, by: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Estimates of several cases beside each other, and their entries of `Table.formats`, in percent.

    parts: case -> rows with the columns `by`, `name`, `lo`, `hi`; all with the same values of `by`, in one order. A
    case has three columns: the estimate under its own name, and its ends.
    """
    frame: dict[str, list[Any]] = {}
    formats: dict[str, str] = {}
    for case, rows in parts.items():
        frame.setdefault(by, rows[by].tolist())
        assert frame[by] == rows[by].tolist(), f"rows of {case!r} are not those of the first case"
        frame |= {case: rows[name].tolist(), f"{case} lo": rows.lo.tolist(), f"{case} hi": rows.hi.tolist()}
        formats |= shown(case, "percent", f"{case} lo", f"{case} hi")
    return pd.DataFrame(frame), formats


def shown(name: str, fmt: str, lo: str = "lo", hi: str = "hi") -> dict[str, str]:
    """Entries of `Table.formats` for `columns(name, ...)`: the interval is folded into its estimate."""
    return {name: fmt, f"interval:{name}": f"{lo},{hi}"}
