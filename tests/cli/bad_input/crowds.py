"""Tables of crowd studies that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.cli.bad_input.case import Case, Prepare, file

REPLICATION = "run replication --workers 0 --data study.parquet --correctness right.parquet "
STUDY: Mapping[str, list[Any]] = {
    "image": ["o1", "o2", "c1", "c2", "o1", "o2", "c1", "c2"],
    "class": ["x"] * 8,
    "pool": ["original", "original", "candidate", "candidate"] * 2,
    "phase": ["selection"] * 4 + ["remeasure"] * 4,
    "in_replica": [False, False, True, True] * 2,
    "n_shown": [10] * 8,
    "n_selected": [9, 8, 9, 8, 9, 7, 6, 5],
}
RIGHT: Mapping[str, list[Any]] = {"image": ["o1", "o2", "c1", "c2"], "model": [True, False, True, False]}


def tables(study: Mapping[str, Any] | None = None, right: Mapping[str, Any] | None = None) -> Prepare:
    """`study.parquet` and `right.parquet`, with some columns replaced; None leaves a column out."""

    def prepare(folder: Path) -> None:
        for name, columns in (("study", {**STUDY, **(study or {})}), ("right", {**RIGHT, **(right or {})})):
            kept = {column: values for column, values in columns.items() if values is not None}
            pq.write_table(pa.table(kept), folder / f"{name}.parquet")

    return prepare


def row(column: str, number: int, value: Any) -> dict[str, list[Any]]:
    values = list(STUDY[column])
    values[number] = value
    return {column: values}


CROWDS = [
    Case(name="answers without verdicts", typed="run replication --data study.parquet", says=("--correctness",)),
    Case(name="no such table", typed=REPLICATION, says=("no file study.parquet", "answers of a crowd study")),
    Case(name="no table at all", typed=REPLICATION, prepare=file("study.parquet"), says=("study.parquet", "Parquet")),
    Case(
        name="a column short",
        typed=REPLICATION,
        prepare=tables({"n_shown": None, "shown": [10] * 8}),
        says=("study.parquet", "no column 'n_shown'", "did you mean 'shown'"),
    ),
    Case(
        name="more ticks than answers",
        typed=REPLICATION,
        prepare=tables(row("n_selected", 5, 11)),
        says=("n_selected, row 5", "11 of 10"),
    ),
    Case(
        name="ticks NaN",
        typed=REPLICATION,
        prepare=tables(row("n_selected", 2, float("nan"))),
        says=("n_selected, row 2", "nan"),
    ),
    Case(
        name="an unknown pool",
        typed=REPLICATION,
        prepare=tables(row("pool", 3, "candidates")),
        says=("pool, row 3", "did you mean 'candidate'"),
    ),
    Case(
        name="images nobody saw",
        typed=REPLICATION,
        prepare=tables(row("n_shown", 7, 0) | row("n_selected", 7, 0)),
        says=("n_shown, row 7", "nobody saw"),
    ),
    Case(
        name="rows twice",
        typed=REPLICATION,
        prepare=tables(row("image", 7, "c1")),
        says=("row 7", "c1", "earlier row"),
    ),
    Case(
        name="an image of two classes",
        typed=REPLICATION,
        prepare=tables(row("class", 6, "y")),
        says=("class, row 6", "another class"),
    ),
    Case(
        name="verdicts of other images",
        typed=REPLICATION,
        prepare=tables(right={"image": ["o1", "o2", "c1", "c9"]}),
        says=("right.parquet", "c2", "every model"),
    ),
    Case(
        name="a model without a verdict",
        typed=REPLICATION,
        prepare=tables(right={"model": [True, None, True, False]}),
        says=("right.parquet", "model, row 1", "empty"),
    ),
    Case(
        name="only answers that chose",
        typed=REPLICATION,
        prepare=tables({column: values[:4] for column, values in STUDY.items()}),
        says=("study.parquet", "can't also correct", "remeasure"),
    ),
    Case(
        name="too few answers to claim anything",
        typed="run replication --num-answers 5 --claimed-answers 5",
        says=("claimed_answers", "at least 9"),
    ),
    Case(name="no such scenario", typed="run replication --scenario pilled", says=("did you mean 'piled'",)),
]
