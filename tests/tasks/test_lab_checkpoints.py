"""States of long jobs in a store: what is written is read again, and what cannot be read is said as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from robustray.tasks.lab import arrays
from robustray.tasks.lab.checkpoints import Checkpoints
from robustray.tasks.lab.store import Store


class State:
    """A step and a weight under two names, as of layers that share one."""

    def __init__(self, step: int = 0) -> None:
        self.step = step
        self.weight = torch.full((2, 3), float(step))

    def tensors(self) -> Mapping[str, torch.Tensor]:
        return {"first": self.weight, "second": self.weight}

    def record(self) -> Mapping[str, Any]:
        return {"step": self.step}

    def load(self, tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
        assert torch.equal(tensors["first"], tensors["second"])
        self.step, self.weight = record["step"], tensors["first"]


def kept(store: Store, said: list[str]) -> Checkpoints:
    return Checkpoints(store=store, key="abc", code="0123456789ab", say=said.append)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_a_state_whose_weights_share_memory_is_written_and_read_again(store: Store) -> None:
    said: list[str] = []
    kept(store, said).save(State(step=7))
    state = State()
    kept(store, said).restore(state)
    assert state.step == 7 and torch.equal(state.weight, torch.full((2, 3), 7.0))
    assert said == ["goes on from its checkpoint after step 7"]


def test_tensors_that_share_memory_are_written_whole_under_each_name() -> None:
    whole = torch.arange(12.0).view(3, 4)
    tensors = {"whole": whole, "again": whole, "turned": whole.T, "a row": whole[1], "other": torch.ones(2)}
    data = arrays.packed(tensors, {"what": "a test"})
    found = load(data)
    assert set(found) == set(tensors) and all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert arrays.about(data) == {"what": "a test"}
    apart = {name: tensor.clone() for name, tensor in tensors.items()}
    assert arrays.packed(apart, {"what": "a test"}) == data, "bytes depend on what is written, not on where it was"


@pytest.mark.parametrize("num_damaged", [1, 2])
def test_what_is_used_instead_of_damaged_states_is_said(num_damaged: int, store: Store) -> None:
    for step in (3, 5):
        kept(store, []).save(State(step=step))
    for name in store.list("checkpoints/abc")[-num_damaged:]:
        store.write(f"checkpoints/abc/{name}", b"torn")
    said: list[str] = []
    state = State()
    kept(store, said).restore(state)
    ends = ["the one before it is", "it starts from the beginning" if num_damaged == 2 else "after step 3"]
    assert [words.endswith(end) for words, end in zip(said, ends, strict=True)] == [True, True]
    assert state.step == (0 if num_damaged == 2 else 3)
