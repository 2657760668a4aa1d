"""Every source by name: what it reads, what its hash sees, and what it refuses."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from robustray.tasks.data import open_data
from robustray.tasks.data.cifar import CIFAR10_CLASSES
from robustray.tasks.data.export import write_shards
from robustray.tasks.data.images import ImageData, hash_arrays
from robustray.tasks.data.parquet import ParquetSource
from robustray.tasks.errors import InputError
from robustray.tasks.lab import code


def pixels(n: int, shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def png(image: np.ndarray, mode: str | None = None, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(image.transpose(1, 2, 0) if image.ndim == 3 else image)
    (picture.convert(mode) if mode else picture).save(buffer, kind)
    return buffer.getvalue()


def shard(path: Path, rows: list[bytes | None], labels: Sequence[int | str | None], **changes: object) -> Path:
    """One Parquet file by hand, so that every part of it can be wrong."""
    image, label = str(changes.get("image", "image")), str(changes.get("label", "label"))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    structs = [None if row is None else {"bytes": row, "path": "x.png"} for row in rows]
    table = pa.table({image: pa.array(structs, kind), label: pa.array(labels, changes.get("label_type", pa.int64()))})
    if "names" in changes:
        features = {"info": {"features": {label: {"_type": "ClassLabel", "names": changes["names"]}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)
    return path


def tree(root: Path, **classes: list[bytes]) -> Path:
    for name, files in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i, data in enumerate(files):
            (root / name / f"{i}.png").write_bytes(data)
    return root


# --- what the sources read -------------------------------------------------------------------------------------------


def test_cifar10_from_shards_round_trips_without_loss(tmp_path: Path) -> None:
    images, labels = pixels(25), np.arange(25) % 10
    (tmp_path / "cifar10").mkdir()
    files = write_shards(tmp_path / "cifar10", "test", images, labels, ["x"] * 25, CIFAR10_CLASSES, shard_rows=10)
    assert files == [f"test-0000{i}-of-00003.parquet" for i in range(3)]
    data = open_data("cifar10:test", data_root=str(tmp_path)).fetch()
    assert np.array_equal(data.images, images) and np.array_equal(data.labels, labels)
    assert data.images.flags.c_contiguous and data.classes == CIFAR10_CLASSES and data.name == "cifar10:test"


def test_a_parquet_path_reads_names_from_metadata_or_numbers_the_classes(tmp_path: Path) -> None:
    rows: list[bytes | None] = [png(each) for each in pixels(4)]
    named = shard(
        tmp_path / "a.parquet", rows, [0, 1, 1, 0], image="img", label="fine_label", names=["cat", "dog", "emu"]
    )
    assert open_data(str(named), data_root=None).fetch().classes == ("cat", "dog", "emu")
    plain = shard(tmp_path / "b.parquet", rows, [0, 1, 1, 0])
    assert open_data(str(plain), data_root=None).fetch().classes == ("0", "1")


def test_a_folder_of_shards_needs_its_split_only_if_there_are_several(tmp_path: Path) -> None:
    for split, value in (("train", 0), ("val", 1)):
        shard(tmp_path / f"{split}-00000-of-00001.parquet", [png(pixels(1)[0])], [0], names=[str(value)])
    with pytest.raises(InputError, match=r"splits train, val: say which, as in .*:train"):
        open_data(str(tmp_path), data_root=None)
    assert open_data(f"{tmp_path}:val", data_root=None).fetch().classes == ("1",)
    (tmp_path / "val-00000-of-00001.parquet").unlink()
    assert open_data(str(tmp_path), data_root=None).fetch().classes == ("0",)


def test_a_folder_of_class_folders_is_sorted_as_text(tmp_path: Path) -> None:
    images = pixels(5, (3, 6, 7))
    tree(tmp_path, dog=[png(each) for each in images[:2]], cat=[png(each) for each in images[2:]])
    (tmp_path / ".hidden").mkdir()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "cat" / name).write_bytes(b"x")
    for name in (str(tmp_path), f"folder:{tmp_path}"):
        data = open_data(name, data_root=None).fetch()
        assert data.classes == ("cat", "dog") and data.labels.tolist() == [0, 0, 0, 1, 1]
        assert np.array_equal(data.images, np.concatenate([images[2:], images[:2]]))


def test_grey_images_have_one_channel_unless_some_are_coloured(tmp_path: Path) -> None:
    grey, colour = pixels(1, (1, 5, 5))[0, 0], pixels(1, (3, 5, 5))[0]
    tree(tmp_path / "grey", a=[png(grey)] * 2)
    assert open_data(str(tmp_path / "grey"), data_root=None).fetch().shape == (1, 5, 5)
    tree(tmp_path / "mixed", a=[png(grey), png(colour)])
    mixed = open_data(str(tmp_path / "mixed"), data_root=None).fetch()
    assert np.array_equal(mixed.images[0], np.stack([grey] * 3)) and np.array_equal(mixed.images[1], colour)


def test_zero_padded_or_text_ordered_numbers_are_fine_as_class_folders(tmp_path: Path) -> None:
    tree(tmp_path / "a", **{f"{i:02}": [png(pixels(1)[0])] for i in (0, 1, 10)})
    assert open_data(str(tmp_path / "a"), data_root=None).fetch().classes == ("00", "01", "10")
    tree(tmp_path / "b", **{str(i): [png(pixels(1)[0])] for i in range(10)})
    assert open_data(str(tmp_path / "b"), data_root=None).fetch().num_classes == 10


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module of the user's and return the name of its function `load`."""
    monkeypatch.syspath_prepend(tmp_path)
    count = iter(range(100))

    def write(body: str) -> str:
        module = f"own_data_{tmp_path.name}_{next(count)}".replace("-", "_")
        (tmp_path / f"{module}.py").write_text(f"import numpy as np\n{body}\n")
        return f"{module}:load"

    return write


def test_ones_own_function_may_return_arrays_with_or_without_names(own: Callable[[str], str]) -> None:
    name = own("def load():\n    return np.full((3, 1, 2, 2), 0.25), [0, 1, 1]")
    ref = open_data(name, data_root=None)
    data = ref.fetch()
    assert data.images.dtype == np.float32 and data.classes == ("0", "1") and data.name == name
    assert ref.modules[-1] == name.partition(":")[0]
    named = open_data(
        own("def load():\n    return np.zeros((2, 3, 2, 2), np.uint8), np.array([0, 2]), ['a', 'b', 'c']"),
        data_root=None,
    ).fetch()
    assert named.classes == ("a", "b", "c") and named.images.dtype == np.uint8


def test_masks_and_boxes_of_ones_own_images_are_kept(own: Callable[[str], str]) -> None:
    body = """
from robustray.tasks.data import ImageData
from robustray.tasks.data.images import boxes_of

def load():
    masks = np.eye(4, dtype=bool)[None].repeat(2, 0)
    images, labels = np.zeros((2, 3, 4, 4), np.uint8), np.array([0, 1])
    return ImageData(name="mine", images=images, labels=labels, classes=("a", "b"), masks=masks, boxes=boxes_of(masks))
"""
    name = own(body)
    ref = open_data(name, data_root=None)
    data = ref.fetch()
    assert data.name == name and data.masks is not None and data.boxes is not None
    assert data.masks.sum() == 8 and data.boxes.tolist() == [[0, 0, 4, 4]] * 2
    bare = open_data(own(body.replace(", masks=masks, boxes=boxes_of(masks)", "")), data_root=None)
    assert bare.content_hash != ref.content_hash


@pytest.mark.parametrize(
    "images",
    [
        "x.bfloat16()",
        "x.half()",
        "x.double()",
        "x.requires_grad_()",
        "x.double().requires_grad_() * 1",
        "list(x)",
        "list(x.clone().requires_grad_())",
        "x.numpy()",
        "list(x.numpy())",
        "x.numpy().astype('f2')",
        "np.asfortranarray(x.numpy())",
        "x.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2)",
        "x[:, :, :, torch.arange(5)]",
        "(x * 255).byte()",
        "x.tolist()",
        "(x * -1)._neg_view()",
    ],
)
def test_ones_own_images_may_be_tensors_or_arrays_of_any_width(own: Callable[[str], str], images: str) -> None:
    """Levels of 1/128 survive every width of float; the labels come as a tensor, an array and a list."""
    given = "import torch\nx = torch.arange(60).reshape(3, 1, 4, 5) / 64\n"
    for labels in ("torch.tensor([0, 1, 1])", "np.array([0, 1, 1], np.uint8)", "[0, 1, 1]", "[torch.tensor(0)] * 3"):
        data = open_data(own(f"{given}def load():\n    return {images}, {labels}"), data_root=None).fetch()
        expected = np.arange(60, dtype=np.float32).reshape(3, 1, 4, 5) / 64
        found = data.images if data.images.dtype == np.float32 else data.images / 255
        assert np.allclose(found, expected, atol=0 if data.images.dtype == np.float32 else 1 / 255)
        assert data.images.flags.c_contiguous and data.labels.dtype == np.int64


def test_ones_own_function_is_called_once_for_hash_and_pixels(own: Callable[[str], str]) -> None:
    ref = open_data(own("def load():\n    return np.random.rand(3, 1, 2, 2), [0, 1, 1]"), data_root=None)
    from robustray.tasks.data.images import hash_arrays

    assert ref.content_hash == hash_arrays(ref.fetch())


# --- hashes and travel -----------------------------------------------------------------------------------------------


def test_the_hash_is_that_of_the_content_and_never_of_the_path(tmp_path: Path) -> None:
    rows: list[bytes | None] = [png(each) for each in pixels(3)]
    first = shard(tmp_path / "one" / "a.parquet", rows, [0, 1, 1])
    same = tmp_path / "two" / "b.parquet"
    same.parent.mkdir()
    shutil.copy(first, same)
    other = shard(tmp_path / "three" / "a.parquet", rows, [0, 1, 0])
    hashes = [open_data(str(path), data_root=None).content_hash for path in (first, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_hash_of_a_folder_sees_class_names_and_bytes(tmp_path: Path) -> None:
    images = [png(each) for each in pixels(2)]
    folders = [
        tree(tmp_path / "a", cat=images),
        tree(tmp_path / "b", cat=images),
        tree(tmp_path / "c", dog=images),
        tree(tmp_path / "d", cat=images[::-1]),
    ]
    hashes = [open_data(str(folder), data_root=None).content_hash for folder in folders]
    assert hashes[0] == hashes[1] and len(set(hashes)) == 3


def test_a_file_that_changes_gets_another_hash_in_the_same_process(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.parquet", [png(pixels(1)[0])], [0])
    before = open_data(str(path), data_root=None).content_hash
    shard(path, [png(pixels(1, seed=1)[0])], [0])
    assert open_data(str(path), data_root=None).content_hash != before


def test_a_reference_travels_with_its_hash_and_without_its_files(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.parquet", [png(pixels(1)[0])], [0])
    ref = open_data(str(path), data_root=None)
    payload, text = ref.fetch(), pickle.dumps(ref)
    expected = ref.content_hash
    path.unlink()
    there = pickle.loads(text)
    assert len(text) < 1000 and there.content_hash == expected
    assert np.array_equal(there.build(payload, "cpu").images, payload.images)


# --- the shared CIFAR-10 ---------------------------------------------------------------------------------------------


def test_the_shared_cifar10_test_split_is_read_whole_and_in_order(shared_data: Path) -> None:
    data = open_data("cifar10:test", data_root=str(shared_data)).fetch()
    assert data.images.shape == (10_000, 3, 32, 32) and data.images.dtype == np.uint8
    assert np.bincount(data.labels).tolist() == [1000] * 10
    # the first labels of the published test batch: cat, ship, ship, airplane, frog, frog, automobile, frog
    assert [data.classes[label] for label in data.labels[:4]] == ["cat", "ship", "ship", "airplane"]
    means = data.images.reshape(10_000, 3, -1).mean((0, 2)) / 255
    assert np.allclose(means, [0.4942, 0.4851, 0.4504], atol=1e-3)


# --- refusals --------------------------------------------------------------------------------------------------------

ONE = png(pixels(1)[0])
TRANSPARENT = png(np.concatenate([pixels(1, (3, 4, 4))[0], np.full((1, 4, 4), 128, np.uint8)]))
DEEP = io.BytesIO()
Image.fromarray(np.zeros((4, 4), np.uint16)).save(DEEP, "png")


def truncated(path: Path, keep: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 0x10
    return bytes(changed)


def file_of(tmp: Path, data: bytes) -> Path:
    path = tmp / "a.parquet"
    path.write_bytes(data)
    return path


def cifar(tmp: Path, **changes: object) -> str:
    shard(tmp / "cifar10" / "test-00000-of-00001.parquet", [png(each) for each in pixels(2)], [0, 1], **changes)
    return str(tmp)


SWAPPED = [*CIFAR10_CLASSES[:2], "cat", "bird", *CIFAR10_CLASSES[4:]]

# name -> (make the name to open, [what the message says])
BAD_PATHS: dict[str, tuple[Callable[[Path], str | Path], str]] = {
    "truncated Parquet": (lambda t: truncated(shard(t / "a.parquet", [ONE], [0]), 0.6), "truncated"),
    "empty file": (lambda t: file_of(t, b""), "no whole Parquet file"),
    "text as Parquet": (lambda t: file_of(t, b"hello" * 100), "no whole Parquet file"),
    "missing Parquet": (lambda t: t / "a.parquet", "missing"),
    "missing folder": (lambda t: t / "nowhere", "no file or folder"),
    "folder: missing": (lambda t: f"folder:{t / 'nowhere'}", "missing"),
    "folder: a file": (lambda t: f"folder:{shard(t / 'a.parquet', [ONE], [0])}", "no folder"),
    "another kind of file": (
        lambda t: Path(shutil.copy(tree(t, a=[ONE]) / "a" / "0.png", t / "x.dat")),
        "neither Parquet",
    ),
    "a folder named like a shard": (lambda t: tree(t / "a.parquet", a=[ONE]).parent, "no file"),
    "no rows": (lambda t: shard(t / "a.parquet", [], []), "no rows"),
    "no image column": (lambda t: shard(t / "a.parquet", [ONE], [0], image="picture"), "columns image, img"),
    "no label column": (lambda t: shard(t / "a.parquet", [ONE], [0], label="target"), "found image, target"),
    "text labels": (lambda t: shard(t / "a.parquet", [ONE], ["0"], label_type=pa.string()), "expected int64"),
    "no label": (lambda t: shard(t / "a.parquet", [ONE] * 3, [0, 0, None]), "row 2 has label None"),
    "negative label": (lambda t: shard(t / "a.parquet", [ONE] * 3, [0, -1, 0]), "row 1 has label -1"),
    "label beyond names": (
        lambda t: shard(t / "a.parquet", [ONE] * 3, [0, 1, 2], names=["a", "b"]),
        "row 2 has label 2",
    ),
    "gap in labels": (lambda t: shard(t / "a.parquet", [ONE] * 3, [0, 1, 3]), "no image has label 2"),
    "no bytes": (lambda t: shard(t / "a.parquet", [ONE, None], [0, 0]), "row 1 holds no image bytes"),
    "no PNG": (lambda t: shard(t / "a.parquet", [ONE, b"x" * 50], [0, 0]), "row 1 cannot be decoded"),
    "truncated PNG": (lambda t: shard(t / "a.parquet", [ONE, ONE, ONE[:-300]], [0, 0, 0]), "row 2 cannot be decoded"),
    "flipped bit in PNG": (lambda t: shard(t / "a.parquet", [ONE, flipped(ONE, 900)], [0, 0]), "checksum"),
    "flipped checksum in PNG": (lambda t: shard(t / "a.parquet", [flipped(ONE, len(ONE) - 14)], [0]), "checksum"),
    "unequal sizes": (lambda t: shard(t / "a.parquet", [ONE, png(pixels(1, (3, 32, 31))[0])], [0, 0]), "31x32 pixels"),
    "transparent": (lambda t: shard(t / "a.parquet", [TRANSPARENT], [0]), "transparent"),
    "16 bits": (lambda t: shard(t / "a.parquet", [DEEP.getvalue()], [0]), "8 bits"),
    "lost shard": (
        lambda t: shard(t / "test-00000-of-00002.parquet", [ONE], [0]).parent,
        "test-00001-of-00002.parquet is missing",
    ),
    "no such split": (lambda t: f"{shard(t / 'test-00000-of-00001.parquet', [ONE], [0]).parent}:val", "there is no"),
    "class folders 0, 1, 10": (
        lambda t: tree(t, **{str(i): [ONE] for i in range(11)}),
        "'10' comes before '2' .* zero-pad .*'02'",
    ),
    "empty class folder": (lambda t: tree(t, a=[ONE], b=[]), "b holds no images"),
    "no class folders": (lambda t: t, "no class folders"),
    "a folder in a class": (lambda t: tree(t, a=[ONE], **{"b/c": [ONE]}), "is no file"),
    "a text among the images": (lambda t: tree(t, a=[ONE, b"notes"]), "1.png cannot be decoded: it is no image"),
}


@pytest.mark.parametrize("case", BAD_PATHS)
def test_damaged_files_are_refused_in_one_line_with_their_place(case: str, tmp_path: Path) -> None:
    make, says = BAD_PATHS[case]
    with pytest.raises(InputError, match=says) as caught:
        open_data(str(make(tmp_path)), data_root=None).fetch()
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


BAD_NAMES: dict[str, tuple[Callable[[Path], tuple[str, str | None]], str]] = {
    "misspelt": (lambda t: ("cifra10:test", None), "did you mean 'cifar10:test'"),
    "no split": (lambda t: ("digits", None), "digits:test, digits:train"),
    "misspelt split": (lambda t: ("cifar10:tset", str(t)), "did you mean 'cifar10:test'"),
    "nothing like it": (lambda t: ("???", None), "Known: .*cifar10:test"),
    "no data root": (lambda t: ("cifar10:test", None), "robustray import cifar10 SOURCE --data-root DIR"),
    "empty data root": (lambda t: ("cifar10:test", str(t)), "cifar10/test-\\*.parquet nor .*cifar-10-batches-py"),
    "swapped classes": (lambda t: ("cifar10:test", cifar(t, names=SWAPPED)), "label 2 is named 'cat', expected 'bird'"),
    "too few classes": (lambda t: ("cifar10:test", cifar(t, names=["a"])), "names 1 classes, expected 10"),
    "wrong size": (
        lambda t: (
            "cifar10:test",
            (shard(t / "cifar10" / "test-0.parquet", [png(pixels(1, (3, 8, 8))[0])], [0]), str(t))[1],
        ),
        r"\(3, 8, 8\)",
    ),
}


@pytest.mark.parametrize("case", BAD_NAMES)
def test_names_that_lead_nowhere_say_what_is_there(case: str, tmp_path: Path) -> None:
    make, says = BAD_NAMES[case]
    name, data_root = make(tmp_path)
    with pytest.raises(InputError, match=says) as caught:
        open_data(name, data_root=data_root).fetch()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body, says",
    [
        ("def load():\n    return {}['x']", "load raised KeyError: 'x' .*own_data.*:3"),
        ("def load():\n    return 3", "load returned int"),
        ("def load():\n    return np.zeros((2, 3, 4, 4), np.uint8), [0.5, 1]", "whole numbers"),
        ("def load():\n    return np.full((2, 3, 4, 4), 200.0), [0, 1]", "divide by 255"),
        ("def load():\n    return np.full((2, 3, 4, 4), np.nan), [0, 1]", "pixel value nan"),
        ("def load():\n    return np.zeros((2, 4, 4, 3), np.uint8), [0, 1]", "transpose to NCHW"),
        ("def load():\n    return np.zeros((2, 3, 4, 4), np.int64), [0, 1]", "int64"),
        ("def load():\n    return np.zeros((2, 3, 4, 4), np.uint8), [0, 1], ['a']", "image 1 has label 1"),
        ("def load():\n    return [np.zeros((1, 8, 8)), np.zeros((1, 9, 8))], [0, 1]", "several shapes.*8, 8.*9, 8"),
        (
            "import torch\ndef load():\n    return [torch.zeros(1, 8, 8), torch.zeros(3, 8, 8)], [0, 1]",
            "images are of several shapes",
        ),
        ("def load():\n    return [[[[0.0, 1.0]]], [[[0.0]]]], [0, 1]", "images are no array of numbers"),
        ("def load():\n    return np.zeros((2, 1, 2, 2)), [[0], [1, 2]]", "labels are no array of numbers"),
        ("import torch\ndef load():\n    return torch.zeros(2, 1, 2, 2).to_sparse(), [0, 1]", "images .* sparse"),
        ("import torch\ndef load():\n    return torch.zeros(2, 1, 2, 2) * 1j, [0, 1]", "images .* complex"),
        ("def load():\n    return np.zeros((2, 1, 2, 2)) * 1j, [0, 1]", "images are complex128"),
        ("def load():\n    return np.zeros((2, 1, 2, 2)), ['cat', 'dog']", "labels are <U3"),
        ("def load():\n    return np.zeros((2, 1, 2, 2)), [0, 1], 2", "class names are 2, expected a list"),
        ("def load():\n    return np.zeros((2, 1, 2, 2)), [0, 1], 'ab'", "class names are 'ab', expected a list"),
        ("def other():\n    pass", "no function 'load'"),
        ("1 / 0", "importing .* fails: ZeroDivisionError"),
        ("import no_such_module_anywhere", "importing .* fails: ModuleNotFoundError: .*no_such_module_anywhere"),
    ],
)
def test_errors_in_ones_own_function_name_it(own: Callable[[str], str], body: str, says: str) -> None:
    name = own(body)
    with pytest.raises(InputError, match=says) as caught:
        open_data(name, data_root=None).fetch()
    assert name.partition(":")[0] in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_own_module_may_be_a_misspelt_source() -> None:
    with pytest.raises(InputError, match=r"no module 'digitz'.*no data set.*did you mean 'digits:test'"):
        open_data("digitz:test", data_root=None)


def test_no_flipped_bit_or_cut_of_a_shard_passes_with_other_pixels_or_labels(tmp_path: Path) -> None:
    images, labels = pixels(6, (3, 8, 8)), np.arange(6) % 2
    (name,) = write_shards(tmp_path, "test", images, labels, ["x"] * 6, ["a", "b"])
    good = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(400):
        at = int(rng.integers(len(good)))
        (tmp_path / name).write_bytes(good[:at] if trial % 5 == 0 else flipped(good, at))
        try:
            data = open_data(str(tmp_path / name), data_root=None).fetch()
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
        else:  # what was hit is not read: paths, statistics, names
            assert np.array_equal(data.images, images) and np.array_equal(data.labels, labels)
    assert refused > 200


def test_one_hash_whatever_holds_the_images(tmp_path: Path) -> None:
    """The same pixels, labels and class names from a folder, from one shard, from two, and from one's own code."""
    images = pixels(4)
    names = ("cat", "dog")
    folder = tree(tmp_path / "folder", cat=[png(each) for each in images[:2]], dog=[png(each) for each in images[2:]])
    labels = np.array([0, 0, 1, 1])
    hashes = {open_data(str(folder), data_root=None).content_hash}
    for rows in (4, 2):
        shards = tmp_path / f"shards{rows}"
        shards.mkdir()
        write_shards(shards, "test", images, labels, ["x"] * 4, names, shard_rows=rows)
        hashes.add(open_data(f"{shards}:test", data_root=None).content_hash)
    hashes.add(hash_arrays(ImageData(name="any", images=images, labels=labels, classes=names)))
    assert len(hashes) == 1


def test_a_hash_is_found_out_once_for_a_file_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = shard(tmp_path / "a.parquet", [png(each) for each in pixels(2)], [0, 1])
    read, fetch = [], ParquetSource.fetch

    def counted(self: ParquetSource, name: str) -> ImageData:
        read.append(name)
        return fetch(self, name)

    monkeypatch.setattr(ParquetSource, "fetch", counted)
    first = open_data(str(path), data_root=None).content_hash
    copy = shutil.copy(path, tmp_path / "b.parquet")
    assert open_data(str(copy), data_root=None).content_hash == first and len(read) == 1
    (kept,) = (tmp_path / "cache" / "robustray" / "data").iterdir()
    kept.write_text("torn")
    assert open_data(str(copy), data_root=None).content_hash == first and len(read) == 2
    code.forget()
    edited = {"decode.py": b"\n_PNG += b''\n"}
    monkeypatch.setattr(code, "_read", lambda path: path.read_bytes() + edited.get(path.name, b""))
    assert open_data(str(copy), data_root=None).content_hash == first and len(read) == 3, "decoded by other code"
    monkeypatch.undo()
    code.forget()


def test_without_a_cache_folder_a_hash_is_found_out_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    path = shard(tmp_path / "a.parquet", [png(pixels(1)[0])], [0])
    before = open_data(str(path), data_root=None).content_hash
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert open_data(str(path), data_root=None).content_hash == before
