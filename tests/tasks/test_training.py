"""`lab.train` in its smallest form: bad specs are refused, the same spec gives the same bits, and keeps them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.lab.runs import Journal
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.training import handle, loop
from robustray.tasks.training.loop import TrainingDiverged, train_model
from robustray.tasks.training.recipes import RECIPES
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.weights import about_weights, find_weights, list_weights, read_weights


def spec(**changed: Any) -> TrainSpec:
    fields: dict[str, Any] = {"model": "digits:mlp", "data": "digits:train", "epochs": 2, "batch_size": 256}
    return TrainSpec(**fields | changed)


# -- settings ----------------------------------------------------------------------------------------------------------

BAD: list[tuple[str, Any]] = [
    ("epochs", 0),
    ("epochs", -1),
    ("epochs", 1.5),
    ("epochs", math.nan),
    ("batch_size", 0),
    ("batch_size", 2.0),
    ("threads", 0),
    ("seed", -1),
    ("seed", 0.5),
    ("lr", -0.1),
    ("lr", math.nan),
    ("lr", math.inf),
    ("momentum", -0.1),
    ("momentum", 1.0),
    ("momentum", math.nan),
    ("weight_decay", -1e-9),
    ("weight_decay", math.inf),
    ("label_smoothing", -0.1),
    ("label_smoothing", 1.0),
    ("label_smoothing", math.nan),
    ("schedule", "cosine"),
    ("schedule", ""),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_values_are_named(name: str, value: Any) -> None:
    with pytest.raises(InputError) as refused:
        spec(**{name: value})
    assert name in str(refused.value) and len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("value", [{"lr": 0.0}, {"weight_decay": 0.0}, {"momentum": 0.0}, {"schedule": "constant"}])
def test_corner_values_are_fine(value: dict[str, Any]) -> None:
    assert {name: getattr(spec(**value), name) for name in value} == value


@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 100, 1001])
def test_the_triangular_schedule(num_steps: int) -> None:
    rates = [spec(lr=0.4).learning_rate(step, num_steps) for step in range(num_steps)]
    assert all(0 < rate <= 0.4 for rate in rates)
    peak = int(np.argmax(rates))
    assert all(np.diff(rates[: peak + 1]) > 0) and all(np.diff(rates[peak:]) < 0)
    assert abs((peak + 0.5) / num_steps - 0.2) <= 0.5 / num_steps + 1e-9 or num_steps < 3
    assert math.isclose(float(np.mean(rates)), 0.2, rel_tol=1 / num_steps)  # area of the triangle


def test_the_triangle_by_hand() -> None:
    rates = [spec(lr=1.0).learning_rate(step, 10) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.75, 0.9375, 0.8125, 0.6875, 0.5625, 0.4375, 0.3125, 0.1875, 0.0625])
    assert [spec(lr=0.3, schedule="constant").learning_rate(step, 7) for step in range(7)] == [0.3] * 7


def test_recipes_are_specs_of_their_models() -> None:
    assert all(recipe.model == name for name, recipe in RECIPES.items())


# -- the loop ----------------------------------------------------------------------------------------------------------


def random_data(num_images: int = 40) -> ImageData:
    random = np.random.default_rng(0)
    images = random.integers(256, size=(num_images, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(num_images, dtype=np.int64) % 4
    return ImageData(name="random", images=images, labels=labels, classes=("a", "b", "c", "d"))


class WithDropout(nn.Module):
    """Draws random numbers while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.Linear(16, 4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


DROPOUT = f"{__name__}:WithDropout"


def trained(**changed: Any) -> dict[str, torch.Tensor]:
    return train_model(spec(batch_size=16, **changed), random_data(), "cpu").model.state_dict()


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first | second)


@pytest.mark.parametrize("model", ["digits:mlp", "digits:cnn", DROPOUT])
def test_the_same_spec_gives_the_same_bits_whatever_ran_before(model: str) -> None:
    torch.manual_seed(1)
    first = trained(model=model)
    torch.manual_seed(2)
    np.random.seed(2)
    torch.rand(100)
    assert equal(trained(model=model), first)


def test_the_generator_of_the_caller_is_left_alone() -> None:
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    trained(model=DROPOUT)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "changed",
    [{"seed": 1}, {"lr": 0.05}, {"epochs": 3}, {"momentum": 0.8}, {"weight_decay": 0.0}, {"label_smoothing": 0.1}],
)
def test_every_setting_matters(changed: dict[str, Any]) -> None:
    assert not equal(trained(**changed), trained())


def test_no_learning_rate_learns_nothing() -> None:
    torch.manual_seed(0)
    assert equal(trained(lr=0.0, epochs=1), trained(lr=0.0, epochs=3))


def test_the_curve_has_a_row_per_epoch() -> None:
    result = train_model(spec(batch_size=16, epochs=3, schedule="constant"), random_data(), "cpu")
    assert [row["epoch"] for row in result.curve] == [1, 2, 3]
    assert all(math.isfinite(row["loss"]) and 0 <= row["accuracy"] <= 1 and row["lr"] == 0.1 for row in result.curve)
    assert not result.model.training


def test_it_learns() -> None:
    """40 random images by heart."""
    result = train_model(spec(batch_size=20, epochs=150, weight_decay=0.0), random_data(), "cpu")
    assert result.curve[-1]["accuracy"] == 1.0
    assert result.curve[-1]["loss"] < 0.05 < result.curve[0]["loss"]


def test_fewer_images_than_a_batch() -> None:
    with pytest.raises(InputError, match=r"batch_size 41 .* 40 training images"):
        train_model(spec(batch_size=41), random_data(), "cpu")
    train_model(spec(batch_size=40, epochs=1), random_data(), "cpu")


def test_a_loss_that_is_not_finite_names_epoch_and_steps() -> None:
    with pytest.raises(
        TrainingDiverged, match=r"digits:mlp: the loss is not finite in epoch 1 \(steps 1 to 2\); lower lr"
    ):
        train_model(spec(batch_size=16, lr=1e30), random_data(), "cpu")


def test_weights_that_only_the_last_step_spoils_are_noticed() -> None:
    with pytest.raises(TrainingDiverged, match=r"epoch 1 \(steps 1 to 1\)"):
        train_model(
            spec(batch_size=40, epochs=1, lr=1e38, weight_decay=1e38, schedule="constant"), random_data(), "cpu"
        )


# -- the verb ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[TrainSpec]]:
    """The trainings that were really done."""
    done: list[TrainSpec] = []
    real = loop.train_model

    def counted(spec: TrainSpec, data: ImageData, device: str) -> loop.Trained:
        done.append(spec)
        return real(spec, data, device)

    monkeypatch.setattr(loop, "train_model", counted)
    yield done


def weights_of(store: Store) -> dict[str, bytes]:
    return {name: store.read(f"models/{name}") for name in store.list("models")}


def test_a_model_is_trained_once(store: Store, calls: list[TrainSpec]) -> None:
    refs = SerialLab(store=store).train([spec(), spec(seed=1), spec()]).result()
    assert calls == [spec(), spec(seed=1)]
    assert refs[0] == refs[2] and refs[0].content_hash != refs[1].content_hash
    journal = Journal()
    again = SerialLab(store=store, journal=journal).train([spec(seed=1), spec()]).result()
    assert len(calls) == 2
    assert [ref.content_hash for ref in again] == [refs[1].content_hash, refs[0].content_hash]
    count = journal.count("train")
    assert (count.items, count.reused_blocks, count.computed_blocks) == (2, 2, 0)


def test_a_trained_model_is_better_than_chance(store: Store) -> None:
    lab = SerialLab(store=store)
    (ref,) = lab.train([spec(epochs=5, batch_size=64)]).result()
    model, data = lab.load(ref), lab.load(lab.data("digits:test"))
    images, labels = data.batch(range(len(data)))
    assert (model(images).argmax(1) == labels).float().mean() > 0.8


def test_the_same_bits_in_another_store(store: Store, tmp_path: Path) -> None:
    other = Store(str(tmp_path / "other"))
    for each in (store, other):
        SerialLab(store=each).train([spec()]).result()
    assert weights_of(store) == weights_of(other) != {}


def test_the_file_says_what_it_is(store: Store) -> None:
    (ref,) = SerialLab(store=store).train([spec()]).result()
    architecture, data = find_weights(store, ref.name.removeprefix("run:"))
    about = about_weights(data)
    assert architecture == about["model"] == "digits:mlp"
    assert about["spec"]["epochs"] == 2 and len(about["curve"]) == 2


DAMAGE = {
    "a flipped bit": lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
    "torn": lambda data: data[:5000],
    "empty": lambda data: b"",
    "missing": lambda data: None,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_weights_are_trained_again(damage: str, store: Store, calls: list[TrainSpec]) -> None:
    SerialLab(store=store).train([spec()]).result()
    before = weights_of(store)
    ((name, data),) = before.items()
    store.delete(f"models/{name}")
    spoilt = DAMAGE[damage](data)
    if spoilt is not None:
        store.write(f"models/{name}", spoilt)
        assert read_weights(store, f"models/{name}") is None
    (ref,) = SerialLab(store=store).train([spec()]).result()
    assert len(calls) == 2
    assert weights_of(store) == before
    SerialLab(store=store).load(ref)


def test_fresh_trains_again_once(store: Store, calls: list[TrainSpec]) -> None:
    SerialLab(store=store).train([spec()]).result()
    journal = Journal()
    for expected in (2, 2):
        SerialLab(store=store, journal=journal, fresh=["train"]).train([spec()]).result()
        assert len(calls) == expected


def test_old_weights_are_used_and_counted(
    store: Store, calls: list[TrainSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    SerialLab(store=store).train([spec()]).result()
    monkeypatch.setattr(handle, "code_hash", lambda modules: "0123456789ab")
    journal = Journal()
    SerialLab(store=store, journal=journal).train([spec()]).result()
    assert len(calls) == 1 and journal.count("train").old_blocks == 1


def test_the_code_of_ones_own_model_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[str]] = []

    def hashed(modules: Iterable[str]) -> str:
        asked.append(set(modules))
        return "0123456789ab"

    monkeypatch.setattr(handle, "code_hash", hashed)
    SerialLab(store=store).train([spec(model=f"{__name__}:WithTenClasses", epochs=1)]).result()
    assert __name__ in asked[0]


class WithTenClasses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.flatten(1))


def test_a_training_that_diverges_ends_the_step_and_keeps_nothing(store: Store) -> None:
    with pytest.raises(WorkFailed, match="digits:mlp on digits:train failed: TrainingDiverged"):
        SerialLab(store=store).train([spec(lr=1e30)]).result()
    assert weights_of(store) == {}


def test_a_training_out_of_memory_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*args: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(loop, "train_model", too_much)
    with pytest.raises(WorkFailed, match="digits:mlp on digits:train"):
        SerialLab(store=store).train([spec()]).result()


KEY_CHANGES: list[dict[str, Any]] = [
    {},
    {"model": "digits:cnn"},
    {"epochs": 3},
    {"batch_size": 128},
    {"lr": 0.2},
    {"momentum": 0.5},
    {"weight_decay": 0.0},
    {"schedule": "constant"},
    {"label_smoothing": 0.1},
    {"seed": 1},
    {"threads": 2},
]


def test_every_field_and_the_data_are_in_the_key(store: Store) -> None:
    lab = SerialLab(store=store)
    train, test = lab.data("digits:train"), lab.data("digits:test")
    found = {handle.training_key(spec(**c), d, "cpu") for c, d in itertools.product(KEY_CHANGES, (train, test))}
    found.add(handle.training_key(spec(), train, "cuda"))
    assert len(found) == 2 * len(KEY_CHANGES) + 1
    assert list_weights(store, next(iter(found))) == []


def test_unknown_weights_name_the_store(store: Store) -> None:
    with pytest.raises(InputError, match=r"run:0123: no such weights in .*robustray list"):
        SerialLab(store=store).model("run:0123")
