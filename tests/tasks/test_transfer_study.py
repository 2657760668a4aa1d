"""The study of transfer: who chooses a source, what gains are, what is split off, and what heads never see."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.latents.cache import latents, look, matrix
from robustray.tasks.models.registry import build_model
from robustray.tasks.models.weights import to_safetensors, weights_of
from robustray.tasks.statistics import mean_interval, mean_over_seeds, paired_difference
from robustray.tasks.studies.transfer import reduce
from robustray.tasks.studies.transfer.blocks import head_block
from robustray.tasks.studies.transfer.findings import findings
from robustray.tasks.studies.transfer.metric import ACCURACY, mean_per_class
from robustray.tasks.studies.transfer.results import Results
from robustray.tasks.studies.transfer.settings import FIXED, FULL, RANDOM, STANDARD, Settings, short_names
from robustray.tasks.studies.transfer.study import STUDY
from robustray.tasks.studies.transfer.worlds import aside, open_worlds, shots
from robustray.tasks.study import Claim
from tests.cli.bad_input.transfer import photos

QUICK = Settings()
DIGITS = replace(
    QUICK, train_data="digits:train", test_data="digits:test", arch="digits:mlp", per_class=10, tune_batch=4
)


def transfers(accuracy: dict[str, list[int]], validation: dict[str, list[float]], n: int = 10) -> pd.DataFrame:
    """Source -> right answers in each chain (the first images are right), and validation accuracies."""
    rows = [
        {
            "mode": mode,
            "source": source,
            "seed": seed,
            "choice": 1.0,
            "validation": validation[source][seed],
            "correct": np.arange(n) < right,
        }
        for mode in (FIXED, FULL)
        for source, counts in accuracy.items()
        for seed, right in enumerate(counts)
    ]
    return pd.DataFrame(rows)


# -- who chooses -------------------------------------------------------------------------------------------------------


def test_a_chain_has_no_part_in_the_choice_that_it_is_judged_by() -> None:
    """A is far better by the validation of chain 0 alone, B a little in the others: chain 0 is given B, they get A."""
    frame = transfers(
        {STANDARD: [5, 5, 5], "A": [9, 5, 5], "B": [6, 7, 7]},
        {STANDARD: [0.5] * 3, "A": [1.0, 0.5, 0.5], "B": [0.1, 0.6, 0.6]},
    )
    assert reduce.choose(frame, FIXED, ["A", "B"]) == {0: "B", 1: "A", 2: "A"}
    found = reduce.chosen_gain(frame, FIXED, ["A", "B"])
    assert found.value == pytest.approx((0.1 + 0.0 + 0.0) / 3) and found.n == 10


def test_test_images_have_no_part_in_the_choice() -> None:
    names = {STANDARD: [0.5] * 2, "A": [0.7, 0.7], "B": [0.6, 0.6]}
    for counts in ([1, 1], [9, 9]):
        frame = transfers({STANDARD: [5, 5], "A": counts, "B": [8, 8]}, names)
        assert set(reduce.choose(frame, FIXED, ["A", "B"]).values()) == {"A"}
        gain = reduce.chosen_gain(frame, FIXED, ["A", "B"]).value
        assert gain == pytest.approx((counts[0] - 5) / 10)


def test_equal_candidates_give_the_first_and_a_single_chain_none() -> None:
    frame = transfers(
        {STANDARD: [5, 5], "A": [6, 6], "B": [7, 7]}, {name: [0.1 + 0.2, 0.3] for name in (STANDARD, "A", "B")}
    )
    assert set(reduce.choose(frame, FULL, ["B", "A"]).values()) == {"B"}
    alone = frame[frame.seed == 0]
    assert reduce.choose(alone, FULL, ["A", "B"]) == {}
    assert reduce.chosen_gain(alone, FULL, ["A", "B"]).n == 0


def test_the_choice_among_alike_sources_gains_nothing_on_average() -> None:
    """The null: candidates that differ by chance only, validated on the very images they are tested on. To choose in
    every chain by its own images would gain two points."""
    rng, gains, own = np.random.default_rng(0), [], []
    for _ in range(60):
        hits = {name: rng.binomial(400, 0.5, size=3).tolist() for name in (STANDARD, "A", "B", "C")}
        frame = transfers(hits, {name: [right / 400 for right in found] for name, found in hits.items()}, n=400)
        gains.append(reduce.chosen_gain(frame, FIXED, ["A", "B", "C"]).value)
        best = np.max([hits[name] for name in "ABC"], axis=0)
        own.append(float(np.mean(best - np.array(hits[STANDARD]))) / 400)
    interval = mean_interval(gains, 0.99)
    assert interval.lo < 0 < interval.hi
    assert mean_interval(own, 0.99).lo > interval.hi


# -- gains -------------------------------------------------------------------------------------------------------------


def test_a_gain_is_the_mean_of_paired_differences() -> None:
    frame = transfers({STANDARD: [5, 6], "A": [7, 9]}, {STANDARD: [0, 0], "A": [0, 0]})
    found = reduce.fixed_gain(frame, FIXED, "A")
    assert found.value == pytest.approx(0.25)
    ten = np.arange(10)
    ends = [paired_difference(ten < a, ten < b).lo for a, b in ((7, 5), (9, 6))]
    assert found.lo <= np.mean(ends)
    table = reduce.transfer_table(frame, [STANDARD, "A"])
    assert table[table.source == STANDARD].gain.isna().all(), "a source has no gain over itself"
    assert table[table.source == "A"].accuracy.tolist() == pytest.approx([0.8, 0.8])


@pytest.mark.parametrize("weighted", [False, True])
def test_gains_of_several_sizes_hold_together(weighted: bool) -> None:
    """Bonferroni by hand: two sizes, so that each interval is at 97.5 %; the others have none."""
    right = {STANDARD: [5, 6], "A": [7, 9], "B": [6, 6], "other seed": [5, 5]}
    frame = transfers(right, {name: [0.5, 0.5] for name in right})
    metric = mean_per_class(np.arange(10) % 3, 3) if weighted else ACCURACY
    table = reduce.transfer_table(frame, list(right), metric, ["A", "B"])
    ten = np.arange(10)
    for row in table.itertuples():
        if row.source not in "AB":
            assert math.isnan(row.sim_lo) and math.isnan(row.sim_hi)
            continue
        pairs = zip(right[row.source], right[STANDARD], strict=True)
        parts = [metric.difference(ten < mine, ten < first, 0.975) for mine, first in pairs]
        wide = mean_over_seeds(parts, level=0.975)
        assert (row.sim_lo, row.sim_hi) == pytest.approx(wide.interval) and row.gain == pytest.approx(wide.value)
        assert row.sim_lo <= row.gain_lo <= row.gain_hi <= row.sim_hi and row.sim_lo < row.gain_lo
    (alone,) = reduce.transfer_table(frame[frame["mode"] == FIXED], ["B", "A"], metric, ["A"])[1:].itertuples()
    assert (alone.sim_lo, alone.sim_hi) == pytest.approx((alone.gain_lo, alone.gain_hi)), "a single one as it was"


# -- mean per class ----------------------------------------------------------------------------------------------------


def test_mean_per_class_is_the_mean_of_recalls_and_of_weighted_hits() -> None:
    """By hand: classes of 2, 3 and 5 images, of which 1, 3 and 1 are right: (1/2 + 1 + 1/5) / 3 = 17/30, where accuracy
    is 1/2. With weights n / (K n_c) = 10/6, 10/9, 10/15 the hits are (10/6 + 3 x 10/9 + 10/15) / 10."""
    labels = np.array([2, 0, 1, 2, 1, 2, 0, 2, 1, 2])
    correct = np.array([1, 1, 1, 0, 1, 0, 0, 0, 1, 0], dtype=bool)
    metric = mean_per_class(labels, 3)
    found = metric.of(correct)
    assert found.value == pytest.approx(17 / 30) and found.n == 10 and ACCURACY.of(correct).value == 0.5
    weights = 10 / (3 * np.bincount(labels))[labels]
    assert found.value == pytest.approx((weights * correct).mean()) and weights.mean() == pytest.approx(1)
    other = np.array([0, 1, 1, 1, 0, 0, 0, 0, 1, 0], dtype=bool)
    gain = metric.difference(correct, other)
    assert gain.value == pytest.approx((weights * (correct.astype(float) - other)).mean())
    assert gain.lo < gain.value < gain.hi
    with pytest.raises(InputError, match="every class, and class 1 has none"):
        mean_per_class(np.array([0, 2, 2]), 3)


def test_a_table_in_mean_per_class_ignores_how_large_classes_are() -> None:
    """A class three times as often: accuracy moves, mean per class and its gains do not."""
    right = {STANDARD: [4, 5], "A": [6, 7]}
    frame = transfers(right, {name: [0.5, 0.5] for name in right})
    labels = (np.arange(10) < 5).astype(int)
    more = np.concatenate([np.arange(10), np.flatnonzero(labels), np.flatnonzero(labels)])
    again = frame.assign(correct=[correct[more] for correct in frame.correct])
    names = list(right)
    plain, large = (reduce.transfer_table(each, names) for each in (frame, again))
    assert (plain.accuracy < large.accuracy).all()
    metrics = mean_per_class(labels, 2), mean_per_class(labels[more], 2)
    tables = [reduce.transfer_table(each, names, metric) for each, metric in zip((frame, again), metrics, strict=True)]
    for name in ("accuracy", "gain"):
        np.testing.assert_allclose(tables[0][name], tables[1][name])
    columns = ["accuracy", "lo", "hi", "gain", "gain_lo", "gain_hi"]
    np.testing.assert_allclose(plain[columns], tables[0][columns])  # the two classes of the first are equally large
    assert (tables[0].gain_lo < tables[1].gain_lo)[1::2].all(), "more images, a shorter interval"
    assert reduce.run_table(again, metrics[1]).test.tolist() == pytest.approx([0.4, 0.5, 0.6, 0.7] * 2)
    assert reduce.gains_by_seed(again, FIXED, "A", metric=metrics[1]) == pytest.approx([0.2, 0.2])


# -- what is split off -------------------------------------------------------------------------------------------------


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


def test_few_images_are_drawn_anew_in_every_chain_and_alike_for_all_sources() -> None:
    settings, data = replace(QUICK, per_class=8), target()
    fit, held = shots(settings, 0, data)
    assert shots(settings, 0, data) == (fit, held) != shots(settings, 1, data)
    assert np.bincount(data.labels[fit + held]).tolist() == [8, 8, 8] and not set(fit) & set(held)
    assert sum(map(len, shots(replace(settings, per_class=0), 0, data))) == len(data), "0 means all"


def test_source_and_target_share_no_class(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path)))
    worlds = open_worlds(DIGITS, lab)
    assert worlds.source is not None
    source, test = lab.load(worlds.source), lab.load(worlds.target_test)
    assert source.classes == tuple("012345") and test.classes == lab.load(worlds.target).classes == tuple("6789")
    assert source.num_classes == 6 and set(source.labels.tolist()) == set(range(6))


def test_a_folder_is_resized_and_split_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos("cat", "dog", count=10)(tmp_path)
    settings = replace(DIGITS, target="photos", num_source_classes=0, per_class=4)
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    worlds = open_worlds(settings, lab)
    learnt, tested = lab.load(worlds.target), lab.load(worlds.target_test)
    assert worlds.source is not None
    assert learnt.shape == tested.shape == (1, 8, 8) and lab.load(worlds.source).num_classes == 10
    assert np.bincount(learnt.labels).tolist() == [7, 7] and np.bincount(tested.labels).tolist() == [3, 3]
    seen = {image.tobytes() for image in learnt.images}
    assert not any(image.tobytes() in seen for image in tested.images)
    (warning,) = STUDY.door(settings, lab).warnings
    assert "12 x 12 pixels are resized to 8 x 8" in warning


def test_a_target_is_shrunk_and_the_sources_images_are_not(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path)))
    plain, small = (open_worlds(replace(DIGITS, shrink=side), lab) for side in (0, 4))
    assert plain.source == small.source and plain.source_test == small.source_test
    for name in ("target", "target_test"):
        before, after = lab.load(getattr(plain, name)), lab.load(getattr(small, name))
        assert before.shape == after.shape and np.array_equal(before.labels, after.labels)
        means, kept = (
            images.images.astype(float).reshape(-1, 4, 2, 4, 2).mean((2, 4)) for images in (before, after)
        )  # pixels of 4 x 4 images
        assert not np.array_equal(before.images, after.images) and np.corrcoef(means.flat, kept.flat)[0, 1] > 0.98
    (warning,) = STUDY.door(replace(DIGITS, shrink=4), lab).warnings
    assert warning.startswith("the target: every image is shrunk to 4 pixels a side (by area) and enlarged")


def test_photographs_of_mixed_sizes_are_a_target_and_an_unreadable_one_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos("cat", "dog", count=10)(tmp_path)
    file = next((tmp_path / "photos" / "cat").iterdir())
    Image.new("L", (31, 17), 90).save(file)
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    settings = replace(DIGITS, target="photos", num_source_classes=0, per_class=4)
    (warning,) = [words for words in STUDY.door(settings, lab).warnings if "resized" in words]
    assert "12 x 12 to 31 x 17 pixels are resized to 8 x 8" in warning
    file.write_bytes(b"no picture")
    with pytest.raises(InputError, match=rf"1 of 20 pictures cannot be used: .*{file.name}"):
        STUDY.door(settings, SerialLab(store=Store(str(tmp_path / "store"))))


# -- heads and sources -------------------------------------------------------------------------------------------------


def head(train: dict[str, Any], test: dict[str, Any]) -> dict[str, Any]:
    context = Context(settings=0.3, seed=0, device="cpu", load={"train": train, "test": test}.__getitem__)
    return dict(head_block([3], context))


def test_heads_separate_what_is_linear_and_never_read_test_labels() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    latent = np.eye(4)[labels] * 3 + rng.normal(0, 0.1, (40, 4))
    train, test = {"latent": latent, "label": labels}, {"latent": np.eye(4) * 3}
    found = head(train, test)
    assert found["prediction"][0].tolist() == [0, 1, 2, 3] and found["validation"] == [1.0]
    assert head(train, test | {"label": labels[::-1]})["prediction"][0].tolist() == [0, 1, 2, 3]


def test_cached_latents_are_those_of_the_network(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path)))
    worlds = open_worlds(DIGITS, lab)
    settings = replace(DIGITS, epochs=1)
    (ref,) = lab.train([settings.source_spec(settings.robust[0], 0, worlds.source)]).result()
    rows = latents(lab, ref, worlds.target, range(20)).result()
    again = look(lab.load(ref), lab.load(worlds.target).batch(range(20))[0])[1]
    assert np.array_equal(matrix(rows), again.numpy())


def test_sources_differ_in_what_their_names_say_only() -> None:
    by_name = {source.name: QUICK.source_spec(source, 1, "digits:train") for source in QUICK.all_sources()}
    standard = by_name[STANDARD]
    assert [by_name[source.name].eps for source in QUICK.robust] == list(QUICK.eps_train)
    for source in QUICK.robust:
        same = replace(by_name[source.name], loss="standard", eps=0.0, num_steps=7, norm="linf")
        assert same == standard, "size 0 is standard training"
    assert len(QUICK.null) == len(QUICK.robust), "as many candidates"
    seeds = {by_name[source.name].seed for source in QUICK.null} | {standard.seed}
    assert len(seeds) == len(QUICK.null) + 1
    assert all(replace(by_name[source.name], seed=standard.seed) == standard for source in QUICK.null)
    assert by_name[RANDOM].lr == 0 and by_name[RANDOM].seed == standard.seed


# -- sources that exist ------------------------------------------------------------------------------------------------


def test_what_tables_call_a_source_tells_sources_apart() -> None:
    assert short_names(["a:b@x/std.safetensors", "twin:linf8:0", "own:build"]) == {
        "a:b@x/std.safetensors": "std",
        "twin:linf8:0": "twin:linf8:0",
        "own:build": "own:build",
    }
    same = ["a:b@x/w.safetensors", "a:b@y/w.safetensors"]
    assert short_names(same) == {name: name for name in same}


def torchvision_pair(folder: Path) -> tuple[str, str]:
    """Two torchvision networks of random weights, as `robustray import weights` leaves them."""
    names = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_model("torchvision:shufflenet_v2_x0_5", 1000)
        file = folder / f"seed{seed}.safetensors"
        file.write_bytes(to_safetensors(weights_of(model)))
        names.append(f"torchvision:shufflenet_v2_x0_5@{file}")
    return names[0], names[1]


def test_photographs_of_mixed_sizes_under_torchvision_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thing one tries: own pictures, networks of a library, no training of sources."""
    monkeypatch.chdir(tmp_path)
    photos("cat", "dog", count=10, channels=3, side=40)(tmp_path)
    Image.new("L", (61, 37), 90).save(next((tmp_path / "photos" / "cat").iterdir()))
    settings = Settings(
        sources=torchvision_pair(tmp_path),
        target="photos",
        metric="per-class",
        image_side=48,
        per_class=6,
        num_seeds=2,
        tune_epochs=1,
        tune_batch=4,
        tune_lrs=(0.01,),
    )
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    opened = STUDY.door(settings, lab)
    assert any("made for images of 224 pixels and sees 48" in words for words in opened.warnings)
    assert any("40 x 40 to 61 x 37 pixels are resized to 48 x 48" in words for words in opened.warnings)
    assert {"source data", "source_test data"}.isdisjoint(opened.refs)
    before = {name: lab.load(lab.model(name)).state_dict() for name in settings.sources}
    found = STUDY.run(settings, lab)
    for name, state in before.items():
        after = lab.load(lab.model(name)).state_dict()
        assert all(torch.equal(value, after[key]) for key, value in state.items()), "weights and running statistics"
    frame = next(table.frame for table in found.tables if table.name == "transfer")
    assert frame.sim_lo.isna().tolist() == [True, False] * 2
    assert frame.source.tolist() == ["seed0", "seed1"] * 2 and set(frame["mode"]) == {FIXED, FULL}
    assert not any(isinstance(claim, Claim) for claim in found.claims) and len(found.descriptions) == 2
    assert all("seed1 in place of seed0" in each.words for each in found.descriptions)
    assert "has a mean per-class accuracy of" in found.answer
    assert all("mean per-class accuracy on the target" in each.measured for each in found.descriptions)


def test_sources_that_are_trained_here_may_be_fixed_features_only() -> None:
    settings = replace(QUICK, fine_tuning=False, num_seeds=2, shrink=4)
    names = [source.name for source in settings.all_sources()]
    frame = transfers({name: [5, 6] for name in names}, {name: [0.5, 0.5] for name in names}, n=60)
    flags = np.arange(9) < 5
    found = findings(
        Results(
            settings=settings,
            target=target(),
            target_name="t",
            test_name="t",
            test_labels=target().labels,
            transfers=frame[frame["mode"] == FIXED],
            probes=pd.DataFrame([{"source": name, "seed": 0, "clean": flags, "robust": flags} for name in names]),
            num_source_classes=3,
            num_fit=9,
            num_held=3,
            examples=[],
        )
    )
    assert len(found.claims) == 3 and "fine-tuned" not in found.answer
    (curve,) = [drawing for drawing in found.figures if drawing.name == "by-size"]
    assert "shrunk to 4 pixels a side" in curve.caption


def test_networks_that_exist_are_given_in_a_form_that_can_be_compared() -> None:
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"sources": ("a:b", "c:d")}, "give --target"),
        ({"sources": ("a:b",), "target": "photos"}, "at least two different"),
        ({"sources": ("a:b", "a:b"), "target": "photos"}, "at least two different"),
    )
    for changed, words in refused:
        with pytest.raises(InputError, match=words):
            Settings(**changed)
    given = Settings(sources=("a:b", "c:d"), target="photos", fine_tuning=False)
    assert {"epochs", "eps_train", "arch", "tune_lrs"} <= given.idle().keys() and "image_side" not in given.idle()
    assert given.modes == (FIXED,) and "image_side" in QUICK.idle()
