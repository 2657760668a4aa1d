"""Tables of the documentation that need no code: any table of a run, as it is or by two of its columns."""

from __future__ import annotations

import math

import pandas as pd

from robustray.tasks.report.numbers import format_estimate, format_value
from scripts.docs_tables import ROOT


def table(path: str, *columns: str) -> str:
    """Columns of a table in the order named: `name`, `name:FORMAT` (of `format_value`), `name:FORMAT:lo,hi` with an
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


def crosstab(path: str, rows: str, columns: str, value: str, *chosen: str) -> str:
    """A row for each value of the column `rows`, a column for each of `columns`: numbers ascending, words as they
    occur. `value` is `name:FORMAT`; chosen: rows of the file as in `table`. A dash where there is no number.

    Raises: ValueError where there are several.
    """
    frame = _chosen(path, *chosen)
    name, _, fmt = value.partition(":")
    cells = frame.pivot(index=rows, columns=columns, values=name).loc[frame[rows].drop_duplicates()]
    if not pd.api.types.is_numeric_dtype(frame[columns]):
        cells = cells[frame[columns].drop_duplicates()]
    heads = [each if isinstance(each, str) else f"{columns} {each}" for each in cells.columns]
    corner = rows.replace("_", " ") + (", %" if fmt == "percent" else "")
    lines = [f"| {' | '.join([corner, *heads])} |", "|---" * (1 + len(heads)) + "|"]
    for label, found in zip(cells.index, cells.to_numpy().tolist(), strict=True):
        lines.append(f"| {' | '.join([str(label), *(format_value(cell, fmt).replace(' %', '') for cell in found)])} |")
    return "\n".join(lines) + "\n"


def _chosen(path: str, *wanted: str) -> pd.DataFrame:
    """The rows of a CSV or Parquet table in which each `name=VALUE` holds; `_` for a space, in names and values."""
    read = pd.read_parquet if path.endswith(".parquet") else pd.read_csv
    frame = read(ROOT / path).rename(columns=lambda name: name.replace(" ", "_"))
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


TABLES = {"table": table, "crosstab": crosstab}
