"""`lab.map` in this process: one row per item, nothing is computed twice, nothing stale is used in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from robustray.tasks.errors import WorkFailed
from robustray.tasks.lab import base, pieces
from robustray.tasks.lab.journal import Journal
from robustray.tasks.lab.protocol import Context, Needs, block_function
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

# -- what is asked for and what is computed ----------------------------------------------------------------------------


@pytest.mark.parametrize("num_items", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 1])
def test_one_row_per_item_whatever_the_number(num_items: int, store: Store) -> None:
    told = Told()
    frame = ask(SerialLab(store=store, progress=told), range(num_items))
    assert frame["item"].tolist() == list(range(num_items))
    assert frame["square"].tolist() == [i**2 for i in range(num_items)]
    assert list(frame) == ["item", "square", "image"]
    assert frame["square"].dtype == "float64"
    assert [len(call) for call in CALLS] == [min(BLOCK, num_items - i) for i in range(0, num_items, BLOCK)]
    assert (told.total, told.done, told.open) == (num_items, num_items, 0)


@pytest.mark.parametrize("block", [1, 3, 4, 5, 9, 10, 11, 1000])
def test_the_size_of_a_block_changes_no_row(block: int, store: Store, tmp_path: Path) -> None:
    expected = ask(SerialLab(store=Store(str(tmp_path / "other"))))
    assert same(ask(SerialLab(store=store), block=block), expected)


def test_a_finished_piece_is_never_computed_twice(store: Store) -> None:
    first = ask(SerialLab(store=store))
    calls = len(CALLS)
    journal = Journal()
    assert same(ask(SerialLab(store=store, journal=journal)), first)
    assert len(CALLS) == calls
    count = journal.count("square")
    assert (count.blocks, count.reused_blocks, count.computed_blocks, count.old_blocks) == (3, 3, 0, 0)


def test_a_longer_list_uses_the_full_blocks_of_a_shorter_one(store: Store) -> None:
    ask(SerialLab(store=store), range(10))
    CALLS.clear()
    frame = ask(SerialLab(store=store), range(13))
    assert CALLS == [[8, 9, 10, 11], [12]]
    assert frame["item"].tolist() == list(range(13))


def test_a_larger_block_uses_the_smaller_ones_it_is_made_of(store: Store) -> None:
    ask(SerialLab(store=store), range(16), block=4)
    CALLS.clear()
    assert ask(SerialLab(store=store), range(16), block=8)["item"].tolist() == list(range(16))
    assert CALLS == []


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"settings": {"a": 1}}, {"needs": Needs(threads=2)}, {"items": [*range(9), 77]}]
)
def test_another_request_is_another_piece(changed: dict[str, Any], store: Store) -> None:
    lab = SerialLab(store=store)
    ask(lab)
    CALLS.clear()
    ask(lab, **changed)
    assert len(CALLS) == (1 if "items" in changed else 3)


def test_equal_items_at_other_places_are_other_rows(store: Store) -> None:
    assert ask(SerialLab(store=store), [7, 7, 7, 7, 7])["item"].tolist() == [7] * 5


def test_all_handles_of_a_stage_may_be_open_at_once(store: Store) -> None:
    lab = SerialLab(store=store)
    handles = [lab.map("square", square, range(i), block=BLOCK, seed=i) for i in range(1, 6)]
    for i, handle in reversed(list(enumerate(handles, start=1))):
        assert handle.result()["square"].tolist() == [j**2 + i for j in range(i)]


def test_the_same_request_twice_at_once(store: Store) -> None:
    lab = SerialLab(store=store)
    handles = [lab.map("square", square, range(10), block=BLOCK) for _ in range(2)]
    assert same(handles[0].result(), handles[1].result())
    assert num_pieces(store) == 3


def test_a_result_may_be_read_twice(store: Store) -> None:
    handle = SerialLab(store=store).map("square", square, range(5), block=BLOCK)
    assert same(handle.result(), handle.result())
    assert len(CALLS) == 2


# -- references --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weight:
    """A reference to one number; remembers how often it was fetched and built."""

    value: float
    used: dict[str, int]
    name: str = "weight"
    modules: tuple[str, ...] = ()

    @property
    def content_hash(self) -> str:
        return f"{self.value}"

    def fetch(self) -> float:
        self.used["fetched"] = self.used.get("fetched", 0) + 1
        return self.value

    def build(self, payload: float, device: str) -> float:
        self.used["built"] = self.used.get("built", 0) + 1
        return payload


@block_function(version=1, columns={"x": pa.float64()})
def times(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    return {"x": np.asarray(items) * context.load("weight")}


def test_a_reference_is_fetched_and_built_once_and_its_content_is_in_the_key(store: Store) -> None:
    lab = SerialLab(store=store)
    two, three = Weight(2.0, {}), Weight(3.0, {})
    assert lab.map("times", times, range(20), block=2, refs={"weight": two}).result()["x"].tolist()[-1] == 38.0
    assert lab.map("times", times, range(20), block=2, refs={"weight": three}).result()["x"].tolist()[-1] == 57.0
    assert two.used == three.used == {"fetched": 1, "built": 1}


# -- code that changed -------------------------------------------------------------------------------------------------


def test_old_pieces_are_used_and_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(SerialLab(store=store))
    CALLS.clear()
    monkeypatch.setattr(base, "code_hash", lambda modules: "0123456789ab")
    journal = Journal()
    ask(SerialLab(store=store, journal=journal), range(14))
    assert CALLS == [[8, 9, 10, 11], [12, 13]]
    assert journal.count("square").old_blocks == 2


def test_fresh_drops_the_step_once_in_a_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(SerialLab(store=store))
    monkeypatch.setattr(base, "code_hash", lambda modules: "0123456789ab")
    journal = Journal()
    CALLS.clear()
    ask(SerialLab(store=store, journal=journal, fresh=["square"]))
    assert len(CALLS) == 3 and num_pieces(store) == 3
    ask(SerialLab(store=store, journal=journal, fresh=["square"]))  # the same run, resumed
    assert len(CALLS) == 3
    assert journal.count("square").old_blocks == 0
    ask(SerialLab(store=store, journal=Journal(), fresh=["square"]))
    assert len(CALLS) == 6
    ask(SerialLab(store=store, journal=Journal(), fresh=["another step"]))
    assert len(CALLS) == 6


def test_a_piece_of_the_present_code_is_preferred(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two drivers with different code shared the store: each finds its own."""
    for code in ("ffffffffffff", "000000000000"):
        with monkeypatch.context() as patch:
            patch.setattr(base, "code_hash", lambda modules, code=code: code)
            patch.setattr(SerialLab, "drop", lambda self, key, listed: {})  # ... as if neither had seen the other's
            ask(SerialLab(store=store, fresh=["square"]))
    assert num_pieces(store) == 6
    for code in ("ffffffffffff", "000000000000", "888888888888"):
        with monkeypatch.context() as patch:
            patch.setattr(base, "code_hash", lambda modules, code=code: code)
            journal = Journal()
            ask(SerialLab(store=store, journal=journal))
            assert journal.count("square").old_blocks == (3 if code.startswith("8") else 0)
    assert len(CALLS) == 6


def test_pieces_of_the_store_are_what_the_lab_says(store: Store) -> None:
    journal = Journal()
    ask(SerialLab(store=store, journal=journal))
    (key,) = journal.step_keys["square"]
    listed = pieces.listing(store, key)
    assert sorted(piece.first for versions in listed.values() for piece in versions) == [0, 4, 8]


# -- numerics ----------------------------------------------------------------------------------------------------------


@block_function(version=1, columns={"torch": pa.int64(), "blas": pa.list_(pa.int64())})
def count_threads(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    import threadpoolctl

    pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    if context.settings == "fail":
        raise ValueError
    return {"torch": [torch.get_num_threads()] * len(items), "blas": [pools] * len(items)}


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_is_set_and_restored(threads: int, store: Store) -> None:
    import threadpoolctl

    before = torch.get_num_threads(), [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    lab = SerialLab(store=store)
    row = lab.map("count", count_threads, [0], block=1, needs=Needs(threads=threads)).result().iloc[0]
    assert row.torch == threads
    assert set(row.blas) <= {threads}
    with pytest.raises(WorkFailed):
        lab.map("count", count_threads, [0], block=1, settings="fail", needs=Needs(threads=threads)).result()
    assert before == (torch.get_num_threads(), [pool["num_threads"] for pool in threadpoolctl.threadpool_info()])
