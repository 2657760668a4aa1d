"""The weights in the documentation are those of the reference twins, and a study gets them by key."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from robustray.tasks.data.reference import open_data
from robustray.tasks.lab.keys import plain
from robustray.tasks.lab.store import Store
from robustray.tasks.models.reference import open_model
from robustray.tasks.training.reference import SEEDS, reference_specs
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.weights import FOLDER, about_weights, find_weights, list_weights, read_weights

ALL = [(kind, seed) for seed in SEEDS for kind in reference_specs(seed)]
LEAST_CLEAN = {"standard": 0.75, "l2_05": 0.65, "linf8": 0.55}
"""Of 500 test images; robust_training.md section 7 has 82.5, 74.3 and 62.8 %."""


@pytest.fixture(scope="module")
def store(repository: Path) -> Store:
    return Store(str(repository / "docs" / "results" / "robust-training-small"))


@pytest.fixture(scope="module")
def keys(store: Store) -> dict[tuple[str, int], str]:
    """Kind and seed -> key. A file whose content is not what its name says, or that is no twin, fails here."""
    specs = {name: as_kept(reference_specs(name[1])[name[0]]) for name in ALL}
    found = {}
    for file in store.list(FOLDER):
        data = read_weights(store, f"{FOLDER}/{file}")
        assert data is not None, f"{file} is damaged"
        (name,) = (name for name, spec in specs.items() if spec == about_weights(data)["spec"])
        assert name not in found
        found[name] = file.partition("-")[0]
    return found


def as_kept(spec: TrainSpec) -> Any:
    """As `about_weights` tells it."""
    return plain(dataclasses.replace(spec.settled("cpu"), data=spec.data_name))


def test_every_twin_has_weights(keys: dict[tuple[str, int], str]) -> None:
    assert sorted(keys) == sorted(ALL)


@pytest.mark.parametrize("kind", LEAST_CLEAN)
def test_weights_work_by_key(kind: str, keys: dict[tuple[str, int], str], store: Store, shared_data: Path) -> None:
    """As a study gets them: `run:KEY`."""
    data = open_data("cifar10:test", data_root=str(shared_data))
    images, labels = data.build(data.fetch(), "cpu").batch(range(500))
    for key in (key for (trained, _), key in keys.items() if trained == kind):
        assert len(list_weights(store, key)) == 1
        model = open_model(f"run:{key}", store_weights=lambda key: find_weights(store, key), data_root=None)
        assert model.architecture == "small:s"
        with torch.no_grad():
            right = model.build(model.fetch(), "cpu")(images).argmax(1) == labels
        assert right.float().mean() > LEAST_CLEAN[kind]
