"""Views over a data set, one picture as data, and boxes beside a folder of images."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustray.tasks.data import DataRef, ImageData, open_data
from robustray.tasks.data import views as v
from robustray.tasks.data.export import export_data
from robustray.tasks.data.images import boxes_of
from robustray.tasks.errors import InputError


def made(n: int = 9, *, channels: int = 3, height: int = 8, width: int = 12, dtype: str = "uint8") -> ImageData:
    rng = np.random.default_rng(5)
    masks = np.zeros((n, height, width), bool)
    masks[:, 3:6, 4:9] = True
    images = rng.integers(0, 256, (n, channels, height, width), dtype=np.uint8)
    return ImageData(
        name="made",
        images=images if dtype == "uint8" else images.astype(np.float32) / np.float32(255),
        labels=np.arange(n) % 3,
        classes=("cat", "dog", "car"),
        masks=masks,
        boxes=boxes_of(masks),
    )


@pytest.fixture(name="ref")
def ref_fixture(tmp_path: Path) -> DataRef:
    export_data(made(), tmp_path / "made")
    return open_data(str(tmp_path / "made"), data_root=None)


def test_each_view_shows_what_it_says(ref: DataRef) -> None:
    whole = made()
    some = v.subset(ref, [7, 0, 3]).fetch()
    assert np.array_equal(some.images, whole.images[[7, 0, 3]]) and some.labels.tolist() == [1, 0, 0]
    assert some.masks is not None and some.boxes is not None and len(some.masks) == len(some.boxes) == 3

    two = v.keep_classes(ref, ["car", "cat"]).fetch()
    assert two.classes == ("car", "cat") and two.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert np.array_equal(two.images, whole.images[[0, 2, 3, 5, 6, 8]])

    groups = v.merge_classes(ref, {"animal": ["cat", "dog"], "thing": ["car"]}).fetch()
    assert groups.classes == ("animal", "thing") and groups.labels.tolist() == [0, 0, 1] * 3

    other = v.relabel(ref, [1] * 9, ["a", "b"]).fetch()
    assert other.labels.tolist() == [1] * 9 and other.classes == ("a", "b")
    assert np.array_equal(other.images, whole.images)


def test_views_compose_and_their_hash_is_what_they_do(ref: DataRef) -> None:
    first = v.resize(v.subset(ref, range(4)), 4)
    second = v.subset(v.resize(ref, 4), range(4))
    assert np.array_equal(first.fetch().images, second.fetch().images)
    hashes = [
        ref.content_hash,
        first.content_hash,
        second.content_hash,
        v.subset(ref, range(4)).content_hash,
        v.subset(ref, [1, 0, 2, 3]).content_hash,
        v.resize(ref, 4).content_hash,
        v.resize(ref, (4, 4)).content_hash,
        v.coarsen(ref, 4).content_hash,
        v.coarsen(ref, 5).content_hash,
        v.three_channels(ref).content_hash,
        v.keep_classes(ref, ["cat", "dog"]).content_hash,
        v.keep_classes(ref, ["dog", "cat"]).content_hash,
        v.relabel(ref, [0] * 9, ["a"]).content_hash,
        v.relabel(ref, [0] * 9, ["b"]).content_hash,
    ]
    assert len(set(hashes)) == len(hashes)
    assert v.subset(ref, np.arange(4), name="other").content_hash == v.subset(ref, range(4)).content_hash
    arrived = pickle.loads(pickle.dumps(first))
    assert arrived == first and arrived.content_hash == first.content_hash
    assert {"robustray.tasks.data.views:DataView", "robustray.tasks.data.views:Subset"} <= set(first.modules)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_resizing_is_pillows_bicubic_and_keeps_flat_images_flat(dtype: str) -> None:
    data = made(dtype=dtype)
    small = v.Resize(sides=(4, 6))(data)
    assert small.images.shape == (9, 3, 4, 6) and small.images.dtype == dtype
    if dtype == "uint8":
        expected = Image.fromarray(data.images[2].transpose(1, 2, 0)).resize((6, 4), Image.Resampling.BICUBIC)
        assert np.array_equal(small.images[2], np.asarray(expected).transpose(2, 0, 1))
    flat = np.full((3, 8, 12), 77 if dtype == "uint8" else 0.3, dtype=dtype)
    np.testing.assert_allclose(v.resized(flat, 5, 31), flat[0, 0, 0], rtol=1e-6)
    edge = np.repeat((np.arange(12) >= 6)[None, None].astype(dtype), 8, axis=1)
    large = v.resized(edge * (255 if dtype == "uint8" else 1), 16, 24)
    assert large.min() == 0 and large.max() == (255 if dtype == "uint8" else 1), "no overshoot at edges"


def test_shrinking_averages_instead_of_dropping_pixels() -> None:
    """Antialiased: a fine checkerboard becomes grey, not black or white."""
    board = ((np.indices((64, 64)).sum(0) % 2) * 255).astype(np.uint8)[None]
    small = v.resized(board, 16, 16)
    assert abs(small[0, 2:-2, 2:-2].astype(float) - 127.5).max() < 8


def test_one_number_cuts_the_centre_square_and_takes_masks_and_boxes_along() -> None:
    data = made()
    cut = v.Resize(sides=(8,))(data)
    assert np.array_equal(cut.images, data.images[..., 2:10]), "the short side has that length already"
    assert cut.masks is not None and cut.boxes is not None and data.masks is not None
    assert np.array_equal(cut.masks, data.masks[..., 2:10])
    assert cut.boxes[0].tolist() == [2, 3, 7, 6]
    double = v.Resize(sides=(16,))(data)
    assert double.masks is not None and double.boxes is not None
    assert double.boxes[0].tolist() == [4, 6, 14, 12] == boxes_of(double.masks)[0].tolist()
    assert v.Resize(sides=(1,))(data).images.shape == (9, 3, 1, 1)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_coarser_images_keep_their_size_and_lose_detail(dtype: str) -> None:
    """By hand: a 2 x 2 image at one pixel is its mean; constant images, and averages of blocks, stay."""
    data = made(dtype=dtype)
    coarse = v.Coarsen(side=4)(data)
    assert coarse.images.shape == data.images.shape and coarse.images.dtype == dtype
    assert coarse.boxes is data.boxes and np.array_equal(coarse.labels, data.labels)
    full = 255 if dtype == "uint8" else 1
    small, back = (Image.Resampling.BOX, Image.Resampling.BICUBIC)
    channel = np.asarray(Image.fromarray(data.images[3, 1]).resize((6, 4), small).resize((12, 8), back))
    np.testing.assert_array_equal(coarse.images[3, 1], channel.clip(0, full))

    def one(pixels: Any, side: int) -> Any:
        images = np.asarray(pixels, dtype=dtype)[None, None]
        blank = dataclasses.replace(data, images=images, labels=data.labels[:1], masks=None, boxes=None)
        return v.Coarsen(side=side)(blank).images[0, 0]

    scale = 1 if dtype == "uint8" else 1 / 255
    np.testing.assert_allclose(one(np.array([[10, 20], [30, 40]]) * scale, 1), 25 * scale, rtol=1e-6)
    flat = np.full((7, 9), 77 * scale)
    np.testing.assert_allclose(one(flat, 3), flat, rtol=1e-6)
    board = np.indices((16, 16)).sum(0) % 2 * 200 * scale
    np.testing.assert_allclose(one(board, 8), 100 * scale, rtol=1e-6, err_msg="detail below a pixel is gone")


def test_grey_becomes_three_channels_and_colour_stays() -> None:
    grey = made(channels=1)
    assert np.array_equal(v.ThreeChannels()(grey).images, np.repeat(grey.images, 3, axis=1))
    colour = made()
    assert v.ThreeChannels()(colour) is colour


@pytest.mark.parametrize(
    ("view", "says"),
    [
        (lambda ref: v.subset(ref, []), "needs at least one image"),
        (lambda ref: v.subset(ref, [1, 1]), "each image once"),
        (lambda ref: v.subset(ref, [0, 9]), "has the images 0..8, a subset names 9"),
        (lambda ref: v.subset(ref, [-1]), "names -1"),
        (lambda ref: v.keep_classes(ref, []), "at least one class"),
        (lambda ref: v.keep_classes(ref, ["cat", "cat"]), "each once"),
        (lambda ref: v.keep_classes(ref, ["cta"]), "no class 'cta': did you mean 'cat'"),
        (lambda ref: v.merge_classes(ref, {"a": ["cat", "dog"]}), "exactly one group, 'car' does not"),
        (lambda ref: v.merge_classes(ref, {"a": ["cat", "dog"], "b": ["car", "dog"]}), "'dog' does not"),
        (lambda ref: v.merge_classes(ref, {"a": ["bus"]}), "no class 'bus'"),
        (lambda ref: v.relabel(ref, [0] * 8, ["a"]), "has 9 images, but 8 labels"),
        (lambda ref: v.relabel(ref, [3] * 9, ["a", "b"]), "label 3, but there are 2 classes"),
        (lambda ref: v.resize(ref, 0), "at least 1"),
        (lambda ref: v.coarsen(ref, 0), "at least 1 pixel"),
        (lambda ref: v.coarsen(ref, 8), "8 x 12 pixels: to shrink them name fewer, got 8"),
        (lambda ref: v.resize(ref, (4, -4)), "number of pixels or"),
        (lambda ref: v.resize(ref, (3, 4, 4)), "number of pixels or"),  # type: ignore[arg-type]
    ],
)
def test_views_that_do_not_fit_are_refused(view: Any, says: str, ref: DataRef) -> None:
    with pytest.raises(InputError, match=says):
        view(ref).fetch()


@pytest.mark.parametrize("suffix", ["png", "jpg", "PNG"])
def test_one_picture_is_data(suffix: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"heron.{suffix}")
    data = open_data(str(tmp_path / f"heron.{suffix}"), data_root=None).fetch()
    assert (data.images.shape, data.classes, data.labels.tolist()) == ((1, 3, 5, 7), ("heron",), [0])
    if suffix != "jpg":
        assert np.array_equal(data.images[0], pixels.transpose(2, 0, 1))


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.png cannot be decoded"):
        open_data(str(tmp_path / "a.png"), data_root=None).fetch()
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InputError, match="neither Parquet file nor picture"):
        open_data(str(tmp_path / "a.txt"), data_root=None)


# -- boxes beside a folder ---------------------------------------------------------------------------------------------


def folder(root: Path, lines: list[str] | None) -> str:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.full((6, 8, 3), 10 * i, np.uint8)).save(root / name / f"{i}.png")
    if lines is not None:
        (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    return str(root)


LINES = ["file,x0,y0,x1,y1", "dog/1.png,1,1,3,3", "cat/0.png,0,0,8,6", "cat/1.png,2,2,3,3", "dog/0.png,4,1,8,6"]


def test_boxes_beside_a_folder_are_read_in_the_order_of_the_images(tmp_path: Path) -> None:
    with_boxes = open_data(folder(tmp_path / "a", LINES), data_root=None)
    data = with_boxes.fetch()
    assert data.boxes is not None
    assert data.boxes.tolist() == [[0, 0, 8, 6], [2, 2, 3, 3], [4, 1, 8, 6], [1, 1, 3, 3]]
    without = open_data(folder(tmp_path / "b", None), data_root=None)
    assert without.fetch().boxes is None
    assert without.content_hash != with_boxes.content_hash


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["name,x,y,w,h"], "the first line must be file,x0,y0,x1,y1"),
        (LINES[:3], r"no box of cat/1\.png \(2 of 4 are missing\)"),
        ([*LINES, "cow/0.png,0,0,1,1"], r"a box of cow/0\.png, but there is no such image"),
        ([*LINES[:4], "dog/0.png,0,0,1"], "line 5: expected file,x0,y0,x1,y1, got dog"),
        ([*LINES[:4], "dog/0.png,0,0,1,1,1"], "line 5: expected file,x0,y0,x1,y1, got dog"),
        ([*LINES, "dog/0.png,0,0,1,1"], "line 6: dog/0.png has a box already"),
        ([*LINES[:4], "dog/0.png,0,0,1,x"], "line 5"),
        ([*LINES[:4], "dog/0.png,0,0,9,1"], r"image 2 has the box \[0, 0, 9, 1\]"),
    ],
)
def test_boxes_that_do_not_fit_are_refused(lines: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        open_data(folder(tmp_path, lines), data_root=None).fetch()
