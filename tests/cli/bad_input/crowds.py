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


LABELS = "run labels --workers 0 --votes votes.parquet "
VOTES: Mapping[str, list[Any]] = {
    "image": ["a", "a", "b"],
    "given": [0, 0, 1],
    "main": [0, 1, 1],
    "selected": [[0], [0, 1], [1]],
    "worker": ["x", "y", "x"],
}
PREDICTED: Mapping[str, list[Any]] = {"image": ["a", "b"], "model": [0, 1]}


WHOLE: Mapping[str, list[Any]] = {
    "image": ["a", "b", "c"],
    "given": [0, 1, 1],
    "split": ["classified", "classified", "only-given"],
}
RATED: Mapping[str, list[Any]] = {
    "image": ["a", "a"],
    "given": [0, 0],
    "label": [0, 1],
    "rater": ["x", "x"],
    "answer": [2, 0],
}


ASKED: Mapping[str, list[Any]] = {
    "image": ["a", "a"],
    "given": [0, 0],
    "label": [0, 1],
    "n_shown": [4, 4],
    "n_selected": [3, 1],
}


def beside(name: str, columns: Mapping[str, list[Any]], **changes: Any) -> Prepare:
    """`votes.parquet`, `predicted.parquet` and one more table, with some of its columns replaced."""

    def prepare(folder: Path) -> None:
        votes()(folder)
        pq.write_table(pa.table({**columns, **changes}), folder / name)

    return prepare


def votes(answers: Mapping[str, Any] | None = None, predicted: Mapping[str, Any] | None = None) -> Prepare:
    """`votes.parquet` and `predicted.parquet`, with some columns replaced; None leaves a column out."""

    def prepare(folder: Path) -> None:
        for name, columns in (
            ("votes", {**VOTES, **(answers or {})}),
            ("predicted", {**PREDICTED, **(predicted or {})}),
        ):
            kept = {column: values for column, values in columns.items() if values is not None}
            pq.write_table(pa.table(kept), folder / f"{name}.parquet")

    return prepare


CROWDS = [
    Case(name="answers without verdicts", typed="run replication --data study.parquet", says=("--correctness",)),
    Case(name="an original without replicas", typed="run replication --original o.parquet", says=("--replicas",)),
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
    Case(
        name="a simulated world for tables of one's own",
        typed="run replication --data study.parquet --correctness right.parquet --scenario root",
        says=("--scenarios does nothing here", "your tables are analysed instead"),
    ),
    Case(
        name="answers that choose, where the choice is made",
        typed="run replication --data study.parquet --correctness right.parquet --num-matching 20",
        says=("--num-matching does nothing here", "your tables are analysed instead"),
    ),
    Case(
        name="a margin for simulated studies",
        typed="run replication --margin 0.02",
        says=("--margin does nothing here", "only --data takes it"),
    ),
    Case(
        name="a margin in points",
        typed="run replication --data study.parquet --correctness right.parquet --margin 1",
        says=("margin must be a share", "got 1"),
    ),
    Case(
        name="a single original image",
        typed=REPLICATION,
        prepare=tables({column: values[:5] + values[6:] for column, values in STUDY.items()}),
        says=("study.parquet", "the original set has a single image"),
    ),
    Case(
        name="a million answers",
        typed=REPLICATION,
        prepare=tables(row("n_shown", 7, 1_000_000)),
        says=("study.parquet", "image c2 has 1,000,000 answers", "at most 1,000"),
    ),
    Case(name="people without models", typed="run replication --counts c.parquet", says=("--predictions",)),
    Case(
        name="no such people",
        typed="run replication --counts c.parquet --predictions p.parquet",
        says=("no file c.parquet", "CIFAR-10H"),
    ),
    Case(name="no such scenario", typed="run replication --scenario pilled", says=("did you mean 'piled'",)),
    Case(name="no such votes", typed=LABELS, says=("no file votes.parquet", "what is in an image")),
    Case(name="votes of nobody", typed=LABELS, prepare=votes({"main": None}), says=("no column 'main'",)),
    Case(
        name="a main label that nobody selected",
        typed=LABELS,
        prepare=votes({"main": [0, 2, 1]}),
        says=("main, row 1", "label 2 is not among"),
    ),
    Case(
        name="a worker who answers twice",
        typed=LABELS,
        prepare=votes({"worker": ["x", "x", "x"]}),
        says=("worker, row 1", "answers image a twice"),
    ),
    Case(
        name="an image of two labels",
        typed=LABELS,
        prepare=votes({"given": [0, 1, 1]}),
        says=("given, row 1", "another given label"),
    ),
    Case(
        name="nothing selected",
        typed=LABELS,
        prepare=votes({"selected": [[0], [], [1]]}),
        says=("selected, row 1", "no label is selected"),
    ),
    Case(
        name="a label selected twice",
        typed=LABELS,
        prepare=votes({"selected": [[0], [0, 1, 1], [1]]}),
        says=("selected, row 1", "twice"),
    ),
    Case(
        name="a negative class",
        typed=LABELS,
        prepare=votes({"main": [0, -1, 1]}),
        says=("main, row 1", "-1"),
    ),
    Case(
        name="more labels than can be divided",
        typed=LABELS,
        prepare=votes({"selected": [list(range(12)), list(range(12)), [1]]}),
        says=("votes.parquet", "an image has 12 labels", "at most 10"),
    ),
    Case(
        name="identifiers instead of classes",
        typed=LABELS,
        prepare=votes({"given": [10**12, 10**12, 1]}),
        says=("given", "1,000,000,000,000 is no class number", "below 1,000,000"),
    ),
    Case(
        name="class names instead of numbers",
        typed=LABELS,
        prepare=votes({"given": ["dog", "dog", "cat"]}),
        says=("given", "whole numbers"),
    ),
    Case(
        name="predictions of other images",
        typed=LABELS + "--predictions predicted.parquet",
        prepare=votes(predicted={"image": ["a", "c"]}),
        says=("predicted.parquet", "the first is b", "every model"),
    ),
    Case(
        name="an image predicted twice",
        typed=LABELS + "--predictions predicted.parquet",
        prepare=votes(predicted={"image": ["a", "b", "b"], "model": [0, 1, 1]}),
        says=("predicted.parquet", "image b has 2 rows"),
    ),
    Case(
        name="a model that predicts nothing",
        typed=LABELS + "--predictions predicted.parquet",
        prepare=votes(predicted={"model": [0, None]}),
        says=("model, row 1", "empty"),
    ),
    Case(
        name="workers weighed without workers",
        typed=LABELS + "--worker-model one-coin",
        prepare=votes({"worker": None}),
        says=("votes.parquet", "no column 'worker'"),
    ),
    Case(
        name="a single worker weighed",
        typed=LABELS + "--worker-model one-coin",
        prepare=votes({"image": ["a", "c", "b"], "worker": ["x", "x", "x"]}),
        says=("votes.parquet", "a single worker"),
    ),
    Case(name="simulated workers weighed", typed="run labels --worker-model one-coin", says=("--votes",)),
    Case(
        name="a split that nothing has",
        typed=LABELS + "--images images.parquet",
        prepare=beside("images.parquet", WHOLE, split=["classified", "classified", "only given"]),
        says=("images.parquet", "split, row 2", "did you mean 'only-given'"),
    ),
    Case(
        name="a classified image without answers",
        typed=LABELS + "--images images.parquet",
        prepare=beside("images.parquet", WHOLE, split=["classified"] * 3),
        says=("images.parquet", "split, row 2", "image c has no answers"),
    ),
    Case(
        name="an image of another label in the whole set",
        typed=LABELS + "--images images.parquet",
        prepare=beside("images.parquet", WHOLE, given=[0, 0, 1]),
        says=("images.parquet", "given, row 1", "has label 1 in the answers"),
    ),
    Case(
        name="a rating beyond yes",
        typed=LABELS + "--predictions predicted.parquet --ratings rated.parquet",
        prepare=beside("rated.parquet", RATED, answer=[2, 3]),
        says=("rated.parquet", "answer, row 1", "2 (yes)"),
    ),
    Case(
        name="a rating given twice",
        typed=LABELS + "--predictions predicted.parquet --ratings rated.parquet",
        prepare=beside("rated.parquet", RATED, label=[0, 0]),
        says=("rated.parquet", "rater, row 1", "twice"),
    ),
    Case(
        name="a given label that nobody rated",
        typed=LABELS + "--predictions predicted.parquet --ratings rated.parquet",
        prepare=beside("rated.parquet", RATED, label=[1, 2]),
        says=("rated.parquet", "given label", "the first is a"),
    ),
    Case(
        name="a class that has no name",
        typed=LABELS + "--classes classes.parquet",
        prepare=beside("classes.parquet", {"class": [0, 2], "name": ["x", "y"], "superclass": ["z", "z"]}),
        says=("classes.parquet", "class 1 is missing"),
    ),
    Case(name="ratings of nothing", typed=LABELS + "--ratings rated.parquet", says=("--ratings needs --predictions",)),
    Case(
        name="ticks by more than were asked",
        typed="run labels --workers 0 --contains asked.parquet",
        prepare=beside("asked.parquet", ASKED, n_selected=[3, 5]),
        says=("asked.parquet", "n_selected, row 1", "5 of 4 workers"),
    ),
    Case(
        name="nobody was asked about the given label",
        typed="run labels --workers 0 --contains asked.parquet",
        prepare=beside("asked.parquet", ASKED, label=[1, 2]),
        says=("asked.parquet", "given label", "a)"),
    ),
    Case(
        name="a label that was asked about twice",
        typed=LABELS + "--contains asked.parquet",
        prepare=beside("asked.parquet", ASKED, label=[0, 0]),
        says=("asked.parquet", "row 1", "earlier row"),
    ),
    Case(
        name="two tables of other given labels",
        typed=LABELS + "--contains asked.parquet",
        prepare=beside("asked.parquet", ASKED, given=[1, 1], label=[0, 1]),
        says=("asked.parquet", "image a has given label 1, but 0 in votes.parquet"),
    ),
    Case(name="images without votes", typed="run labels --contains c.parquet --images i.parquet", says=("--votes",)),
    Case(name="predictions without votes", typed="run labels --predictions p.parquet", says=("--votes",)),
    Case(name="a crowd without siblings", typed="run labels --test-data scenes:test", says=("classes=18",)),
    Case(
        name="a crowd that would see what nobody can",
        typed="run labels --test-data scenes:test,confusable=0.3",
        says=("test_data", "leave out confusable="),
    ),
    Case(name="a crowd for photographs", typed="run labels --test-data cifar10:test", says=("scenes", "--votes")),
    Case(name="a search better than perfect", typed="run labels --precisions 0.5 1.2", says=("precisions", "1.2")),
]
