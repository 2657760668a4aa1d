"""Shows any table of any run."""

from __future__ import annotations

import math

import pandas as pd

from robustray.tasks.report.numbers import format_estimate, format_value
from scripts.docs_tables import ROOT


def table(path: str, *columns: str) -> str:
    """Columns of a CSV in the order named: `name`, `name:FORMAT` (of `format_value`), `name:FORMAT:lo,hi` with an
    interval. `name=VALUE` selects the rows with that value, in which `_` is written for a space, as in the names. `_`
    in a head is shown as a space; "percent" is written there and not in the cells.
    """
    frame = pd.read_csv(ROOT / path).rename(columns=lambda name: name.replace(" ", "_"))
    for name, value in (column.split("=", 1) for column in columns if "=" in column):
        frame = frame[frame[name].astype(str) == value.replace("_", " ")]
    if not len(frame):
        raise ValueError(f"{path}: no row with {', '.join(column for column in columns if '=' in column)}")
    asked = [column.split(":") for column in columns if "=" not in column]
    heads = [name.replace("_", " ") + (", %" if rest[:1] == ["percent"] else "") for name, *rest in asked]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in frame.to_dict("records"):
        lines.append(f"| {' | '.join(_cell(row, *words) for words in asked)} |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, object], name: str, fmt: str = "", ends: str = "") -> str:
    if not ends:
        return format_value(row[name], fmt).replace(" %", "")
    lo, hi = (float(str(row[end])) for end in ends.split(","))
    if math.isnan(lo) and math.isnan(hi):
        return format_value(row[name], fmt)
    return format_estimate(row[name], (lo, hi), fmt).replace(" %", "")


TABLES = {"table": table}
