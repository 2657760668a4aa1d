"""A block function that tells what it was asked for and fails on order, and a lab in this process to run it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from robustray.tasks.lab import runs
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.runs import Run, RunIdentity
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store

BLOCK = 4
CALLS: list[list[Any]] = []
"""What the block function was asked for."""
BAD: dict[Any, BaseException] = {}
"""Item -> what happens to a block that holds it."""


@block_function(version=1, columns={"item": pa.int64(), "square": pa.float64(), "image": Tensor("uint8")})
def square(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    CALLS.append(list(items))
    for item in items:
        if item in BAD:
            raise BAD[item]
    image = np.repeat((np.asarray(items) % 256).astype("uint8")[:, None], 3, axis=1)
    return {"item": items, "square": np.asarray(items, "float64") ** 2 + context.seed, "image": image}


@pytest.fixture(name="clean", autouse=True)
def clean_fixture() -> Iterator[None]:
    CALLS.clear()
    BAD.clear()
    yield
    BAD.clear()


@pytest.fixture(name="store")
def store_fixture(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "store"))
    made.create()
    return made


class Told:
    """Progress that remembers, and checks that the sums stay possible."""

    def __init__(self) -> None:
        self.total = self.done = self.open = 0
        self.messages: list[str] = []

    def start(self, step: str, total: int, done: int) -> None:
        assert 0 <= done <= total
        self.total, self.done, self.open = self.total + total, self.done + done, self.open + 1

    def advance(self, step: str, n: int, seconds: float) -> None:
        self.done += n
        assert 0 <= self.done <= self.total

    def finish(self, step: str) -> None:
        self.open -= 1

    def message(self, text: str) -> None:
        self.messages.append(text)

    def close(self) -> None:
        pass


def ask(lab: SerialLab, items: Sequence[Any] = range(10), **changed: Any) -> pd.DataFrame:
    return lab.map("square", square, items, **{"block": BLOCK, **changed}).result()


def num_pieces(store: Store) -> int:
    return sum(len(store.list(f"pieces/{key}")) for key in store.folders("pieces"))


def same(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Equal names, types, order and bits."""
    plain = [frame.assign(image=[image.tobytes() for image in frame["image"]]) for frame in (first, second)]
    return plain[0].equals(plain[1]) and list(first.dtypes) == list(second.dtypes)


def new_run(store: Store) -> Run:
    identity = RunIdentity(study="test-study", size="quick", settings={}, seed=0, hash8="12345678", code="0" * 12)
    return runs.create(store, identity, command="robustray run test-study", options={})
