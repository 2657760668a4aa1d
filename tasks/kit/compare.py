"""Two runs of a study side by side, row by row of one table of estimates: `Study.compare` for studies without pairs.

A study that can pair what two runs measured (the same images under two attacks) brings a sharper comparison of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.errors import InputError
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import shown
from robustray.tasks.kit.words import plural
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate, difference_of
from robustray.tasks.study import Figure, Findings, RunTables, Table, Unit

MOST_ROWS = 24
"""Rows that a figure shows; all are in the table."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One kind of estimate in a table that a study writes."""

    table: str
    """Name of the table."""
    keys: tuple[str, ...]
    """Columns that say what a row is about; rows of two runs meet where all of them are equal."""
    value: str
    """Column of the estimate, with its interval in the columns `lo` and `hi`, and its number of units in `n`."""
    unit: Unit = "percent"
    lo: str = "lo"
    hi: str = "hi"


def comparison(what: Compared) -> Callable[[RunTables, RunTables], Findings]:
    """A `Study.compare`: `Study(..., compare=comparison(Compared(table="students", keys=("set",), value="accuracy")))`.

    Differences are B minus A as of independent runs (`difference_of`): where both runs share images or seeds that is
    wider than it need be. Raises (the comparison): InputError where no row of the runs can be paired.
    """

    def compare(a: RunTables, b: RunTables) -> Findings:
        columns = [*what.keys, what.value, what.lo, what.hi, "n"]
        rows_a, rows_b = (run.read(what.table, columns) for run in (a, b))
        both = rows_a.merge(rows_b, on=list(what.keys), suffixes=("_A", "_B"), how="inner")
        if both.empty:
            raise InputError(f"the runs share no row of the table {what.table!r} ({', '.join(what.keys)} differ)")
        differences = [_difference(row, what) for row in both.to_dict("records")]
        frame = both[list(what.keys)].assign(
            A=both[f"{what.value}_A"],
            B=both[f"{what.value}_B"],
            difference=[each.value for each in differences],
            lo=[each.lo for each in differences],
            hi=[each.hi for each in differences],
            n=[each.n for each in differences],
        )
        notes = [
            f"Only in {label}, with no row here: {plural(len(rows) - len(both), 'row')} of {what.table}."
            for label, rows in (("A", rows_a), ("B", rows_b))
            if len(rows) > len(both)
        ]
        return compose(_answer(frame, what), _table(frame, what), _figure(frame, what), notes)

    return compare


def _difference(row: dict[str, float], what: Compared) -> Estimate:
    a, b = (
        Estimate(
            value=float(row[f"{what.value}_{run}"]),
            lo=float(row[f"{what.lo}_{run}"]),
            hi=float(row[f"{what.hi}_{run}"]),
            n=int(row[f"n_{run}"]),
        )
        for run in "AB"
    )
    return difference_of(b, a)


def _formats(what: Compared) -> tuple[str, str]:
    """The formats of values, and of their differences."""
    return ("", "") if what.unit == "number" else (what.unit, "points")


def _words(what: Compared) -> str:
    return what.value.replace("_", " ")


def _clear(frame: pd.DataFrame) -> pd.Series:
    return (frame.lo > 0) | (frame.hi < 0)


def _answer(frame: pd.DataFrame, what: Compared) -> str:
    clear = frame[_clear(frame)]
    largest = frame.loc[(frame.difference.abs()).fillna(-1).idxmax()]
    names = ", ".join(str(largest[key]) for key in what.keys)
    words = format_estimate(largest.difference, (largest.lo, largest.hi), _formats(what)[1])
    return (
        f"The intervals of {len(clear)} of {plural(len(frame), 'difference')} in {_words(what)} exclude 0; the largest "
        f"is {words} ({names}, B minus A; n = {int(largest.n):,})."
    )


def _table(frame: pd.DataFrame, what: Compared) -> Table:
    value, difference = _formats(what)
    return Table(
        name="differences",
        title=f"Differences in {_words(what)}",
        caption="B minus A. 95 % intervals as of independent runs; each for its row alone, so one in twenty rows may "
        "differ by chance. n: the smaller number of units of the two.",
        frame=frame,
        formats={"A": value, "B": value, **shown("difference", difference)},
    )


def _figure(frame: pd.DataFrame, what: Compared) -> Figure | None:
    known = frame[np.isfinite(frame[["difference", "lo", "hi"]]).all(axis=1)].head(MOST_ROWS)
    if known.empty:
        return None
    varied: Sequence[str] = [key for key in what.keys if frame[key].nunique() > 1] or what.keys
    rows = [
        figures.Row(
            label=", ".join(str(row[key]) for key in varied), value=row["difference"], lo=row["lo"], hi=row["hi"]
        )
        for row in known.to_dict("records")
    ]
    return figures.dot_rows(
        name="differences",
        title=f"Differences in {_words(what)}",
        caption=f"An interval without 0 is a difference. B minus A, {plural(len(rows), 'row')}, 95 % intervals.",
        rows=rows,
        x_label=f"{_words(what)}, B minus A",
        points=what.unit != "number",
        levels=(figures.Level(value=0.0, words="no difference"),),
    )
