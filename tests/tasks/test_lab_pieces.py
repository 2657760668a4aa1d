"""A piece holds exactly the declared rows, the same block always has the same bytes, and no damage goes unnoticed."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from robustray.tasks.lab import pieces
from robustray.tasks.lab.pieces import ColumnError
from robustray.tasks.lab.protocol import BlockFunction, Context, Tensor, block_function
from robustray.tasks.lab.store import Store

WORDS = dict(step_key="step", first=40, block_key="0123456789abcdef", code="abcdefabcdef")


@block_function(version=1, columns={})
def declared(items: Sequence[Any], context: Context) -> Mapping[str, Any]:
    return {}


def function(**columns: Any) -> BlockFunction:
    """The same function with other declared columns."""
    return BlockFunction(function=declared.function, version=1, columns=columns)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def keep(store: Store, values: Mapping[str, Any], rows: int, **columns: Any) -> pd.DataFrame:
    """Through a file and back."""
    piece = pieces.publish(store, pieces.to_table(function(**columns), values, rows), **WORDS)  # type: ignore[arg-type]
    table = pieces.read(store, piece)
    assert table is not None
    return pieces.to_frame([table])


# -- what goes in comes out --------------------------------------------------------------------------------------------

SPECIAL = np.array([0.1, -0.0, np.inf, np.nan])
ROUND_TRIPS: dict[str, tuple[Any, Any, Any]] = {
    "int64 array": (np.array([1, -(2**62)]), pa.int64(), [1, -(2**62)]),
    "int64 array in int16": (np.array([1, -3]), pa.int16(), [1, -3]),
    "uint8 array": (np.array([0, 255], "uint8"), pa.uint8(), [0, 255]),
    "whole floats in int": (np.array([1.0, 2.0]), pa.int64(), [1, 2]),
    "int list": ([3, 4], pa.int32(), [3, 4]),
    "int64 limits": ([2**63 - 1, -(2**63)], pa.int64(), [2**63 - 1, -(2**63)]),
    "uint64 limit": ([2**64 - 1, 0], pa.uint64(), [2**64 - 1, 0]),
    "range": (range(2), pa.int64(), [0, 1]),
    "floats": (SPECIAL, pa.float64(), SPECIAL.tolist()),
    "float32": (SPECIAL.astype("float32"), pa.float32(), SPECIAL.astype("float32").tolist()),
    "float64 in float32": (np.array([0.1]), pa.float32(), [float(np.float32(0.1))]),
    "ints in float": (np.array([1, 2]), pa.float32(), [1.0, 2.0]),
    "bool array": (np.array([True, False]), pa.bool_(), [True, False]),
    "bool list": ([True, False], pa.bool_(), [True, False]),
    "text": (["a", "é\0"], pa.string(), ["a", "é\0"]),
    "text array": (np.array(["a", "b"]), pa.string(), ["a", "b"]),
    "missing text": (["a", None], pa.string(), ["a", None]),
    "lists": ([[1, 2], []], pa.list_(pa.int64()), [[1, 2], []]),
    "structs": ([{"a": 1}], pa.struct([("a", pa.int64())]), [{"a": 1}]),
    "torch int64": (torch.tensor([1, 2]), pa.int16(), [1, 2]),
    "torch bool": (torch.tensor([True]), pa.bool_(), [True]),
    "torch float with gradient": (torch.tensor([0.5], requires_grad=True), pa.float32(), [0.5]),
    "a strided view": (np.arange(6)[::2], pa.int64(), [0, 2, 4]),
}


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_values_come_back(case: str, store: Store) -> None:
    value, kind, expected = ROUND_TRIPS[case]
    frame = keep(store, {"x": value}, len(expected), x=kind)
    found = [v.tolist() if isinstance(v, np.ndarray) else v for v in frame["x"].tolist()]
    found = [None if isinstance(v, float) and math.isnan(v) and pa.types.is_string(kind) else v for v in found]
    assert [repr(v) for v in found] == [repr(v) for v in expected]


TENSORS: dict[str, Any] = {
    "uint8 images": np.arange(24, dtype="uint8").reshape(2, 3, 2, 2),
    "float32": np.linspace(0, 1, 6, dtype="float32").reshape(2, 3),
    "float64 specials": np.stack([SPECIAL, SPECIAL]),
    "int64": np.array([[2**62, -1]]),
    "float16": np.array([[0.1, 2]], "float16"),
    "bool": np.array([[True, False], [False, True]]),
    "scalars": np.array([1, 2, 3], "int16"),
    "fortran order": np.asfortranarray(np.arange(12, dtype="float32").reshape(3, 4)),
    "torch": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "torch channels last": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
    "one row": np.zeros((1, 2), "float32"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_come_back_bit_for_bit(case: str, store: Store) -> None:
    value = TENSORS[case]
    expected = value.numpy() if isinstance(value, torch.Tensor) else value
    frame = keep(store, {"x": value}, len(value), x=Tensor(str(expected.dtype)))
    found = np.stack(list(frame["x"]))
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes()


def test_columns_keep_their_declared_order_and_pieces_their_own() -> None:
    columns = {"b": pa.int64(), "a": pa.string(), "t": Tensor("uint8")}
    tables = [
        pieces.to_table(function(**columns), {"a": [w], "t": np.full((1, 2), i, "uint8"), "b": [i]}, 1)
        for i, w in enumerate("xy")
    ]
    frame = pieces.to_frame(tables)
    assert list(frame) == ["b", "a", "t"]
    assert frame["b"].tolist() == [0, 1] and frame["a"].tolist() == ["x", "y"]
    assert np.stack(list(frame["t"])).tolist() == [[0, 0], [1, 1]]


# -- what does not fit its declaration ---------------------------------------------------------------------------------

MISFITS: dict[str, tuple[Any, Any]] = {
    "a half in an integer array": (np.array([0.5, 1.0]), pa.int64()),
    "a half in an integer list": ([0.5, 1.0], pa.int64()),
    "NaN in an integer": (np.array([np.nan, 1.0]), pa.int64()),
    "too large": (np.array([40_000, 0]), pa.int16()),
    "too large in a list": ([40_000, 0], pa.int16()),
    "negative in unsigned": (np.array([-1, 0]), pa.uint8()),
    "integer beyond float32": (np.array([2**24 + 1, 0]), pa.float32()),
    "number in a bool": (np.array([0.5, 0.0]), pa.bool_()),
    "count in a bool": (np.array([2, 0]), pa.bool_()),
    "count in a bool list": ([2, 0], pa.bool_()),
    "bool in a number": (np.array([True, False]), pa.int64()),
    "bool list in a number": ([True, False], pa.int64()),
    "text in a number": (np.array(["1", "2"]), pa.int64()),
    "text list in a number": (["1", "2"], pa.int64()),
    "number in a text": (np.array([1, 2]), pa.string()),
    "number list in a text": ([1, 2], pa.string()),
    "two dimensions": (np.zeros((2, 2)), pa.float64()),
    "one value for all": (3.0, pa.float64()),
    "nothing": (None, pa.float64()),
    "wrong tensor type": (np.zeros((2, 3)), Tensor("float32")),
    "ragged tensor": ([[1, 2], [3]], Tensor("int64")),
    "tensor type that does not exist": (np.zeros((2, 3)), Tensor("float23")),
    "tensor without pixels": (np.zeros((2, 0), "float32"), Tensor("float32")),
    "objects": (np.array([object(), object()]), pa.int64()),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_misfit_names_function_and_column(case: str) -> None:
    value, kind = MISFITS[case]
    with pytest.raises(ColumnError) as raised:
        pieces.to_table(function(fine=pa.int64(), bad_column=kind), {"fine": [1, 2], "bad_column": value}, 2)
    assert declared.qualified_name in str(raised.value) and "bad_column" in str(raised.value)


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize("kind", [pa.int64(), Tensor("int64")], ids=["column", "tensor"])
def test_a_wrong_number_of_rows_is_named(rows: int, kind: Any) -> None:
    value = np.ones((rows, 2), "int64") if isinstance(kind, Tensor) else np.ones(rows, "int64")
    with pytest.raises(ColumnError, match=rf"'x' has {rows} rows for 2 items"):
        pieces.to_table(function(x=kind), {"x": value}, 2)


@pytest.mark.parametrize("values", [{}, {"x": [1], "y": [1]}, {"y": [1]}], ids=["missing", "too many", "misspelt"])
def test_missing_and_undeclared_columns_are_named(values: dict[str, Any]) -> None:
    with pytest.raises(ColumnError, match=r"missing \[.*\], not declared \[.*\]"):
        pieces.to_table(function(x=pa.int64()), values, 1)


# -- bytes -------------------------------------------------------------------------------------------------------------


def _table() -> pa.Table:
    values = {"i": [1, 2], "f": np.array([0.1, 0.2], "float32"), "t": np.arange(8, dtype="uint8").reshape(2, 4)}
    return pieces.to_table(function(i=pa.int64(), f=pa.float32(), t=Tensor("uint8")), values, 2)


def test_the_same_block_has_the_same_bytes(store: Store) -> None:
    first, second = (pieces.publish(store, _table(), **WORDS) for _ in range(2))  # type: ignore[arg-type]
    assert first == second
    assert len(store.list("pieces/step")) == 1


def test_bytes_do_not_depend_on_the_memory_behind_an_array(store: Store) -> None:
    whole = np.arange(100.0)
    names = set()
    for value in (whole[10:12].copy(), whole[10:12], np.stack([whole, whole], 1)[10:12, 0]):
        table = pieces.to_table(function(x=pa.float64()), {"x": value}, 2)
        names.add(pieces.publish(store, table, **WORDS).sha)  # type: ignore[arg-type]
    assert len(names) == 1


def test_the_listing_tells_everything_and_ignores_strangers(store: Store) -> None:
    piece = pieces.publish(store, _table(), **WORDS)  # type: ignore[arg-type]
    other = pieces.publish(store, _table(), **{**WORDS, "code": "000000000000"})  # type: ignore[arg-type]
    for stranger in ("notes.txt", "a-b-c-d.parquet", "000000001-b.parquet", f"{piece.first:09d}-a-b-c.parquet.1.tmp"):
        store.write(f"pieces/step/{stranger}", b"")
    assert pieces.listing(store, "step") == {"0123456789abcdef": [other, piece]}
    assert pieces.listing(store, "another step") == {}


def test_every_flipped_bit_is_noticed(store: Store) -> None:
    piece = pieces.publish(store, _table(), **WORDS)  # type: ignore[arg-type]
    data = store.read(piece.name)
    bits = random.Random(0).sample(range(8 * len(data)), 500)
    for bit in [0, 8 * len(data) - 1, *bits]:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        store.write(piece.name, bytes(damaged))
        assert pieces.read(store, piece) is None, f"bit {bit} of {8 * len(data)}"
    store.write(piece.name, data)
    assert pieces.read(store, piece) == _table()


@pytest.mark.parametrize("length", [0, 1, 4, -1, -8])
def test_a_torn_piece_is_noticed(length: int, store: Store) -> None:
    piece = pieces.publish(store, _table(), **WORDS)  # type: ignore[arg-type]
    store.write(piece.name, store.read(piece.name)[:length])
    assert pieces.read(store, piece) is None


def test_a_missing_or_renamed_piece_is_noticed(store: Store) -> None:
    piece = pieces.publish(store, _table(), **WORDS)  # type: ignore[arg-type]
    moved = pieces.Piece(**{**WORDS, "sha": "0" * 16})  # type: ignore[arg-type]
    os.rename(store.path(piece.name), store.path(moved.name))
    assert pieces.read(store, piece) is None
    assert pieces.read(store, moved) is None
