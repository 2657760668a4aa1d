"""What is written for `--data` is read back the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from robustray.tasks.data import ImageData, open_data
from robustray.tasks.data.export import export_data, write_shards
from robustray.tasks.data.images import boxes_of, checked, hash_arrays
from robustray.tasks.errors import InputError


def scene_like(n: int = 7, channels: int = 3, *, objects: bool = True) -> ImageData:
    rng = np.random.default_rng(3)
    masks = np.zeros((n, 6, 8), bool)
    masks[:, 1:4, 2:7] = rng.random((n, 3, 5)) < 0.7
    masks[:, 2, 3] = True
    return ImageData(
        name="made",
        images=rng.integers(0, 256, (n, channels, 6, 8), dtype=np.uint8),
        labels=rng.integers(0, 3, n),
        classes=("a", "b", "c"),
        masks=masks if objects else None,
        boxes=boxes_of(masks) if objects else None,
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("objects", [True, False])
def test_export_and_data_are_inverse(channels: int, objects: bool, tmp_path: Path) -> None:
    data = scene_like(channels=channels, objects=objects)
    export_data(data, tmp_path / "own", "train")
    export_data(data, tmp_path / "own", "test")
    read = open_data(f"{tmp_path}/own:test", data_root=None).fetch()
    assert hash_arrays(read) == hash_arrays(data)
    assert (read.masks is None, read.boxes is None) == (not objects, not objects)


def test_several_shards_keep_masks_and_boxes_in_order(tmp_path: Path) -> None:
    data = scene_like(11)
    names = [str(row) for row in range(11)]
    files = write_shards(
        tmp_path, "train", data.images, data.labels, names, data.classes, 4, masks=data.masks, boxes=data.boxes
    )
    assert len(files) == 3
    read = open_data(str(tmp_path), data_root=None).fetch()
    assert hash_arrays(read) == hash_arrays(data)


def test_floats_are_written_only_when_eight_bits_hold_them(tmp_path: Path) -> None:
    data = scene_like(objects=False)
    levels = data.images.astype(np.float32) / np.float32(255)
    exact = ImageData(name="exact", images=levels, labels=data.labels, classes=data.classes)
    export_data(exact, tmp_path / "exact")
    assert np.array_equal(open_data(str(tmp_path / "exact"), data_root=None).fetch().images, data.images)
    levels[4, 0, 0, 0] = 0.5
    with pytest.raises(InputError, match="image 4 has pixels between the 256 levels"):
        export_data(exact, tmp_path / "between")
    assert not (tmp_path / "between").exists()
    with pytest.raises(InputError, match=r"holds train-\*.parquet already"):
        export_data(exact, tmp_path / "exact")


@pytest.mark.parametrize(
    ("column", "change", "says"),
    [
        ("box", [[0, 0, 9, 3]], "image 0 has the box \\[0, 0, 9, 3\\], expected"),
        ("box", [[3, 0, 3, 3]], "0 <= x0 < x1 <= 8"),
        ("box", [[-1, 0, 3, 3]], "image 0 has the box"),
        ("box", [[3, 2, 4, 3]], "reaches over its box"),
        ("box", [[0, 0, 3]], "has the box \\[0, 0, 3\\], expected four"),
        ("box", [None], "has the box None"),
        ("box", ["0 0 3 3"], "expected a list of 4 integers"),
        ("mask", [None], "holds no mask"),
        ("mask", ["file.png"], "expected struct"),
        ("mask", [{"bytes": b"no image", "path": ""}], "the mask of .* cannot be decoded"),
    ],
)
def test_masks_and_boxes_are_checked_at_the_door(column: str, change: list[object], says: str, tmp_path: Path) -> None:
    import pyarrow as pa

    (file,) = export_data(scene_like(), tmp_path)
    table = pq.read_table(file)
    values = change + table.column(column).to_pylist()[1:] if not isinstance(change[0], str) else change * 7
    kind = pa.list_(pa.int64()) if column == "box" else table.schema.field(column).type
    array = pa.array(values) if isinstance(change[0], str) else pa.array(values, kind)
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, array), file)
    with pytest.raises(InputError, match=says):
        open_data(str(tmp_path), data_root=None).fetch()


def test_shards_must_agree_about_masks(tmp_path: Path) -> None:
    export_data(scene_like(), tmp_path / "a")
    export_data(scene_like(objects=False), tmp_path / "b")
    (tmp_path / "a/train-00000-of-00001.parquet").rename(tmp_path / "x.parquet")
    (tmp_path / "b/train-00000-of-00001.parquet").rename(tmp_path / "y.parquet")
    with pytest.raises(InputError, match=r"has a column .mask., .* has none"):
        open_data(str(tmp_path), data_root=None).fetch()


def test_an_empty_mask_is_no_object_and_boxes_are_tight() -> None:
    data = scene_like()
    assert data.masks is not None and data.boxes is not None
    for mask, (x0, y0, x1, y1) in zip(data.masks, data.boxes, strict=True):
        rows, columns = np.nonzero(mask)
        assert (x0, y0, x1, y1) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    data.masks[3] = False
    with pytest.raises(InputError, match="the mask of image 3 is empty"):
        checked(data)
    assert boxes_of(data.masks)[3].tolist() == [0, 0, 0, 0]
    with pytest.raises(InputError, match="masks are bool"):
        ImageData(name="x", images=data.images, labels=data.labels, classes=data.classes, masks=data.masks[:, 1:])
