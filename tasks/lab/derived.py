"""What a step found, as references that later steps take: the rows of a map, a data set made of its images, or the
arrays of an optimisation.

Those of a map are known by their pieces: the hash of a reference is that of the rows' files in order and of the columns
that are read. So the same rows in the same blocks have one hash, whichever study, step or code computed them; arrays
are known by their content. Only the driver reads the store; workers get the arrays through shared memory like those of
every other reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.lab import arrays, keys, pieces
from robustray.tasks.lab.protocol import BlockFunction, Tensor
from robustray.tasks.lab.store import Store, sha256

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.handles import MapHandle

Rows = Mapping[str, NDArray[Any]]
"""Column name -> values, one per item, in the order of the items: (n,), or (n, *shape) for a `Tensor` column."""


@dataclass(frozen=True, kw_only=True)
class RowsRef:
    """Columns of a finished map: a `robustray.tasks.lab.protocol.Reference` whose object is a `Rows`."""

    name: str
    columns: tuple[str, ...]
    pieces: tuple[pieces.Piece, ...]
    """Pieces in the order of their rows."""
    store: Store | None = field(repr=False, compare=False)
    """Where the driver reads them; stays behind when the reference travels to a worker."""

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of the pieces in order and of the columns that are read."""
        return self._hash

    @cached_property  # every block of work asks for it
    def _hash(self) -> str:
        return keys.digest(["rows", self.columns, [(piece.first, piece.sha) for piece in self.pieces]], length=64)

    @property
    def modules(self) -> tuple[str, ...]:
        """Roots of CODE: how the rows are read. What computed them is not among them: their content is in the hash."""
        return (f"{__name__}:{RowsRef.__name__}",)

    def fetch(self) -> Rows:
        """Read the columns. Raises: WorkFailed when a piece was removed or damaged since the map had finished."""
        assert self.store is not None, "references that have travelled to a worker bring no store"
        parts: dict[str, list[NDArray[Any]]] = {column: [] for column in self.columns}
        for piece in self.pieces:
            table = pieces.read(self.store, piece)
            if table is None:
                raise WorkFailed(f"{self.name}: {piece.name} is gone or damaged; run the same command again")
            for column, found in parts.items():
                found.append(_values(table, column))
        try:
            return {column: np.concatenate(found) for column, found in parts.items()}
        except ValueError as error:  # only the shape of a tensor is not declared
            raise WorkFailed(f"{self.name}: its blocks hold arrays of different shapes ({error})") from error

    def build(self, payload: Rows, device: str) -> Rows:
        """The arrays themselves, on the host."""
        return payload

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "store": None}


@dataclass(frozen=True, kw_only=True)
class DerivedData:
    """Images and labels of a finished map: a `Reference` whose object is an `ImageData`.

    Usable as `refs={"data": ...}` and as `TrainSpec.data`. Image i of the set is that of item i of the map.
    """

    rows: RowsRef
    image: str
    label: str
    classes: tuple[str, ...]
    mask: str | None = None
    box: str | None = None

    @property
    def name(self) -> str:
        return self.rows.name

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of the pieces, of which columns are images and labels, and of the names of the classes."""
        roles = [self.image, self.label, self.mask, self.box]
        return keys.digest(["data", self.rows.content_hash, roles, self.classes], length=64)

    @property
    def modules(self) -> tuple[str, ...]:
        """Roots of CODE: how rows become images. See `RowsRef.modules`."""
        return (f"{__name__}:{DerivedData.__name__}", *self.rows.modules)

    def fetch(self) -> ImageData:
        """Raises: InputError naming the first image, label, mask or box that can't be used; WorkFailed."""
        from robustray.tasks.data.images import ImageData, checked

        rows = self.rows.fetch()
        return checked(
            ImageData(
                name=self.name,
                images=rows[self.image],
                labels=rows[self.label].astype(np.int64),
                classes=self.classes,
                masks=None if self.mask is None else rows[self.mask],
                boxes=None if self.box is None else rows[self.box].astype(np.int64),
            )
        )

    def build(self, payload: ImageData, device: str) -> ImageData:
        """The payload itself: batches go to `device` one by one."""
        return payload


@dataclass(frozen=True, kw_only=True)
class ArraysRef:
    """The arrays of a finished optimisation: a `robustray.tasks.lab.protocol.Reference` whose object is a mapping from
    name to array."""

    name: str
    file: str
    store: Store | None = field(repr=False, compare=False)
    """Where the driver reads it; stays behind when the reference travels to a worker."""

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of names, types, shapes and entries: whoever computed the same has the same."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        payload = self.fetch()
        parts = (f"{name}\0{a.dtype.str}{a.shape}\0".encode() + a.tobytes() for name, a in sorted(payload.items()))
        return sha256(b"arrays\0" + b"".join(parts))

    @property
    def modules(self) -> tuple[str, ...]:
        """Roots of CODE: how arrays are read. What computed them is not among them: their content is in the hash."""
        return (f"{__name__}:{ArraysRef.__name__}",)

    def fetch(self) -> Mapping[str, NDArray[Any]]:
        """Raises: WorkFailed when the file was removed or damaged."""
        from safetensors.numpy import load

        return load(self.read())

    def read(self) -> bytes:
        """The file. Raises: WorkFailed."""
        assert self.store is not None, "references that have travelled to a worker bring no store"
        data = arrays.read(self.store, self.file)
        if data is None:
            raise WorkFailed(f"{self.name}: {self.file} is gone or damaged; run the same command again")
        return data

    def build(self, payload: Mapping[str, NDArray[Any]], device: str) -> Mapping[str, NDArray[Any]]:
        """The arrays themselves, on the host; they may be read-only."""
        return payload

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_hash": self._hash, "store": None}


def rows_of(name: str, mapped: MapHandle, columns: Sequence[str] | None) -> RowsRef:
    """Wait for a map and refer to its rows.

    Raises: InputError for a column that its function doesn't declare; WorkFailed when the map failed, or when items of
    it were given up: row i would not be that of item i.
    """
    declared = mapped.function.columns
    chosen = tuple(declared) if columns is None else tuple(columns)
    for column in chosen:
        if column not in declared:
            raise InputError(
                f"{name}: {mapped.function.qualified_name} has no column {column!r}: {', '.join(declared)}"
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(f"{name}: name at least one column, each once, got {list(chosen)}")
    found, num_rows = mapped.whole()
    if not mapped.blocks:
        raise InputError(f"{name}: {mapped.step} was asked for no items, so there are no rows to refer to")
    mapped.check_whole(num_rows, name)
    return RowsRef(name=name, columns=chosen, pieces=tuple(found), store=mapped.lab.store)


def data_of(
    name: str,
    mapped: MapHandle,
    *,
    image: str,
    label: str,
    classes: Sequence[str],
    mask: str | None,
    box: str | None,
) -> DerivedData:
    """Wait for a map and refer to its images and labels. Raises: as `rows_of`, and InputError for columns of a kind
    that can be no images, labels, masks or boxes."""
    roles = {"image": image, "label": label, "mask": mask, "box": box}
    for role, column in roles.items():
        if column is not None:
            _check_kind(name, role, column, mapped.function)
    columns = dict.fromkeys(column for column in roles.values() if column is not None)
    rows = rows_of(name, mapped, tuple(columns))
    return DerivedData(rows=rows, image=image, label=label, classes=tuple(classes), mask=mask, box=box)


_WANTED = {
    "image": "Tensor('uint8') or Tensor('float32')",
    "label": "integers",
    "mask": "Tensor('bool')",
    "box": "Tensor of integers",
}


def _check_kind(name: str, role: str, column: str, function: BlockFunction) -> None:
    kind = function.columns.get(column)
    if isinstance(kind, Tensor):
        dtype = np.dtype(kind.dtype)
        good = {
            "image": dtype in (np.uint8, np.float32),
            "label": False,
            "mask": dtype == np.bool_,
            "box": dtype.kind in "iu",
        }[role]
    else:
        good = role == "label" and kind is not None and pa.types.is_integer(kind)
    if not good:
        found = "no such column" if kind is None else f"{kind}"
        raise InputError(f"{name}: {role}={column!r} of {function.qualified_name} is {found}, expected {_WANTED[role]}")


def _values(table: pa.Table, column: str) -> NDArray[Any]:
    if isinstance(table.schema.field(column).type, pa.FixedShapeTensorType):
        return pieces.tensor_column(table, column)
    return table.column(column).to_numpy()
