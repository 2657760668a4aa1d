"""Photographs of any sizes: boxes as they are written down, GrabCut, filters, and versions that are built and read."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from robustray.tasks.compose.boxes import central_box, read_boxes
from robustray.tasks.compose.cut import box_masks, tiled
from robustray.tasks.compose.photographs import open_photographs
from robustray.tasks.compose.segment import box_reason, nearest_square, segmented
from robustray.tasks.data import open_data
from robustray.tasks.errors import InputError
from robustray.tasks.kit.frames import at
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.backgrounds import in9
from robustray.tasks.studies.backgrounds.photographs import Cutting, Rejected, cut
from robustray.tasks.studies.backgrounds.released import foreground
from robustray.tasks.studies.backgrounds.settings import VERSIONS, Settings
from robustray.tasks.studies.backgrounds.study import STUDY, run
from robustray.tasks.study import Findings
from tests.tasks.photographs import Photo, photos, write

# -- boxes -------------------------------------------------------------------------------------------------------------


def test_every_form_of_annotation_says_the_same(tmp_path: Path) -> None:
    made = photos()
    write(tmp_path, made)
    pd.read_csv(tmp_path / "boxes.csv").to_parquet(tmp_path / "boxes.parquet")
    for where in ("boxes.csv", "boxes.parquet", "coco.json", "xml"):
        found = read_boxes(str(tmp_path / where))
        for each in made:
            one = found.of(each.name)
            assert one is not None and one.boxes == (each.box,), where
            assert one.size in (None, each.pixels.shape[:2])
            assert found.of(f"elsewhere/{Path(each.name).name}") == one, "by the file's own name, where it is unique"
        assert found.of("disc/99.png") is None


def test_coco_boxes_cover_the_pixels_that_they_touch(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(
        '{"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": [{"image_id": 7, "bbox": [1.5, 2, 3, 4.2]}, '
        '{"image_id": 7, "bbox": [0, 0, 1, 1]}]}'
    )
    found = read_boxes(str(tmp_path / "c.json")).of("a.jpg")
    assert found is not None and found.boxes == ((1, 2, 5, 7), (0, 0, 1, 1)) and found.size is None


def test_names_that_several_images_share_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("file,x0,y0,x1,y1\na/1.png,0,0,2,2\nb/1.png,1,1,3,3\n")
    found = read_boxes(str(tmp_path / "b.csv"))
    assert found.of("1.png") is None and found.of("b/1.png").boxes == ((1, 1, 3, 3),)  # type: ignore[union-attr]


def test_an_annotation_is_that_of_one_image(tmp_path: Path) -> None:
    """Of cat/1.png it says nothing of dog/1.png; and of 1.png alone, nothing of either."""
    (tmp_path / "b.csv").write_text("file,x0,y0,x1,y1\ncat/1.png,0,0,2,2\n2.png,0,0,4,4\n3.png,0,0,6,6\n")
    found = read_boxes(str(tmp_path / "b.csv"))
    names = ("cat/1.png", "dog/1.png", "cat/2.png", "dog/3.png", "cat/3.png")
    boxes = [each and each.boxes for each in found.of_all(names)]
    assert boxes == [((0, 0, 2, 2),), None, ((0, 0, 4, 4),), None, None]


def test_the_central_box() -> None:
    assert central_box(100, 50, 0.6) == (10, 20, 40, 80)
    assert central_box(3, 3, 0.1) == (1, 1, 2, 2)


@pytest.mark.parametrize(
    ("boxes", "annotated", "says"),
    [
        ([(100, 100, 200, 200)], None, ""),
        ([(100, 100, 200, 200)], (300, 400), ""),
        ([(100, 100, 200, 200)], (400, 300), "is of an image of 300 x 400 pixels, this one has 400 x 300"),
        ([], None, "no box"),
        ([(1, 1, 9, 9)] * 2, None, "2 boxes, not one"),
        ([(100, 100, 100, 200)], None, "is empty"),
        ([(100, 200, 200, 100)], None, "is empty"),
        ([(-1, 100, 100, 200)], None, "leaves the image of 400 x 300"),
        ([(100, 100, 401, 200)], None, "leaves the image"),
        ([(0, 0, 400, 300)], None, "whole image"),
        ([(40, 1, 360, 299)], None, "covers more than 90%"),  # 290 of the 300 columns that the crop shows
        ([(0, 100, 60, 200)], None, "less than 50% of the box is left"),  # the crop begins at column 69
    ],
)
def test_what_a_box_must_be(
    boxes: list[tuple[int, int, int, int]], annotated: tuple[int, int] | None, says: str
) -> None:
    reason = box_reason(boxes, 300, 400, annotated)
    assert says in reason if says else not reason


# -- GrabCut, and sizes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "side"), [(7, 7, 7), (40, 64, 40), (64, 40, 16), (15, 22, 31)])
def test_nearest_squares_are_those_of_a_plain_loop(height: int, width: int, side: int) -> None:
    image = np.arange(height * width).reshape(height, width)
    short = min(height, width)
    tall, wide = max(side, round(height * side / short)), max(side, round(width * side / short))
    for y, x in np.ndindex(side, side):
        row = int((y + (tall - side) // 2 + 0.5) * height / tall)
        column = int((x + (wide - side) // 2 + 0.5) * width / wide)
        assert nearest_square(image, side)[y, x] == image[row, column]
    both = nearest_square(np.stack([image, -image]), side)
    assert np.array_equal(both[0], -both[1])


def test_grabcut_belongs_to_the_image_and_finds_most_of_it(record_property: Callable[[str, object], None]) -> None:
    overlap = []
    for each in photos(9, 9):
        found = segmented(each.pixels, each.box, name=each.name)
        segmented(each.pixels[::-1], (1, 1, 30, 30), name="another image between")
        again = segmented(each.pixels, each.box, name=each.name)
        assert np.array_equal(found.mask, again.mask) and found.attempts == again.attempts
        if not found.reason:
            assert not (found.mask & ~box_masks(np.array([each.box]), *each.mask.shape)[0]).any()
            overlap.append((found.mask & each.mask).sum() / (found.mask | each.mask).sum())
    record_property("iou", float(np.mean(overlap)))
    assert len(overlap) >= 6 and np.mean(overlap) > 0.6, overlap


def test_grabcut_that_fails_is_tried_again_and_then_told() -> None:
    flat = np.full((40, 40, 3), 128, np.uint8)
    found = segmented(flat, (5, 5, 35, 35), name="flat", attempts=3)
    assert found.attempts == 3 and found.reason and not found.mask.any()


# -- one photograph ----------------------------------------------------------------------------------------------------


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, photos())
    return tmp_path


HOW = Cutting(side=48, segment="box", attempts=1)


def test_a_photograph_is_tiled_at_its_native_size_and_shrunk_with_its_mask(folder: Path) -> None:
    data = open_photographs("photos", "boxes.csv").fetch()
    by_name = {each.name: each for each in photos()}
    for index, name in enumerate(data.names):
        each = by_name[name]
        found = cut(data, index, HOW, 0)
        image = each.pixels.transpose(2, 0, 1)
        inside = box_masks(np.array([each.box]), *each.mask.shape)[0]
        assert np.array_equal(found.image, nearest_square(image, 48))
        assert np.array_equal(found.tiled, nearest_square(tiled(image, each.box), 48))
        assert np.array_equal(found.mask, nearest_square(inside, 48))
        assert np.array_equal(box_masks(found.box[None], 48, 48)[0], found.mask), "a box stays a box"
        assert (found.height, found.width) == each.mask.shape and tuple(found.native_box) == each.box


def test_a_black_object_stays_where_it_is(folder: Path) -> None:
    """Masks are carried along, never read back from pixels."""
    each = photos(1)[0]
    pixels = each.pixels.copy()
    pixels[each.mask] = 0
    Image.fromarray(pixels).save(folder / "photos" / each.name)
    data = open_photographs("photos", "boxes.csv").fetch()
    found = cut(data, data.names.index(each.name), HOW, 0)
    assert found.mask.any() and not found.image[:, nearest_square(each.mask, 48)].any()


# -- from photographs to a page ----------------------------------------------------------------------------------------


def ran(folder: Path, settings: Settings) -> Findings:
    store = Store(str(folder / "store"))
    store.create()
    lab = SerialLab(store=store)
    lab.declared = STUDY.declared
    STUDY.door(settings, lab)
    return run(settings, lab)


def test_versions_are_built_and_rejected_photographs_listed(folder: Path) -> None:
    (folder / "photos/disc/damaged.png").write_bytes((folder / "photos/disc/0.png").read_bytes()[:200])
    (folder / "photos/ring/unknown.png").write_bytes((folder / "photos/ring/1.png").read_bytes())
    (folder / "photos/star").mkdir()
    (folder / "photos/star/alone.png").write_bytes((folder / "photos/ring/1.png").read_bytes())
    with (folder / "boxes.csv").open("a") as file:
        file.write("disc/damaged.png,1,1,9,9\nstar/alone.png,20,20,40,40\n")
    settings = Settings(data="photos", boxes="boxes.csv", photo_side=48, segment="box", build="built", num_examples=2)
    found = ran(folder, settings)
    rejected = pd.read_csv(folder / "built/rejected.csv").set_index("name")["reason"]
    assert sorted(rejected.index) == ["disc/damaged.png", "ring/unknown.png", "star/alone.png"]
    assert "cannot be decoded" in rejected["disc/damaged.png"] and "no annotation" in rejected["ring/unknown.png"]
    assert "only one of its class" in rejected["star/alone.png"]
    assert "12 images of photos in 7 versions" in found.answer and "3 could not" in found.answer

    parts = {each: open_data(f"built/{each}", data_root=None).fetch() for each in ("original", *VERSIONS)}
    mine = pd.read_parquet(folder / "built/records/mixed_rand.parquet")
    names = dict(zip(mine["image"], mine["image_name"], strict=True))
    by_name = {each.name: each for each in photos()}
    assert [names[image] for image in mine["background"]] == mine["background_name"].tolist()
    for row, record in enumerate(mine.itertuples()):
        each, other = by_name[str(record.image_name)], by_name[str(record.background_name)]
        assert each != other and tuple(record.native_box) == each.box
        expected = np.where(
            parts["original"].masks[row],  # type: ignore[index]
            nearest_square(each.pixels.transpose(2, 0, 1), 48),
            nearest_square(tiled(other.pixels.transpose(2, 0, 1), other.box), 48),
        )
        assert np.array_equal(parts["mixed_rand"].images[row], expected)
    assert np.array_equal(parts["no_fg"].images + parts["only_fg"].images, parts["original"].images)
    assert parts["original"].classes == ("crescent", "disc", "ring", "star")

    again = ran(folder, dataclasses.replace(settings, data="", boxes="", photo_side=224, segment="grabcut", build="",
                                            released="built", models=(f"{__name__}:four",)))  # fmt: skip
    table = next(table.frame for table in again.tables if table.name == "gaps")
    assert table.n.item() == 12 and np.isfinite(table.towards_background.item()), "the records say whose background"


def test_photographs_that_leave_one_class_are_refused(folder: Path) -> None:
    lines = [line for line in (folder / "boxes.csv").read_text().splitlines() if not line.startswith("ring")]
    kept = [line if line.startswith(("file", "disc")) else f"{line.split(',')[0]},0,0,0,0" for line in lines]
    (folder / "boxes.csv").write_text("\n".join(kept) + "\n")
    settings = Settings(data="photos", boxes="boxes.csv", photo_side=48, segment="box", build="built")
    with pytest.raises(InputError, match=r"4 of 12 photographs could be cut out.*crescent"):
        ran(folder, settings)


def test_masks_that_come_with_the_data_are_used_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustray.tasks.data.export import export_data

    monkeypatch.chdir(tmp_path)
    data = open_data("scenes:test,n=18,size=48,aa=1", data_root=None).fetch()
    export_data(data, tmp_path / "own", "test")
    found = open_photographs("own", "own").fetch()
    assert data.masks is not None
    for index in range(18):
        assert np.array_equal(
            cut(found, index, Cutting(side=48, segment="grabcut", attempts=1), 0).mask, data.masks[index]
        )
    small = Image.fromarray(np.full((9, 9), 255, np.uint8))
    small.save(tmp_path / "m.png")
    wrong = dataclasses.replace(found, masks=((tmp_path / "m.png").read_bytes(), *[None] * 17))
    with pytest.raises(Rejected, match="its mask has 9 x 9 pixels, the photograph 48 x 48"):
        cut(wrong, 0, HOW, 0)


def parquet(file: Path, **columns: Any) -> str:
    """Two photographs as `data.parquet` describes them, with other columns where they are given."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, "PNG")
    plain = {"image": [{"bytes": stream.getvalue(), "path": None}] * 2, "label": [0, 1], "box": [[1, 1, 4, 4]] * 2}
    pq.write_table(pa.table(plain | columns), file)
    return str(file)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"image": [b"a", b"b"]}, "column 'image' is binary, expected struct<bytes"),
        ({"label": ["cat", "dog"]}, "column 'label' is string, expected int64"),
        ({"label": [0, -2]}, r"has label -2, expected 0\.\.0, or -1 for no class"),
        ({"box": ["1 1 4 4"] * 2}, "column 'box' is string, expected a list of 4 integers"),
        ({"mask": [b"a", b"b"]}, "column 'mask' is binary, expected struct<bytes"),
    ],
)
def test_columns_of_other_types_are_refused(columns: dict[str, Any], says: str, tmp_path: Path) -> None:
    file = parquet(tmp_path / "own.parquet", **columns)
    with pytest.raises(InputError, match=says):
        open_photographs(file, "own").fetch()


def test_an_empty_mask_is_told_with_its_photograph_and_does_not_stop_the_hash(tmp_path: Path) -> None:
    file = parquet(tmp_path / "own.parquet", mask=[{"bytes": b"", "path": None}, None])
    reference = open_photographs(file, "own")
    assert len(reference.content_hash) == 64
    with pytest.raises(Rejected, match=r"mask of own\.parquet row 0"):
        cut(reference.fetch(), 0, HOW, 0)


def test_shards_of_other_classes_are_refused(tmp_path: Path) -> None:
    for number, names in enumerate((["cat", "dog"], ["dog", "cat"])):
        file = Path(parquet(tmp_path / f"{number}.parquet"))
        features = {"info": {"features": {"label": {"names": names}}}}
        table = pq.read_table(file)
        pq.write_table(table.replace_schema_metadata({b"huggingface": json.dumps(features).encode()}), file)
    with pytest.raises(InputError, match=r"0.parquet and .*1.parquet name different classes"):
        open_photographs(str(tmp_path), "own").fetch()


def test_a_table_of_boxes_beside_the_class_folders_is_no_shard(folder: Path) -> None:
    pd.read_csv(folder / "boxes.csv").to_parquet(folder / "photos/boxes.parquet")
    found = open_photographs("photos", "photos/boxes.parquet").fetch()
    assert len(found) == 12 and None not in found.annotations


# -- ImageNet-9 --------------------------------------------------------------------------------------------------------

SIZES = {"dog": 116, "bird": 52, "wheeled vehicle": 42, "reptile": 36, "carnivore": 35, "insect": 27}
SIZES |= {"musical instrument": 26, "primate": 20, "fish": 16}


def test_the_groups_are_the_papers() -> None:
    table = in9.table()
    assert {name: (table == label).sum() for label, name in enumerate(in9.CLASSES)} == SIZES
    assert (table >= 0).sum() == 370 and len(table) == 1_000
    known = {151: "dog", 285: None, 281: None, 171: None, 172: None, 269: "carnivore", 0: "fish", 388: "carnivore"}
    known |= {389: "fish", 397: "fish", 880: "wheeled vehicle", 889: "musical instrument", 384: "primate", 146: "bird"}
    assert {index: in9.CLASSES[table[index]] if table[index] >= 0 else None for index in known} == known


def test_the_names_of_the_released_folders_are_known() -> None:
    released = ("00_dog", "01_bird", "02_wheeled vehicle", "03_reptile", "04_carnivore", "05_insect",
                "06_musical instrument", "07_primate", "08_fish")  # fmt: skip
    assert in9.is_in9(released) and in9.is_in9(in9.CLASSES)
    assert not in9.is_in9(tuple(sorted(in9.CLASSES))) and not in9.is_in9(released[:8])


def test_foregrounds_are_read_off_file_names() -> None:
    assert (
        foreground("00_dog/fg_n02085620_1_bg_n01440764_7") == foreground("00_dog/n02085620_1") == "00_dog/n02085620_1"
    )


@pytest.mark.parametrize("named", [True, False])
def test_a_thousand_answers_are_judged_on_nine_classes(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that reads ImageNet's class off one pixel, on folders laid out as the released ones."""
    monkeypatch.chdir(tmp_path)
    names = [f"{label:02}_{name}" for label, name in enumerate(in9.CLASSES)]
    right = [in9.GROUPS[name][-1] for name in in9.CLASSES]
    for version in ("original", "only_bg_t", "mixed_same", "mixed_rand"):
        for label, name in enumerate(names):
            place = tmp_path / "in9" / version / "val" / name
            place.mkdir(parents=True)
            for number in range(4):
                answer = right[label]
                if version == "mixed_rand" and number < 2:
                    answer = 999 if number else right[(label + 1) % 9]  # none of the nine; the next
                if version == "only_bg_t":
                    answer = 285
                pixels = np.zeros((16, 16, 3), np.uint8)
                pixels[0, 0] = answer // 250, answer % 250, 0
                mixed = f"fg_x{number}_bg_x{3 - number}" if named else f"picture{number}"
                Image.fromarray(pixels).save(place / f"{mixed if 'mixed' in version else f'x{number}'}.png")
    if named:
        for label, name in enumerate(names):
            place = tmp_path / "in9/fg_mask/val" / name
            place.mkdir(parents=True)
            for number in range(4):
                mask = np.zeros((16, 16), np.float32)
                mask[:4] = label > 0  # the pixel that is read is the object's, but for dogs
                mask[8:12] = 1
                np.save(place / f"x{number}.npy", mask)
    found = ran(tmp_path, Settings(released="in9", models=(f"{__name__}:reader",), num_examples=1, compose_batch=16))
    tables = {table.name: table for table in found.tables}
    accuracy = tables["accuracy"].frame
    assert (
        at(accuracy, version="Original").accuracy.item() == 1
        and at(accuracy, version="Mixed-Rand").accuracy.item() == 0.5
    )
    assert at(accuracy, version="Only-BG-T").accuracy.item() == 0
    assert tables["gaps"].frame.gap.item() == 0.5 and np.isnan(tables["gaps"].frame.towards_background.item())
    assert set(tables["predictions"].frame.mixed_rand) == {-1, *range(9)}
    assert "370 classes belong to one" in tables["accuracy"].caption
    assert ("adversarial" in tables) == named, "it takes masks"
    if named:
        row = tables["adversarial"].frame.iloc[0]
        assert row.challenge == pytest.approx(8 / 9), "a dog is read off its background, which is none of the nine"
        assert (row.clean, row.n_challenged, row.fooled) == (1, 36, 0)


def reader():  # type: ignore[no-untyped-def]
    import torch
    from torch import nn

    class Reader(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            first = (images[:, :, 0, 0] * 255).round()
            answer = first[:, 0] * 250 + first[:, 1]
            return -(torch.arange(1000.0) - answer[:, None]).abs()

    return Reader()


def four():  # type: ignore[no-untyped-def]
    from torch import Tensor, nn

    class Four(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3)).repeat(1, 2)[:, :4] * 8

    return Four()


def test_a_photograph_for_a_test_is_what_it_says() -> None:
    each: Photo = photos(5)[4]
    assert each.pixels.shape[:2] == each.mask.shape == (72, 72) and each.name == "ring/4.png"
