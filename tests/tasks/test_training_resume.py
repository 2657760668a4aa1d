"""A training that is ended anywhere goes on to the same bits; what cannot be read or written is said."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import WorkFailed
from robustray.tasks.lab.checkpoints import Checkpoints, Interval
from robustray.tasks.lab.journal import Journal
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.training import loop, step
from robustray.tasks.training.batches import Batch
from robustray.tasks.training.handle import plan_training
from robustray.tasks.training.loop import Trained, train_model
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.state import TrainState, initial_model
from robustray.tasks.training.weights import list_weights

NUM_STEPS = 12  # 3 epochs of 4 steps


class Tiny(nn.Module):
    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.dropout, self.head = nn.Dropout(0.2), nn.Linear(16, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.bn(self.conv(images)).relu().mean((2, 3))))


def spec(**changed: Any) -> TrainSpec:
    """All that has a memory: momentum, batch norm, an average, the best so far."""
    fields: dict[str, Any] = {"model": f"{__name__}:Tiny", "data": "random", "epochs": 3, "batch_size": 8, "lr": 0.05}
    fields |= {"loss": "adversarial", "eps": 8 / 255, "num_steps": 2, "random_start": True, "validation": 16}
    fields |= {"augmentation": "crop-flip", "ema_decay": 0.9, "check_steps": 2, "select": "best"}
    return TrainSpec(**fields | changed)


def random_data() -> ImageData:
    images = np.random.default_rng(0).integers(256, size=(48, 3, 8, 8), dtype=np.uint8)
    labels = np.arange(48, dtype=np.int64) % 3
    return ImageData(name="random", images=images, labels=labels, classes=("a", "b", "c"))


class Ended(BaseException):
    """As a kill: nothing in the code catches it."""


def ends_before(monkeypatch: pytest.MonkeyPatch, last: int) -> list[int]:
    """The training is ended when it is about to take step `last`. Returns the steps that were taken."""
    taken: list[int] = []
    real = step.TrainStep.__call__

    def call(self: step.TrainStep, batch: Batch) -> None:
        if batch.step == last:
            raise Ended
        taken.append(batch.step)
        real(self, batch)

    monkeypatch.setattr(step.TrainStep, "__call__", call)
    return taken


def attempt(store: Store, interval: Interval, said: list[str], **changed: Any) -> Trained:
    keeper = Checkpoints(store=store, key="abc", code="0123456789ab", interval=interval, say=said.append)
    return train_model(spec(**changed), random_data(), "cpu", keeper=keeper)


@pytest.fixture(scope="module")
def undisturbed() -> Trained:
    return train_model(spec(), random_data(), "cpu")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def assert_same(one: Trained, other: Trained) -> None:
    """To the bit, and to the last row of the curve."""
    assert one.curve == other.curve and set(one.weights) == set(other.weights)
    for name, snapshot in one.weights.items():
        assert (snapshot.epoch, snapshot.score) == (other.weights[name].epoch, other.weights[name].score)
        assert set(snapshot.tensors) == set(other.weights[name].tensors)
        assert all(torch.equal(value, other.weights[name].tensors[key]) for key, value in snapshot.tensors.items())


def listing(store: Store) -> list[str]:
    return store.list("checkpoints/abc")


# -- the same bits -----------------------------------------------------------------------------------------------------


def test_checkpoints_change_nothing(undisturbed: Trained, store: Store) -> None:
    assert_same(attempt(store, Interval(steps=1), []), undisturbed)


@pytest.mark.parametrize("last", [1, 3, 4, 5, 8, 11])
def test_ended_anywhere_it_goes_on_to_the_same_bits(
    last: int, undisturbed: Trained, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with monkeypatch.context() as patch:
        taken = ends_before(patch, last)
        with pytest.raises(Ended):
            attempt(store, Interval(steps=1), said)
        assert taken == list(range(last)) and not said
    taken = ends_before(monkeypatch, -1)
    assert_same(attempt(store, Interval(steps=1), said), undisturbed)
    assert taken == list(range(last, NUM_STEPS))
    assert said == [f"goes on from its checkpoint after step {last}"]


def test_ended_while_an_epoch_is_checked(undisturbed: Trained, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps of the epoch are taken and its row is not written yet: the check is repeated, no step is."""

    def never(*args: Any) -> None:
        raise Ended

    with monkeypatch.context() as patch:
        patch.setattr(loop, "count_correct", never)
        with pytest.raises(Ended):
            attempt(store, Interval(steps=1), [])
    taken = ends_before(monkeypatch, -1)
    assert_same(attempt(store, Interval(steps=1), []), undisturbed)
    assert taken == list(range(4, NUM_STEPS))


@pytest.mark.parametrize(("every", "last"), [(3, 8), (5, 4), (5, 9), (7, 11)])
def test_at_most_one_interval_is_repeated(
    every: int, last: int, undisturbed: Trained, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        before = ends_before(patch, last)
        with pytest.raises(Ended):
            attempt(store, Interval(steps=every, seconds=None), [])
    after = ends_before(monkeypatch, -1)
    assert_same(attempt(store, Interval(steps=every, seconds=None), []), undisturbed)
    repeated = set(before) & set(after)
    assert set(before) | set(after) == set(range(NUM_STEPS)) and len(repeated) == last % every < every


def test_a_finished_state_has_nothing_left_to_do(
    undisturbed: Trained, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt(store, Interval(steps=1), [])
    taken = ends_before(monkeypatch, -1)
    attempt(store, Interval(steps=1), [])
    assert not taken


def test_the_interval_counts_steps_or_seconds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    state = TrainState.start(spec(), initial_model(spec(), 3), "cpu")

    def kept(steps: int | None, seconds: float | None) -> Checkpoints:
        return Checkpoints(store=store, key="k", code="c", interval=Interval(steps=steps, seconds=seconds))

    assert not kept(None, None).due(10**9)
    by_steps, by_seconds = kept(4, None), kept(None, 60)
    assert [by_steps.due(number) for number in (1, 3, 4)] == [False, False, True]
    state.step = 4
    by_steps.save(state)
    assert [by_steps.due(number) for number in (4, 7, 8)] == [False, False, True]
    assert not by_seconds.due(1)
    now[0] += 60
    assert by_seconds.due(1)


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_the_last_two_are_kept_and_hold_no_code(store: Store) -> None:
    attempt(store, Interval(steps=5, seconds=None), [])
    assert [name.split("-")[:2] for name in listing(store)] == [[f"{n:09d}", "0123456789ab"] for n in (5, 10)]
    data = store.read(f"checkpoints/abc/{listing(store)[-1]}")
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    record = json.loads(header["__metadata__"]["robustray"])
    assert record["step"] == 10 and len(record["curve"]) == 2
    assert {name.partition("/")[0] for name in header} >= {"weights", "ema", "momentum", "best-weights", "best-ema"}


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
    "torn": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("both", [False, True])
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(
    damage: str, both: bool, undisturbed: Trained, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        ends_before(patch, 11)
        with pytest.raises(Ended):
            attempt(store, Interval(steps=5, seconds=None), [])
    names = [f"checkpoints/abc/{name}" for name in listing(store)]
    for name in names if both else names[-1:]:
        store.write(name, DAMAGE[damage](store.read(name)))
    said: list[str] = []
    taken = ends_before(monkeypatch, -1)
    assert_same(attempt(store, Interval(steps=5, seconds=None), said), undisturbed)
    assert taken == list(range(0 if both else 5, NUM_STEPS))
    assert f"checkpoint {names[-1]} is damaged" in said[0]
    assert both or said[1] == "goes on from its checkpoint after step 5"


def test_a_checkpoint_of_other_code_is_not_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(store, Interval(steps=5, seconds=None), [])
    said: list[str] = []
    taken = ends_before(monkeypatch, -1)
    other = Checkpoints(store=store, key="abc", code="ba9876543210", say=said.append)
    train_model(spec(), random_data(), "cpu", keeper=other)
    assert taken == list(range(NUM_STEPS)) and said == ["its checkpoints were written by other code and are not used"]
    other.clear()
    assert not listing(store)


class FullDisk(Store):
    """Writes under some names fail."""

    full: Sequence[str] = ()

    def write(self, name: str, data: bytes) -> None:
        if name.startswith(tuple(self.full)):
            raise OSError(28, "No space left on device")
        super().write(name, data)


def test_a_full_disk_is_said_and_the_training_goes_on(undisturbed: Trained, tmp_path: Path) -> None:
    store = FullDisk(str(tmp_path))
    store.full = ["checkpoints/"]
    said: list[str] = []
    assert_same(attempt(store, Interval(steps=5, seconds=None), said), undisturbed)
    assert len(said) == 2 and "no checkpoint at step 5: [Errno 28] No space left on device" in said[0]
    assert listing(store) == []


# -- through the lab ---------------------------------------------------------------------------------------------------


DIGITS = TrainSpec(model="digits:mlp", data="digits:train", epochs=3, batch_size=256)


def test_a_killed_training_goes_on_in_the_next_lab(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (wanted,) = SerialLab(store=Store(store.path("other"))).train([DIGITS]).result()
    with monkeypatch.context() as patch:
        ends_before(patch, 7)
        with pytest.raises(Ended):
            plan_training(SerialLab(store=store), [DIGITS], interval=Interval(steps=2)).result()
    assert len(store.list(f"checkpoints/{wanted.name.removeprefix('run:')}")) == 2
    taken, journal = ends_before(monkeypatch, -1), Said()
    (ref,) = SerialLab(store=store, journal=journal).train([DIGITS]).result()
    assert taken == list(range(6, 15)) and ref.content_hash == wanted.content_hash
    assert journal.said == ["train digits:mlp on digits:train: goes on from its checkpoint after step 6"]
    assert store.list(f"checkpoints/{wanted.name.removeprefix('run:')}") == []


def test_fresh_does_not_go_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        ends_before(patch, 7)
        with pytest.raises(Ended):
            plan_training(SerialLab(store=store), [DIGITS], interval=Interval(steps=2)).result()
    taken = ends_before(monkeypatch, -1)
    SerialLab(store=store, fresh=["train"]).train([DIGITS]).result()
    assert taken == list(range(15))


class Said(Journal):
    """Keeps the notes."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def test_weights_that_cannot_be_written_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the work is not lost: its checkpoint is there."""
    store = FullDisk(str(tmp_path))
    store.full = ["models/"]
    with pytest.raises(WorkFailed, match="No space left on device"):
        plan_training(SerialLab(store=store), [DIGITS], interval=Interval(steps=1)).result()
    store.full = ()
    taken = ends_before(monkeypatch, -1)
    SerialLab(store=store).train([DIGITS]).result()
    assert not taken


def test_a_curve_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    store = FullDisk(str(tmp_path))
    store.full = ["tensorboard/", "checkpoints/"]
    assert SerialLab(store=store).train([DIGITS]).result()
    assert list_weights(store, store.list("models")[0].partition("-")[0])
