"""Which of several stored weights of one key a name means, and what is said about it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from robustray.tasks.data.reference import open_data
from robustray.tasks.errors import InputError
from robustray.tasks.lab.executor import Silent
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.models.registry import build_model
from robustray.tasks.training.handle import training_code
from robustray.tasks.training.weights import publish_weights

KEY = "0123456789abcdef"
NOW = training_code("digits:mlp", open_data("digits:train", data_root=None).modules)


class Told(Silent):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def put(store: Store, code: str, minute: int, data: str = "digits:train") -> bytes:
    """Weights that `code` made at that minute."""
    torch.manual_seed(minute)
    tensors = dict(build_model("digits:mlp").state_dict())
    about: dict[str, Any] = {"model": "digits:mlp", "spec": {"model": "digits:mlp", "data": data}, "curve": []}
    name = publish_weights(store, KEY, code, tensors, about)
    os.utime(store.path(name), (60 * minute, 60 * minute))
    return store.read(name)


def opened(store: Store) -> tuple[bytes, list[str]]:
    """What `run:KEY` means, and what was said."""
    told = Told()
    ref: Any = SerialLab(store=store, progress=told).model(f"run:{KEY}")
    ref.fetch()
    return ref.read_weights(), told.messages


@pytest.mark.parametrize(
    ("codes", "chosen", "says"),
    [
        ([NOW], 0, False),
        (["000000000000", NOW, "ffffffffffff"], 1, False),
        ([NOW, "ffffffffffff", "000000000000"], 0, False),
        (["ffffffffffff", "000000000000"], 1, True),
        (["000000000000", "ffffffffffff"], 1, True),
        (["000000000000"], 0, True),
    ],
)
def test_weights_of_the_present_code_come_first_then_the_newest(
    codes: list[str], chosen: int, says: bool, store: Store
) -> None:
    made = [put(store, code, minute) for minute, code in enumerate(codes, start=1)]
    found, messages = opened(store)
    assert found == made[chosen]
    assert len(messages) == says, "said once, or not at all"
    if says:
        assert f"run:{KEY}" in messages[0] and "other code" in messages[0] and "--fresh train" in messages[0]


def test_damaged_weights_are_passed_over(store: Store) -> None:
    older = put(store, "000000000000", 1)
    put(store, NOW, 2)
    (name,) = [name for name in store.list("models") if NOW in name]
    Path(store.path(f"models/{name}")).write_bytes(b"torn")
    found, messages = opened(store)
    assert found == older and len(messages) == 1


def test_where_the_code_cannot_be_known_only_a_choice_is_worth_a_word(store: Store) -> None:
    """The data of the training are not at hand: one's own module, say, which is elsewhere."""
    first = put(store, "000000000000", 1, data="nowhere:data")
    assert opened(store) == (first, [])
    second = put(store, "111111111111", 2, data="nowhere:data")
    found, messages = opened(store)
    assert found == second and len(messages) == 1 and "newest of 2" in messages[0]


def test_unknown_weights_are_an_input_error(store: Store) -> None:
    with pytest.raises(InputError, match=f"run:{KEY}: no such weights .*robustray list --store"):
        SerialLab(store=store).model(f"run:{KEY}")
