"""The paper's sets of photographs on miniatures of their layouts, quirks included; nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from robustray.tasks.data.photo_sets import LAYOUTS
from robustray.tasks.data.reference import at_size, open_data
from robustray.tasks.errors import InputError
from robustray.tasks.studies.transfer.presets import PRESETS


def picture(path: Path, shade: int, size: tuple[int, int] = (9, 7)) -> None:
    """One shade all over, by which it is known again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path, format="PNG")  # kinds are told by content, not by suffix


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def aircraft(root: Path) -> None:
    base = root / "fgvc-aircraft-2013b" / "data"
    text(base / "variants.txt", "Boeing 707-320", "F/A-18")
    text(base / "images_variant_trainval.txt", "0000002 F/A-18", "0000001 Boeing 707-320")
    text(base / "images_variant_test.txt", "0000003 F/A-18")
    for number in (1, 2, 3):
        picture(base / "images" / f"000000{number}.jpg", 10 * number)


def birdsnap(root: Path) -> None:
    """Of five that are listed one could not be downloaded."""
    base = root / "birdsnap"
    text(
        base / "species.txt", "id\tcommon\tscientific\tdir", "1\tBlue Jay\tC. cristata\tBlue_Jay", "2\tOsprey\tP. h.\tO"
    )
    rows = [("O/c.jpg", 2), ("Blue_Jay/a.jpg", 1), ("Blue_Jay/b.jpg", 1), ("O/gone.jpg", 2)]
    header = "url\tmd5\tpath\tspecies_id\tbb_x1"
    text(base / "images.txt", header, *(f"http://x/y\t0\t{path}\t{label}\t5" for path, label in rows))
    text(base / "test_images.txt", "path", "Blue_Jay/b.jpg")
    for shade, (path, _) in zip((20, 10, 30), rows, strict=False):
        picture(base / "images" / path, shade)


def caltech101(root: Path) -> None:
    """The background is no class; what is no picture is left out; the 30 first files of a class train."""
    base = root / "caltech101" / "101_ObjectCategories"
    for name, first in (("ant", 0), ("Faces", 100), ("BACKGROUND_Google", 200)):
        for number in range(31):
            picture(base / name / f"image_{number + 1:04d}.jpg", first + number)
    text(base / "ant" / "tmp", "no picture")


def caltech256(root: Path) -> None:
    base = root / "caltech256" / "256_ObjectCategories"
    for label, name in enumerate(("001.ak47", "257.clutter")):
        for number in range(61):
            picture(base / name / f"{label + 1:03d}_{number + 1:04d}.jpg", number + 100 * label)
    (base / "001.ak47" / "greg").mkdir()
    text(base / "257.clutter" / "RENAME2", "no picture")


def cars(root: Path) -> None:
    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    kind = [("bbox_x1", "O"), ("class", "O"), ("fname", "O")]
    for path, rows in (
        ("devkit/cars_train_annos.mat", [(39, 2, "00001.jpg"), (8, 1, "00002.jpg")]),
        ("cars_test_annos_withlabels.mat", [(4, 2, "00001.jpg")]),
    ):
        savemat(base / path, {"annotations": np.array(rows, dtype=kind)})
    savemat(
        base / "devkit" / "cars_meta.mat", {"class_names": np.array(["AM General Hummer", "Acura RL"], dtype=object)}
    )
    for name, shade in (("cars_train/00001.jpg", 20), ("cars_train/00002.jpg", 10), ("cars_test/00001.jpg", 30)):
        picture(base / name, shade)


def dtd(root: Path) -> None:
    base = root / "dtd" / "dtd"
    text(base / "labels" / "train1.txt", "zigzagged/z_1.jpg")
    text(base / "labels" / "val1.txt", "banded/b_1.jpg")
    text(base / "labels" / "test1.txt", "zigzagged/z_2.jpg")
    for name, shade in (("banded/b_1", 10), ("zigzagged/z_1", 20), ("zigzagged/z_2", 30)):
        picture(base / "images" / f"{name}.jpg", shade)
    text(base / "images" / "banded" / ".directory", "of a file manager")


def flowers(root: Path) -> None:
    base = root / "flowers-102"
    base.mkdir()
    savemat(base / "imagelabels.mat", {"labels": np.array([[2, 1, 2]], dtype=np.uint8)})
    savemat(base / "setid.mat", {"trnid": [[1]], "valid": [[2]], "tstid": [[3]]})
    for number, shade in ((1, 20), (2, 10), (3, 30)):
        picture(base / "jpg" / f"image_{number:05d}.jpg", shade)


def food(root: Path) -> None:
    base = root / "food-101"
    text(base / "meta" / "train.json", json.dumps({"waffles": ["waffles/2"], "apple_pie": ["apple_pie/1"]}))
    text(base / "meta" / "test.json", json.dumps({"waffles": ["waffles/3"], "apple_pie": []}))
    for name, shade in (("apple_pie/1", 10), ("waffles/2", 20), ("waffles/3", 30)):
        picture(base / "images" / f"{name}.jpg", shade)


def pets(root: Path) -> None:
    base = root / "oxford-iiit-pet"
    text(base / "annotations" / "trainval.txt", "# a comment", "yorkshire_terrier_12 2 2 1", "Abyssinian_1 1 1 1")
    text(base / "annotations" / "test.txt", "yorkshire_terrier_3 2 2 1", "Abyssinian_2 1 1 1")
    for name, shade in (
        ("yorkshire_terrier_12", 20), ("Abyssinian_1", 10), ("yorkshire_terrier_3", 30), ("Abyssinian_2", 40)
    ):  # fmt: skip
        picture(base / "images" / f"{name}.jpg", shade)


def sun397(root: Path) -> None:
    """A class in a class's folder, and lists beside the images."""
    base = root / "SUN397"
    text(base / "ClassName.txt", "/a/abbey", "/a/apartment_building/outdoor")
    text(base / "Training_01.txt", "/a/apartment_building/outdoor/sun_b.jpg", "/a/abbey/sun_a.jpg")
    text(base / "Testing_01.txt", "/a/apartment_building/outdoor/sun_c.jpg")
    picture(base / "a" / "abbey" / "sun_a.jpg", 10)
    for name, shade in (("b", 20), ("c", 30)):
        picture(base / "a" / "apartment_building" / "outdoor" / f"sun_{name}.jpg", shade)


Cells = list[tuple[int, int]]
"""Shade and label of each picture, in order."""
CASES: dict[str, tuple[Callable[[Path], None], tuple[str, ...], Cells, Cells]] = {
    "aircraft": (aircraft, ("Boeing 707-320", "F/A-18"), [(20, 1), (10, 0)], [(30, 1)]),
    "birdsnap": (birdsnap, ("Blue Jay", "Osprey"), [(20, 1), (10, 0)], [(30, 0)]),
    "caltech101": (
        caltech101,
        ("Faces", "ant"),
        [(100 + n, 0) for n in range(30)] + [(n, 1) for n in range(30)],
        [(130, 0), (30, 1)],
    ),
    "caltech256": (
        caltech256,
        ("001.ak47", "257.clutter"),
        [(n, 0) for n in range(60)] + [(100 + n, 1) for n in range(60)],
        [(60, 0), (160, 1)],
    ),
    "cars": (cars, ("AM General Hummer", "Acura RL"), [(20, 1), (10, 0)], [(30, 1)]),
    "dtd": (dtd, ("banded", "zigzagged"), [(20, 1), (10, 0)], [(30, 1)]),
    "flowers": (flowers, ("1", "2"), [(20, 1), (10, 0)], [(30, 1)]),
    "food": (food, ("apple_pie", "waffles"), [(10, 0), (20, 1)], [(30, 1)]),
    "pets": (pets, ("Abyssinian", "yorkshire_terrier"), [(20, 1), (10, 0)], [(30, 1), (40, 0)]),
    "sun397": (sun397, ("abbey", "apartment_building/outdoor"), [(20, 1), (10, 0)], [(30, 1)]),
}


def test_every_set_has_a_miniature_and_the_paper_has_two_more() -> None:
    assert CASES.keys() == LAYOUTS.keys() == PRESETS.keys() - {"cifar10", "cifar100"} and len(PRESETS) == 12
    per_class = {name for name, preset in PRESETS.items() if preset.metric == "per-class"}
    assert per_class == {"aircraft", "caltech101", "caltech256", "flowers", "pets"}


@pytest.mark.parametrize("name", CASES)
def test_pictures_labels_and_classes_of_both_splits(name: str, tmp_path: Path) -> None:
    build, classes, *splits = CASES[name]
    build(tmp_path)
    for split, cells in zip(("train", "test"), splits, strict=True):
        data = open_data(f"{name}:{split},size=6", data_root=str(tmp_path)).fetch()
        assert data.classes == classes and data.shape[1:] == (6, 6)
        assert list(zip(data.images[:, 0, 3, 3].tolist(), data.labels.tolist(), strict=True)) == cells
        assert any("9 x 7 pixels are resized to 6 x 6" in note for note in data.notes)


def test_sizes_and_hashes(tmp_path: Path) -> None:
    dtd(tmp_path)
    assert at_size("dtd:train", 32) == "dtd:train,size=32" and at_size("dtd:train,size=8", 32) == "dtd:train,size=8"
    refs = [
        open_data(f"dtd:{rest}", data_root=str(tmp_path)) for rest in ("train,size=6", "train,size=7", "test,size=6")
    ]
    assert len({ref.content_hash for ref in refs}) == 3
    assert open_data("dtd:train", data_root=str(tmp_path)).fetch().shape[1:] == (224, 224)


def test_birds_that_are_gone_are_counted(tmp_path: Path) -> None:
    birdsnap(tmp_path)
    notes = open_data("birdsnap:train,size=6", data_root=str(tmp_path)).fetch().notes
    assert notes[0] == "1 of 3 pictures that are listed are not there and were left out"


def break_line(path: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        file = root / path
        file.write_text(file.read_text().replace(old, new))

    return change


def remove(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).unlink()


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        (
            "aircraft",
            break_line("fgvc-aircraft-2013b/data/variants.txt", "F/A-18", "F-16A/B"),
            "line 1: 'F/A-18' is none",
        ),
        ("aircraft", remove("fgvc-aircraft-2013b/data/images/0000001.jpg"), "0000001.jpg is missing"),
        ("birdsnap", break_line("birdsnap/images.txt", "species_id", "species"), "no column 'species_id'"),
        (
            "birdsnap",
            break_line("birdsnap/images.txt", "O/gone.jpg\t2\t5", "O/gone.jpg"),
            "images.txt: row 4 has 3 values",
        ),
        ("cars", remove("stanford_cars/devkit/cars_meta.mat"), "cars_meta.mat is missing"),
        ("dtd", break_line("dtd/dtd/labels/val1.txt", "banded/", "braided/"), "'braided' is none of the 2"),
        ("food", break_line("food-101/meta/train.json", "{", "["), "is no JSON list"),
        (
            "pets",
            break_line("oxford-iiit-pet/annotations/trainval.txt", "12 2", "12 3"),
            "number 3 is not within 1 to 2",
        ),
        ("sun397", remove("SUN397/Training_01.txt"), "Training_01.txt"),
    ],
)
def test_damage_is_named(name: str, damage: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    CASES[name][0](tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=says):
        open_data(f"{name}:train", data_root=str(tmp_path))


def test_too_few_pictures_to_train_and_test_on(tmp_path: Path) -> None:
    caltech101(tmp_path)
    (tmp_path / "caltech101/101_ObjectCategories/ant/image_0031.jpg").unlink()
    with pytest.raises(InputError, match="ant holds 30 pictures"):
        open_data("caltech101:train", data_root=str(tmp_path))


@pytest.mark.parametrize(
    ("text_", "root", "says"),
    [
        ("pets:valid", "x", "names no split"),
        ("pets:train,side=3", "x", "'side=3' is no option"),
        ("pets:train", None, "needs a data root"),
        ("pets:train", "x", "unpack images.tar.gz"),
    ],
)
def test_what_is_not_there_is_said_with_what_to_unpack(text_: str, root: str | None, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        open_data(text_, data_root=None if root is None else str(tmp_path / root))
