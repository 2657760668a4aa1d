"""Shows one number of a long table by two of its columns."""

from __future__ import annotations

import pandas as pd

from robustray.tasks.report.numbers import format_value
from scripts.docs_tables import ROOT


def crosstab(path: str, rows: str, columns: str, value: str, *selected: str) -> str:
    """A row for each value of the column `rows` of a Parquet table, a column for each of `columns`, in its order.

    `value` is `name:FORMAT` (of `format_value`); `name=VALUE` selects the rows with that value. A dash where there is
    none. Raises: ValueError where there are several.
    """
    frame = pd.read_parquet(ROOT / path)
    for name, wanted in (each.split("=", 1) for each in selected):
        frame = frame[frame[name].astype(str) == wanted.replace("_", " ")]
    name, _, fmt = value.partition(":")
    cells = frame.pivot(index=rows, columns=columns, values=name).reindex(index=dict.fromkeys(frame[rows]))
    heads = [each if isinstance(each, str) else f"{columns} {each}" for each in cells.columns]
    lines = [f"| {rows.replace('_', ' ')} | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for row, values in zip(cells.index, cells.to_numpy(), strict=True):
        lines.append(f"| {row} | {' | '.join(format_value(each, fmt).replace(' %', '') for each in values)} |")
    return "\n".join(lines) + "\n"


TABLES = {"crosstab": crosstab}
