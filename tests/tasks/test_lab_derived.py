"""References to what a map found: its rows, and data sets made of its images."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from robustray.tasks.attacks.blocks import predict_block
from robustray.tasks.data.digits import DigitsSource
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.lab import pieces
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.training.settings import TrainSpec
from tests.tasks.serial_lab import store_fixture  # noqa: F401  # used by its name

CLASSES = tuple(str(digit) for digit in range(10))
BAD: dict[int, BaseException] = {}


@block_function(
    version=1,
    columns={
        "image": Tensor("uint8"),
        "label": pa.int64(),
        "double": Tensor("float64"),
        "mask": Tensor("bool"),
        "box": Tensor("int64"),
        "word": pa.string(),
    },
)
def inverted(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Digits as their negatives, `context.settings` added to the labels."""
    for index in indices:
        if index in BAD:
            raise BAD[index]
    data: ImageData = context.load("data")
    chosen = data.images[list(indices)]
    mask = np.zeros((len(indices), *data.shape[1:]), bool)
    mask[:, 2:5, 1:7] = True
    return {
        "image": 255 - chosen,
        "label": (data.labels[list(indices)] + (context.settings or 0)) % 10,
        "double": chosen.mean((2, 3)),
        "mask": mask,
        "box": np.tile([1, 2, 7, 5], (len(indices), 1)),
        "word": [f"w{index}" for index in indices],
    }


@block_function(version=1, columns={"index": pa.int64(), "mean": pa.float64(), "word": pa.string()})
def reads_rows(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    rows = context.load("rows")
    return {"index": indices, "mean": rows["double"][list(indices), 0], "word": rows["word"][list(indices)]}


SETS = {f"set {more}" for more in range(12)}


@block_function(version=1, columns={"label": pa.int64()})
def labels_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    data: ImageData = context.load("data")
    return {"label": data.labels[list(indices)]}


def negatives(lab: SerialLab, num: int = 50, *, block: int = 20, shift: int = 0) -> Any:
    return lab.map(
        "negative", inverted, range(num), block=block, settings=shift, refs={"data": lab.data("digits:train")}
    )


def test_a_derived_data_set_holds_the_rows_of_its_map(store: Store) -> None:
    lab = SerialLab(store=store)
    ref = lab.dataset("negatives", negatives(lab), classes=CLASSES, mask="mask", box="box")
    data: ImageData = lab.load(ref)
    digits = DigitsSource(split="train").fetch("digits")
    assert np.array_equal(data.images, 255 - digits.images[:50])
    assert np.array_equal(data.labels, digits.labels[:50])
    assert (data.name, data.classes, str(data.images.dtype)) == ("negatives", CLASSES, "uint8")
    assert data.masks is not None and data.boxes is not None
    assert data.masks.sum() == 50 * 18
    assert data.boxes.tolist() == [[1, 2, 7, 5]] * 50


def test_its_hash_is_that_of_its_content(store: Store, tmp_path: Path) -> None:
    other = Store(str(tmp_path / "other"))
    other.create()
    first, again, elsewhere = SerialLab(store=store), SerialLab(store=store), SerialLab(store=other)

    def hash_of(lab: SerialLab, **changed: Any) -> str:
        name, classes = changed.pop("name", "a"), changed.pop("classes", CLASSES)
        return lab.dataset(name, negatives(lab, **changed), classes=classes).content_hash

    known = hash_of(first)
    assert len(known) == 64
    assert hash_of(again, name="b") == known, "from the store, under another name"
    assert hash_of(elsewhere) == known, "computed in another store"
    different = {
        "labels": hash_of(first, shift=1),
        "fewer": hash_of(first, num=40),
        "classes": hash_of(first, classes=CLASSES[::-1]),
    }
    assert len({known, *different.values()}) == 4, different
    rows = first.rows("r", negatives(first), ["double"]).content_hash
    assert rows != first.rows("r", negatives(first), ["word"]).content_hash


def test_it_is_data_to_a_map_and_to_a_training(store: Store) -> None:
    lab = SerialLab(store=store)
    ref = lab.dataset("negatives", negatives(lab, 200), classes=CLASSES)
    spec = TrainSpec(model="digits:cnn", data=ref, epochs=1, batch_size=50, lr=0.05)
    model = lab.train([spec]).result()[0]
    frame = lab.map("clean", predict_block, range(200), block=64, refs={"model": model, "data": ref}).result()
    assert frame["label"].tolist() == DigitsSource(split="train").fetch("digits").labels[:200].tolist()
    again = SerialLab(store=store)
    same = again.dataset("other name", negatives(again, 200), classes=CLASSES)
    assert again.train([TrainSpec(model="digits:cnn", data=same, epochs=1, batch_size=50, lr=0.05)]).result()[
        0
    ].content_hash == (model.content_hash)
    assert again.journal.count("train").reused_blocks == 1


def test_references_travel_without_store_and_pixels(store: Store) -> None:
    lab = SerialLab(store=store)
    ref = lab.dataset("negatives", negatives(lab), classes=CLASSES)
    sent = pickle.dumps(ref)
    assert len(sent) < 2_000
    arrived = pickle.loads(sent)
    assert (arrived.content_hash, arrived.name, arrived.modules) == (ref.content_hash, "negatives", ref.modules)
    assert arrived.build(lab.payload(ref), "cpu") is lab.payload(ref)


@pytest.mark.parametrize("block", [7, 50, 64])
def test_a_block_reads_what_another_step_found(block: int, store: Store) -> None:
    lab = SerialLab(store=store)
    rows = lab.rows("means", negatives(lab), ["double", "word"])
    frame = lab.map("read", reads_rows, range(50), block=block, refs={"rows": rows}).result()
    assert frame["word"].tolist() == [f"w{i}" for i in range(50)]
    expected = DigitsSource(split="train").fetch("digits").images[:50].mean((1, 2, 3))
    np.testing.assert_allclose(frame["mean"], expected)
    assert list(lab.load(lab.rows("all", negatives(lab)))) == list(inverted.columns)


def test_a_damaged_piece_is_computed_again_before_it_is_referred_to(store: Store) -> None:
    lab = SerialLab(store=store)
    known = lab.dataset("a", negatives(lab), classes=CLASSES).content_hash
    folder = f"pieces/{store.folders('pieces')[0]}"
    for name in store.list(folder)[:2]:
        whole = bytearray(store.read(f"{folder}/{name}"))
        whole[len(whole) // 2] ^= 1
        store.write(f"{folder}/{name}", bytes(whole))
    after = SerialLab(store=store)
    ref = after.dataset("a", negatives(after), classes=CLASSES)
    assert ref.content_hash == known
    assert after.journal.count("negative").computed_blocks == 2
    store.delete(ref.rows.pieces[0].name)  # type: ignore[attr-defined]
    with pytest.raises(WorkFailed, match="gone or damaged; run the same command again"):
        ref.fetch()


def test_a_map_that_lacks_items_makes_no_data_set(store: Store) -> None:
    BAD[17] = MemoryError("too much")
    try:
        lab = SerialLab(store=store)
        with pytest.raises(WorkFailed, match="1 of 50 items of negative were given up"):
            lab.dataset("a", negatives(lab), classes=CLASSES)
    finally:
        BAD.clear()


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"image": "picture"}, "image='picture'.*no such column, expected Tensor"),
        ({"image": "double"}, "image='double'.*float64.*expected Tensor"),
        ({"label": "word"}, "label='word'.*expected integers"),
        ({"label": "image"}, "label='image'"),
        ({"mask": "image"}, "mask='image'.*expected Tensor"),
        ({"box": "label"}, "box='label'"),
        ({"classes": CLASSES[:3]}, "has label .*but there are 3 classes"),
        ({"classes": ()}, "class names must be given"),
    ],
)
def test_columns_that_can_be_no_data_are_refused(columns: dict[str, Any], says: str, store: Store) -> None:
    lab = SerialLab(store=store)
    with pytest.raises(InputError, match=says):
        lab.load(lab.dataset("a", negatives(lab), **{"classes": CLASSES, **columns}))


def test_rows_that_can_not_be_named_are_refused(store: Store) -> None:
    lab = SerialLab(store=store)
    mapped = negatives(lab)
    for columns, says in ((["none"], "has no column 'none'"), ([], "at least one"), (["word", "word"], "each once")):
        with pytest.raises(InputError, match=says):
            lab.rows("a", mapped, columns)
    with pytest.raises(InputError, match="pass its handle"):
        lab.rows("a", mapped.result())
    with pytest.raises(InputError, match="no items"):
        lab.rows("a", negatives(lab, 0))
    assert pieces.read(store, mapped.whole()[0][0]) is not None


def test_memory_does_not_grow_with_the_number_of_derived_data_sets(store: Store) -> None:
    """Twelve in one run, each read by a next step: of all their pixels, those of two sets are there at most, for what
    was used last and what is used now. (benchmarks/derived_memory.py: the same with 60 MB each on actors.)"""
    lab = SerialLab(store=store)
    lab.payloads._idle_bytes = 0
    refs = []
    for more in range(12):
        refs.append(lab.dataset(f"set {more}", negatives(lab, 40 + more), classes=CLASSES))
        lab.map("read", labels_block, range(40), block=20, refs={"data": refs[-1]}).result()
    gc.collect()
    alive = {each.name for each in gc.get_objects() if type(each) is ImageData and each.name in SETS}
    assert "set 11" in alive and len(alive) <= 2
    assert len({ref.content_hash for ref in refs}) == 12
