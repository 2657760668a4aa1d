"""Tables of answers and predictions: which columns they have, read and checked value by value, with one hash.

The hash is over the checked values in the order of the rows: the same answers have the same hash however their Parquet
file was written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    import pyarrow as pa

    from robustray.tasks.lab.protocol import Reference

MOST_CLASSES = 1_000_000
"""Arrays as long as the largest class number are made: an identifier in the place of one would fill the memory."""
PANDAS_INDEX = re.compile(r"__index_level_\d+__")
"""What pandas calls the index of a frame from which rows were taken: never a model."""

Kind = Literal["name", "count", "flag", "label", "labels", "weight"]
"""name: text or whole number, kept as text. count: whole number from 0 on. flag: true or false. label: index of a
class, from 0 on. labels: list of labels, not empty, none twice. weight: finite number above 0."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table."""

    kind: Kind
    required: bool = True
    choices: tuple[str, ...] = ()
    """The values that a name may have; if empty, anything but the empty text."""
    may_be_empty: bool = False
    """For lists of labels, whether a list may be empty."""


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The columns of a kind of table."""

    what: str
    """What the table is, in words: "answers of a crowd study"."""
    columns: Mapping[str, Column]
    models: Literal["flag", "label", "ranked"] | None = None
    """Where every other column belongs to a model: what it holds. ranked: a label, or a list of labels, the best first.
    None: other columns are left alone."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Lists of different length, one per row."""

    values: NDArray[np.int64]
    """All lists, one behind the other."""
    starts: NDArray[np.int64]
    """(rows + 1,) where each begins; the last entry is the number of values."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    @property
    def rows(self) -> NDArray[np.int64]:
        """(values,) the row that each value belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)


@dataclass(frozen=True, kw_only=True)
class CrowdTable:
    """A checked table."""

    name: str
    """The name as the user typed it, for messages."""
    columns: Mapping[str, NDArray[Any]]
    lists: Mapping[str, Labels] = field(default_factory=dict)
    models: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Model -> its column; ranked ones (rows, longest list), with -1 behind the last label of a list."""
    unused: tuple[str, ...] = ()
    """Columns of the file that the schema does not name."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def has(self, column: str) -> bool:
        return column in self.columns

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self.columns[column]

    def bad(self, column: str, row: int, says: str) -> InputError:
        """An error about one value: `raise table.bad("n_selected", 17, "is above n_shown")`."""
        return InputError(f"{self.name}: column {column}, row {row} (the first is 0): {says}")

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hex) of all values."""
        digest = hashlib.sha256()
        parts: dict[str, NDArray[Any]] = {f"column {name}": values for name, values in self.columns.items()}
        parts |= {f"model {name}": values for name, values in self.models.items()}
        for name, lists in self.lists.items():
            parts |= {f"values {name}": lists.values, f"starts {name}": lists.starts}
        for name in sorted(parts):
            values = parts[name]
            text = values.dtype.kind == "U"
            data = "\0".join(values.tolist()).encode() if text else np.ascontiguousarray(values).tobytes()
            digest.update(f"{name}\0{'text' if text else values.dtype.str}\0{len(values)}\0{len(data)}\0".encode())
            digest.update(data)
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class TableRef:
    """A table by the path of its Parquet file: a `robustray.tasks.lab.protocol.Reference` whose object is a
    `CrowdTable`."""

    name: str
    """The name as the user wrote it."""
    schema: Schema

    @property
    def content_hash(self) -> str:
        """Raises: InputError as `fetch`."""
        return self._hash

    @cached_property  # not `content_hash` itself: to pyright a cached property is none in the protocol `Reference`
    def _hash(self) -> str:
        return self.fetch().content_hash

    @property
    def modules(self) -> tuple[str, ...]:
        return ()

    def fetch(self) -> CrowdTable:
        """Raises: InputError naming the file, the column and the row of what is missing or does not fit."""
        return read_table(self.name, self.schema)

    def build(self, payload: CrowdTable, device: str) -> CrowdTable:
        return payload

    def __getstate__(self) -> dict[str, Any]:
        # the hash travels along: the driver's file need not exist on an actor's machine
        return {**self.__dict__, "_hash": self.content_hash}


def open_table(path: str, schema: Schema) -> Reference:
    """A table as what `lab.load` and `refs` take. Nothing is read yet."""
    return cast("Reference", TableRef(name=path, schema=schema))  # pyright knows no cached_property in a protocol


def read_table(path: str, schema: Schema) -> CrowdTable:
    """Read and check a Parquet file.

    Raises: InputError when there is no such file, it is no Parquet file, has no rows, lacks a column (with the nearest
    one that it has), or holds a value of another kind (with its row).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"there is no file {path}: expected a Parquet file with {schema.what}")
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} can't be read as Parquet: {str(error).splitlines()[0]}") from error
    if table.num_rows == 0:
        raise InputError(f"{path} holds no rows")
    if len(set(table.column_names)) < table.num_columns:
        raise InputError(f"{path} has two columns of one name")
    columns: dict[str, NDArray[Any]] = {}
    lists: dict[str, Labels] = {}
    for name, column in schema.columns.items():
        if name not in table.column_names:
            if column.required:
                raise InputError(f"{path} has no column {name!r}{nearest(name, table.column_names)}")
            continue
        found = _read(path, name, column, table[name].combine_chunks())
        if isinstance(found, Labels):
            lists[name] = found
        else:
            columns[name] = found
    others = [name for name in table.column_names if name not in schema.columns]
    models: dict[str, NDArray[Any]] = {}
    if schema.models:
        others = [name for name in others if not PANDAS_INDEX.fullmatch(name)]
        if not others:
            raise InputError(f"{path} has no column of a model beside {', '.join(schema.columns)}")
        for name in others:
            models[name] = _read_model(path, name, schema.models, table[name].combine_chunks())
        others = []
    return CrowdTable(name=path, columns=columns, lists=lists, models=models, unused=tuple(others))


def _read_model(
    path: str, name: str, holds: Literal["flag", "label", "ranked"], values: pa.Array | pa.ChunkedArray
) -> NDArray[Any]:
    import pyarrow as pa

    lists = pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
    kind: Kind = holds if holds != "ranked" else "labels" if lists else "label"
    found = _read(path, name, Column(kind=kind), values)
    if isinstance(found, Labels):
        ranked = np.full((len(found), int(found.lengths.max())), -1)
        ranked[found.rows, np.arange(len(found.values)) - found.starts[:-1][found.rows]] = found.values
        return ranked
    return found[:, None] if holds == "ranked" else found


def _read(path: str, name: str, column: Column, values: pa.Array | pa.ChunkedArray) -> NDArray[Any] | Labels:
    import pyarrow as pa
    import pyarrow.compute as pc

    where = f"{path}: column {name}"
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    if values.null_count:
        row = int(pc.index(pc.is_null(values), True).as_py())
        raise InputError(f"{where}, row {row} (the first is 0): is empty")
    if column.kind == "labels":
        return _read_lists(where, column, values)
    if column.kind == "name":
        return _read_names(where, column, values)
    if column.kind == "flag":
        if not pa.types.is_boolean(values.type):
            raise InputError(f"{where} must be true or false, it is {values.type}")
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.bool_)
    if column.kind == "weight":
        return _weights(where, values)
    return _labels(where, values) if column.kind == "label" else _whole(where, values)


def _labels(where: str, values: pa.Array, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """rows: as those of `_whole`."""
    labels = _whole(where, values, rows)
    if len(labels) and labels.max() >= MOST_CLASSES:
        raise InputError(f"{where}: {labels.max():,} is no class number, from 0 to below {MOST_CLASSES:,}")
    return labels


def _weights(where: str, values: pa.Array) -> NDArray[np.float64]:
    import pyarrow as pa

    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise InputError(f"{where} must hold numbers, it is {values.type}")
    numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
    fits = np.isfinite(numbers) & (numbers > 0)
    if not fits.all():
        row = int(np.argmin(fits))
        raise InputError(f"{where}, row {row} (the first is 0): {numbers[row]} is no finite number above 0")
    return numbers


def _whole(where: str, values: pa.Array, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Whole numbers from 0 on; floats that are whole too, as a column with empty places comes back from pandas.

    rows: (values,) the row of the table that each value belongs to, for errors; None: a value a row.
    """
    import pyarrow as pa

    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise InputError(f"{where} must hold whole numbers, it is {values.type}")
    numbers = values.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        fits = (numbers >= 0) & (numbers == np.floor(numbers)) & (numbers < 2**53)
    if not fits.all():
        place = int(np.argmin(fits))
        row = place if rows is None else int(rows[place])
        raise InputError(f"{where}, row {row} (the first is 0): {numbers[place]} is no whole number from 0 on")
    return numbers.astype(np.int64)


def _read_names(where: str, column: Column, values: pa.Array) -> NDArray[np.str_]:
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not (
        pa.types.is_integer(values.type) or pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    ):
        raise InputError(f"{where} must hold names (text or whole numbers), it is {values.type}")
    names = np.asarray(values.cast(pa.large_string()).to_numpy(zero_copy_only=False), dtype=np.str_)
    if (names == "").any():
        raise InputError(f"{where}, row {int(np.argmax(names == ''))} (the first is 0): is empty")
    if column.choices:
        known = np.isin(names, column.choices)
        if not known.all():
            row = int(np.argmin(known))
            raise InputError(
                f"{where}, row {row} (the first is 0): there is no {str(names[row])!r}"
                f"{nearest(str(names[row]), column.choices)}"
            )
    return names


def _read_lists(where: str, column: Column, values: pa.Array) -> Labels:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_list(values.type) or pa.types.is_large_list(values.type)):
        raise InputError(f"{where} must hold lists of labels, it is {values.type}")
    lengths = np.asarray(values.value_lengths().to_numpy(zero_copy_only=False), dtype=np.int64)
    if (lengths == 0).any() and not column.may_be_empty:
        raise InputError(f"{where}, row {int(np.argmin(lengths > 0))} (the first is 0): no label is selected")
    flat, row_of = values.flatten(), np.repeat(np.arange(len(lengths)), lengths)
    if flat.null_count:
        row = int(row_of[pc.index(pc.is_null(flat), True).as_py()])
        raise InputError(f"{where}, row {row} (the first is 0): the list holds an empty value")
    labels = Labels(values=_labels(where, flat, row_of), starts=np.concatenate([[0], np.cumsum(lengths)]))
    pairs = np.stack([labels.rows, labels.values], axis=1)
    found, first = np.unique(pairs, axis=0, return_index=True)
    if len(found) < len(pairs):
        row = int(labels.rows[np.setdiff1d(np.arange(len(pairs)), first)[0]])
        raise InputError(f"{where}, row {row} (the first is 0): a label is selected twice")
    return labels
