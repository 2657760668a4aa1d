"""Standard training and the verb `lab.train`: the same spec gives the same bits, and keeps them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.lab import arrays, curves, long_jobs, serial
from robustray.tasks.lab.jobs import Worker
from robustray.tasks.lab.journal import Journal
from robustray.tasks.lab.long_jobs import Diary
from robustray.tasks.lab.protocol import Needs
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.training import doors, handle, loop, settings
from robustray.tasks.training.loop import train_model
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.state import TrainingDiverged
from robustray.tasks.training.weights import find_weights, list_weights
from tests.tasks.serial_lab import Told


def spec(**changed: Any) -> TrainSpec:
    fields: dict[str, Any] = {"model": "digits:mlp", "data": "digits:train", "epochs": 2, "batch_size": 256}
    return TrainSpec(**fields | changed)


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


def trained(**changed: Any) -> Mapping[str, torch.Tensor]:
    return train_model(spec(batch_size=16, **changed), random_data(), "cpu").weights["last"].tensors


def equal(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in {**first, **second})


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


def test_it_learns() -> None:
    """40 random images by heart."""
    result = train_model(spec(batch_size=20, epochs=150, weight_decay=0.0), random_data(), "cpu")
    assert result.curve[-1]["accuracy"] == 1.0
    assert result.curve[-1]["loss"] < 0.05 < result.curve[0]["loss"]


def test_fewer_images_than_a_batch() -> None:
    with pytest.raises(InputError, match=r"batch_size 41 .* 40 training images"):
        train_model(spec(batch_size=41), random_data(), "cpu")
    train_model(spec(batch_size=40, epochs=1), random_data(), "cpu")


@pytest.fixture
def any_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates that the door refuses spoil a training in a step or two."""
    monkeypatch.setattr(settings, "LARGEST_RATE", math.inf)


def test_a_loss_that_is_not_finite_names_the_step(any_rate: None) -> None:
    with pytest.raises(
        TrainingDiverged, match=r"digits:mlp: the loss is not finite in step 2, epoch 1 of 2; lower lr \(1e\+30\)"
    ):
        train_model(spec(batch_size=16, lr=1e30), random_data(), "cpu")


def test_weights_that_only_the_last_step_spoils_are_noticed(any_rate: None) -> None:
    with pytest.raises(TrainingDiverged, match=r"weights are not finite after step 1, epoch 1 of 1"):
        spoilt = spec(batch_size=40, epochs=1, lr=1e38, weight_decay=1e38, schedule="constant")
        train_model(spoilt, random_data(), "cpu")


# -- the verb ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[TrainSpec]]:
    """The trainings that were really done."""
    done: list[TrainSpec] = []
    real = loop.train_model

    def counted(spec: TrainSpec, *args: Any, **kwargs: Any) -> loop.Trained:
        done.append(spec)
        return real(spec, *args, **kwargs)

    monkeypatch.setattr(loop, "train_model", counted)
    yield done


def weights_of(store: Store) -> dict[str, bytes]:
    return {name: store.read(f"models/{name}") for name in store.list("models")}


def test_a_long_training_says_where_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "SAYS_EVERY_S", 0.0)
    told = Told()
    SerialLab(store=store, progress=told).train([spec(epochs=2)]).result()
    assert [text.split(",")[0].split(": ")[1] for text in told.messages] == ["epoch 1", "epoch 2"]
    SerialLab(store=store, progress=told).train([spec(epochs=2)]).result()
    assert len(told.messages) == 2  # nothing was trained


def test_a_model_is_trained_once(store: Store, calls: list[TrainSpec]) -> None:
    refs = SerialLab(store=store).train([spec(), spec(seed=1), spec()]).result()
    assert calls == [spec().settled("cpu"), spec(seed=1).settled("cpu")]
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
    about = arrays.about(data)
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
        assert arrays.read(store, f"models/{name}") is None
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


def test_a_job_given_out_twice_trains_once(store: Store, calls: list[TrainSpec]) -> None:
    """The first worker was taken for dead, but it lived and published; the second one finds its weights."""
    lab = SerialLab(store=store)
    (job,) = handle.plan_training(lab, [spec()]).jobs
    worker = Worker(store=store, payload=lab.payload)
    first, second = worker.run(job), worker.run(job)
    assert len(calls) == 1
    assert [f"models/{name}" for name in weights_of(store)] == [first.name] == [second.name]
    assert store.list("checkpoints") == []
    of_other_code = dataclasses.replace(job, code="0123456789ab")
    assert worker.run(of_other_code).name != first.name and len(calls) == 2


def test_a_job_given_out_twice_does_not_take_damaged_weights(store: Store, calls: list[TrainSpec]) -> None:
    lab = SerialLab(store=store)
    (job,) = handle.plan_training(lab, [spec()]).jobs
    worker = Worker(store=store, payload=lab.payload)
    name = worker.run(job).name
    data = store.read(name)
    store.write(name, data[:5000])
    assert worker.run(job).name == name and store.read(name) == data and len(calls) == 2


def test_a_training_that_diverges_ends_the_step_and_keeps_nothing(store: Store, any_rate: None) -> None:
    with pytest.raises(WorkFailed, match="digits:mlp on digits:train failed: TrainingDiverged"):
        SerialLab(store=store).train([spec(lr=1e30)]).result()
    assert weights_of(store) == {}


def test_a_training_out_of_memory_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*args: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(loop, "train_model", too_much)
    with pytest.raises(WorkFailed, match="digits:mlp on digits:train"):
        SerialLab(store=store).train([spec()]).result()


ATTACKS: list[dict[str, Any]] = [
    {},
    {"eps": 0.2},
    {"norm": "l2"},
    {"step_size": 0.1},
    {"num_steps": 1},
    {"random_start": True},
    {"use_best": True},
    {"eps_schedule": ((0, 0.0), (1, 1.0))},
    {"attack_precision": "bf16"},
    {"check_steps": 20},
]

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
    {"schedule": "steps", "lr_drops": (1,)},
    {"ema_decay": 0.9},
    {"augmentation": "crop-flip"},
    {"validation": 100},
    {"validation": 100, "select": "best"},
    {"validation": 100, "check_every": 2},
    {"precision": "bf16"},
    *({"loss": "adversarial", "eps": 0.1} | more for more in ATTACKS),
    {"loss": "noise", "eps": 0.1},
    {"loss": "trades", "eps": 0.1, "random_start": True},
    {"loss": "trades", "eps": 0.1, "random_start": True, "trades_beta": 1.0},
    {"ranks": 2},
]


def test_every_field_and_the_data_are_in_the_key(store: Store) -> None:
    lab = SerialLab(store=store)
    train, test = lab.data("digits:train"), lab.data("digits:test")
    found = {handle.training_key(spec(**c), d, "cpu") for c, d in itertools.product(KEY_CHANGES, (train, test))}
    found.add(handle.training_key(spec(), train, "cuda"))
    assert len(found) == 2 * len(KEY_CHANGES) + 1
    assert list_weights(store, next(iter(found))) == []


def test_trainings_that_share_a_gpu_have_the_keys_of_those_that_do_not(store: Store) -> None:
    lab = SerialLab(store=store)
    (alone,), (sharing,) = (handle.plan_training(lab, [spec(gpus=share)]).jobs for share in (1.0, 0.25))
    assert alone.key == sharing.key and (alone.needs, sharing.needs) == (Needs(gpus=1.0), Needs(gpus=0.25))


def test_the_key_does_not_hold_what_the_data_are_called(store: Store) -> None:
    lab = SerialLab(store=store)
    data = lab.data("digits:train")
    named, given = spec(), spec(data=data)
    assert handle.training_key(named, data, "cpu") == handle.training_key(given, data, "cpu")
    assert lab.train([given]).result() == lab.train([named]).result()


def test_best_last_and_average_are_kept_beside_the_selected(store: Store) -> None:
    lab = SerialLab(store=store)
    (ref,) = lab.train([spec(epochs=3, validation=200, select="best", ema_decay=0.9)]).result()
    kept = {"": "best", "@last": "last", "@ema": "ema"}
    for variant, name in kept.items():
        _, data = find_weights(store, ref.name.removeprefix("run:") + variant)
        about = arrays.about(data)
        assert about["weights"] == name and len(about["data"]["hash"]) == 64
        row = about["curve"][about["epoch"] - 1]
        assert about["score"] == row["ema_clean_accuracy" if name == "ema" else "clean_accuracy"]
        lab.load(lab.model(ref.name + variant))
    assert arrays.about(find_weights(store, f"{ref.name.removeprefix('run:')}@last")[1])["epoch"] == 3
    assert not list_weights(store, f"{ref.name.removeprefix('run:')}@best")


def test_the_curve_is_there_for_tensorboard(store: Store) -> None:
    """Read back with an independent reader of the format: lengths and names in the bytes of the protocol buffers."""
    (ref,) = SerialLab(store=store).train([spec(epochs=3)]).result()
    data = store.read(f"tensorboard/{ref.name.removeprefix('run:')}/events.out.tfevents.0.robustray")
    records = []
    while data:
        length = int.from_bytes(data[:8], "little")
        records.append(data[12 : 12 + length])
        data = data[16 + length :]
    assert b"brain.Event:2" in records[0]
    assert sum(b"accuracy" in record for record in records) == 3


def test_small_trainings_do_not_spend_their_time_on_the_curve(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of many epochs writes its file once, at its end; one that lasts, now and then; one that diverges, too."""
    written: list[int] = []
    monkeypatch.setattr(curves, "write_curve", lambda store, key, curve, by: written.append(len(curve)))
    lab = SerialLab(store=store)
    lab.train([spec(epochs=5)]).result()
    assert written == [5]
    monkeypatch.setattr(long_jobs, "CURVE_EVERY_S", 0.0)
    lab.train([spec(epochs=5, seed=1)]).result()
    assert written == [5, 1, 2, 3, 4, 5]
    monkeypatch.undo()
    with Diary(label="job", key="k", store=store) as diary, contextlib.suppress(RuntimeError):
        diary.row([{"epoch": 1, "loss": 1.0}], by="epoch")
        raise RuntimeError("it diverges")
    assert store.list("tensorboard/k")


def test_trainings_that_differ_in_seed_or_rate_are_checked_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others each: another loss needs a gradient, another batch is measured against the data. Of models that differ in
    their first weights, the first one is looked at in company of other images, too."""
    looked: list[bool] = []
    fitted: list[int] = []
    check_fit = doors.check_fit

    def look(model: nn.Module, *rest: object, company: bool) -> list[str]:
        looked.append(company)
        return []

    def fit(spec: TrainSpec, data: ImageData) -> None:
        fitted.append(len(data))
        check_fit(spec, data)

    monkeypatch.setattr(doors, "check_model", look)
    monkeypatch.setattr(doors, "check_fit", fit)
    lab = SerialLab(store=store)
    lab.train([spec(seed=seed, lr=lr) for seed in (0, 1) for lr in (0.01, 0.1)])
    assert len(looked) == len(fitted) == 1
    lab.train([spec(seed=2), spec(loss="noise", eps=0.1, norm="l2", seed=2), spec(model=DROPOUT, seed=2)])
    assert looked == [True] * 4
    first, second = lab.train([spec(seed=seed) for seed in (4, 5)]).result()
    lab.train([spec(initial=each, seed=seed) for each in (first, second) for seed in (6, 7)])
    assert looked == [True] * 5 + [True, False]
    with pytest.raises(InputError, match="1443 is larger than the 1442 training images"):
        lab.train([spec(seed=3), spec(batch_size=1443)])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "more ranks than this lab has": ({"ranks": 2}, "ranks=2: this lab trains in one process"),
    "a batch larger than the data": ({"batch_size": 1443}, "1443 is larger than the 1442 training images"),
    "a batch larger than what is left": ({"batch_size": 1343, "validation": 100}, "left without 100 for validation"),
    "all images held out": ({"validation": 5000}, "larger than the 0 training images"),
    "less than an image held out": ({"validation": 1e-6}, "validation 1e-06 of 1442 images is less than one"),
    "no parameters": ({"model": f"{__name__}:WithoutParameters"}, "has no parameters to train"),
    "frozen parameters": ({"model": f"{__name__}:AllFrozen"}, "has no parameters to train"),
    "other images": ({"model": "small:s"}, "small:s on digits:train: the model .* fails on images"),
    "too few outputs": ({"model": DROPOUT}, "the model has 4 outputs, the data 10 classes"),
    "an unknown model": ({"model": "digits:cnm"}, "there is no model 'digits:cnm': did you mean 'digits:cnn'"),
    "unknown data": ({"data": "digits:trian"}, "did you mean 'digits:train'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_work_is_refused_before_anything_starts(what: str, store: Store, calls: list[TrainSpec]) -> None:
    changed, says = REFUSED[what]
    with pytest.raises(InputError, match=says) as refused:
        SerialLab(store=store).train([spec(), spec(**changed)])
    assert len(str(refused.value).splitlines()) == 1 and not calls


@pytest.mark.parametrize(
    ("labels", "says"), [([1] * 40, "one class only"), ([0, 4] * 20, "label 4, but there are 4 classes")]
)
def test_labels_that_cannot_be_learnt(labels: list[int], says: str) -> None:
    good = random_data()
    data = ImageData(name="bad", images=good.images, labels=np.array(labels, dtype=np.int64), classes=good.classes)
    with pytest.raises(InputError, match=says):
        train_model(spec(batch_size=16), data, "cpu")


class WithoutParameters(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :10]


class AllFrozen(WithTenClasses):
    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)


def test_unknown_weights_name_the_store(store: Store) -> None:
    with pytest.raises(InputError, match=r"run:0123: no such weights in .*robustray list"):
        SerialLab(store=store).model("run:0123")
