"""Models by name, those that train themselves among them: recipes of seconds, and the reference twins."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, cast

from robustray.tasks.lab.handles import Pending
from robustray.tasks.models import reference as models
from robustray.tasks.training.handle import code_now
from robustray.tasks.training.recipes import RECIPES
from robustray.tasks.training.reference_twins import (
    find_twin,
    is_twin,
    say_training,
    training_by_name,
    twin_training,
)
from robustray.tasks.training.weights import find_weights

if TYPE_CHECKING:
    from robustray.tasks.lab.base import BlockLab
    from robustray.tasks.lab.protocol import Reference
    from robustray.tasks.training.settings import TrainSpec


def trains_itself(name: str) -> bool:
    """Whether a run trains the model of this name where it is not there: its name says all that its weights depend on
    besides the code."""
    return is_twin(name) or name in RECIPES


def training_of(lab: BlockLab, name: str) -> TrainSpec | None:
    """How a model is trained that is named and is no file: a recipe, or a twin that is found nowhere; None for others.

    Raises: InputError for an unknown twin, and for one that would have to be trained without CIFAR-10 at hand.
    """
    if is_twin(name):
        return twin_training(lab, name)
    return training_by_name(name)


def open_models(lab: BlockLab, names: Iterable[str]) -> dict[str, Reference]:
    """See `Lab.models`."""
    names = tuple(dict.fromkeys(names))
    wanted = {name: spec for name in names if (spec := training_of(lab, name)) is not None}
    trained: dict[str, Reference] = {}
    if wanted:
        handle = lab.train(list(wanted.values()))
        assert isinstance(handle, Pending)
        if handle.open_jobs:
            say_training(lab, wanted)
        references = (cast("models.ModelRef", ref) for ref in handle.result())
        trained = {name: dataclasses.replace(ref, name=name) for name, ref in zip(wanted, references, strict=True)}
    return {name: trained.get(name) or _open(lab, name) for name in names}


def _open(lab: BlockLab, name: str) -> Reference:
    if is_twin(name) and (twin := find_twin(lab, name)) is not None:
        return twin
    store_weights = partial(find_weights, lab.store, code_now=partial(code_now, lab), message=lab.say_once)
    return models.open_model(name, store_weights=store_weights, data_root=lab.data_root)
