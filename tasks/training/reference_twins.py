"""The reference twins by name: `twin:linf8:0`. Found in the store, else in the checkout, else trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from robustray.tasks.errors import InputError
from robustray.tasks.lab import arrays
from robustray.tasks.lab.store import Store
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from robustray.tasks.lab.base import BlockLab
    from robustray.tasks.lab.protocol import Reference
    from robustray.tasks.training.settings import TrainSpec

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


def is_twin(name: str) -> bool:
    """Whether a name is meant for a twin, there or not."""
    return name.startswith(PREFIX)


def find_twin(lab: BlockLab, name: str) -> Reference | None:
    """A twin in the lab's store, else in the checkout; None where it is in neither. Raises: InputError for an unknown
    name."""
    from robustray.tasks.models.reference import open_stored
    from robustray.tasks.training.weights import find_weights, list_weights

    _check_known(name)
    for store in (lab.store, Store(str(PUBLISHED))):
        if any(arrays.read(store, file) is not None for file in list_weights(store, TWINS[name])):
            return open_stored(name, TWINS[name], partial(find_weights, store))
    return None


def training_by_name(name: str) -> TrainSpec | None:
    """How a twin or a recipe is trained, there or not; None for the name of any other model. Raises: InputError for an
    unknown twin."""
    from robustray.tasks.training.recipes import RECIPES
    from robustray.tasks.training.reference import reference_specs

    if not is_twin(name):
        return RECIPES.get(name)
    _check_known(name)
    _, kind, seed = name.split(":")
    return reference_specs(int(seed))[kind]


def twin_training(lab: BlockLab, name: str) -> TrainSpec | None:
    """How a twin is trained that is found nowhere; None for one that is there.

    What the training gives on another kind of device has another key than the published weights. Raises: InputError for
    an unknown name, and where CIFAR-10 is not at hand.
    """
    if find_twin(lab, name) is not None:
        return None
    spec = training_by_name(name)
    assert spec is not None, name
    try:
        lab.data(spec.data_name)
    except InputError as error:
        raise InputError(f"{_missing(lab, name)}, and cannot be trained: {error}") from error
    return spec


def say_training(lab: BlockLab, names: Iterable[str]) -> None:
    """Tell the user which twins are trained now, and how long that takes."""
    for name in filter(is_twin, names):
        minutes = MINUTES[name.split(":")[1]]
        lab.say_once(f"{_missing(lab, name)}: it is trained now, {minutes} minutes on one CPU core")


def _check_known(name: str) -> None:
    if name not in TWINS:
        raise InputError(f"there is no twin {name!r}{nearest(name, TWINS)}")


def _missing(lab: BlockLab, name: str) -> str:
    return f"{name} is neither in {lab.store.url} nor in a checkout of robustray"
