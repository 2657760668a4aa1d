"""Thinning and moments by enumeration; tables at the door; a study's tables joined."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from robustray.tasks.crowds.answers import ANSWERS, CORRECTNESS, OwnStudy, own_study
from robustray.tasks.crowds.tables import Column, Schema, TableRef, read_table
from robustray.tasks.crowds.thinning import moments, thinned
from robustray.tasks.errors import InputError

# -- thinning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "n", "m"), [(3, 5, 2), (0, 4, 3), (5, 5, 4), (2, 6, 6), (4, 7, 1)])
def test_thinning_is_the_mean_over_all_subsets(k: int, n: int, m: int) -> None:
    answers = [1] * k + [0] * (n - k)
    sums = [sum(chosen) for chosen in itertools.combinations(answers, m)]
    expected = np.bincount(sums, minlength=m + 1) / len(sums)
    assert thinned([k], [n], m)[0] == pytest.approx(expected, abs=1e-12)


def test_thinned_histograms_of_unequal_answers() -> None:
    """The mean over all leave-d-out histograms, image by image."""
    selected, shown = np.array([2, 0, 3, 5, 4]), np.array([3, 4, 5, 6, 4])
    per_image = []
    for k, n in zip(selected, shown, strict=True):
        sums = [sum(chosen) for chosen in itertools.combinations([1] * k + [0] * (n - k), 3)]
        per_image.append(np.bincount(sums, minlength=4) / len(sums))
    assert thinned(selected, shown, 3).sum(axis=0) == pytest.approx(np.sum(per_image, axis=0), abs=1e-12)
    with pytest.raises(InputError, match="3 answers"):
        thinned(selected, shown, 4)


def test_thinning_a_binomial_gives_a_binomial() -> None:
    counts = stats.binom.pmf(np.arange(21), 20, 0.3)
    assert counts @ thinned(np.arange(21), 20, 7) == pytest.approx(stats.binom.pmf(np.arange(8), 7, 0.3), abs=1e-12)


@pytest.mark.parametrize("s", [0.0, 0.2, 0.77, 1.0])
@pytest.mark.parametrize("n", [9, 12])
def test_moments_are_unbiased_by_enumeration(s: float, n: int) -> None:
    counts = np.arange(n + 1)
    found = stats.binom.pmf(counts, n, s) @ moments(counts, np.full(n + 1, n), 9)
    assert found == pytest.approx(s ** np.arange(10), abs=1e-12)
    with pytest.raises(InputError, match="moments up to 9"):
        moments([3], [8], 9)


def test_moments_do_not_change_by_thinning() -> None:
    k = np.arange(13)
    assert thinned(k, 12, 9) @ moments(np.arange(10), np.full(10, 9), 4) == pytest.approx(
        moments(k, np.full(13, 12), 4)
    )


# -- tables ------------------------------------------------------------------------------------------------------------

SCHEMA = Schema(
    what="votes",
    columns={
        "image": Column(kind="name"),
        "kind": Column(kind="name", required=False, choices=("a", "b")),
        "seen": Column(kind="count"),
        "picked": Column(kind="labels", required=False),
    },
)


def write(folder: Path, columns: Mapping[str, Any], name: str = "table.parquet", **options: Any) -> str:
    pq.write_table(pa.table(dict(columns)), folder / name, **options)
    return str(folder / name)


def test_the_hash_is_that_of_the_values(tmp_path: Path) -> None:
    """Other compression, chunks, types of text and numbers, file name: one hash. Other values or order: another."""
    columns = {"image": ["x", "y", "z"], "seen": pa.array([3, 4, 5], pa.int8()), "picked": [[1, 2], [0], [3]]}
    first = write(tmp_path, columns)
    wide = {"image": pa.array(["x", "y", "z"], pa.large_string()), "seen": pa.array([3.0, 4.0, 5.0])}
    again = write(tmp_path, wide | {"picked": columns["picked"]}, "b.parquet", compression="zstd", row_group_size=1)
    hashes = [TableRef(name=path, schema=SCHEMA).content_hash for path in (first, again)]
    assert hashes[0] == hashes[1]
    others = [
        columns | {"seen": [3, 4, 6]},
        columns | {"picked": [[1], [2, 0], [3]]},
        columns | {"image": ["x", "y", "zz"]},
        {name: list(reversed(list(values))) for name, values in columns.items() if name != "seen"}
        | {"seen": [5, 4, 3]},
    ]
    seen = {read_table(write(tmp_path, other), SCHEMA).content_hash for other in others}
    assert len(seen | {hashes[0]}) == 5


def test_a_reference_travels_with_its_hash(tmp_path: Path) -> None:
    path = write(tmp_path, {"image": [1, 2], "seen": [3, 4]})
    ref = TableRef(name=path, schema=SCHEMA)
    state = ref.__getstate__()
    Path(path).unlink()
    assert state["_hash"] == ref.content_hash


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"image": ["x"]}, "no column 'seen'"),
        ({"image": ["x"], "Seen": [1]}, "did you mean 'Seen'"),
        ({"image": ["x", None], "seen": [1, 2]}, "image, row 1 .*empty"),
        ({"image": ["x", ""], "seen": [1, 2]}, "image, row 1 .*empty"),
        ({"image": [1.5], "seen": [1]}, "must hold names"),
        ({"image": ["x", "y"], "seen": [1, -1]}, "seen, row 1 .*-1"),
        ({"image": ["x", "y"], "seen": [1, 2.5]}, "seen, row 1 .*2.5"),
        ({"image": ["x", "y"], "seen": [1, float("nan")]}, "seen, row 1 .*nan"),
        ({"image": ["x"], "seen": ["1"]}, "whole numbers"),
        ({"image": ["x"], "seen": [1], "kind": ["c"]}, "kind, row 0 .*'c'"),
        ({"image": ["x", "y"], "seen": [1, 1], "picked": [[1], []]}, "picked, row 1 .*no label"),
        ({"image": ["x", "y"], "seen": [1, 1], "picked": [[1], [2, 2]]}, "picked, row 1 .*twice"),
        ({"image": ["x", "y"], "seen": [1, 1], "picked": [[1, 2, 3], [1, None]]}, "picked, row 1 .*empty value"),
        ({"image": ["x", "y"], "seen": [1, 1], "picked": [[1, 2, 3], [4, -5]]}, "picked, row 1 .*-5"),
        ({"image": ["x"], "seen": [1], "picked": [3]}, "lists of labels"),
        ({"image": pa.array([], pa.string()), "seen": pa.array([], pa.int64())}, "no rows"),
    ],
)
def test_values_that_do_not_fit_are_named(columns: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        read_table(write(tmp_path, columns), SCHEMA)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read_table(str(tmp_path / "none.parquet"), SCHEMA)
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(InputError, match="can't be read"):
        read_table(str(tmp_path / "text.parquet"), SCHEMA)


# -- a study's two tables ----------------------------------------------------------------------------------------------

BASE: Mapping[str, list[Any]] = {
    "image": ["o1", "o2", "c1", "c2", "c3", "o1", "o2", "c1", "c2"],
    "class": ["x"] * 9,
    "pool": ["original"] * 2 + ["candidate"] * 3 + ["original"] * 2 + ["candidate"] * 2,
    "phase": ["selection"] * 5 + ["remeasure"] * 4,
    "in_replica": [False, False, True, True, False, False, False, True, True],
    "n_shown": [10, 10, 10, 10, 10, 12, 9, 11, 9],
    "n_selected": [9, 8, 9, 8, 2, 11, 7, 6, 5],
}
RIGHT: Mapping[str, list[Any]] = {
    "image": ["c1", "c2", "c3", "o1", "o2"],
    "m1": [True, False, False, True, True],
    "m2": [True] * 5,
}


def joined(folder: Path, changes: Mapping[str, Any] | None = None, right: Mapping[str, Any] = RIGHT) -> OwnStudy:
    answers = read_table(write(folder, dict(BASE) | dict(changes or {})), ANSWERS)
    return own_study(answers, read_table(write(folder, right, "right.parquet"), CORRECTNESS))


def test_only_remeasured_answers_are_used(tmp_path: Path) -> None:
    study = joined(tmp_path)
    assert study.source == "remeasured" and study.models == ("m1", "m2")
    assert (study.original.image.tolist(), study.original.n_selected.tolist()) == (["o1", "o2"], [11, 7])
    assert (study.replica.image.tolist(), study.replica.n_shown.tolist()) == (["c1", "c2"], [11, 9])
    assert study.replica.correct.tolist() == [[1, 1], [0, 1]]


def test_without_new_answers_all_candidates_stand_in(tmp_path: Path) -> None:
    rows = {name: values[:5] for name, values in BASE.items()}
    answers = read_table(write(tmp_path, rows), ANSWERS)
    study = own_study(answers, read_table(write(tmp_path, RIGHT, "right.parquet"), CORRECTNESS))
    assert study.source == "all candidates"
    assert study.replica.image.tolist() == ["c1", "c2", "c3"]
    assert study.replica.in_replica.tolist() == [True, True, False]
    assert any("after the choice" in warning for warning in study.warnings)
    chosen = {name: values[:4] for name, values in BASE.items()}
    with pytest.raises(InputError, match="can't also correct"):
        own_study(
            read_table(write(tmp_path, chosen), ANSWERS),
            read_table(write(tmp_path, RIGHT, "right.parquet"), CORRECTNESS),
        )


def test_answers_of_one_image_are_added_up(tmp_path: Path) -> None:
    """One row per answer: the same study."""
    rows: dict[str, list[Any]] = {name: [] for name in [*BASE, "worker"]}
    for i in range(9):
        for answer in range(BASE["n_shown"][i]):
            for name in BASE:
                rows[name].append(BASE[name][i])
            rows["n_shown"][-1], rows["n_selected"][-1] = 1, int(answer < BASE["n_selected"][i])
            rows["worker"].append(f"w{answer}")
    one = own_study(
        read_table(write(tmp_path, rows), ANSWERS), read_table(write(tmp_path, RIGHT, "right.parquet"), CORRECTNESS)
    )
    assert one.replica.n_selected.tolist() == joined(tmp_path).replica.n_selected.tolist()
    rows["worker"][1] = "w0"
    with pytest.raises(InputError, match=r"row 1 .*worker w0 occurs in an earlier row"):
        own_study(
            read_table(write(tmp_path, rows), ANSWERS),
            read_table(write(tmp_path, RIGHT, "right.parquet"), CORRECTNESS),
        )


def test_weights_are_those_of_images(tmp_path: Path) -> None:
    weight = [1.0, 2.0, 3, 0.5, 1, 1, 2, 3, 0.5]
    study = joined(tmp_path, {"weight": weight})
    assert study.original.weight is not None and study.original.weight.tolist() == [1, 2]
    assert study.replica.weight is not None and study.replica.weight.tolist() == [3, 0.5]
    assert joined(tmp_path).original.weight is None
    for changes, says in (
        ({"weight": [*weight[:8], 0.7]}, "weight, row 8 .*c2 has another weight"),
        ({"weight": [*weight[:8], 0.0]}, "weight, row 8 .*above 0"),
        ({"weight": [*weight[:8], float("inf")]}, "weight, row 8 .*inf"),
        ({"weight": ["1"] * 9}, "must hold numbers"),
    ):
        with pytest.raises(InputError, match=says):
            joined(tmp_path, changes)


def test_the_index_that_pandas_writes_is_no_model(tmp_path: Path) -> None:
    """It is a column of whole numbers: among predicted classes it would be a model that is nearly always wrong."""
    right = joined(tmp_path, right={**RIGHT, "__index_level_0__": [4, 5, 6, 7, 8]})
    assert right.models == ("m1", "m2")
    with pytest.raises(InputError, match="no column of a model"):
        joined(tmp_path, right={"image": RIGHT["image"], "__index_level_0__": [4, 5, 6, 7, 8]})


def test_candidates_that_were_not_chosen_are_kept_for_planning(tmp_path: Path) -> None:
    """Of the selection's answers, whatever tasks showed them; none where the table has only chosen ones."""
    study = joined(tmp_path)
    assert study.pool is not None and study.pool.image.tolist() == ["c1", "c2", "c3"]
    assert study.pool.n_selected.tolist() == [9, 8, 2]
    extra = {name: [*values, values[4]] for name, values in BASE.items()} | {"hit": [*"abcdeaabb", "f"]}
    twice = read_table(write(tmp_path, extra), ANSWERS)
    right = read_table(write(tmp_path, RIGHT, "right.parquet"), CORRECTNESS)
    found = own_study(twice, right)
    assert found.pool is not None and found.pool.n_shown.tolist() == [10, 10, 20]
    keep = [i for i, image in enumerate(BASE["image"]) if image != "c3"]
    chosen = {name: [values[i] for i in keep] for name, values in BASE.items()}
    assert own_study(read_table(write(tmp_path, chosen), ANSWERS), right).pool is None


def changed(column: str, row: int, value: Any) -> dict[str, Any]:
    values = list(BASE[column])
    values[row] = value
    return {column: values}


@pytest.mark.parametrize(
    ("changes", "right", "says"),
    [
        (changed("n_selected", 5, 13), RIGHT, "n_selected, row 5 .*13 of 12"),
        (changed("n_shown", 8, 0) | changed("n_selected", 8, 0), RIGHT, "n_shown, row 8 .*nobody saw"),
        (changed("class", 6, "y"), RIGHT, "class, row 6 .*o2 has another class"),
        (changed("pool", 7, "original"), RIGHT, "pool, row 7"),
        (changed("in_replica", 8, False), RIGHT, "in_replica, row 8"),
        ({"in_replica": [False] * 9}, RIGHT, "no image in the replica"),
        ({"in_replica": [True, False, True, True, False, True, False, True, True]}, RIGHT, "can't be in the replica"),
        (changed("image", 8, "c1"), RIGHT, "row 8 .*c1, phase remeasure occurs in an earlier row"),
        (changed("image", 8, "c3") | changed("in_replica", 8, False), RIGHT, "no remeasured answers .*c2"),
        ({}, {"image": ["c1", "c2", "c3", "o1"], "m1": [True] * 4}, "1 images of the study are not in it .*o2"),
        ({}, {"image": ["c1", "c2", "c3", "o1", "o2", "o2"], "m1": [True] * 6}, "o2 has 2 rows"),
        ({"hit": list("aabbcaabb")}, RIGHT, None),
    ],
)
def test_what_two_tables_must_agree_on(
    changes: dict[str, Any], right: dict[str, Any], says: str | None, tmp_path: Path
) -> None:
    if says is None:
        assert joined(tmp_path, changes, right).original.cluster.tolist() == ["a", "a"]
        return
    with pytest.raises(InputError, match=says):
        joined(tmp_path, changes, right)


def test_models_without_a_verdict_are_refused(tmp_path: Path) -> None:
    holes = dict(RIGHT) | {"m1": [True, None, False, True, True]}
    with pytest.raises(InputError, match=r"column m1, row 1 .*empty"):
        read_table(write(tmp_path, holes), CORRECTNESS)
    with pytest.raises(InputError, match="true or false"):
        read_table(write(tmp_path, dict(RIGHT) | {"m1": [1, 0, 1, 0, 1]}), CORRECTNESS)
    with pytest.raises(InputError, match="no column of a model"):
        read_table(write(tmp_path, {"image": ["x"]}), CORRECTNESS)


def test_tables_say_which_columns_they_leave_alone(tmp_path: Path) -> None:
    study = joined(tmp_path, {"comment": ["?"] * 9})
    assert study.warnings[0].startswith("columns comment")
    assert read_table(write(tmp_path, BASE), ANSWERS).unused == ()
