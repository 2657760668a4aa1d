"""A study's table as cells: words and alignment of each, with intervals in the cells of their estimates."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robustray.tasks.report.numbers import NOTHING, format_column, format_digits, format_interval, pad_decimals, unit_of
from robustray.tasks.study import Table


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column as it is shown."""

    name: str
    head: str
    """Its name in words, with the unit of its values."""
    numeric: bool
    words: Sequence[str]
    """One per row, without the unit."""
    keys: Sequence[str]
    """What the page sorts by; "" for nothing."""
    intervals: Sequence[str] | None
    """One per row, for a column with an interval."""


def columns_of(table: Table) -> list[Column]:
    """The columns of a table in their order, without those that are folded into another as its interval, and those that
    hold nothing but empty words."""
    frame = table.frame
    ends = {
        key.removeprefix("interval:"): tuple(e.strip() for e in value.split(","))
        for key, value in table.formats.items()
        if key.startswith("interval:")
    }
    for name, pair in ends.items():
        missing = [column for column in (name, *pair) if column not in frame.columns]
        assert len(pair) == 2 and not missing, f"table {table.name!r}: interval of {name!r} names no columns {missing}"
    folded = {end for pair in ends.values() for end in pair}
    empty = {str(name) for name in frame.columns if len(frame) and (frame[name].map(repr) == "''").all()}
    shown = [str(name) for name in frame.columns if str(name) not in folded | empty]
    return [_column(table, name, ends.get(name)) for name in shown]


def _column(table: Table, name: str, ends: tuple[str, ...] | None) -> Column:
    fmt = table.formats.get(name, "")
    values = table.frame[name].tolist()
    words = format_column(values, fmt)
    intervals = None
    if ends is not None:
        lows, highs = (table.frame[end].tolist() for end in ends)
        intervals = [
            "" if format_digits(lo) == NOTHING else format_interval(lo, hi, fmt)
            for lo, hi in zip(lows, highs, strict=True)
        ]
    unit = unit_of(fmt).strip()
    return Column(
        name=name,
        head=name.replace("_", " ") + (f" ({unit})" if unit else ""),
        numeric=bool(values) and all(_is_number(value) or format_digits(value) == NOTHING for value in values),
        words=words,
        keys=["" if format_digits(value) == NOTHING else _key(value) for value in values],
        intervals=intervals,
    )


def page_table(table: Table, path: str | None) -> dict[str, Any]:
    """What the page's template needs of a table; `path` is its Parquet file relative to the page."""
    shown: dict[str, Any] = {
        "name": table.name,
        "title": table.title,
        "caption": table.caption,
        "on_page": table.on_page,
        "lead": table.lead,
        "path": path,
        "num_rows": len(table.frame),
        "csv": None,
    }
    if not table.on_page:
        return shown
    heads: list[dict[str, Any]] = []
    strips: list[list[dict[str, Any]]] = []
    for column in columns_of(table):
        interval = column.intervals is not None
        heads.append({"head": column.head, "numeric": column.numeric, "interval": interval, "cell": len(strips)})
        words = pad_decimals(column.words) if column.numeric else column.words
        kind = "num" if column.numeric else ""
        strips.append([{"words": w, "key": k, "kind": kind} for w, k in zip(words, column.keys, strict=True)])
        if column.intervals is not None:
            strips.append([{"words": words, "key": None, "kind": "ci"} for words in column.intervals])
    csv = table.frame.to_csv(index=False, lineterminator="\n")
    return shown | {
        "columns": heads,
        "rows": [list(row) for row in zip(*strips, strict=True)],
        "csv": "data:text/csv;charset=utf-8;base64," + base64.b64encode(csv.encode()).decode(),
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(value: Any) -> str:
    return repr(value) if _is_number(value) else str(value)
