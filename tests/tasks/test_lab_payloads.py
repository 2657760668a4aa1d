"""Payloads are let go when no open job needs them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from robustray.tasks.lab.jobs import Receipt, Worker
from robustray.tasks.lab.payloads import Payloads, num_bytes
from robustray.tasks.lab.protocol import Context, block_function
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store


@dataclass(eq=False)
class Held:
    """A payload that can be referred to weakly, like `ImageData`."""

    values: np.ndarray


@dataclass
class Large:
    """A reference to so many bytes, which counts how often it was read."""

    content_hash: str
    size: int = 1_000
    name: str = "large"
    modules: tuple[str, ...] = ()
    alive: list[weakref.ref[Held]] = field(default_factory=list)

    def fetch(self) -> Held:
        payload = Held(np.zeros(self.size, np.uint8))
        self.alive.append(weakref.ref(payload))
        return payload

    def build(self, payload: Held, device: str) -> Held:
        return payload

    @property
    def num_alive(self) -> int:
        return sum(ref() is not None for ref in self.alive)


def alive_of(refs: Sequence[Large]) -> list[int]:
    """Payloads of each that are still there; one collection for all, which takes a second late in a long session."""
    gc.collect()
    return [ref.num_alive for ref in refs]


@pytest.fixture
def forgotten() -> list[str]:
    return []


@pytest.fixture
def payloads(forgotten: list[str]) -> Payloads:
    return Payloads(forget=forgotten.extend, idle_bytes=2_500)


def test_what_an_open_job_needs_stays(payloads: Payloads, forgotten: list[str]) -> None:
    refs = [Large(name) for name in "abcde"]
    payloads.open(refs)
    assert [payloads.get(ref) is payloads.get(ref) for ref in refs] == [True] * 5 and not forgotten
    payloads.close(refs[1:3])
    assert not forgotten, "two that are idle are fewer bytes than may be kept"
    payloads.close(refs[3:])
    assert forgotten == ["b", "c"], "the least recently used first"
    payloads.close(refs[:1])
    assert forgotten == ["b", "c", "a"]
    assert alive_of(refs) == [0, 0, 0, 1, 1]


def test_as_many_jobs_as_were_opened_must_close(payloads: Payloads, forgotten: list[str]) -> None:
    large, other = Large("a", size=9_000), Large("b")
    payloads.open([large], jobs=2)
    payloads.get(large)
    for expected in ([], ["a"]):
        payloads.close([large])
        payloads.get(other)
        assert forgotten == expected


def test_the_newest_is_kept_whatever_its_size(payloads: Payloads, forgotten: list[str]) -> None:
    """A study that asks for one thing again and again reads it once."""
    large = Large("a", size=9_000)
    for _ in range(3):
        payloads.open([large])
        payloads.get(large)
        payloads.close([large])
    assert len(large.alive) == 1 and not forgotten


def test_what_the_study_holds_is_not_read_again(payloads: Payloads, forgotten: list[str]) -> None:
    large = Large("a", size=9_000)
    images = payloads.get(large)
    payloads.get(Large("b"))
    assert forgotten == ["a"] and payloads.get(large) is images and len(large.alive) == 1
    payloads.get(Large("b"))
    del images
    gc.collect()
    payloads.get(large)
    assert len(large.alive) == 2


@dataclass
class Half:
    """A reference to the first half of another's bytes."""

    base: Any
    name: str = "half"
    modules: tuple[str, ...] = ()

    @property
    def content_hash(self) -> str:
        return f"half of {self.base.content_hash}"

    def fetch(self) -> Held:
        return self.made_from(self.base.fetch())

    def made_from(self, payload: Held) -> Held:
        return Held(payload.values[: len(payload.values) // 2].copy())

    def build(self, payload: Held, device: str) -> Held:
        return payload


def test_what_views_are_made_from_is_read_once(payloads: Payloads, forgotten: list[str]) -> None:
    small = Large("a", size=800)
    half, quarter = Half(small), Half(Half(small))
    assert [len(payloads.get(ref).values) for ref in (half, quarter, half)] == [400, 200, 400]
    assert len(payloads.get(small).values) == 800 and len(small.alive) == 1


def test_a_large_base_is_kept_by_who_holds_it_only(payloads: Payloads, forgotten: list[str]) -> None:
    """It would push out everything else."""
    other, large = Large("b", size=100), Large("a", size=9_000)
    payloads.get(other)
    payloads.get(Half(Half(large)))
    assert not forgotten and alive_of([other, large]) == [1, 0]
    held = payloads.get(large)
    payloads.get(other)
    payloads.get(Half(large))
    assert alive_of([large]) == [1] and len(large.alive) == 2, "not read a third time"
    del held


def test_bytes_are_counted_wherever_arrays_are() -> None:
    array = np.zeros((3, 4), np.float32)
    assert num_bytes(array) == 48
    assert num_bytes({"a": array, "b": [array, (b"1234", 5, None)]}) == 100
    assert num_bytes(Held(array)) == 48 and num_bytes("text") == 0


@block_function(version=1, columns={"size": pa.int64()})
def measure_block(items: Sequence[Any], context: Context) -> Mapping[str, Any]:
    size = len(context.load("data").values)
    if context.settings == "fails":
        raise ValueError("on purpose")
    return {"size": [size] * len(items)}


@pytest.mark.parametrize("settings", [None, "fails"])
def test_a_lab_lets_go_of_what_its_steps_are_done_with(store: Store, settings: str | None) -> None:
    """Twelve data sets, one after the other, each in two blocks."""
    lab = SerialLab(store=store)
    refs = [Large(f"{number}", size=30_000_000) for number in range(12)]
    alive = []
    for ref in refs:
        handle = lab.map("measure", measure_block, range(4), block=2, settings=settings, refs={"data": ref})
        if settings is None:
            assert handle.result()["size"].tolist() == [30_000_000] * 4
        else:
            with pytest.raises(Exception, match="on purpose"):
                handle.result()
        del handle
        alive.append(sum(alive_of(refs)))
    assert max(alive) <= 3 and [len(ref.alive) for ref in refs] == [1] * 12


def test_halves_of_a_job_hold_what_the_job_held(store: Store) -> None:
    lab = SerialLab(store=store)
    ref = Large("a")
    handle: Any = lab.map("measure", measure_block, range(4), block=4, refs={"data": ref})
    (job,) = handle.blocks
    handle.split(job, 2)
    handle.done(job.halves()[0], Receipt(outcome="done", name="x-c-s.parquet"))
    assert lab.payloads._open_jobs["a"] == 1
    handle.done(job.halves()[1], Receipt(outcome="done", name="x-c-s.parquet"))
    assert lab.payloads._open_jobs["a"] == 0 == handle.open_jobs


def test_a_worker_forgets_what_it_built(store: Store) -> None:
    worker = Worker(store=store, payload=lambda ref: ref.fetch())
    ref, other = Large("a"), Large("b")
    worker.load(ref, "cpu")
    worker.load(other, "cpu")
    worker.forget(["a"])
    assert alive_of([ref, other]) == [0, 1]
    worker.load(ref, "cpu")
    assert len(ref.alive) == 2


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store(str(tmp_path))
