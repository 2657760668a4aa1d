"""A file of the store is whole or absent, whoever dies while writing and whoever else writes at the same time."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.lab.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "store with spaces # % é"))
    made.create()
    return made


def test_folders_that_were_made_in_vain_go_again(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    made = Store(str(tmp_path / "there" / "a" / "b"))
    made.create()
    made.abandon()
    assert [path.name for path in tmp_path.iterdir()] == ["there"] and not any((tmp_path / "there").iterdir())
    made.create()
    made.write("c/mine", b"")
    made.abandon()
    assert made.read("c/mine") == b"", "what holds anything stays"
    found = Store(str(tmp_path / "there"))
    found.create()
    found.abandon()
    assert (tmp_path / "there").is_dir()


def test_what_is_written_is_read(store: Store) -> None:
    store.write("a/b/c.bin", b"\0\1\2")
    assert store.read("a/b/c.bin") == b"\0\1\2"
    assert Path(store.path("a/b/c.bin")).read_bytes() == b"\0\1\2"
    store.write("a/b/c.bin", b"")
    assert store.read("a/b/c.bin") == b""


def test_what_is_not_there(store: Store) -> None:
    assert store.list("nowhere") == [] and store.folders("nowhere") == []
    assert store.sweep("nowhere") == 0
    store.delete("nowhere/nothing")
    with pytest.raises(FileNotFoundError):
        store.read("nowhere/nothing")


def test_lists_are_sorted_and_hold_finished_files_only(store: Store) -> None:
    for name in ("b", "a", "c/d", "a.x-1234.tmp"):
        store.write(name, b"")
    assert store.list("") == ["a", "b"]
    assert store.folders() == ["c"]


def test_nothing_is_left_when_writing_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("f", b"old")

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        store.write("f", b"new")
    assert store.read("f") == b"old"
    assert os.listdir(store.url) == ["f"]


def test_a_writer_that_is_killed_leaves_the_old_file(store: Store) -> None:
    """Killed between writing the temporary file and renaming it: the worst moment."""
    store.write("folder/f", b"old")
    program = (
        "import os, signal, sys\nfrom robustray.tasks.lab.store import Store\n"
        "os.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\nStore(sys.argv[1]).write('folder/f', b'new')\n"
    )
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run([sys.executable, "-c", program, store.url], cwd=root, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert store.read("folder/f") == b"old"
    assert store.list("folder") == ["f"]
    (torn,) = (name for name in os.listdir(store.path("folder")) if name != "f")

    assert store.sweep("folder") == 0, "it may belong to a writer that lives"
    yesterday = time.time() - 25 * 3600
    os.utime(store.path(f"folder/{torn}"), (yesterday, yesterday))
    os.utime(store.path("folder/f"), (yesterday, yesterday))
    assert store.sweep("folder") == 1
    assert os.listdir(store.path("folder")) == ["f"]


def _at_once(actions: list[Callable[[], object]]) -> list[BaseException]:
    """Run all actions at the same moment. Returns what they raised."""
    barrier = threading.Barrier(len(actions))
    raised: list[BaseException] = []

    def act(action: Callable[[], object]) -> None:
        barrier.wait()
        try:
            action()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=act, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_two_drivers_may_start_on_one_new_store(tmp_path: Path) -> None:
    for attempt in range(40):
        url = str(tmp_path / f"store-{attempt}")
        assert _at_once([Store(url).create, Store(url).create, Store(url).create]) == []
        assert os.listdir(url) == []


def test_two_drivers_may_delete_and_sweep_the_same_file(store: Store) -> None:
    yesterday = time.time() - 25 * 3600
    for _ in range(40):
        store.write("x/f", b"1")
        store.write("x/f.1.tmp", b"1")
        os.utime(store.path("x/f.1.tmp"), (yesterday, yesterday))
        jobs: list[Callable[[], object]] = [lambda: store.delete("x/f"), lambda: store.sweep("x")]
        assert _at_once([*jobs, *jobs]) == []
        assert os.listdir(store.path("x")) == []


def test_a_reader_never_sees_half_a_file(store: Store) -> None:
    versions = [bytes([i]) * 1_000_000 for i in range(2)]
    store.write("f", versions[0])
    seen = []

    def write() -> None:
        for i in range(30):
            store.write("f", versions[i % 2])

    def read() -> None:
        for _ in range(60):
            seen.append(store.read("f"))

    assert _at_once([write, write, read]) == []
    assert all(data in versions for data in seen)


# -- what can't be a store ---------------------------------------------------------------------------------------------


def test_opening_writes_nothing(tmp_path: Path) -> None:
    Store(str(tmp_path / "new"))
    assert os.listdir(tmp_path) == []


def test_a_relative_path_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("runs")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.write("f", b"1")
    assert (tmp_path / "runs" / "f").exists()


def test_a_file_url_is_a_local_store(tmp_path: Path) -> None:
    """With the local store's atomic writes: Arrow's own stream on a local path writes in place."""
    store = Store(f"file://{tmp_path}/with%20space")
    assert store.local
    store.write("f", b"1")
    assert (tmp_path / "with space" / "f").read_bytes() == b"1"


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="this is a file"):
        Store(str(tmp_path / "file"))
    below = Store(str(tmp_path / "file" / "below"))
    with pytest.raises(InputError, match="cannot be written"):
        below.create()


@pytest.mark.parametrize("url", ["nonsense://bucket/x", "://"])
def test_a_url_that_nobody_knows(url: str) -> None:
    with pytest.raises(InputError, match="--store"):
        Store(url)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(InputError, match="cannot be written"):
        Store(str(tmp_path / "runs")).create()


def test_a_store_on_a_file_system_that_is_not_local(tmp_path: Path) -> None:
    """The interface alone: pyarrow's in-memory file system stands for an object store."""
    store = Store("mock://store")
    assert not store.local
    store.write("a/f", b"1")
    assert store.list("a") == ["f"] and store.folders() == ["a"]
    assert store.read("a/f") == b"1"
    store.delete("a/f")
    store.delete("a/f")
    assert store.list("a") == []
