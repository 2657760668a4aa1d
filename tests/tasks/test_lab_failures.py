"""`lab.map` in this process: what fails fails alone, and what is damaged is computed again."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.lab import base, runs
from robustray.tasks.lab.handles import MAX_FAILED_ITEMS, MapHandle
from robustray.tasks.lab.journal import Journal
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from tests.tasks.serial_lab import (  # noqa: F401  # used by their names in the tests
    BAD,
    BLOCK,
    CALLS,
    Told,
    ask,
    clean_fixture,
    new_run,
    num_pieces,
    same,
    square,
    store_fixture,
)

# -- what fails --------------------------------------------------------------------------------------------------------


def test_an_exception_ends_the_step_and_keeps_what_is_finished(store: Store) -> None:
    run = new_run(store)
    BAD[5] = KeyError("a typo")
    with pytest.raises(WorkFailed) as raised:
        ask(SerialLab(store=store, journal=run))
    words = str(raised.value)
    assert "square, items 4 to 7 failed: KeyError: 'a typo'" in words
    assert run.path("run.log") in words
    assert "KeyError" in Path(run.path("run.log")).read_text() and "in square" in Path(run.path("run.log")).read_text()
    assert CALLS == [[0, 1, 2, 3], [4, 5, 6, 7]], "the rest is not tried, and nothing is halved"
    BAD.clear()
    CALLS.clear()
    assert len(ask(SerialLab(store=store, journal=run))) == 10
    assert CALLS == [[4, 5, 6, 7], [8, 9]]


def test_another_step_goes_on_when_one_has_failed(store: Store) -> None:
    lab = SerialLab(store=store)
    BAD[5] = ValueError("only in the first")
    failing = lab.map("square", square, range(10), block=BLOCK)
    fine = lab.map("square", square, range(100, 105), block=BLOCK)
    with pytest.raises(WorkFailed):
        failing.result()
    with pytest.raises(WorkFailed):
        failing.result()  # asked again it does not pretend
    assert fine.result()["item"].tolist() == list(range(100, 105))


@block_function(version=1, columns={"x": pa.int16()})
def too_large(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    return {"x": np.asarray(items) + 2**15}


@block_function(version=1, columns={"x": Tensor("uint8")})
def any_shape(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    return {"x": np.zeros((len(items), 1 + items[0]), "uint8")}


@pytest.mark.parametrize(("function", "words"), [(too_large, "too_large: column 'x'"), (any_shape, "any_shape")])
def test_rows_that_do_not_fit_name_the_function(function: Any, words: str, store: Store) -> None:
    with pytest.raises(WorkFailed, match=words):
        SerialLab(store=store).map("step", function, range(8), block=BLOCK).result()


@pytest.mark.parametrize(
    "asked",
    [
        {"function": lambda items, context: {}},
        {"function": square.function},
        {"block": 0},
        {"block": -1},
        {"items": [1, math.nan]},
        {"items": [{1}]},
        {"settings": math.inf},
        {"settings": object()},
    ],
    # In words: the id of an object is its address, and parallel workers would not agree on the tests there are.
    ids=[
        "a lambda",
        "an undeclared function",
        "an empty block",
        "a negative block",
        "an item that is NaN",
        "an item that is a set",
        "an infinite setting",
        "a setting without a form",
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(asked: dict[str, Any], store: Store) -> None:
    given: dict[str, Any] = {"function": square, "items": range(3), "block": 2} | asked
    with pytest.raises(InputError):
        SerialLab(store=store).map("step", given.pop("function"), given.pop("items"), **given)
    assert CALLS == [] and store.folders() == []


OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried"),
]


try:
    np.empty(2**50)
except MemoryError as too_large_for_numpy:  # of a private class
    OUT_OF_MEMORY.append(too_large_for_numpy)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("poison", [0, 5, 7, 9])
def test_running_out_of_memory_halves_down_to_the_item(poison: int, error: BaseException, store: Store) -> None:
    journal, told = Journal(), Told()
    BAD[poison] = error
    frame = ask(SerialLab(store=store, journal=journal, progress=told))
    assert frame["item"].tolist() == [i for i in range(10) if i != poison]
    (failure,) = journal.failures
    assert (failure["step"], failure["index"], failure["item"]) == ("square", poison, poison)
    assert "out of memory" in failure["reason"]
    assert [poison] in CALLS
    count = journal.count("square")
    assert (count.failed_items, count.computed_items) == (1, 9)
    assert any("given up" in message for message in told.messages)


def test_a_torch_allocation_that_is_too_large_counts_as_out_of_memory(store: Store) -> None:
    journal = Journal()
    frame = SerialLab(store=store, journal=journal).map("allocate", allocate, [1, 10**16, 2], block=3).result()
    assert frame["x"].tolist() == [1, 2]
    assert len(journal.failures) == 1


@block_function(version=1, columns={"x": pa.int64()})
def allocate(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    return {"x": [len(torch.empty(item, dtype=torch.uint8)) for item in items]}


def test_memory_that_returns_leaves_no_trace(store: Store, tmp_path: Path) -> None:
    """Halved rows are the rows of whole blocks, bit for bit."""
    expected = ask(SerialLab(store=Store(str(tmp_path / "other"))))
    BAD[5] = MemoryError()
    ask(SerialLab(store=store))
    BAD.clear()
    CALLS.clear()
    assert same(ask(SerialLab(store=store)), expected)
    assert CALLS == [[4, 5]], "the finished half of the divided block is used"


def test_a_resumed_run_keeps_failed_items_apart_until_it_is_told(store: Store, tmp_path: Path) -> None:
    expected = ask(SerialLab(store=Store(str(tmp_path / "other"))))
    run = new_run(store)
    BAD[6] = MemoryError()
    without = ask(SerialLab(store=store, journal=run))
    run.save("failed")

    CALLS.clear()
    again = runs.load(store, run.id)
    assert same(ask(SerialLab(store=store, journal=again)), without)
    assert CALLS == [], "neither the failed item nor its neighbours are tried"
    assert again.count("square").failed_items == 1

    # The pieces may be gone, the verdict stays: nothing runs together with the item that kills.
    for name in store.list(f"pieces/{again.step_keys['square'][0]}"):
        store.delete(f"pieces/{again.step_keys['square'][0]}/{name}")
    assert same(ask(SerialLab(store=store, journal=runs.load(store, run.id))), without)
    assert not [call for call in CALLS if 6 in call]

    BAD.clear()
    retried = runs.load(store, run.id)
    assert retried.forget_failures() == 1
    assert same(ask(SerialLab(store=store, journal=retried)), expected)
    assert not runs.load(store, run.id).failures


def test_a_given_up_item_is_known_by_its_content(store: Store) -> None:
    """Two lists of one step (the survivors of two cells): item 5 of one is not item 5 of the other."""
    journal = Journal()
    lab = SerialLab(store=store, journal=journal)
    BAD[5] = MemoryError()
    assert len(ask(lab, range(8))) == 7
    assert ask(lab, range(50, 58))["item"].tolist() == list(range(50, 58))


@pytest.mark.parametrize(
    ("partial", "reads"), [(None, True), ({"square", "other"}, True), ({"other"}, False), (frozenset(), False)]
)
def test_a_study_reads_fewer_rows_than_items_only_where_it_says_that_it_can(
    partial: Collection[str] | None, reads: bool, store: Store
) -> None:
    run = new_run(store)
    lab = SerialLab(store=store, journal=run)
    lab.partial = partial
    BAD[5] = MemoryError()
    fine, lacking = (
        lab.map("square", square, range(100, 105), block=BLOCK),
        lab.map("square", square, range(10), block=4),
    )
    for _ in range(2):  # asked again it says the same
        assert len(fine.result()) == 5
        if reads:
            assert lacking.result()["item"].tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9]
            continue
        with pytest.raises(WorkFailed, match=r"^1 of 10 items of square were given up; ") as raised:
            lacking.result()
        assert f"`robustray resume {run.id} --failed` tries them again" in str(raised.value)


@pytest.mark.parametrize(("num_poison", "fails"), [(MAX_FAILED_ITEMS, False), (MAX_FAILED_ITEMS + 1, True)])
def test_too_many_poison_items_are_no_bad_luck(num_poison: int, fails: bool, store: Store) -> None:
    journal = Journal()
    for item in range(0, 3 * num_poison, 3):
        BAD[item] = MemoryError()
    lab = SerialLab(store=store, journal=journal)
    if fails:
        with pytest.raises(WorkFailed, match="more than 10 items"):
            ask(lab, range(1000), block=8)
        assert len(CALLS) < 125, "the rest is not tried"
    else:
        assert len(ask(lab, range(1000), block=8)) == 1000 - num_poison
    assert len(journal.failures) == num_poison


def test_poison_items_of_a_step_add_up_over_its_handles(store: Store) -> None:
    """A study opens a step in many handles; that each of them has only a few bad items is no bad luck either."""
    journal = Journal()
    lab = SerialLab(store=store, journal=journal)
    BAD.update({item: MemoryError() for item in range(0, 300, 10)})
    handles = [lab.map("square", square, range(i, i + 40), block=8) for i in range(0, 120, 40)]
    other = lab.map("another step", square, range(200, 240), block=8)
    assert [len(handle.result()) for handle in handles[:2]] == [36, 36]
    with pytest.raises(WorkFailed, match="square: more than 10 items"):
        handles[2].result()
    assert len(journal.failures) == MAX_FAILED_ITEMS + 1
    assert len(other.result()) == 36


def test_poison_items_add_up_over_the_attempts_of_a_run(store: Store) -> None:
    run = new_run(store)
    BAD.update({item: MemoryError() for item in range(MAX_FAILED_ITEMS)})
    assert len(ask(SerialLab(store=store, journal=run), range(40))) == 30
    BAD.update({item: MemoryError() for item in range(40, 42)})
    run.save("failed")
    again = runs.load(store, run.id)
    with pytest.raises(WorkFailed, match="more than 10 items"):
        ask(SerialLab(store=store, journal=again), range(80))
    again.forget_failures()
    BAD.clear()
    assert len(ask(SerialLab(store=store, journal=again), range(80))) == 80


def test_all_items_may_be_poison(store: Store) -> None:
    BAD.update({i: MemoryError() for i in range(3)})
    frame = ask(SerialLab(store=store), range(3))
    assert len(frame) == 0 and list(frame) == ["item", "square", "image"] and frame["square"].dtype == "float64"


def test_an_interrupt_loses_no_job(store: Store) -> None:
    """Ctrl-C in a notebook, and the handle asked again."""
    told = Told()
    BAD[5] = KeyboardInterrupt()
    handle = SerialLab(store=store, progress=told).map("square", square, range(10), block=BLOCK)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            handle.result()
    BAD.clear()
    assert handle.result()["item"].tolist() == list(range(10))
    assert (told.total, told.done) == (10, 10)


# -- damage ------------------------------------------------------------------------------------------------------------


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


DAMAGE = {
    "a flipped bit": _flip,
    "torn": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("when", ["before the listing", "after the listing"])
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("which", [(0,), (1, 2)], ids=["one piece", "two pieces"])
def test_damaged_pieces_are_computed_again(
    damage: str, when: str, which: tuple[int, ...], store: Store, tmp_path: Path
) -> None:
    expected = ask(SerialLab(store=store))
    folder = f"pieces/{store.folders('pieces')[0]}"
    names = store.list(folder)
    content = {name: store.read(f"{folder}/{name}") for name in names}
    CALLS.clear()
    told = Told()
    lab = SerialLab(store=store, progress=told)
    handle = lab.map("square", square, range(10), block=BLOCK) if when == "after the listing" else None
    for i in which:
        DAMAGE[damage](Path(store.path(f"{folder}/{names[i]}")))
    frame = handle.result() if handle is not None else ask(lab)
    assert same(frame, expected)
    assert len(CALLS) == len(which)
    assert {name: store.read(f"{folder}/{name}") for name in store.list(folder)} == content
    assert (told.total, told.done) == (10, 10)
    CALLS.clear()
    assert same(ask(SerialLab(store=store)), expected) and CALLS == []


def test_what_is_computed_again_is_counted_once_as_found_and_once_as_old(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece that was in the store and is damaged was not reused; one that this run made never was."""
    journal = Journal()
    made = SerialLab(store=store, journal=journal).map("square", square, range(10), block=BLOCK)
    assert isinstance(made, MapHandle)
    made.wait()
    _flip(Path(store.path(made.found[0].name)))
    made.result()
    count = journal.count("square")
    assert (count.blocks, count.reused_blocks, count.computed_blocks, count.old_blocks) == (3, 0, 4, 0)

    monkeypatch.setattr(base, "code_hash", lambda modules: "0123456789ab")
    journal = Journal()
    found = SerialLab(store=store, journal=journal).map("square", square, range(10), block=BLOCK)
    assert isinstance(found, MapHandle)
    _flip(Path(store.path(found.found[0].name)))
    found.result()
    count = journal.count("square")
    assert (count.blocks, count.reused_blocks, count.computed_blocks, count.old_blocks) == (3, 2, 1, 2)


def test_a_damaged_half_is_computed_again(store: Store) -> None:
    BAD[5] = MemoryError()
    run = new_run(store)
    expected = ask(SerialLab(store=store, journal=run))
    folder = f"pieces/{store.folders('pieces')[0]}"
    _flip(Path(store.path(f"{folder}/{next(name for name in store.list(folder) if name.startswith('000000006'))}")))
    CALLS.clear()
    assert same(ask(SerialLab(store=store, journal=run)), expected)
    assert CALLS == [[6, 7]]


def test_leftovers_of_dead_writers_are_swept_when_a_step_works(store: Store) -> None:
    ask(SerialLab(store=store))
    folder = Path(store.path(f"pieces/{store.folders('pieces')[0]}"))
    for name, age_hours in (("old.1.tmp", 25), ("young.1.tmp", 1)):
        (folder / name).write_bytes(b"torn")
        past = (folder / name).stat().st_mtime - 3600 * age_hours
        os.utime(folder / name, (past, past))
    ask(SerialLab(store=store), range(20))
    assert [name for name in os.listdir(folder) if name.endswith(".tmp")] == ["young.1.tmp"]


def test_a_full_disk_ends_the_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(WorkFailed, match="No space left"):
        ask(SerialLab(store=store))
