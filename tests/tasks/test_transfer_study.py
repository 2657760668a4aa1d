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
from robustray.tasks.latents.cache import latents, look, matrix, quick_latent_block, quick_look
from robustray.tasks.latents.head import fit_head
from robustray.tasks.models.registry import build_model
from robustray.tasks.models.weights import to_safetensors, weights_of
from robustray.tasks.statistics import mean_interval, mean_over_seeds, paired_difference
from robustray.tasks.studies.transfer import reduce
from robustray.tasks.studies.transfer.blocks import (
    HEAD_COLUMNS,
    HeadAttack,
    attack_head_block,
    head_block,
    under_head,
)
from robustray.tasks.studies.transfer.findings import findings
from robustray.tasks.studies.transfer.kinds import FIXED, FULL, OTHERS, RANDOM, STANDARD, short_models
from robustray.tasks.studies.transfer.metric import ACCURACY, Metric, mean_per_class
from robustray.tasks.studies.transfer.presets import PRESETS
from robustray.tasks.studies.transfer.results import Results
from robustray.tasks.studies.transfer.settings import Settings
from robustray.tasks.studies.transfer.study import STUDY, present
from robustray.tasks.studies.transfer.worlds import aside, fit_and_held, open_world, pool, shots, view_of
from robustray.tasks.study import Claim, RunTables, Size
from robustray.tune_configs.transfers import transfer_sources
from tests.cli.bad_input.transfer import photos
from tests.tasks.test_data_photo_sets import flowers

QUICK = Settings()
DIGITS = replace(
    QUICK, train_data="digits:train", test_data="digits:test", arch="digits:mlp", per_class=10, tune_batch=4
)


def transfers(
    accuracy: dict[str, list[int]],
    validation: dict[str, list[float]] | None = None,
    n: int = 10,
    *,
    metric: Metric = ACCURACY,
    shared: bool = True,
    target: str = "t",
    draw: int = 0,
    side: int = 0,
) -> pd.DataFrame:
    """Source -> right answers in each chain (the first images are right), and validation accuracies."""
    rows = [
        {
            "mode": mode,
            "target": target,
            "side": side,
            "judged by": "accuracy",
            "source": source,
            "seed": seed,
            "draw": draw,
            "choice": 1.0,
            "validation": validation[source][seed] if validation else 0.5,
            "correct": np.arange(n) < right,
            "robust": None,
            "metric": metric,
            "shared": shared,
        }
        for mode in (FIXED, FULL)
        for source, counts in accuracy.items()
        for seed, right in enumerate(counts)
    ]
    return pd.DataFrame(rows)


def fixed(frame: pd.DataFrame) -> pd.DataFrame:
    """The part of fixed features."""
    return reduce.part_of(frame, FIXED, "t")


# -- who chooses -------------------------------------------------------------------------------------------------------


def test_a_chain_has_no_part_in_the_choice_that_it_is_judged_by() -> None:
    """A is far better by the validation of chain 0 alone, B a little in the others: chain 0 is given B, they get A."""
    part = fixed(
        transfers(
            {STANDARD: [5, 5, 5], "A": [9, 5, 5], "B": [6, 7, 7]},
            {STANDARD: [0.5] * 3, "A": [1.0, 0.5, 0.5], "B": [0.1, 0.6, 0.6]},
        )
    )
    assert reduce.choose(part, ["A", "B"]) == {0: "B", 1: "A", 2: "A"}
    found = reduce.chosen_gain(part, ["A", "B"])
    assert found.value == pytest.approx((0.1 + 0.0 + 0.0) / 3) and found.n == 10


def test_test_images_have_no_part_in_the_choice() -> None:
    names = {STANDARD: [0.5] * 2, "A": [0.7, 0.7], "B": [0.6, 0.6]}
    for counts in ([1, 1], [9, 9]):
        part = fixed(transfers({STANDARD: [5, 5], "A": counts, "B": [8, 8]}, names))
        assert set(reduce.choose(part, ["A", "B"]).values()) == {"A"}
        assert reduce.chosen_gain(part, ["A", "B"]).value == pytest.approx((counts[0] - 5) / 10)


def test_all_draws_of_the_other_chains_choose() -> None:
    """A wins in the first draw, B by more in the second."""
    counts = {STANDARD: [5, 5], "A": [6, 6], "B": [7, 7]}
    first, second = (
        transfers(counts, {STANDARD: [0.5] * 2, "A": [a, a], "B": [b, b]}, draw=draw)
        for draw, (a, b) in enumerate([(0.7, 0.6), (0.5, 0.9)])
    )
    assert set(reduce.choose(fixed(first), ["A", "B"]).values()) == {"A"}
    assert set(reduce.choose(fixed(pd.concat([first, second])), ["A", "B"]).values()) == {"B"}


def test_equal_candidates_give_the_first_and_a_single_chain_none() -> None:
    frame = transfers(
        {STANDARD: [5, 5], "A": [6, 6], "B": [7, 7]}, {name: [0.1 + 0.2, 0.3] for name in (STANDARD, "A", "B")}
    )
    assert set(reduce.choose(fixed(frame), ["B", "A"]).values()) == {"B"}
    alone = fixed(frame[frame.seed == 0])
    assert reduce.choose(alone, ["A", "B"]) == {}
    assert reduce.chosen_gain(alone, ["A", "B"]).n == 0


def test_the_choice_among_alike_sources_gains_nothing_on_average() -> None:
    """The null: candidates that differ by chance only, validated on the very images they are tested on. To choose in
    every chain by its own images would gain two points."""
    rng, gains, own = np.random.default_rng(0), [], []
    for _ in range(60):
        hits = {name: rng.binomial(400, 0.5, size=3).tolist() for name in (STANDARD, "A", "B", "C")}
        frame = transfers(hits, {name: [right / 400 for right in found] for name, found in hits.items()}, n=400)
        gains.append(reduce.chosen_gain(fixed(frame), ["A", "B", "C"]).value)
        best = np.max([hits[name] for name in "ABC"], axis=0)
        own.append(float(np.mean(best - np.array(hits[STANDARD]))) / 400)
    interval = mean_interval(gains, 0.99)
    assert interval.lo < 0 < interval.hi
    assert mean_interval(own, 0.99).lo > interval.hi


# -- gains -------------------------------------------------------------------------------------------------------------


def test_a_gain_is_the_mean_of_paired_differences() -> None:
    frame = transfers({STANDARD: [5, 6], "A": [7, 9]})
    found = reduce.fixed_gain(fixed(frame), "A")
    assert found.value == pytest.approx(0.25)
    ten = np.arange(10)
    ends = [paired_difference(ten < a, ten < b).lo for a, b in ((7, 5), (9, 6))]
    assert found.lo <= np.mean(ends)
    table = reduce.transfer_table(frame, [STANDARD, "A"])
    assert table[table.source == STANDARD].gain.isna().all(), "a source has no gain over itself"
    assert table[table.source == "A"].accuracy.tolist() == pytest.approx([0.8, 0.8])


def test_chains_of_their_own_test_images_have_students_t_over_chains() -> None:
    """Gains of 2, 3 and 4 in 10 images: the mean and the half-width by hand, t = 4.303 on two degrees of freedom."""
    right = {STANDARD: [5, 5, 5], "A": [7, 8, 9]}
    own, shared = (fixed(transfers(right, shared=shared)) for shared in (False, True))
    found = reduce.fixed_gain(own, "A")
    half = 4.302652729749462 * 0.1 / math.sqrt(3)
    assert (found.value, found.lo, found.hi) == pytest.approx((0.3, 0.3 - half, 0.3 + half)) and found.n == 10
    wider = reduce.fixed_gain(shared, "A")
    assert wider.value == found.value and wider.lo < found.lo and wider.hi > found.hi, "images count on top"
    one = own[own.seed == 0]
    ten = np.arange(10)
    assert reduce.fixed_gain(one, "A").interval == pytest.approx(paired_difference(ten < 7, ten < 5).interval)


def test_draws_are_nested_in_chains() -> None:
    """Two draws of each chain are its mean and no more chains: the interval is that over the chains' means."""
    draws = [
        transfers({STANDARD: [5, 5], "A": counts}, shared=False, draw=draw)
        for draw, counts in enumerate([[6, 8], [8, 8]])
    ]
    both, means = fixed(pd.concat(draws)), mean_interval([0.2, 0.3])
    found = reduce.fixed_gain(both, "A")
    assert (found.value, *found.interval) == pytest.approx((means.value, max(-1, means.lo), min(1, means.hi)))
    assert reduce.gains_by_seed(both, "A") == pytest.approx([0.2, 0.3])
    runs = reduce.run_table(pd.concat(draws))
    assert reduce.chain_accuracy(runs, FIXED, "t", "A") == pytest.approx([0.7, 0.8])


def test_a_gain_over_targets_is_their_mean_in_every_chain() -> None:
    right = {STANDARD: [5, 5, 5], "A": [7, 8, 9], RANDOM: [4, 4, 4]}
    other = {STANDARD: [5, 6, 5], "A": [4, 5, 6], RANDOM: [2, 2, 2]}
    parts = [
        reduce.part_of(transfers(each, shared=False, target=name), FIXED, name)
        for name, each in (("t", right), ("u", other))
    ]
    found = reduce.over_targets(parts, lambda part: dict.fromkeys(reduce.seeds_of(part), "A"))
    by_hand = mean_interval([(0.2 - 0.1) / 2, (0.3 - 0.1) / 2, (0.4 + 0.1) / 2])
    assert (found.value, *found.interval) == pytest.approx((by_hand.value, *by_hand.interval))
    assert reduce.over_targets(parts, lambda part: {}).n == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_gains_of_several_sizes_hold_together(weighted: bool) -> None:
    """Bonferroni by hand: two sizes, so that each interval is at 97.5 %; the others have none."""
    right = {STANDARD: [5, 6], "A": [7, 9], "B": [6, 6], "other seed": [5, 5]}
    metric = mean_per_class(np.arange(10) % 3, 3) if weighted else ACCURACY
    frame = transfers(right, metric=metric)
    table = reduce.transfer_table(frame, list(right), ["A", "B"])
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
    (alone,) = reduce.transfer_table(fixed(frame), ["B", "A"], ["A"])[1:].itertuples()
    assert (alone.sim_lo, alone.sim_hi) == pytest.approx((alone.gain_lo, alone.gain_hi)), "a single one as it was"


def test_choices_of_several_targets_hold_together_and_shrunk_ones_by_themselves() -> None:
    right = {STANDARD: [5, 5, 5], "A": [7, 8, 9]}
    frame = pd.concat(
        [transfers(right, shared=False, target=name, side=side) for name, side in (("t", 0), ("u", 0), ("t small", 8))]
    )
    table = reduce.choice_table(frame, {"robust": ["A"]})
    for row in table.itertuples():
        level = 0.95 if row.target == "t small" else 0.975
        wide = mean_interval([0.2, 0.3, 0.4], level)
        assert (row.sim_lo, row.sim_hi) == pytest.approx((max(-1, wide.lo), min(1, wide.hi)))


def test_robust_accuracy_is_of_the_images_that_were_attacked() -> None:
    frame = transfers({STANDARD: [5, 5], "A": [6, 6]})
    assert math.isnan(reduce.robust_accuracy(fixed(frame), "A").value)
    flags = [np.arange(4) < count for count in (2, 3)]
    frame["robust"] = [
        flags[seed] if name == "A" else None for name, seed in zip(frame.source, frame.seed, strict=True)
    ]
    found = reduce.robust_accuracy(fixed(frame), "A")
    assert found.value == pytest.approx(5 / 8) and found.n == 4
    table = reduce.transfer_table(frame, [STANDARD, "A"])
    assert table.attacked.tolist() == [0, 4] * 2


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
    frame = transfers(right)
    labels = (np.arange(10) < 5).astype(int)
    more = np.concatenate([np.arange(10), np.flatnonzero(labels), np.flatnonzero(labels)])
    again = frame.assign(correct=[correct[more] for correct in frame.correct])
    names = list(right)
    plain, large = (reduce.transfer_table(each, names) for each in (frame, again))
    assert (plain.accuracy < large.accuracy).all()
    weighted = [
        each.assign(metric=mean_per_class(places, 2)) for each, places in ((frame, labels), (again, labels[more]))
    ]
    tables = [reduce.transfer_table(each, names) for each in weighted]
    for name in ("accuracy", "gain"):
        np.testing.assert_allclose(tables[0][name], tables[1][name])
    columns = ["accuracy", "lo", "hi", "gain", "gain_lo", "gain_hi"]
    np.testing.assert_allclose(plain[columns], tables[0][columns])  # the two classes of the first are equally large
    assert (tables[0].gain_lo < tables[1].gain_lo)[1::2].all(), "more images, a shorter interval"
    assert reduce.run_table(weighted[1]).test.tolist() == pytest.approx([0.4, 0.5, 0.6, 0.7] * 2)
    assert reduce.gains_by_seed(fixed(weighted[1]), "A") == pytest.approx([0.2, 0.2])


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
        world = open_world(DIGITS, lab, chain)
        assert world.source is not None and world.source_test is not None
        source, tested = lab.load(world.source), lab.load(world.source_test)
        images = world.targets[OTHERS]
        others, test = lab.load(images.train), lab.load(images.test)
        assert source.classes == tested.classes and others.classes == test.classes
        assert set(source.classes) | set(others.classes) == set("0123456789") and len(source.classes) == 6
        assert not set(source.classes) & set(others.classes) and not images.shared
        learnt.append(source.classes)
    assert len(set(learnt)) == 3
    again = open_world(DIGITS, lab, 2)
    assert again.source is not None and lab.load(again.source).classes == learnt[2]
    shifted = open_world(replace(DIGITS, seed=2), lab, 0)
    assert shifted.source is not None and lab.load(shifted.source).classes == learnt[2], "by the seed of the chain"


def test_a_folder_is_resized_and_split_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos("cat", "dog", count=10)(tmp_path)
    settings = replace(DIGITS, target=("photos",), num_source_classes=0, per_class=4)
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    world = open_world(settings, lab, 0)
    images = world.targets["photos"]
    learnt, tested = lab.load(images.train), lab.load(images.test)
    assert world.source is not None and images.shared
    assert learnt.shape == tested.shape == (1, 8, 8) and lab.load(world.source).num_classes == 10
    assert np.bincount(learnt.labels).tolist() == [7, 7] and np.bincount(tested.labels).tolist() == [3, 3]
    seen = {image.tobytes() for image in learnt.images}
    assert not any(image.tobytes() in seen for image in tested.images)
    (warning,) = STUDY.door(settings, lab).warnings
    assert "12 x 12 pixels are resized to 8 x 8" in warning


def test_a_target_is_also_shrunk_and_the_sources_images_are_not(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path)))
    settings = replace(DIGITS, shrink=4)
    plain, small = settings.targets
    assert (plain.side, small.side, plain.main, small.main) == (0, 4, True, False)
    images = open_world(settings, lab, 0).targets[OTHERS]
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
        open_world(settings, lab, 0)
    monkeypatch.setitem(PRESETS, "flowers", PRESETS["flowers"]._replace(num_classes=2))
    images = open_world(settings, lab, 0).targets["flowers"]
    train, test = lab.load(images.train), lab.load(images.test)
    assert train.shape == test.shape == (3, 16, 16) and (len(train), len(test)) == (2, 1)
    assert "9 x 7 pixels are resized to 16 x 16" in images.prepared


def test_more_images_than_a_target_has_are_left_out_and_said(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path)))
    settings = replace(DIGITS, more_per_class=(20, 1_000))
    kept, words = present(settings, lab, open_world(settings, lab, 0))
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


# -- heads and sources -------------------------------------------------------------------------------------------------


def head(train: dict[str, Any], test: dict[str, Any]) -> dict[str, Any]:
    context = Context(settings=0.3, seed=0, device="cpu", load={"train": train, "test": test}.__getitem__)
    return dict(head_block([[0, 0], [5, 1]], context))


def test_heads_separate_what_is_linear_and_never_read_test_labels() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    latent = np.eye(4)[labels] * 3 + rng.normal(0, 0.1, (40, 4))
    train, test = {"latent": latent, "label": labels}, {"latent": np.eye(4) * 3}
    found = head(train, test)
    assert [each.tolist() for each in found["prediction"]] == [[0, 1, 2, 3]] * 2 and found["validation"] == [1.0] * 2
    shuffled = head(train, test | {"label": labels[::-1]})
    assert all(np.array_equal(*pair) for name in found for pair in zip(found[name], shuffled[name], strict=True))


def test_cached_latents_are_those_of_the_network(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path)))
    world = open_world(DIGITS, lab, 0)
    settings = replace(DIGITS, epochs=1)
    (ref,) = lab.train([settings.source_spec(settings.robust[0], 0, world.source)]).result()
    images = world.targets[OTHERS].train
    rows = latents(lab, ref, images, range(20)).result()
    again = look(lab.load(ref), lab.load(images).batch(range(20))[0])[1]
    assert np.array_equal(matrix(rows), again.numpy())


def test_features_in_bf16_are_near_and_those_that_cannot_be_had_are_refused() -> None:
    images = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model = build_model("scenes:cnn", 9).eval()
    exact, quick = look(model, images)[1], quick_look(model, images)
    assert quick.dtype == torch.float32 and quick.shape == exact.shape and not torch.equal(quick, exact)
    assert (quick - exact).norm() < 0.02 * exact.norm()
    assert torch.equal(quick_look(model, images[:3]), quick[:3]), "whatever else is in the batch"
    data = ImageData(
        name="t", images=(images.numpy() * 255).astype(np.uint8), labels=np.zeros(20, np.int64), classes=("a",)
    )
    context = Context(settings=None, seed=0, device="cpu", load={"data": data, "model": model}.__getitem__)
    rows = quick_latent_block([4, 2], context)
    assert torch.equal(rows["latent"], quick_look(model, data.batch([4, 2])[0]))

    class NeedsFp32(torch.nn.Module):
        def forward_with_latent(self, images: torch.Tensor, fake_relu: bool = False) -> tuple[Any, Any]:
            latent = images.flatten(1) @ torch.eye(768)
            if latent.dtype != torch.float32:
                raise TypeError("fp32 only")
            return latent[:, :3], latent

        def forward(self, images: torch.Tensor) -> Any:
            return self.forward_with_latent(images)[0]

    with pytest.raises(InputError, match="does not run in bf16"):
        quick_look(NeedsFp32(), images)


def test_a_network_under_a_head_is_the_head_on_its_latents_and_is_attacked_as_one() -> None:
    """Its logits are those of the head on cached latents, and no step of the attack leaves the ball."""
    images = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = build_model("digits:mlp", 10).eval()
    labels = np.arange(12) % 3
    latent = look(model, images)[1].numpy()
    fitted = fit_head(latent, labels, seed=0)
    parts = {name: getattr(fitted, name) for name in HEAD_COLUMNS}
    under = under_head(model, device="cpu", **parts)
    np.testing.assert_allclose(under(images).detach().numpy(), fitted.logits(latent), atol=1e-4)
    data = ImageData(name="t", images=(images.numpy() * 255).astype(np.uint8), labels=labels, classes=("a", "b", "c"))
    rows = {name: np.stack([np.zeros_like(part), part]) for name, part in parts.items()}
    loaded = {"data": data, "model": model, "head": rows}
    for eps, changed in ((1e-6, False), (5.0, True)):
        attack = HeadAttack(attack=replace(QUICK.attack(), eps=eps, precision="fp32"), head=1)
        context = Context(settings=attack, seed=0, device="cpu", load=loaded.__getitem__)
        found = attack_head_block(range(12), context)
        assert np.array_equal(found["clean_prediction"], fitted.predict(look(model, data.batch(range(12))[0])[1]))
        assert np.array_equal(found["clean_prediction"], found["prediction"]) is not changed


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
    assert short_models(["a:b@x/std.safetensors", "twin:linf8:0", "own:build"]) == {
        "a:b@x/std.safetensors": "std",
        "twin:linf8:0": "twin:linf8:0",
        "own:build": "own:build",
    }
    same = ["a:b@x/w.safetensors", "a:b@y/w.safetensors"]
    assert short_models(same) == {name: name for name in same}


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
        target=("photos",),
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
    frames = [
        transfers({name: [5, 6] for name in names}, n=60, target=each.name, side=each.side) for each in settings.targets
    ]
    frame = pd.concat(frames)
    flags = np.arange(9) < 5
    found = findings(
        Results(
            settings=settings,
            targets=settings.targets,
            transfers=frame[frame["mode"] == FIXED],
            probes=pd.DataFrame(
                [{"source": name, "seed": seed, "clean": flags, "robust": flags} for name in names for seed in (0, 1)]
            ),
            num_source_classes=3,
            classes={each.name: ("a", "b", "c") for each in settings.targets},
            num_few={each.name: 9 for each in settings.targets},
            examples={},
        )
    )
    assert len(found.claims) == 3 and "fine-tuned" not in found.answer
    (curve,) = [drawing for drawing in found.figures if drawing.name.startswith("by-size")]
    assert "4 pixels: all images were shrunk so far" in curve.caption


def test_networks_that_exist_are_given_in_a_form_that_can_be_compared() -> None:
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"sources": ("a:b", "c:d")}, "give --target"),
        ({"sources": ("a:b",), "target": ("photos",)}, "at least two different"),
        ({"sources": ("a:b", "a:b"), "target": ("photos",)}, "at least two different"),
        ({"sources": ("a:b", "c:d"), "target": ("photos", "others")}, "--target others"),
    )
    for changed, words in refused:
        with pytest.raises(InputError, match=words):
            Settings(**changed)
    given = Settings(sources=("a:b", "c:d"), target=("photos",), fine_tuning=False)
    assert {"epochs", "eps_train", "arch", "tune_lrs"} <= given.idle().keys() and "image_side" not in given.idle()
    assert given.modes == (FIXED,) and "image_side" in QUICK.idle()


def test_runs_that_judge_a_target_differently_are_compared_with_a_warning() -> None:
    right = {STANDARD: [5, 5], "A": [6, 7]}
    labels = np.arange(10) % 2
    accuracy, per_class = (
        reduce.transfer_table(frame, list(right))
        for frame in (
            transfers(right),
            transfers(right, metric=mean_per_class(labels, 2)).assign(**{"judged by": "mean per-class accuracy"}),
        )
    )

    def tables(label: str, frame: pd.DataFrame) -> RunTables:
        return RunTables(label=label, settings={}, hashes={}, read=lambda name, columns: frame[list(columns)])

    assert STUDY.compare is not None
    (words,) = STUDY.compare(tables("A", accuracy), tables("B", per_class)).warnings
    assert words.startswith("t: A is judged by accuracy, B by mean per-class accuracy")
    assert not STUDY.compare(tables("A", accuracy), tables("B", accuracy)).warnings


@pytest.mark.parametrize("size", ["quick", "small", "paper"])
def test_the_named_grid_reads_rows_that_its_cells_have(size: Size) -> None:
    grid = transfer_sources(size)
    assert len({(cell.levels["target"], cell.levels["eps_train"], cell.levels["seed"]) for cell in grid.cells}) == len(
        grid.cells
    )
    for cell in grid.cells:
        settings = cell.settings
        assert settings.num_seeds == 1 and settings.seed == cell.levels["seed"]
        for read, mode in zip(cell.reads.values(), (FIXED, FULL), strict=True):
            (target,) = settings.targets
            (source,) = [each for each in settings.sources_of(mode) if each.name == read.row["source"]]
            assert source.eps == cell.levels["eps_train"] and target.name == read.row["target"]
            assert read.row["mode"] == mode and target.main
