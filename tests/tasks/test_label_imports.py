"""The published files of labels: tiny ones of those exact forms, and pickles that are refused without running them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustray.tasks.crowds import pickled_frames
from robustray.tasks.crowds.classify import VOTES, votes_of
from robustray.tasks.crowds.contains import CONTAINS, Contains
from robustray.tasks.crowds.label_imports import import_contains, import_ratings, import_splits, import_votes
from robustray.tasks.crowds.pickled_frames import read_frame
from robustray.tasks.crowds.ratings import RATINGS, Ratings
from robustray.tasks.crowds.sets import ACCEPTED, IMAGES
from robustray.tasks.crowds.tables import read_table
from robustray.tasks.errors import InputError
from robustray.tasks.importers import imagenet_multilabel, real

# -- a table as pandas 1.0 pickled it ----------------------------------------------------------------------------------


def named(module: str, name: str, base: type = object) -> Any:
    """A class that says it is another one: the pickle names that one."""
    return type(name, (base,), {"__module__": module, "__qualname__": name})


class Call:
    """What is pickled as a call of `function` with `args`, and its state."""

    def __init__(self, function: Any, args: tuple[Any, ...], state: Any = None) -> None:
        self.made = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.made


PYTHON_PICKLER: Any = vars(pickle)["_Pickler"]
"""The one written in Python, in which names can be written unchecked."""


class Pickler(PYTHON_PICKLER):
    def save_global(self, obj: Any, name: str | None = None) -> None:
        self.save(obj.__module__)
        self.save(obj.__qualname__)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)


MULTIARRAY = "numpy.core.multiarray"
RECONSTRUCT, SCALAR = named(MULTIARRAY, "_reconstruct"), named(MULTIARRAY, "scalar")
NDARRAY, DTYPE = named("numpy", "ndarray"), named("numpy", "dtype")
NEW_INDEX, INDEX = (named("pandas.core.indexes.base", name) for name in ("_new_Index", "Index"))
FRAME = named("pandas.core.frame", "DataFrame")
BLOCKS = named("pandas.core.internals.managers", "BlockManager")
COUNTER, SLICE = named("collections", "Counter"), named("builtins", "slice")


def dtype(code: str) -> Call:
    order = "|" if code == "O8" else "<"
    return Call(DTYPE, (code, 0, 1), (3, order, None, None, None, -1, -1, 63 if code == "O8" else 0))


def array(values: Any, shape: tuple[int, ...], code: str) -> Call:
    data = list(values) if code == "O8" else np.asarray(values, dtype=code).tobytes()
    return Call(RECONSTRUCT, (NDARRAY, (0,), b"b"), (1, shape, dtype(code), False, data))


def scalar(value: int) -> Call:
    return Call(SCALAR, (dtype("i8"), np.int64(value).tobytes()))


def index(names: list[str]) -> Call:
    return Call(NEW_INDEX, (INDEX, {"data": array(names, (len(names),), "O8"), "name": None}))


def frame(rows: list[str], blocks: list[tuple[str, dict[str, list[Any]]]]) -> Call:
    """blocks: dtype and its columns, as pandas keeps them."""
    names = [name for _, columns in blocks for name in columns]
    values = [
        array([value for column in columns.values() for value in column], (len(columns), len(rows)), code)
        for code, columns in blocks
    ]
    axes, items = [index(names), index(rows)], [index(list(columns)) for _, columns in blocks]
    again = {"0.14.1": {"axes": axes, "blocks": [{"values": v, "mgr_locs": Call(SLICE, (0, 1, 1))} for v in values]}}
    manager = Call(BLOCKS, (), (axes, values, items, again))
    return Call(FRAME, (), {"_data": manager, "_typ": "dataframe", "_metadata": []})


def write(path: Path, made: Any) -> Path:
    with path.open("wb") as file:
        Pickler(file, protocol=4).dump(made)
    return path


def classify(folder: Path, **changes: Any) -> Path:
    """Two images; main answers as arrays, selections as lists, counts as the repository has them."""
    objects: dict[str, list[Any]] = {
        "main": [array([5, 5, 7], (3,), "i8"), array([2, 2], (2,), "i8")],
        "selected": [[[5], [5, 7], [7, 5]], [[2], [scalar(2), 3]]],
        "main_counter": [Call(COUNTER, ({scalar(5): 2, scalar(7): 1},)), Call(COUNTER, ({scalar(2): 2},))],
    }
    numbers = {"num_workers": [3, 2], "image_number": [10, 0], "imagenet_label": [7, 2]}
    numbers |= {name: values for name, values in changes.items() if name in numbers}
    table = frame(["b.JPEG", "a.JPEG"], [("O8", objects), ("i8", numbers), ("f8", {"main_object": [0.0, 1.0]})])
    return write(folder / "annotations_classify_task.pkl", table)


def labels(folder: Path, names: list[str]) -> Path:
    pq.write_table(pa.table({"image": names, "given": list(range(len(names)))}), folder / "labels.parquet")
    return folder / "labels.parquet"


def test_answers_of_imagenet_multilabel(tmp_path: Path) -> None:
    classify(tmp_path)
    write(tmp_path / "image_info.pkl", frame(["a.JPEG", "b.JPEG"], [("O8", {"annotation": ["fu", "mis"]})]))
    known = str(labels(tmp_path, ["a.JPEG", "b.JPEG"]))
    done = imagenet_multilabel.run(tmp_path, imagenet_multilabel.Flags(labels=known))
    assert "5 answers" in done.lines[0] and "2 images" in done.lines[1] and "--images" in done.next
    rows = pd.read_parquet(tmp_path / "votes.parquet")
    assert rows.image.tolist() == ["b.JPEG"] * 3 + ["a.JPEG"] * 2 and rows.main.tolist() == [5, 5, 7, 2, 2]
    assert [each.tolist() for each in rows.selected] == [[5], [5, 7], [7, 5], [2], [2, 3]], "the stored order"
    assert rows.worker.tolist() == [0, 1, 2, 0, 1] and rows.given.tolist() == [7, 7, 7, 2, 2]
    votes, names = votes_of(read_table(str(tmp_path / "votes.parquet"), VOTES))
    assert names.tolist() == ["a.JPEG", "b.JPEG"] and votes.given.tolist() == [2, 7]
    split = read_table(str(tmp_path / "images.parquet"), IMAGES)
    assert split["split"].tolist() == ["classified", "never-ticked"] and split["given"].tolist() == [0, 1]


def contains(folder: Path, **changes: Any) -> Path:
    """Two images as the published table has them: lists of labels asked about, of ticks and of workers."""
    objects: dict[str, list[Any]] = {
        "query": [[5, 7, scalar(9)], [2]],
        "selected": [[4, 9, 0], [3]],
        "total": [[9, 9, 4], array([8], (1,), "i8")],
        "sel_dict": [{5: (4, 9), scalar(7): (9, 9), 9: (0, 4)}, {2: (3, 8)}],
    }
    numbers = {"Unnamed: 0": [12, 3], "image_number": [10, 0], "imagenet_label": [7, 2], "num_queries": [3, 1]}
    table = frame(["b.JPEG", "a.JPEG"], [("O8", objects | changes), ("i8", numbers)])
    return write(folder / "annotations_contains_task.pkl", table)


def test_answers_about_single_labels(tmp_path: Path) -> None:
    classify(tmp_path)
    contains(tmp_path)
    done = imagenet_multilabel.run(tmp_path, imagenet_multilabel.Flags())
    assert "4 images and labels" in done.lines[1] and "--contains" in done.next
    table = read_table(str(tmp_path / "contains.parquet"), CONTAINS)
    assert table["image"].tolist() == ["b.JPEG"] * 3 + ["a.JPEG"] and table["given"].tolist() == [7, 7, 7, 2]
    assert table["n_selected"].tolist() == [4, 9, 0, 3] and table["n_shown"].tolist() == [9, 9, 4, 8]
    found = Contains.of(table)
    assert found.images.tolist() == ["a.JPEG", "b.JPEG"] and found.label.tolist() == [2, 5, 7, 9]


def test_lists_about_single_labels_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 1 .*differ in length"):
        import_contains(contains(tmp_path, total=[[9, 9, 4], [8, 8]]), tmp_path / "contains.parquet")


def test_the_tiny_pickle_names_what_the_published_one_names(tmp_path: Path) -> None:
    """All ten names of the published file (revision f939d1f), and none besides."""
    seen: set[tuple[str, str]] = set()

    class Spy(pickled_frames._Reader):
        def find_class(self, module: str, name: str) -> type[pickled_frames.Shell]:
            seen.add((module, name))
            return super().find_class(module, name)

    with classify(tmp_path).open("rb") as file:
        Spy(file).load()
    assert seen == set(pickled_frames.SHELLS)


def test_answers_that_do_not_fit_their_number(tmp_path: Path) -> None:
    path = classify(tmp_path, num_workers=[3, 3])
    with pytest.raises(InputError, match=r"row 1 .* not those of 3 workers"):
        import_votes(path, tmp_path / "votes.parquet")
    with pytest.raises(InputError, match="-1 is no class"):
        import_votes(classify(tmp_path, imagenet_label=[7, -1]), tmp_path / "votes.parquet")


# -- what is refused ---------------------------------------------------------------------------------------------------

CALLED: list[str] = []


def harmless(word: str = "called") -> str:
    CALLED.append(word)
    return word


@pytest.mark.parametrize(
    "made",
    [
        Call(named("tests.tasks.test_label_imports", "harmless"), ("called",)),
        Call(named("builtins", "len"), ((),)),
        Call(named("pandas.core.frame", "read_pickle"), ("x",)),
        Call(named("numpy", "fromfile"), ("x",)),
    ],
)
def test_pickles_that_name_anything_else_are_refused_unrun(made: Call, tmp_path: Path) -> None:
    """Also where it hides in a cell of an otherwise good table."""
    CALLED.clear()
    cell = frame(["a"], [("O8", {"main": [made]})])
    for number, value in enumerate((made, [made], cell)):
        path = write(tmp_path / f"{number}.pkl", value)
        with pytest.raises(InputError, match="nothing of it was run"):
            read_frame(path, ["main"])
    assert CALLED == []


def short() -> Call:
    """Two rows, and a column of one value."""
    axes, values = [index(["main"]), index(["a", "b"])], [array([5], (1, 1), "i8")]
    return Call(FRAME, (), {"_data": Call(BLOCKS, (), (axes, values, [index(["main"])]))})


@pytest.mark.parametrize("made", [{"a": 1}, [1, 2], None, Call(FRAME, (), {"_data": 3}), Call(FRAME, ()), short()])
def test_pickles_that_are_no_table(made: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no table of pandas 1\.0"):
        read_frame(write(tmp_path / "x.pkl", made), ["main"])


def test_files_that_are_no_pickle(tmp_path: Path) -> None:
    whole = classify(tmp_path).read_bytes()
    for content in (b"", b"no pickle", whole[: len(whole) // 2], b"PK\x03\x04" + whole):
        (tmp_path / "x.pkl").write_bytes(content)
        with pytest.raises(InputError, match=r"x\.pkl"):
            read_frame(tmp_path / "x.pkl", ["main"])
    with pytest.raises(InputError, match="has no column 'mains'"):
        read_frame(classify(tmp_path), ["mains"])
    other = write(tmp_path / "image_info.pkl", frame(["a"], [("O8", {"annotation": ["full"]})]))
    with pytest.raises(InputError, match="'full' is none of fu, easy"):
        import_splits(other, labels(tmp_path, ["a"]), tmp_path / "images.parquet")


# -- ReaL --------------------------------------------------------------------------------------------------------------


def names_of(count: int) -> list[str]:
    return [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, count + 1)]


def test_accepted_labels_of_real(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text(json.dumps([[], [970, 795], [230]]))
    known = str(labels(tmp_path, names_of(3)[::-1]))
    done = real.run(tmp_path / "real.json", real.Flags(labels=known))
    assert "3 images" in done.lines[0] and "--accepted" in done.next
    table = read_table(str(tmp_path / "accepted.parquet"), ACCEPTED)
    assert table["image"].tolist() == names_of(3) and table["given"].tolist() == [2, 1, 0], "joined by name, not order"
    assert table.lists["accepted"].values.tolist() == [970, 795, 230]
    assert table.lists["accepted"].lengths.tolist() == [0, 2, 1]


def raters(folder: Path, **changes: Any) -> Path:
    """Three raters, four questions about two images; nobody answers all."""
    tensor = np.zeros((3, 4, 3))
    for rater, question, answer in [(0, 0, 2), (1, 0, 1), (0, 1, 0), (2, 1, 2), (1, 2, 2), (2, 3, 0), (0, 3, 0)]:
        tensor[rater, question, answer] = 1
    first, second = names_of(2)
    held = {
        "tensor": tensor,
        "info": np.array([[first, "0"], [first, "6"], [second, "1"], [second, "0"]]),
        "ids": np.array([189, 111, 183]),
    }
    np.savez_compressed(folder / "raters.npz", **(held | changes))
    return folder / "raters.npz"


def test_ratings_of_real(tmp_path: Path) -> None:
    done = real.run(raters(tmp_path), real.Flags(labels=str(labels(tmp_path, names_of(2)))))
    assert "7 answers" in done.lines[0] and "--ratings" in done.next
    ratings = Ratings.of(read_table(str(tmp_path / "ratings.parquet"), RATINGS))
    assert ratings.given.tolist() == [0, 1]
    assert ratings.scores(np.array([0, 1]), 0.0).tolist() == [0.5, 1.0]
    assert ratings.scores(np.array([6, 0]), 0.0).tolist() == [0.5, 0.0]
    assert set(pd.read_parquet(tmp_path / "ratings.parquet").rater) == {189, 111, 183}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ids": np.array([1, 2])}, "answers of"),
        ({"tensor": np.ones((3, 4, 3))}, "an answer is 1 in one of"),
        ({"info": np.array([["a", "x"]] * 4)}, "labels that are numbers"),
        ({"info": np.array([["a", "0"]] * 4, dtype=object)}, "can't be read"),
    ],
)
def test_ratings_of_another_form(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        import_ratings(raters(tmp_path, **changes), labels(tmp_path, [*names_of(2), "a"]), tmp_path / "r.parquet")


def test_ratings_that_are_no_archive(tmp_path: Path) -> None:
    known, target = labels(tmp_path, names_of(2)), tmp_path / "r.parquet"
    single = tmp_path / "single.npy"
    np.save(single, np.ones(3))
    whole = raters(tmp_path).read_bytes()
    for content in (b"", b"no archive", b"PK\x03\x04 broken", whole[: len(whole) // 2], single.read_bytes()):
        (tmp_path / "raters.npz").write_bytes(content)
        with pytest.raises(InputError, match="can't be read as raters"):
            import_ratings(tmp_path / "raters.npz", known, target)


def test_files_of_real_that_do_not_fit(tmp_path: Path) -> None:
    known = str(labels(tmp_path, names_of(2)))
    for content, says in (("[1, 2]", "list of lists"), ("[[-1]]", "no class"), ("{", "JSON"), ("[[1]]", None)):
        (tmp_path / "real.json").write_text(content)
        if says:
            with pytest.raises(InputError, match=says):
                real.run(tmp_path / "real.json", real.Flags(labels=known))
    with pytest.raises(InputError, match="--labels"):
        real.run(tmp_path / "real.json", real.Flags())
    (tmp_path / "real.json").write_text("[[1], [2], [3]]")
    with pytest.raises(InputError, match="1 images have no label there"):
        real.run(tmp_path / "real.json", real.Flags(labels=known))
