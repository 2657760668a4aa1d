"""Trained weights in the store: `models/KEY-CODE-SHA.safetensors`, found by key, checked at every read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from robustray.tasks.errors import InputError
from robustray.tasks.lab import arrays
from robustray.tasks.lab.store import Store

FOLDER = "models"


def publish_weights(store: Store, key: str, code: str, tensors: dict[str, Any], about: dict[str, Any]) -> str:
    """Write the weights with what they are (spec, architecture, learning curve). Returns the file's name."""
    return arrays.publish(store, FOLDER, key, code, tensors, about)


def list_weights(store: Store, key: str) -> list[str]:
    """Names of the finished files of a key; more than one where the code changed in between."""
    return arrays.listed(store, FOLDER, key)


def find_weights(
    store: Store,
    key: str,
    *,
    code_now: Callable[[Mapping[str, Any]], str] = lambda about: "",
    message: Callable[[str], None] = lambda text: None,
) -> tuple[str, bytes]:
    """Architecture and file content of a model trained in this store.

    Of several files, one of the present code, else the newest; `message` is told when it is not of the present code.
    code_now: from what `arrays.about` tells to the CODE with which they would be trained now, "" if unknown.

    Raises: InputError.
    """
    names = store.newest(list_weights(store, key))
    newest = next(_readable(store, names), None)
    if newest is None:
        raise InputError(
            f"run:{key}: no such weights in {store.url}; `robustray list --store {store.url}` names those there"
        )
    now = code_now(arrays.about(newest[1]))
    present = [name for name in names if arrays.code_of(name) == now and name != newest[0]]
    name, data = newest if arrays.code_of(newest[0]) == now else next(_readable(store, present), newest)
    num_codes = len({arrays.code_of(name) for name in names})
    if now and arrays.code_of(name) != now:
        message(
            f"run:{key}: its weights were trained by other code than the present; `--fresh train` trains them again"
        )
    elif not now and num_codes > 1:
        message(
            f"run:{key}: the newest of {num_codes} weights that different versions of the code have trained is used"
        )
    return arrays.about(data)["model"], data


def _readable(store: Store, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        data = arrays.read(store, name)
        if data is not None:
            yield name, data
