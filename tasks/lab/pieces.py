"""Pieces: one finished block is one immutable Parquet file whose name says everything a listing needs.

    pieces/STEPKEY/FIRST-BLOCKKEY-CODE-SHA.parquet

FIRST = index of the block's first item, CODE = hash of the code that made it, SHA = hash of the file itself, checked at
every read (pyarrow reads flipped bits without complaint). Files hold results only: the same block computed twice has
the same bytes, so two drivers on one store only ever repeat each other.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robustray.tasks.lab.protocol import BlockFunction, Tensor
from robustray.tasks.lab.store import Store, sha256

_SHA_LENGTH = 16


class ColumnError(TypeError):
    """A block function returned something else than it declared."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A finished block, as its file name describes it."""

    step_key: str
    first: int
    block_key: str
    code: str
    sha: str

    @property
    def name(self) -> str:
        return f"{folder(self.step_key)}/{self.first:09d}-{self.block_key}-{self.code}-{self.sha}.parquet"


def folder(step_key: str) -> str:
    return f"pieces/{step_key}"


def listing(store: Store, step_key: str) -> dict[str, list[Piece]]:
    """All finished pieces of a step, by block key. One directory listing; no file is opened."""
    found: dict[str, list[Piece]] = {}
    for name in store.list(folder(step_key)):
        if (piece := named(step_key, name)) is not None:
            found.setdefault(piece.block_key, []).append(piece)
    return found


def named(step_key: str, file: str) -> Piece | None:
    """The piece of this file name in the step's folder; None where it is another's."""
    parts = file.removesuffix(".parquet").split("-")
    if len(parts) != 4 or not file.endswith(".parquet") or not parts[0].isdigit():
        return None
    first, block_key, code, sha = parts
    return Piece(step_key=step_key, first=int(first), block_key=block_key, code=code, sha=sha)


def publish(store: Store, table: pa.Table, *, step_key: str, first: int, block_key: str, code: str) -> Piece:
    """Serialise in memory, publish in one write."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", store_schema=True)
    data = buffer.getvalue()
    piece = Piece(step_key=step_key, first=first, block_key=block_key, code=code, sha=sha256(data, _SHA_LENGTH))
    store.write(piece.name, data)
    return piece


def read(store: Store, piece: Piece) -> pa.Table | None:
    """The rows of a piece; None when the file is gone, torn or has a flipped bit (then it has to be computed again)."""
    try:
        data = store.read(piece.name)
    except FileNotFoundError:
        return None
    if sha256(data, _SHA_LENGTH) != piece.sha:
        return None
    return pq.read_table(io.BytesIO(data))


def to_table(function: BlockFunction, values: Mapping[str, Any], num_items: int) -> pa.Table:
    """Rows as declared. Raises: ColumnError, naming function and column."""
    if set(values) != set(function.columns):
        missing, extra = set(function.columns) - set(values), set(values) - set(function.columns)
        raise ColumnError(f"{function.qualified_name}: columns missing {sorted(missing)}, not declared {sorted(extra)}")
    arrays, fields = [], []
    for name, kind in function.columns.items():
        try:
            array = _column(values[name], kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise ColumnError(f"{function.qualified_name}: column {name!r} does not fit {kind}: {error}") from error
        if len(array) != num_items:
            raise ColumnError(f"{function.qualified_name}: column {name!r} has {len(array)} rows for {num_items} items")
        arrays.append(array)
        fields.append(pa.field(name, array.type))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _column(value: Any, kind: pa.DataType | Tensor) -> pa.Array:
    if hasattr(value, "detach"):  # a torch tensor, without importing torch
        value = value.detach().cpu().numpy()
    if isinstance(kind, Tensor):
        array = np.ascontiguousarray(value)
        if array.dtype != np.dtype(kind.dtype):
            raise TypeError(f"dtype {array.dtype}")
        flat = pa.array(array.reshape(-1))
        shape = array.shape[1:]
        return pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.from_numpy_dtype(array.dtype), shape),
            pa.FixedSizeListArray.from_arrays(flat, int(np.prod(shape, dtype=int))),
        )
    if isinstance(value, np.ndarray):
        # safe=True: 40000 in an int16 column or 0.5 in an integer one is an error, not another number. Floats may
        # narrow: float64 to a declared float32 is a rounding that the declaration asks for.
        narrowing = pa.types.is_floating(kind) and np.issubdtype(value.dtype, np.floating)
        return _same_sort(pa.array(value), kind).cast(kind, safe=not narrowing)
    if pa.types.is_integer(kind):  # pa.array([1.5], type=pa.int64()) would be [1], without complaint
        for number in value:
            if isinstance(number, float | np.floating) and not float(number).is_integer():
                raise TypeError(f"{number} is no whole number")
    return pa.array(value, type=kind)


def _same_sort(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """`array`, which is about to be cast. Raises: TypeError where a cast would turn 0.5 into True or "1" into 1."""
    for sort in (pa.types.is_boolean, pa.types.is_string):
        if sort(array.type) != sort(kind) and not pa.types.is_null(array.type):
            raise TypeError(f"values are {array.type}")
    return array


def tensor_column(table: pa.Table, name: str) -> np.ndarray:
    """A `Tensor` column as one array (rows, *shape)."""
    column = table.column(name).combine_chunks()
    if not isinstance(column, pa.FixedShapeTensorArray):
        return np.asarray(column)
    flat = column.storage.flatten().to_numpy(zero_copy_only=False)  # to_numpy_ndarray() doesn't know bool
    return flat.reshape(len(column), *column.type.shape)


def to_frame(tables: Sequence[pa.Table]) -> Any:
    """Pieces, in block order, as one data frame; a `Tensor` column becomes a column of arrays."""
    import pandas as pd

    whole = pa.concat_tables(tables) if tables else pa.table({})
    columns: dict[str, Any] = {}
    for field in whole.schema:
        if isinstance(field.type, pa.FixedShapeTensorType):
            columns[field.name] = pd.Series(list(tensor_column(whole, field.name)), dtype=object)
        else:
            columns[field.name] = whole.column(field.name).to_pandas()
    return pd.DataFrame(columns)
