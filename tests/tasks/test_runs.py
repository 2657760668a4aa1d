"""A run's folder: found again by what it is, readable whatever was torn, and never mistaken for another."""

from __future__ import annotations

import datetime
import json
import re
import time
from pathlib import Path

import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.lab import runs
from robustray.tasks.lab.jobs import BlockJob, Receipt
from robustray.tasks.lab.protocol import Needs
from robustray.tasks.lab.runs import Run, RunIdentity
from robustray.tasks.lab.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def identity(study: str = "attack-sweep", hash8: str = "0123abcd") -> RunIdentity:
    return RunIdentity(study=study, size="quick", settings={"eps": [0.1]}, seed=3, hash8=hash8, code="c" * 12)


def create(store: Store, monkeypatch: pytest.MonkeyPatch, second: int = 0, **who: str) -> Run:
    """A run that began at that second."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Clock:
            return cls(2026, 1, 2, 3, 4, second)

    with monkeypatch.context() as patch:
        patch.setattr(datetime, "datetime", Clock)
        return runs.create(store, identity(**who), command="robustray run x", options={"workers": 2})


def block_job(first: int = 0, items: tuple[int, ...] = (0, 1), step_key: str = "key") -> BlockJob:
    return BlockJob(
        step="attack",
        step_key=step_key,
        function="module:function",
        first=first,
        items=list(items),
        seed=0,
        settings=None,
        refs={},
        needs=Needs(),
        device="cpu",
        code="c" * 12,
    )


def test_a_new_run_says_what_it_is(store: Store) -> None:
    run = runs.create(store, identity(), command="robustray run x", options={"workers": 2})
    assert re.fullmatch(r"attack-sweep-\d{8}-\d{6}-0123abcd", run.id)
    written = json.loads(store.read(f"{run.id}/run.json"))
    assert written["status"] == "running" and written["options"] == {"workers": 2}
    assert runs.load(store, run.id).file == run.file


def test_the_newest_run_of_a_hash_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runs.find(store, "attack-sweep", "0123abcd") is None
    made = [create(store, monkeypatch, second) for second in (5, 7, 6)]
    create(store, monkeypatch, 9, hash8="ffffffff")
    create(store, monkeypatch, 9, study="attack-sweep-two", hash8="eeeeeeee")
    found = runs.find(store, "attack-sweep", "0123abcd")
    assert found is not None and found.id == made[1].id
    assert [run.id for run in runs.all_runs(store)] == sorted(run.id for run in runs.all_runs(store))
    assert len(runs.all_runs(store)) == 5


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"12", b"{}", b"\xff\xfe\xfa", b'{"identity": 3}'])
def test_folders_that_are_no_runs_are_passed_over(
    content: bytes, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = create(store, monkeypatch, 1)
    broken = create(store, monkeypatch, 2)
    store.write(f"{broken.id}/run.json", content)
    store.write("attack-sweep-20260102-030499-0123abcd/notes.txt", b"")
    assert [run.id for run in runs.all_runs(store)] == [older.id]
    found = runs.find(store, "attack-sweep", "0123abcd")
    assert found is not None and found.id == older.id
    with pytest.raises(InputError, match=r"run\.json is missing, damaged or of another version.*; delete its folder"):
        runs.load(store, broken.id)


def test_a_run_is_known_by_part_of_its_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = create(store, monkeypatch, 1), create(store, monkeypatch, 2, hash8="ffffffff")
    assert runs.load(store, "0123abcd").id == first.id
    assert runs.load(store, "attack-sweep-20260102-030402").id == second.id
    with pytest.raises(InputError, match="2 runs"):
        runs.load(store, "attack-sweep-2026")
    with pytest.raises(InputError, match=f"there is no run 'attack-sweep-2025'.*{first.id}"):
        runs.load(store, "attack-sweep-2025")


def test_an_unknown_run_is_answered_with_a_few_names(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest and the five newest, in one line, and how to see them all: a store may hold hundreds."""
    with pytest.raises(InputError, match=r"there is no run 'x' in .*store: it holds none"):
        runs.load(store, "x")
    made = [create(store, monkeypatch, second, hash8=f"{second:08x}").id for second in range(30)]
    older = create(store, monkeypatch, 1, study="a-study", hash8="abcdabcd").id
    with pytest.raises(InputError) as raised:
        runs.load(store, older[:-1] + "x")
    words = str(raised.value)
    assert f"did you mean {older!r}?" in words
    assert f"The newest of 31: {', '.join(reversed(made[-5:]))}, …; " in words, "newest by date, whatever the study"
    assert sum(name in words for name in [*made, older]) == 6
    assert words.endswith(f"`robustray status --store {store.url}` lists them all")
    assert "\n" not in words


def test_an_ambiguous_name_is_answered_with_a_few_names(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [create(store, monkeypatch, second, hash8=f"{second:08x}").id for second in range(30)]
    with pytest.raises(InputError) as raised:
        runs.load(store, "attack-sweep-2026")
    words = str(raised.value)
    assert "30 runs" in words and sum(name in words for name in made) == 5
    assert words.endswith(f"`robustray status --store {store.url}` lists them all")


def test_times_and_failures_survive_the_driver(store: Store) -> None:
    run = runs.create(store, identity(), command="", options={})
    run.block(block_job(), Receipt(outcome="done", name="pieces/x", rows=2, seconds=1.5, worker="worker-1"))
    run.failure(block_job(first=7, items=(70,)), "out of memory")
    run.drop("fresh key")
    run.step("attack", "key")
    again = runs.load(store, run.id)
    count = again.count("attack")
    assert (count.computed_items, count.seconds) == (2, 1.5)
    assert again.dropped == ["fresh key"]
    assert again.holds_failed_item(block_job(first=4, items=(40, 50, 60, 70)))
    assert not again.holds_failed_item(block_job(first=8, items=(70,)))
    assert not again.holds_failed_item(block_job(first=7, items=(71,)))
    assert not again.holds_failed_item(block_job(first=7, items=(70,), step_key="other"))
    assert again.forget_failures() == 1
    assert not runs.load(store, run.id).failures


@pytest.mark.parametrize("torn", [b'{"step": "att', b'{"step": "attack", "items": 2, "seconds": 1.0', b"\xff", b"{"])
def test_a_torn_line_costs_that_line_only(torn: bytes, store: Store) -> None:
    run = runs.create(store, identity(), command="", options={})
    receipt = Receipt(outcome="done", seconds=1.0)
    run.block(block_job(), receipt)
    path = Path(run.path("blocks.jsonl"))
    path.write_bytes(path.read_bytes() + torn)
    again = runs.load(store, run.id)
    assert again.count("attack").computed_items == 2
    again.block(block_job(), receipt)
    again.block(block_job(), receipt)
    assert runs.load(store, run.id).count("attack").computed_items == 6


def test_wall_time_adds_up_over_attempts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    run = runs.create(store, identity(), command="", options={})
    clock[0] += 5
    run.save()
    again = runs.load(store, run.id)
    clock[0] += 2
    assert again.wall_seconds == 7.0  # a page is written before the run is saved for the last time
    again.save("finished")
    again.save("finished")
    assert runs.load(store, run.id).file.wall_seconds == 7.0


def test_a_log_on_a_store_without_appending_keeps_its_beginning() -> None:
    store = Store("mock://store")
    shared = runs.create(store, identity(), command="", options={})
    shared.note("first")
    shared.block(block_job(), Receipt(outcome="done"))
    shared.save()
    again = Run(store, shared.file)
    again.note("second")
    again.block(block_job(), Receipt(outcome="done"))
    again.save()
    log = store.read(f"{shared.id}/run.log").decode().splitlines()
    assert [line.split(" ", 1)[1] for line in log] == ["first", "second"]
    assert len(store.read(f"{shared.id}/blocks.jsonl").splitlines()) == 2


def test_blocks_of_a_store_without_appending_are_written_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, for every block, they would cost as much as the square of their number."""
    store = Store("mock://store")
    run = runs.create(store, identity(), command="", options={})
    written: list[str] = []
    write = run.write

    def noted(name: str, data: bytes) -> str:
        written.append(name)
        return write(name, data)

    monkeypatch.setattr(run, "write", noted)
    monkeypatch.setattr(runs, "_SAVE_EVERY_S", 3600.0)
    for _ in range(50):
        run.block(block_job(), Receipt(outcome="done"))
    assert not written, "they wait for the next save"
    run.save("finished")
    assert len(store.read(f"{run.id}/blocks.jsonl").splitlines()) == 50
