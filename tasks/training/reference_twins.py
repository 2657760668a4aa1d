"""The reference twins by name: `twin:linf8:0`. Found in the store, else in the checkout, else trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from robustray.tasks.errors import InputError
from robustray.tasks.lab.handles import Pending
from robustray.tasks.lab.store import Store
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from robustray.tasks.lab.base import BlockLab
    from robustray.tasks.lab.protocol import Reference
    from robustray.tasks.models.reference import ModelRef

PREFIX = "twin:"
TWINS: Mapping[str, str] = {
    "twin:standard:0": "8e422330a624be4a",
    "twin:standard:1": "a54615e44f8578f0",
    "twin:standard:2": "0e130fcba313fd4b",
    "twin:l2_05:0": "ad2235e5568a32f6",
    "twin:l2_05:1": "5ebd7aac3b9e21ab",
    "twin:l2_05:2": "f9a3d5930756a64c",
    "twin:linf8:0": "83d36f8e5e80e2af",
    "twin:linf8:1": "c0883b2b8f0945ea",
    "twin:linf8:2": "df97dcfcf09c7a60",
}
"""twin:KIND:SEED -> key of the training of `reference_specs(SEED)[KIND]` on a CPU with the lab's kernels."""
PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "results" / "robust-training-small"
"""A store in the checkout; an installed package has none."""
MINUTES: Mapping[str, str] = {"standard": "5 to 11", "l2_05": "12 to 23", "linf8": "12 to 23"}
"""To train one on one CPU core, measured (docs/studies/robust-training.md)."""


def open_twin(lab: BlockLab, name: str) -> Reference:
    """A twin, from wherever it is; if it is nowhere it is trained, and the lab says how long that takes.

    Raises: InputError for an unknown name, and where it has to be trained without CIFAR-10 at hand; WorkFailed.
    """
    from robustray.tasks.models.reference import open_stored
    from robustray.tasks.training.weights import find_weights, list_weights, read_weights

    if name not in TWINS:
        raise InputError(f"there is no twin {name!r}{nearest(name, TWINS)}")
    for store in (lab.store, Store(str(PUBLISHED))):
        if any(read_weights(store, file) is not None for file in list_weights(store, TWINS[name])):
            return open_stored(name, TWINS[name], partial(find_weights, store))
    return _trained(lab, name)


def _trained(lab: BlockLab, name: str) -> Reference:
    """What a training on this kind of device gives: its key may be another than that of the published weights."""
    from robustray.tasks.training.reference import reference_specs

    _, kind, seed = name.split(":")
    missing = f"{name} is neither in {lab.store.url} nor in a checkout of robustray"
    try:
        handle = lab.train([reference_specs(int(seed))[kind]])
    except InputError as error:
        raise InputError(f"{missing}, and cannot be trained: {error}") from error
    assert isinstance(handle, Pending)
    if handle.open_jobs:
        lab.say_once(f"{missing}: it is trained now, {MINUTES[kind]} minutes on one CPU core")
    (reference,) = handle.result()
    return dataclasses.replace(cast("ModelRef", reference), name=name)
