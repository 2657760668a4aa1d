"""Shows any table of any run, as it is or with one of its columns spread out."""

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
    frame = _chosen(path, *(column for column in columns if "=" in column))
    asked = [column.split(":") for column in columns if "=" not in column]
    heads = [name.replace("_", " ") + (", %" if rest[:1] == ["percent"] else "") for name, *rest in asked]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in frame.to_dict("records"):
        lines.append(f"| {' | '.join(_cell(row, *words) for words in asked)} |")
    return "\n".join(lines) + "\n"


def matrix(path: str, rows: str, across: str, value: str, *chosen: str) -> str:
    """The column `value`, written `name:FORMAT`, with a row for each value of the column `rows` and a column for each
    of `across`; chosen: rows of the file as in `table`."""
    frame = _chosen(path, *chosen)
    name, fmt = value.split(":", 1)
    wide = frame.pivot(index=rows, columns=across, values=name)
    wide = wide.loc[frame[rows].drop_duplicates(), frame[across].drop_duplicates()]
    head = f"{rows.replace('_', ' ')}{', %' if fmt == 'percent' else ''}"
    lines = [f"| {' | '.join([head, *map(str, wide.columns)])} |", "|---" * (1 + len(wide.columns)) + "|"]
    for label, cells in zip(wide.index, wide.to_numpy().tolist(), strict=True):
        lines.append(f"| {' | '.join([str(label), *(format_value(cell, fmt).replace(' %', '') for cell in cells)])} |")
    return "\n".join(lines) + "\n"


def _chosen(path: str, *wanted: str) -> pd.DataFrame:
    frame = pd.read_csv(ROOT / path).rename(columns=lambda name: name.replace(" ", "_"))
    for name, value in (words.split("=", 1) for words in wanted):
        frame = frame[frame[name].astype(str) == value.replace("_", " ")]
    if not len(frame):
        raise ValueError(f"{path}: no row with {', '.join(wanted)}")
    return frame


def _cell(row: dict[str, object], name: str, fmt: str = "", ends: str = "") -> str:
    if not ends:
        return format_value(row[name], fmt).replace(" %", "")
    lo, hi = (float(str(row[end])) for end in ends.split(","))
    if math.isnan(lo) and math.isnan(hi):
        return format_value(row[name], fmt)
    return format_estimate(row[name], (lo, hi), fmt).replace(" %", "")


TABLES = {"table": table, "matrix": matrix}
