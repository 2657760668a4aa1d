"""The weights in the documentation are those of the reference twins, and a study gets them by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from robustray.tasks.data.reference import open_data
from robustray.tasks.errors import InputError
from robustray.tasks.kit.images import try_models
from robustray.tasks.lab import arrays
from robustray.tasks.lab.executor import Silent
from robustray.tasks.lab.keys import default_fields, plain
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store, sha256
from robustray.tasks.training import reference_twins as twins
from robustray.tasks.training.handle import training_key
from robustray.tasks.training.reference import SEEDS, reference_specs, twin_of
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.weights import FOLDER, list_weights

LEAST_CLEAN = {"standard": 0.75, "l2_05": 0.65, "linf8": 0.55}
"""Of 500 test images; a training of the same recipe elsewhere had 82.5, 74.3 and 62.8 %."""
TENSORS = {
    "twin:standard:0": "cb256c5cc4d67257",
    "twin:standard:1": "0530e6066ff00bb8",
    "twin:standard:2": "721ee7edce4c02fc",
    "twin:l2_05:0": "c9e2ace810de6b06",
    "twin:l2_05:1": "533856cc76a17e5b",
    "twin:l2_05:2": "742fa53457da6b82",
    "twin:linf8:0": "bfec72c0de6f2f6e",
    "twin:linf8:1": "8a26e2b172766267",
    "twin:linf8:2": "2b19317a81d4bdd1",
}
"""SHA-256 of the tensors as they were trained: what is published under another key later is the same network."""


@pytest.fixture(scope="module")
def published() -> Store:
    return Store(str(twins.PUBLISHED))


def spec_of(name: str) -> TrainSpec:
    _, kind, seed = name.split(":")
    return reference_specs(int(seed))[kind].settled("cpu")


def test_the_twins_are_all_there_is() -> None:
    assert set(twins.TWINS) == {f"twin:{kind}:{seed}" for seed in SEEDS for kind in reference_specs(seed)}


@pytest.mark.parametrize("name", twins.TWINS)
def test_the_published_weights_are_those_that_were_trained(name: str, published: Store) -> None:
    (file,) = list_weights(published, twins.TWINS[name])
    data = arrays.read(published, file)
    assert data is not None, f"{file} is damaged"
    spec = spec_of(name)
    later = default_fields(TrainSpec)  # a field that came after they were published has its default
    assert later | arrays.about(data)["spec"] == plain(dataclasses.replace(spec, data=spec.data_name))
    assert sha256(data[8 + int.from_bytes(data[:8], "little") :], 16) == TENSORS[name]


def test_nothing_else_is_published(published: Store) -> None:
    assert sorted(file.partition("-")[0] for file in published.list(FOLDER)) == sorted(twins.TWINS.values())


def test_a_training_of_the_same_finds_them(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their keys are those of the trainings, on the data that are at hand."""
    monkeypatch.setenv("MKL_CBWR", "AUTO,STRICT")
    data = open_data("cifar10:train", data_root=str(shared_data))
    assert {name: training_key(spec_of(name), data, "cpu") for name in twins.TWINS} == dict(twins.TWINS)


@pytest.mark.parametrize("kind", LEAST_CLEAN)
def test_weights_work_by_name(kind: str, shared_data: Path, tmp_path: Path) -> None:
    """As a study gets them."""
    data = open_data("cifar10:test", data_root=str(shared_data))
    images, labels = data.build(data.fetch(), "cpu").batch(range(500))
    lab = SerialLab(store=Store(str(tmp_path / "none")))
    for seed in SEEDS:
        model: Any = lab.model(f"twin:{kind}:{seed}")
        assert model.architecture == "small:s" and model.name == f"twin:{kind}:{seed}"
        with torch.no_grad():
            right = lab.load(model)(images).argmax(1) == labels
        assert right.float().mean() > LEAST_CLEAN[kind]
    assert not (tmp_path / "none").exists()


# -- where a twin comes from -------------------------------------------------------------------------------------------

NAME = "twin:linf8:0"


class Told(Silent):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def test_the_store_comes_first(tmp_path: Path, published: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = list_weights(published, twins.TWINS[NAME])
    store = Store(str(tmp_path / "store"))
    store.write(file, published.read(file))
    monkeypatch.setattr(twins, "PUBLISHED", tmp_path / "nothing")
    assert SerialLab(store=store).model(NAME).name == NAME
    store.write(file, b"torn")
    with pytest.raises(InputError, match=f"{NAME} is neither in .* nor in a checkout .* data root"):
        SerialLab(store=store).model(NAME)


def test_what_is_nowhere_is_trained_and_said_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = TrainSpec(model="digits:mlp", data="digits:train", epochs=1)
    monkeypatch.setattr(twins, "PUBLISHED", tmp_path / "nothing")
    monkeypatch.setattr("robustray.tasks.training.reference.reference_specs", lambda seed: {"linf8": tiny})
    told = Told()
    lab = SerialLab(store=Store(str(tmp_path / "store")), progress=told)
    model: Any = lab.model(NAME)
    assert model.name == NAME and model.architecture == "digits:mlp"
    assert len(told.messages) == 1 and "trained now, 12 to 23 minutes" in told.messages[0]
    told.messages.clear()
    assert SerialLab(store=lab.store, progress=told).model(NAME).content_hash == model.content_hash
    assert not told.messages


def test_a_door_trains_no_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries the untrained network; the training belongs to the run."""
    tiny = TrainSpec(model="digits:mlp", data="digits:train", epochs=1)
    monkeypatch.setattr(twins, "PUBLISHED", tmp_path / "nothing")
    monkeypatch.setattr("robustray.tasks.training.reference.reference_specs", lambda seed: {"linf8": tiny})
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    digits = lab.load(lab.data("digits:test"))
    assert lab.training_of(NAME) == tiny and try_models(lab, [NAME], [digits]) == {}
    assert not (tmp_path / "store").exists() and not lab.journal.counts
    found = lab.models([NAME, "digits:mlp", NAME])
    assert list(found) == [NAME, "digits:mlp"] and lab.journal.count("train").computed_items == 2
    assert [ref.name for ref in found.values()] == list(found)


def test_a_known_training_has_the_name_of_its_twin() -> None:
    for name in twins.TWINS:
        _, kind, seed = name.split(":")
        spec = reference_specs(int(seed))[kind]
        assert twin_of(spec) == name
        assert twin_of(dataclasses.replace(spec, epochs=spec.epochs + 1)) is None
        assert twin_of(dataclasses.replace(spec, seed=len(SEEDS))) is None


def test_a_misspelt_twin_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="twin:linf8:3"):
        SerialLab(store=Store(str(tmp_path))).model("twin:linf8:3")
