"""A table of old pandas (1.0) out of a pickle, without running anything that is in it.

A pickle names functions and calls them. Here the few names that a pandas table needs stand for empty shells of our own
that keep what they are given; every other name is refused. No pandas and no NumPy object is made before the shells
have been read as data: names of columns, whole numbers, and text.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.errors import InputError


class Shell:
    """Something that a pickle makes: the arguments and the state, untouched."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Array(Shell):
    """numpy.ndarray: the state is (version, shape, dtype, whether Fortran's order, bytes or list)."""


class Dtype(Shell):
    """numpy.dtype: the first argument is "i8", "f8" or "O8"; the second entry of the state the byte order."""


class Scalar(Shell):
    """A NumPy scalar: (dtype, bytes)."""


SHELLS: dict[tuple[str, str], type[Shell]] = {
    ("pandas.core.frame", "DataFrame"): Shell,
    ("pandas.core.internals.managers", "BlockManager"): Shell,
    ("pandas.core.indexes.base", "_new_Index"): Shell,
    ("pandas.core.indexes.base", "Index"): Shell,
    ("numpy.core.multiarray", "_reconstruct"): Array,
    ("numpy.core.multiarray", "scalar"): Scalar,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Dtype,
    ("collections", "Counter"): Shell,
    ("builtins", "slice"): Shell,
}
"""All that may be named, and what is made instead."""
BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RecursionError,
)
"""What the standard library's reader raises for bytes that are no pickle, and `_columns` for what is no table."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[Shell]:
        shell = SHELLS.get((module, name))
        if shell is None:
            raise InputError(f"it names {module}.{name}, which no table needs: nothing of it was run")
        return shell


def read_frame(path: Path, columns: Sequence[str]) -> dict[str, list[Any]]:
    """Columns of a pickled table, and "index" (its row names). Whole numbers and text as such; lists and arrays of
    whole numbers as lists.

    Raises: InputError for a file that is no pickle, names anything else than a table needs, is no table of pandas 1.0,
    or lacks a column.
    """
    try:
        with path.open("rb") as file:
            made = _Reader(file).load()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path} can't be read: {error}") from error
    except BROKEN as error:
        raise InputError(f"{path} can't be read as a pickle: {error}") from error
    try:
        found = _columns(made)
    except BROKEN as error:
        raise InputError(f"{path} holds no table of pandas 1.0 as the repository has them") from error
    missing = [name for name in columns if name not in found]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}, but {', '.join(map(str, found))}")
    return {name: found[name] for name in ("index", *columns)}


def _columns(frame: Shell) -> dict[str, list[Any]]:
    """All columns of a table; blocks hold several of them, by kind."""
    (_, rows), blocks, items, *_ = frame.state["_data"].state
    found = {"index": _index(rows)}
    for block, names in zip(blocks, items, strict=True):
        values = _values(block)
        for i, name in enumerate(_index(names)):
            found[name] = [_plain(value) for value in values[i]]
    if len({len(values) for values in found.values()}) > 1:
        raise ValueError("columns of different lengths")
    return found


def _index(shell: Shell) -> list[Any]:
    return [_plain(value) for value in _values(shell.args[1]["data"])]


def _values(array: Array) -> NDArray[Any]:
    _, shape, dtype, fortran, data = array.state
    code = dtype.args[0]
    if code == "O8":
        filled = np.empty(len(data), dtype=object)
        filled[:] = data
    elif code in ("i8", "f8") and dtype.state[1] in ("<", "="):
        filled = np.frombuffer(data, dtype=f"<{code}")
    else:
        raise ValueError(f"dtype {code}")
    return filled.reshape(shape, order="F" if fortran else "C")


def _plain(value: Any) -> Any:
    if isinstance(value, Array):
        return _values(value).tolist()
    if isinstance(value, Scalar):
        dtype, data = value.args
        return np.frombuffer(data, dtype=f"<{dtype.args[0]}")[0].item()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value
