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

SHA_LENGTH = 16
"""Hex digits of a file's own hash in its name."""


def publish(
    store: Store, folder: str, key: str, code: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]
) -> str:
    """Write tensors with what they are. The same give the same bytes. Returns the file's name."""
    data = packed(tensors, about)
    name = f"{folder}/{key}-{code}-{sha256(data, SHA_LENGTH)}.safetensors"
    store.write(name, data)
    return name


def packed(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> bytes:
    """The content of a file: tensors by name, and `about`, JSON values, in its header.

    Tensors that share memory, as tied weights do, are written whole under each of their names: safetensors refuses
    them otherwise.
    """
    from safetensors.torch import save

    apart: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in sorted(tensors.items()):
        memory = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone().contiguous() if memory in seen else tensor.contiguous()
        seen.add(memory)
    return save(apart, metadata={"robustray": json.dumps(about)})


def listed(store: Store, folder: str, key: str) -> list[str]:
    """Names of the finished files of a key; more than one where the code changed in between."""
    return [f"{folder}/{name}" for name in store.list(folder) if name.startswith(f"{key}-")]


def read(store: Store, name: str) -> bytes | None:
    """None when the file is gone, torn or has a flipped bit."""
    try:
        data = store.read(name)
    except FileNotFoundError:
        return None
    return data if is_whole(name, data) else None


def is_whole(name: str, data: bytes) -> bool:
    """Whether `data` has the hash that its file's name ends in."""
    return sha256(data, SHA_LENGTH) == name.removesuffix(".safetensors").rpartition("-")[2]


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
    """What `packed` wrote into the header of a file."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["robustray"])


def code_of(name: str) -> str:
    """CODE in the name of a file."""
    return name.split("-")[-2]
