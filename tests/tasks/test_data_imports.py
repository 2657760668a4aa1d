"""The originals of CIFAR-10: read without trusting a pickle, and converted whole or not at all."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustray.tasks.data import cifar, open_data
from robustray.tasks.data.cifar import CIFAR10_CLASSES, open_cifar, published
from robustray.tasks.data.export import write_shards
from robustray.tasks.data.imports import import_cifar10
from robustray.tasks.errors import InputError

FOLDER = "cifar-10-batches-py"


@pytest.fixture
def originals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small look-alike of the published folder, whose sums are declared to be the published ones."""
    folder = tmp_path / "download" / FOLDER
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    sums = {}
    for file in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        batch = {
            "data": rng.integers(0, 256, (7, 3072), dtype=np.uint8),
            "labels": rng.integers(0, 10, 7).tolist(),
            "filenames": [f"{file}_{i}.png" for i in range(7)],
        }
        (folder / file).write_bytes(pickle.dumps(batch, protocol=4))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CIFAR10_CLASSES)}, protocol=2))
    for path in folder.iterdir():
        sums[path.name] = hashlib.md5(path.read_bytes()).hexdigest()

    def declared(name: str, split: str) -> tuple[dict[str, str], tuple[str, str], str]:
        files = ["test_batch"] if split == "test" else [f"data_batch_{i}" for i in range(1, 6)]
        return {file: sums[file] for file in files}, ("batches.meta", sums["batches.meta"]), "label_names"

    monkeypatch.setattr(cifar, "published", declared)
    return folder


def expected(folder: Path, split: str) -> tuple[np.ndarray, list[int]]:
    files = ["test_batch"] if split == "test" else [f"data_batch_{i}" for i in range(1, 6)]
    batches = [pickle.loads((folder / file).read_bytes()) for file in files]
    images = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    return images, [label for batch in batches for label in batch["labels"]]


def test_the_published_sums_are_those_of_the_archives() -> None:
    files, meta, key = published("cifar10", "test")
    assert files == {"test_batch": "40351d587109b95175f43aff81a1287e"} and meta[0] == "batches.meta"
    assert key == "label_names" and len(published("cifar10", "train")[0]) == 5
    assert list(published("cifar100", "train")[0]) == ["train"]


@pytest.mark.parametrize("kind", ["folder", "parent", "archive", "shards"])
def test_every_kind_of_source_gives_the_same_images(kind: str, originals: Path, tmp_path: Path) -> None:
    source, root = originals, tmp_path / "root"
    if kind == "parent":
        source = originals.parent
    elif kind == "archive":
        source = tmp_path / "cifar-10-python.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(originals, FOLDER)
    elif kind == "shards":  # as the hub lays them out: one folder down
        import_cifar10(originals, tmp_path / "other")
        source = tmp_path / "hub"
        source.mkdir()
        (tmp_path / "other" / "cifar10").rename(source / "plain_text")
    written = import_cifar10(source, root)
    assert sorted(written) == sorted((root / "cifar10").iterdir()) and len(written) == 2
    for split in ("train", "test"):
        data = open_data(f"cifar10:{split}", data_root=str(root)).fetch()
        images, labels = expected(originals, split)
        assert np.array_equal(data.images, images) and data.labels.tolist() == labels
    assert [path.name for path in root.iterdir()] == ["cifar10"]


def test_imported_shards_are_the_same_data_as_the_original_files(originals: Path, tmp_path: Path) -> None:
    import_cifar10(originals, tmp_path)
    for split in ("train", "test"):
        one, other = (open_data(f"cifar10:{split}", data_root=str(root)) for root in (originals.parent, tmp_path))
        assert type(one.source) is not type(other.source) and one.content_hash == other.content_hash


def test_the_original_folder_is_a_source_of_its_own(originals: Path) -> None:
    ref = open_data("cifar10:test", data_root=str(originals.parent))
    images, labels = expected(originals, "test")
    assert np.array_equal(ref.fetch().images, images) and ref.fetch().labels.tolist() == labels
    train = open_data("cifar10:train", data_root=str(originals.parent))
    assert len(train.fetch()) == 35 and train.content_hash != ref.content_hash


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (exec, ("raise SystemExit('the pickle was run')",))


def test_other_bytes_are_never_unpickled(originals: Path, tmp_path: Path) -> None:
    (originals / "test_batch").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match=r"test_batch is not the published file \(MD5"):
        open_cifar("cifar10", "test", str(originals.parent)).fetch("cifar10:test")
    with pytest.raises(InputError, match="not the published file"):
        import_cifar10(originals, tmp_path / "root")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("value", [Evil(), np.float64, {"data": np.array([Evil()], dtype=object)}])
def test_the_unpickler_knows_arrays_only_even_for_bytes_with_the_right_sum(value: object) -> None:
    data = pickle.dumps(value)
    with pytest.raises(InputError, match="nothing was run"):
        cifar._unpickle("batch", data, hashlib.md5(data).hexdigest())


def test_the_unpickler_reads_what_python_2_and_numpy_1_wrote() -> None:
    # protocol 2, pixels as a byte string: [[0, 1, 2], [3, 250, 255]]
    python2 = (
        b"\x80\x02}q\x01U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89U\x06\x00\x01\x02\x03\xfa\xfftbs."
    )
    read = cifar._unpickle("x", python2, hashlib.md5(python2).hexdigest())["data"]
    assert read.tolist() == [[0, 1, 2], [3, 250, 255]]


def test_a_target_that_exists_is_left_alone(originals: Path, tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(InputError, match="exists already"):
        import_cifar10(originals, tmp_path)
    assert not any((tmp_path / "cifar10").iterdir())


def bad_archive(tmp: Path) -> Path:
    path = tmp / "cifar-10-python.tar.gz"
    path.write_bytes(b"\x1f\x8b" + bytes(100))
    return path


def cut_archive(tmp: Path) -> Path:
    path = tmp / "cifar-10-python.tar.gz"
    (tmp / "noise").write_bytes(np.random.default_rng(0).bytes(100_000))
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp / "noise", f"{FOLDER}/test_batch")
    path.write_bytes(path.read_bytes()[:50_000])
    return path


def other_archive(tmp: Path) -> Path:
    path = tmp / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz"):
        pass
    return path


def swapped_shards(tmp: Path) -> Path:
    folder = tmp / "shards"
    folder.mkdir()
    names = list(reversed(CIFAR10_CLASSES))
    for split in ("train", "test"):
        write_shards(folder, split, np.zeros((3, 3, 32, 32), np.uint8), np.arange(3), ["a"] * 3, names)
    return folder


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda tmp: tmp / "nowhere", "missing"),
        (lambda tmp: tmp, "holds neither"),
        (bad_archive, "not a whole cifar-10-python.tar.gz"),
        (cut_archive, "not a whole cifar-10-python.tar.gz"),
        (other_archive, "not the published"),
        (swapped_shards, "label 0 is named 'truck', expected 'airplane'"),
    ],
)
def test_a_bad_source_leaves_nothing_behind(make: Callable[..., Any], says: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    with pytest.raises(InputError, match=says) as caught:
        import_cifar10(make(tmp_path), root)
    assert "\n" not in str(caught.value)
    assert not root.exists()
