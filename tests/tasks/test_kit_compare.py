"""Two runs side by side: rows meet by their keys, differences have the interval of independent estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.study import RunTables, Unit

WHAT = Compared(table="students", keys=("set", "eps"), value="accuracy")


def run(label: str, rows: Sequence[tuple[str, float, float, float, float, int]]) -> RunTables:
    frame = pd.DataFrame(rows, columns=["set", "eps", "accuracy", "lo", "hi", "n"])

    def read(table: str, columns: Sequence[str]) -> pd.DataFrame:
        assert table == "students"
        return frame[list(columns)]

    return RunTables(label=label, settings={}, hashes={}, read=read)


A = run("A", [("robust", 0.5, 0.6, 0.5, 0.7, 100), ("non-robust", 0.5, 0.1, 0.05, 0.2, 100)])
B = run("B", [("robust", 0.5, 0.9, 0.8, 0.95, 200), ("random", 0.5, 0.3, 0.2, 0.4, 200)])


def test_rows_meet_by_their_keys() -> None:
    found = comparison(WHAT)(A, B)
    (table,) = found.tables
    (row,) = table.frame.to_dict("records")
    assert (row["set"], row["A"], row["B"], row["n"]) == ("robust", 0.6, 0.9, 100)
    assert row["difference"] == pytest.approx(0.3)
    assert row["lo"] == pytest.approx(0.3 - (0.1**2 + 0.1**2) ** 0.5) and row["hi"] == pytest.approx(
        0.3 + (0.05**2 + 0.1**2) ** 0.5
    )
    assert found.answer.startswith(
        "The intervals of 1 of 1 difference in accuracy exclude 0; the largest is +30.0 points"
    )
    assert found.warnings == (
        "Only in A, with no row here: 1 row of students.",
        "Only in B, with no row here: 1 row of students.",
    )
    assert len(found.figures) == 1


def test_a_run_against_itself_differs_by_nothing() -> None:
    found = comparison(WHAT)(A, A)
    assert (found.tables[0].frame.difference == 0).all()
    assert found.answer.startswith("The intervals of 0 of 2 differences")
    assert not found.warnings


def test_what_is_not_known_is_no_difference() -> None:
    unknown = run("B", [("robust", 0.5, float("nan"), float("nan"), float("nan"), 0)])
    found = comparison(WHAT)(A, unknown)
    assert found.answer.startswith("The intervals of 0 of 1") and not found.figures


def test_runs_without_a_common_row_are_refused() -> None:
    with pytest.raises(InputError, match="share no row of the table 'students'"):
        comparison(WHAT)(A, run("B", [("other", 0.5, 0.3, 0.2, 0.4, 9)]))


@pytest.mark.parametrize(("unit", "shown"), [("percent", "percent"), ("points", "points"), ("number", "")])
def test_values_have_the_unit_of_their_table(unit: Unit, shown: str) -> None:
    """A gap between two accuracies is shown in points, with its sign, as on the pages of the runs themselves."""
    (table,) = comparison(replace(WHAT, unit=unit))(A, B).tables
    assert (table.formats["A"], table.formats["B"]) == (shown, shown)
    assert table.formats["difference"] == ("points" if shown else "")
