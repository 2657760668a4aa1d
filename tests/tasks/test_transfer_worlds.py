"""The study of transfer: what sources learn, what targets are, and what is split off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustray.tasks.data.folder import FolderSource
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.lab.payloads import Payloads
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.transfer.kinds import FIXED, FULL, OTHERS, RANDOM, STANDARD
from robustray.tasks.studies.transfer.presets import PRESETS
from robustray.tasks.studies.transfer.study import STUDY, present
from robustray.tasks.studies.transfer.worlds import aside, fit_and_held, open_worlds, pool, shots, view_of
from tests.cli.bad_input.transfer import photos
from tests.tasks.test_data_photo_sets import flowers
from tests.tasks.transfer_rows import DIGITS, QUICK


def target(count: int = 60, classes: int = 3) -> ImageData:
    images = np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    return ImageData(name="t", images=images, labels=np.arange(count) % classes, classes=tuple("abcdef"[:classes]))


@pytest.mark.parametrize(("share", "held"), [(0.3, 3), (0.01, 1), (0.99, 9)])
def test_every_class_is_in_both_parts_and_no_image(share: float, held: int) -> None:
    labels = np.repeat([0, 1, 2], 10)
    rest, kept = aside(labels, share, 0, "x", "t")
    assert not set(rest) & set(kept) and sorted(rest + kept) == list(range(30))
    assert np.bincount(labels[kept]).tolist() == [held] * 3 and np.bincount(labels[rest]).tolist() == [10 - held] * 3
    with pytest.raises(InputError, match="class 3 has 1 image"):
        aside(np.array([0, 0, 3]), share, 0, "x", "t")


def test_few_images_are_drawn_anew_in_every_chain_and_draw_and_more_hold_fewer() -> None:
    labels = target().labels
    settings = replace(QUICK, per_class=4, more_per_class=(2,), num_draws=2)
    places = pool(settings, 0, OTHERS, labels)
    assert np.bincount(labels[places]).tolist() == [8] * 3 != pool(settings, 1, OTHERS, labels) != places
    few = {
        (seed, draw, count): shots(labels[places], count, seed=seed, draw=draw)
        for seed in (0, 1)
        for draw in (0, 1)
        for count in (2, 4)
    }
    assert len({tuple(each) for each in few.values()}) == len(few)
    for (seed, draw, count), each in few.items():
        assert np.bincount(labels[places][each]).tolist() == [count] * 3
        assert set(few[seed, draw, 2]) <= set(each), "a larger number holds the smaller one"
    fit, held = fit_and_held(labels[places], few[0, 0, 4], 0.3, seed=0, where="t")
    assert sorted(fit + held) == few[0, 0, 4] and not set(fit) & set(held)
    assert len(pool(replace(settings, per_class=0), 0, OTHERS, labels)) == len(labels), "0 means all"


def test_every_chain_draws_its_own_classes_and_source_and_target_share_none(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path)))
    learnt = []
    for chain in range(3):
        world = open_worlds(DIGITS, lab, [chain])[0]
        assert world.source is not None and world.source_test is not None
        source, tested = lab.load(world.source), lab.load(world.source_test)
        images = world.targets[OTHERS]
        others, test = lab.load(images.train), lab.load(images.test)
        assert source.classes == tested.classes and others.classes == test.classes
        assert set(source.classes) | set(others.classes) == set("0123456789") and len(source.classes) == 6
        assert not set(source.classes) & set(others.classes) and not images.shared
        learnt.append(source.classes)
    assert len(set(learnt)) == 3
    again = open_worlds(DIGITS, lab, [2])[0]
    assert again.source is not None and lab.load(again.source).classes == learnt[2]
    shifted = open_worlds(replace(DIGITS, seed=2), lab, [0])[0]
    assert shifted.source is not None and lab.load(shifted.source).classes == learnt[2], "by the seed of the chain"


def test_a_folder_is_resized_and_split_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos("cat", "dog", count=10)(tmp_path)
    settings = replace(DIGITS, target=("photos",), num_source_classes=0, per_class=4)
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    world = open_worlds(settings, lab, [0])[0]
    images = world.targets["photos"]
    learnt, tested = lab.load(images.train), lab.load(images.test)
    assert world.source is not None and images.shared
    assert learnt.shape == tested.shape == (1, 8, 8) and lab.load(world.source).num_classes == 10
    assert np.bincount(learnt.labels).tolist() == [7, 7] and np.bincount(tested.labels).tolist() == [3, 3]
    seen = {image.tobytes() for image in learnt.images}
    assert not any(image.tobytes() in seen for image in tested.images)
    (warning,) = STUDY.door(settings, lab).warnings
    assert "12 x 12 pixels are resized to 8 x 8" in warning


def test_a_folder_of_photographs_is_decoded_once_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many parts of it are asked for, and although nothing idle stays in memory."""
    monkeypatch.chdir(tmp_path)
    photos("cat", "dog", count=10)(tmp_path)
    decoded: list[str] = []
    fetch = FolderSource.fetch

    def counted(source: FolderSource, name: str) -> ImageData:
        decoded.append(name)
        return fetch(source, name)

    monkeypatch.setattr(FolderSource, "fetch", counted)
    settings = replace(
        DIGITS, target=("photos",), num_source_classes=0, per_class=4, epochs=1, num_seeds=2, tune_epochs=1
    )
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    lab.payloads = Payloads(forget=lambda _: None, idle_bytes=0)
    STUDY.run(settings, lab)
    assert len(decoded) == 1


def test_a_target_is_also_shrunk_and_the_sources_images_are_not(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path)))
    settings = replace(DIGITS, shrink=4)
    plain, small = settings.targets
    assert (plain.side, small.side, plain.main, small.main) == (0, 4, True, False)
    images = open_worlds(settings, lab, [0])[0].targets[OTHERS]
    for before, after in zip(*(view_of(settings, lab, each, images)[:2] for each in (plain, small)), strict=True):
        sharp, coarse = lab.load(before), lab.load(after)
        assert sharp.shape == coarse.shape and np.array_equal(sharp.labels, coarse.labels)
        means, kept = (
            each.images.astype(float).reshape(-1, 4, 2, 4, 2).mean((2, 4)) for each in (sharp, coarse)
        )  # pixels of 4 x 4 images
        assert not np.array_equal(sharp.images, coarse.images) and np.corrcoef(means.flat, kept.flat)[0, 1] > 0.98
    (warning,) = STUDY.door(settings, lab).warnings
    assert warning.startswith("the other classes, 4 pixels: every image is shrunk to 4 pixels a side (by area) and enl")


def test_targets_are_named_by_their_images_and_by_how_much_of_them_is_used() -> None:
    settings = replace(
        QUICK, target=(OTHERS, "./a/photos", "digits:train"), more_per_class=(20, 400), shrink=8, tune_eps=(0.15,)
    )
    assert [each.name for each in settings.targets[:4]] == [
        "the other classes, 20 a class",
        "the other classes, 40 a class",
        "the other classes, 40 a class, 8 pixels",
        "the other classes, 400 a class",
    ]
    assert [each.images for each in settings.targets[4::4]] == ["photos", "digits:train"]
    assert [each.data for each in settings.targets if each.main] == [OTHERS, "./a/photos", "digits:train"]
    assert [each.name for each in QUICK.targets] == ["the other classes"]
    tuned = [source.name for source in settings.sources_of(FULL)]
    assert tuned == [STANDARD, "robust, ε = 0.15", "standard, other seed 1", RANDOM], "as many of the null"
    assert settings.sources_of(FIXED) == settings.all_sources()


def test_a_target_of_the_paper_has_its_metric_and_test_images_and_as_many_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flowers(tmp_path)
    settings = replace(QUICK, target=("flowers", OTHERS), num_source_classes=6)
    assert [each.measure for each in settings.targets] == ["mean per-class accuracy", "accuracy"]
    assert {each.measure for each in replace(settings, metric="accuracy").targets} == {"accuracy"}
    lab = SerialLab(store=Store(str(tmp_path / "store")), data_root=str(tmp_path))
    with pytest.raises(InputError, match="flowers has 102 classes, flowers:train under the data root has 2"):
        open_worlds(settings, lab, [0])
    monkeypatch.setitem(PRESETS, "flowers", PRESETS["flowers"]._replace(num_classes=2))
    images = open_worlds(settings, lab, [0])[0].targets["flowers"]
    train, test = lab.load(images.train), lab.load(images.test)
    assert train.shape == test.shape == (3, 16, 16) and (len(train), len(test)) == (2, 1)
    assert "9 x 7 pixels are resized to 16 x 16" in images.prepared


def test_more_images_than_a_target_has_are_left_out_and_said(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path)))
    settings = replace(DIGITS, more_per_class=(20, 1_000))
    kept, words = present(settings, lab, open_worlds(settings, lab, [0])[0])
    assert [target.per_class for target in kept] == [10, 20]
    assert len(words) == 1 and "1,000 a class: left out" in words[0]


def test_photographs_of_mixed_sizes_are_a_target_and_an_unreadable_one_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos("cat", "dog", count=10)(tmp_path)
    file = next((tmp_path / "photos" / "cat").iterdir())
    Image.new("L", (31, 17), 90).save(file)
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    settings = replace(DIGITS, target=("photos",), num_source_classes=0, per_class=4)
    (warning,) = [words for words in STUDY.door(settings, lab).warnings if "resized" in words]
    assert "12 x 12 to 31 x 17 pixels are resized to 8 x 8" in warning
    file.write_bytes(b"no picture")
    with pytest.raises(InputError, match=rf"1 of 20 pictures cannot be used: .*{file.name}"):
        STUDY.door(settings, SerialLab(store=Store(str(tmp_path / "store"))))
