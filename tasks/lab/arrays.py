"""Arrays in the store, for good: `FOLDER/KEY-CODE-SHA.safetensors`, found by key, checked at every read.

The file's own header says what they are, as JSON. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from robustray.tasks.lab.store import Store, sha256

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.tasks.lab.long_jobs import Kept

_SHA_LENGTH = 16


def publish(
    store: Store, folder: str, key: str, code: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]
) -> str:
    """Write tensors with what they are. The same give the same bytes. Returns the file's name."""
    from safetensors.torch import save

    data = save(
        {name: t.contiguous() for name, t in sorted(tensors.items())}, metadata={"robustray": json.dumps(about)}
    )
    name = f"{folder}/{key}-{code}-{sha256(data, _SHA_LENGTH)}.safetensors"
    store.write(name, data)
    return name


def listed(store: Store, folder: str, key: str) -> list[str]:
    """Names of the finished files of a key; more than one where the code changed in between."""
    return [f"{folder}/{name}" for name in store.list(folder) if name.startswith(f"{key}-")]


def read(store: Store, name: str) -> bytes | None:
    """None when the file is gone, torn or has a flipped bit."""
    try:
        data = store.read(name)
    except FileNotFoundError:
        return None
    return data if sha256(data, _SHA_LENGTH) == name.removesuffix(".safetensors").rpartition("-")[2] else None


def kept(store: Store, folder: str, key: str, code: str, say: Callable[[str], None]) -> Kept:
    """Find the files of a key. Damaged files are reported and deleted."""
    whole = []
    for name in listed(store, folder, key):
        if read(store, name) is None:
            say(f"{name} is damaged")
            store.delete(name)
        else:
            whole.append(name)
    if not whole:
        return "missing"
    return "current" if any(code_of(name) == code for name in whole) else "old"


def current(store: Store, folder: str, key: str, code: str) -> str | None:
    """A whole file of a key by this code."""
    names = (name for name in listed(store, folder, key) if code_of(name) == code)
    return next((name for name in names if read(store, name) is not None), None)


def about(data: bytes) -> dict[str, Any]:
    """What `publish` wrote into the header of a file."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["robustray"])


def code_of(name: str) -> str:
    """CODE in the name of a file."""
    return name.split("-")[-2]
