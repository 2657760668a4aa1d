"""`prune` removes what no run refers to, and nothing else, also while a run begins."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.lab.pruning import Pruned, prune
from robustray.tasks.lab.runs import Run
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from tests.tasks.serial_lab import (  # noqa: F401  # used by their names in the tests
    CALLS,
    ask,
    clean_fixture,
    new_run,
    num_pieces,
    square,
    store_fixture,
)

NUM = 3
"""Pieces of `ask`: ten items in blocks of four."""
DAY = 24 * 3600.0


def pieces_in(store: Store) -> list[Path]:
    return sorted(Path(store.path("pieces")).rglob("*.parquet"))


def test_pieces_of_a_run_stay_and_those_of_a_deleted_run_go(store: Store) -> None:
    kept, deleted = new_run(store), new_run(store)
    rows = ask(SerialLab(store=store, journal=kept), seed=0)
    ask(SerialLab(store=store, journal=deleted), seed=1)
    assert prune(store, older_than_s=0) == Pruned(runs=2, kept=2 * NUM, young=0, pieces=0, bytes=0)
    shutil.rmtree(deleted.path())
    before = {path: path.stat().st_size for path in pieces_in(store)}
    looked = prune(store, older_than_s=0, dry_run=True)
    assert pieces_in(store) == list(before), "a dry run removes nothing"
    assert prune(store, older_than_s=0) == looked
    gone = set(before) - set(pieces_in(store))
    assert looked == Pruned(runs=1, kept=NUM, young=0, pieces=NUM, bytes=sum(before[path] for path in gone))
    assert len(store.folders("pieces")) == 1, "no empty folder is left"
    CALLS.clear()
    assert ask(SerialLab(store=store), seed=0)["square"].equals(rows["square"]) and not CALLS


def test_only_old_pieces_go_and_nothing_that_is_no_piece(store: Store) -> None:
    ask(SerialLab(store=store))
    old, *young = pieces_in(store)
    other = old.parent / "notes.parquet"
    other.write_text("somebody's own")
    for path in (old, other):
        os.utime(path, (0, path.stat().st_mtime - 31 * DAY))
    size = old.stat().st_size
    assert prune(store, older_than_s=30 * DAY) == Pruned(runs=0, kept=0, young=2, pieces=1, bytes=size)
    assert pieces_in(store) == sorted([*young, other])


def test_what_a_run_is_about_to_read_stays(store: Store) -> None:
    """The pieces are an earlier, forgotten lab's; the run has asked for them and reads them after the removal."""
    ask(SerialLab(store=store))
    handle = SerialLab(store=store, journal=new_run(store)).map("square", square, range(10), block=4)
    assert prune(store, older_than_s=0).pieces == 0 and num_pieces(store) == NUM
    CALLS.clear()
    assert len(handle.result()) == 10 and not CALLS


def test_a_run_that_begins_during_the_removal_keeps_its_pieces(store: Store) -> None:
    for seed in range(4):
        ask(SerialLab(store=store), seed=seed)
    keys = store.folders("pieces")
    begun: list[Run] = []
    moments = itertools.count(pieces_in(store)[-1].stat().st_mtime + DAY, 2.0)

    def clock() -> float:
        """Two seconds later each time. When the first folder is gone, a run begins that reuses all the others."""
        if not begun and len(store.folders("pieces")) < len(keys):
            begun.append(new_run(store))
            for seed in range(4):
                SerialLab(store=store, journal=begun[0]).map("square", square, range(10), block=4, seed=seed)
        return next(moments)

    found = prune(store, older_than_s=0, clock=clock)
    assert store.folders("pieces") == keys[1:] and (found.pieces, found.kept) == (NUM, 3 * NUM)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"step_keys": 1}', '{"step_keys": {"a": 1}}'])
def test_a_run_that_cannot_be_read_stops_it(store: Store, content: str) -> None:
    ask(SerialLab(store=store))
    store.write("attack-sweep-20260101-000000-00000000/run.json", content.encode())
    with pytest.raises(InputError, match=r"00000000/run\.json cannot be read.*nothing was removed"):
        prune(store, older_than_s=0)
    assert num_pieces(store) == NUM


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no store of robustray is there"):
            prune(Store(folder), older_than_s=0)
    assert not (tmp_path / "nowhere").exists()
