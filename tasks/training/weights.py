"""Trained weights in the store: `models/KEY-CODE-SHA.safetensors`, found by key, checked at every read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from robustray.tasks.errors import InputError
from robustray.tasks.lab.store import Store, sha256

_SHA_LENGTH = 16
FOLDER = "models"


def publish_weights(store: Store, key: str, code: str, tensors: dict[str, Any], about: dict[str, Any]) -> str:
    """Write the weights with what they are in the file's own header. Returns the file's name."""
    from safetensors.torch import save

    data = save(
        {name: t.contiguous() for name, t in sorted(tensors.items())}, metadata={"robustray": json.dumps(about)}
    )
    name = f"{FOLDER}/{key}-{code}-{sha256(data, _SHA_LENGTH)}.safetensors"
    store.write(name, data)
    return name


def list_weights(store: Store, key: str) -> list[str]:
    """Names of the finished files of a key; more than one where the code changed in between."""
    return [f"{FOLDER}/{name}" for name in store.list(FOLDER) if name.startswith(f"{key}-")]


def read_weights(store: Store, name: str) -> bytes | None:
    """None when the file is gone, torn or has a flipped bit."""
    try:
        data = store.read(name)
    except FileNotFoundError:
        return None
    return data if sha256(data, _SHA_LENGTH) == name.removesuffix(".safetensors").rpartition("-")[2] else None


def about_weights(data: bytes) -> dict[str, Any]:
    """What `publish_weights` wrote into the header: spec, architecture, learning curve."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["robustray"])


def find_weights(
    store: Store,
    key: str,
    *,
    code_now: Callable[[Mapping[str, Any]], str] = lambda about: "",
    message: Callable[[str], None] = lambda text: None,
) -> tuple[str, bytes]:
    """Architecture and file content of a model trained in this store.

    Of several files, one of the present code, else the newest; `message` is told when it is not of the present code.
    code_now: from what `about_weights` tells to the CODE with which they would be trained now, "" if unknown.

    Raises: InputError.
    """
    names = store.newest(list_weights(store, key))
    newest = next(_readable(store, names), None)
    if newest is None:
        raise InputError(
            f"run:{key}: no such weights in {store.url}; `robustray list --store {store.url}` names those there"
        )
    now = code_now(about_weights(newest[1]))
    present = [name for name in names if code_of(name) == now and name != newest[0]]
    name, data = newest if code_of(newest[0]) == now else next(_readable(store, present), newest)
    num_codes = len({code_of(name) for name in names})
    if now and code_of(name) != now:
        message(
            f"run:{key}: its weights were trained by other code than the present; `--fresh train` trains them again"
        )
    elif not now and num_codes > 1:
        message(
            f"run:{key}: the newest of {num_codes} weights that different versions of the code have trained is used"
        )
    return about_weights(data)["model"], data


def _readable(store: Store, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        data = read_weights(store, name)
        if data is not None:
            yield name, data


def code_of(name: str) -> str:
    """CODE in the name of a weights file."""
    return name.split("-")[-2]
