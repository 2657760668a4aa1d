"""The study of synthesis: seeds, damage and scores against closed forms; blocks on networks that are known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import BlockFunction, Context
from robustray.tasks.studies.synthesis import damage, edited, reduce
from robustray.tasks.studies.synthesis.blocks import (
    enlarge_block,
    generate_block,
    inpaint_block,
    other_label,
    paint_block,
    sketch_block,
    translate_block,
)
from robustray.tasks.studies.synthesis.claims import claims
from robustray.tasks.studies.synthesis.compare import compare
from robustray.tasks.studies.synthesis.doors import check_images, fewest_scored
from robustray.tasks.studies.synthesis.picture_block import ITS_OWN, picture_block
from robustray.tasks.studies.synthesis.results import Generations
from robustray.tasks.studies.synthesis.settings import SIZES, estimate
from robustray.tasks.studies.synthesis.study import active_units, real_images
from robustray.tasks.study import RunTables
from tests.tasks.digits_networks import trained

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = SIZES["quick"]


@pytest.fixture(scope="module")
def data() -> ImageData:
    images = np.random.default_rng(0).uniform(0.2, 0.8, (24, 1, 8, 8)).astype(np.float32)
    return ImageData(name="own", images=images, labels=np.arange(24) % 4, classes=tuple("abcd"))


def context(model: nn.Module, data: ImageData, settings: Any) -> Context:
    return Context(settings=settings, seed=0, device="cpu", load={"model": model, "data": data}.__getitem__)


# --- Seeds ------------------------------------------------------------------------------------------------------------


def test_seeds_have_the_mean_and_the_covariance_of_the_class() -> None:
    """Exactly the law N(mean, covariance + 1e-4 I), without forming the covariance."""
    images = np.random.default_rng(0).normal(size=(7, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0.2], [0, 0, 0.3]]) + [
        1,
        2,
        3,
    ]
    generator, law = np.random.default_rng(1), damage.Gaussian(images)
    draws = np.stack([law.draw(generator) for _ in range(40_000)])
    expected = np.cov(images.T, bias=True) + 1e-4 * np.eye(3)
    np.testing.assert_allclose(draws.mean(0), images.mean(0), atol=0.03)
    np.testing.assert_allclose(np.cov(draws.T), expected, atol=0.04)


def test_a_class_of_equal_images_gives_that_image() -> None:
    law = damage.Gaussian(np.full((5, 4), 0.3))
    draws = np.stack([law.draw(np.random.default_rng(i)) for i in range(500)])
    assert abs(draws - 0.3).max() < 0.05 and draws.std() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("law", ["class", "noise"])
def test_a_seed_depends_on_its_class_and_number_only(data: ImageData, law: Any) -> None:
    items = [[0, 0], [1, 0], [1, 1], [3, 5]]
    whole = damage.seed_images(data, law, items, factor=2, seed=0)
    assert torch.equal(whole[2:3], damage.seed_images(data, law, [[1, 1]], factor=2, seed=0))
    assert not torch.equal(whole[1], whole[2]) and not torch.equal(whole[0], whole[1])
    assert whole.shape == (4, 1, 8, 8) and whole.min() >= 0 and whole.max() <= 1
    if law == "class":
        assert torch.equal(whole, damage.enlarged(damage.reduced(whole, 2), 2)), "every value fills a square"


# --- Damage -----------------------------------------------------------------------------------------------------------


def test_holes_lie_inside_and_everywhere() -> None:
    places = damage.hole_places(range(2_000), (1, 8, 8), 3, seed=0)
    counts = np.bincount(places[:, 0] * 6 + places[:, 1], minlength=36)
    assert places.min() == 0 and places.max() == 5 and counts.min() > 20
    assert np.array_equal(places[[7]], damage.hole_places([7], (1, 8, 8), 3, seed=0))
    mask = damage.holes(places, (1, 8, 8), 3)
    assert (mask.sum((1, 2, 3)) == 9).all()


def test_a_hole_is_filled_with_the_mean_of_the_image_and_known_pixels_stay(data: ImageData) -> None:
    images = data.batch(range(6))[0]
    hole = damage.holes(damage.hole_places(range(6), (1, 8, 8), 3, seed=0), (1, 8, 8), 3)
    broken = damage.filled(images, hole)
    assert torch.equal(broken[hole == 0], images[hole == 0])
    for row in range(6):
        torch.testing.assert_close(broken[row][hole[row] == 1], images[row].mean().expand(9))
    assert torch.equal(damage.pasted(images, broken, hole), images)
    assert torch.equal(damage.pasted(torch.zeros_like(images), images, hole) == 0, hole == 1)


@pytest.mark.parametrize("factor", [2, 4])
def test_enlarging_and_averaging_undo_each_other(factor: int) -> None:
    small = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(damage.reduced(damage.enlarged(small, factor), factor), small)
    assert damage.inconsistency(damage.enlarged(small, factor), small, factor) == pytest.approx(np.zeros(3), abs=1e-6)
    assert damage.inconsistency(damage.enlarged(1.5 * small, factor), small, factor) == pytest.approx(np.full(3, 0.5))
    grey = torch.full((1, 1, 4, 4), 0.25)
    torch.testing.assert_close(damage.bicubic(grey, factor), torch.full((1, 1, 4 * factor, 4 * factor), 0.25))


def test_a_wrong_class_is_any_other_one() -> None:
    drawn = [other_label(2, 5, 0, index) for index in range(400)]
    assert set(drawn) == {0, 1, 3, 4} and min(np.bincount(drawn)[[0, 1, 3, 4]]) > 60
    assert drawn[7] == other_label(2, 5, 0, 7)


# --- Blocks -----------------------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """Two classes: 0 where the left half is brighter, 1 where the right one is. `sharpness` 0: it never knows."""

    def __init__(self, sharpness: float = 1.0) -> None:
        super().__init__()
        half = torch.zeros(1, 8, 8)
        half[:, :, :4] = 1
        self.register_buffer("weight", sharpness * torch.stack([half.flatten(), 1 - half.flatten()]))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.get_buffer("weight").T


def settings_of(task: Any, **changed: Any) -> dict[str, Any]:
    settings = replace(QUICK, **changed)
    return {
        "ascent": settings.ascent(task),
        "hole": settings.hole,
        "anchor": settings.anchor,
        "factor": settings.factor,
    }


def test_generations_go_where_a_linear_classifier_says(data: ImageData) -> None:
    """The gradient is the difference of the weights, wherever one is: the ball's end in that direction."""
    settings = settings_of("generate", generate_eps=0.5, generate_step=0.1, generate_steps=20) | {"law": "noise"}
    found = generate_block([[0, 0], [1, 0], [1, 1]], context(Linear(), data, settings))
    change = (found["image"] - found["start"]).flatten(1)
    left = torch.cat([torch.ones(4), -torch.ones(4)]).repeat(8) / 8  # of length 1
    torch.testing.assert_close(change, 0.5 * torch.stack([left, -left, -left]), atol=1e-5, rtol=0)
    torch.testing.assert_close(found["distance"], torch.full((3,), 0.5))
    assert found["prediction"].tolist() == [0, 1, 1] and (found["objective"] > found["objective_before"]).all()


def test_a_network_that_never_knows_changes_nothing(data: ImageData) -> None:
    net = Linear(sharpness=0.0)
    for block, task in ((inpaint_block, "inpaint"), (enlarge_block, "super-resolution")):
        found = block(range(6), context(net, data, settings_of(task) | {"labels": "predicted"}))
        assert torch.equal(found["image"], found["damaged"]) and torch.equal(found["mended"], found["damaged"])
        assert (found["distance"] == 0).all() and torch.equal(found["label"], torch.from_numpy(data.labels[:6]))
        torch.testing.assert_close(found["objective"], torch.full((6,), -np.log(2), dtype=torch.float32))


def test_known_pixels_are_put_back_and_are_softly_tied_before() -> None:
    images = np.random.default_rng(1).uniform(size=(20, 1, 8, 8)).astype(np.float32)
    digits = ImageData(name="own", images=images, labels=np.arange(20) % 10, classes=tuple("0123456789"))
    made = {}
    for anchor in (0.0, 1000.0):
        settings = settings_of("inpaint", anchor=anchor) | {"labels": "wrong"}
        made[anchor] = inpaint_block(range(20), context(trained("cnn"), digits, settings))
    found = made[1000.0]
    hole = damage.holes(np.stack([found["top"], found["left"]], axis=1), (1, 8, 8), QUICK.hole)
    original = digits.batch(range(20))[0]
    assert torch.equal(found["mended"][hole == 0], original[hole == 0])
    assert not torch.equal(found["mended"][hole == 1], found["damaged"][hole == 1])
    drift = {anchor: ((each["image"] - original) * (1 - hole)).square().sum() for anchor, each in made.items()}
    assert drift[1000.0] < 0.2 * drift[0.0]
    assert (found["wanted"] != found["label"]).all()


@pytest.mark.parametrize("labels", ["true", "predicted", "wrong"])
def test_rows_do_not_depend_on_how_items_are_cut(data: ImageData, labels: str) -> None:
    net = trained("cnn")
    also = {
        "true": [(sketch_block, "sketch"), (paint_block, "paint")],
        "wrong": [(translate_block, "translate")],
        "predicted": [],
    }[labels]
    cases: list[tuple[BlockFunction, Any, list[Any]]] = [
        (inpaint_block, "inpaint", list(range(20))),
        (enlarge_block, "super-resolution", list(range(20))),
        *[(block, task, list(range(20))) for block, task in also],
        (generate_block, "generate", [[label, number] for label in range(4) for number in range(5)]),
    ]
    for block, task, items in cases:
        settings = settings_of(task, **{f"{name}_steps": 4 for name in ("inpaint", "enlarge", "generate", "paint")})
        settings |= {"labels": labels, "law": "class", "units": [3, 9, 17]}
        whole = block(items, context(net, data, settings))
        part = block(items[3:5], context(net, data, settings))
        for name, values in whole.items():
            assert torch.equal(torch.as_tensor(values)[3:5], torch.as_tensor(part[name])), (task, name)


def test_a_picture_of_ones_own_keeps_what_is_known(data: ImageData) -> None:
    settings = settings_of("inpaint") | {"task": "inpaint", "hole_at": [1, 2, 3], "target": 1, "unit": ITS_OWN}
    found = picture_block([0], context(Linear(), data, settings))
    image, original = found["image"][0, 0], data.batch([0])[0][0, 0]
    hole = torch.zeros(8, 8, dtype=torch.bool)
    hole[1:4, 2:5] = True
    assert torch.equal(image[~hole], original[~hole]) and not torch.equal(image[hole], original[hole])
    steps = found["steps"][0].tolist()
    assert steps[0] == 0 and steps[-1] == QUICK.inpaint_steps and found["path"].shape == (1, len(steps), 1, 8, 8)
    assert torch.equal(found["path"][:, 0], found["damaged"]) and found["wanted"].tolist() == [1]
    settings |= {"task": "super-resolution", "target": ITS_OWN}
    small = ImageData(name="own", images=data.images[:, :, ::2, ::2].copy(), labels=data.labels, classes=data.classes)
    enlarged = picture_block([0], context(Linear(), small, settings))
    assert enlarged["image"].shape == (1, 1, 8, 8)
    assert torch.equal(enlarged["wanted"], enlarged["logits_before"].argmax(1))


# --- Estimates and claims on rows made by hand ------------------------------------------------------------------------


def judged(correct: int, n: int = 100) -> pd.DataFrame:
    labels = np.zeros(n, dtype=int)
    rows = pd.DataFrame({"label": labels, "prediction": np.where(np.arange(n) < correct, 0, 1)})
    rows["logits"] = list(5 * np.eye(10)[np.arange(n) % 10] * (np.arange(n) < correct)[:, None])
    rows["latent"] = list(np.random.default_rng(0).normal(size=(n, 3)) + 10 - correct / 10)
    return rows


def made_results(robust: dict[str, int], standard: dict[str, int]) -> Any:
    """Of two laws; kind of judge -> generations it recognises, the same for all seeds. What is recognised more often
    has surer judges, and lies nearer to the real images."""
    generations: dict[Any, Generations] = {}
    for law in ("class", "noise"):
        for seed in range(3):
            for kind, counts in (("robust", robust), ("standard", standard)):
                rows = judged(100)
                generations[law, kind, seed] = Generations(
                    rows=rows,
                    judged={judge: judged(count + seed) for judge, count in counts.items()},  # type: ignore[misc]
                )
    return SimpleNamespace(
        settings=replace(QUICK, task="generate", per_class=10),
        generations=generations,
        natural=dict.fromkeys(("standard", "robust"), judged(100)),
        real=range(100),
        reference=range(100),
    )


@pytest.mark.parametrize(
    ("robust", "standard", "expected"),
    [
        ({"standard": 90, "robust": 90}, {"standard": 40, "robust": 50}, "supported"),
        ({"standard": 40, "robust": 50}, {"standard": 90, "robust": 90}, "contradicted"),
        ({"standard": 90, "robust": 50}, {"standard": 40, "robust": 90}, "undecided"),
        ({"standard": 90, "robust": 90}, {"standard": 90, "robust": 80}, "undecided"),
    ],
    ids=["both judges", "the other way", "judges disagree", "no difference"],
)
def test_both_judges_have_to_agree(robust: Any, standard: Any, expected: str) -> None:
    found = claims(made_results(robust, standard), pd.DataFrame())
    assert [claim.verdict for claim in found] == [expected] * 6, "recognised, score and distance, from both laws"
    assert found[0].estimate == pytest.approx((robust["standard"] - standard["standard"]) / 100)


def test_edits_are_paired_by_picture_and_only_what_nobody_told_counts() -> None:
    parts = [
        pd.DataFrame(
            {"task": "inpaint", "what": what, "labels": labels, "seed": seed, "index": range(50)}
            | {"sees_true": np.arange(50) < count}
        )
        for what, labels, count in (
            ("robust", "predicted", 40),
            ("standard", "predicted", 30),
            ("robust", "true", 50),
            ("damaged", "", 20),
        )
        for seed in (range(3) if labels else [edited.NO_SEED])
    ]
    table = pd.concat(parts, ignore_index=True)
    difference = edited.edit_difference(table, "inpaint", "standard", range(3))
    assert difference.value == pytest.approx(0.2) and difference.n == 50 and difference.lo > 0
    assert edited.edit_difference(table, "inpaint", "damaged", range(3)).value == pytest.approx(0.4)


def test_two_runs_are_compared_seed_image_by_seed_image() -> None:
    def run(recognised: list[bool], **changed: Any) -> RunTables:
        frame = pd.DataFrame(
            {"law": "noise", "label": 0, "number": range(len(recognised)), "what": "robust", "seed": 0}
        )
        frame["standard_judge"] = recognised
        settings = {"train_data": "digits:train", "seed": 0, "seed_factor": 2} | changed
        share = float(np.mean(recognised))
        table = pd.DataFrame([{"what": "robust", "law": "noise", "standard_judge": share, "n": len(recognised)}])
        tables = {"generations": frame, "recognised": table.assign(standard_lo=share - 0.1, standard_hi=share + 0.1)}
        return RunTables(
            label="A",
            settings=settings,
            hashes={"data digits:train": "1"},
            read=lambda name, columns: tables[name][list(columns)],
        )

    found = compare(run([True, False, False, False]), run([True, True, True]))
    assert found.tables[0].frame.difference.tolist() == pytest.approx([2 / 3]) and "+66.7 points" in found.answer
    independent = compare(run([True, False]), run([True, True], seed=1))
    assert independent.tables[0].frame.difference.tolist() == pytest.approx([0.5])
    assert "no seed image" in independent.warnings[0]


# --- Settings and doors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"task": "panit"}, "task"),
        ({"laws": ()}, "laws"),
        ({"laws": ("grey",)}, "laws"),
        ({"per_class": 0}, "per_class"),
        ({"hole": 0}, "hole"),
        ({"factor": 1}, "factor"),
        ({"generate_eps": 0.0}, "generate_eps"),
        ({"inpaint_steps": 0}, "^inpaint_steps must"),
        ({"anchor": -1.0}, "anchor"),
        ({"target": "3"}, "target goes with a picture"),
        ({"task": "generate", "model": "run:a"}, "to generate one picture, give --target"),
        ({"unit": 3}, "unit goes with a picture"),
        ({"image": "x.png", "task": "sketch"}, "give the class"),
        ({"image": "x.png", "task": "paint", "target": "3"}, "coordinate of the latent"),
        ({"image": "x.png", "task": "inpaint", "unit": 3}, "unit goes with --task paint"),
        ({"image": "x.png", "task": "paint", "mask": "m.png", "hole_at": (1, 1, 2)}, "give one"),
        ({"image": "x.png", "task": "translate", "target": "3", "mask": "m.png"}, "mask goes with"),
        ({"image": "x.png", "task": "inpaint", "side": 224}, "give --model too"),
        ({"hole_at": (1, 1, 2)}, "hole_at goes with a picture"),
        ({"image": "x.png"}, "say what is done to it"),
        ({"image": "x.png", "task": "generate"}, "starts at no picture"),
        ({"image": "x.png", "task": "inpaint", "hole_at": (1, 1)}, "three numbers"),
        ({"image": "x.png", "task": "super-resolution", "hole_at": (1, 1, 2)}, "hole_at goes with"),
        ({"num_seeds": 1, "robust": ("run:a",), "judge": "run:a"}, "judge run:a"),
    ],
)
def test_bad_settings_are_refused_in_words(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(QUICK, **bad)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"hole": 8}, "hole 8.*smaller"),
        ({"factor": 3}, "factor 3 does not divide"),
        ({"seed_factor": 3}, "seed_factor 3 does not divide"),
        ({"num_images": 25}, "num_images 25"),
        ({"per_class": 4}, "6 images of class 'a', 8 are needed"),
        ({"neighbours": 4}, "neighbours 4: recall is measured with as few as 4 generations"),
    ],
)
def test_images_that_do_not_fit(data: ImageData, bad: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_images(replace(QUICK, **{"num_images": 10, "per_class": 2, **bad}), data, data)


@pytest.mark.parametrize(("per_class", "fewest"), [(1, 4), (2, 4), (10, 36), (25, 88)])
def test_the_fewest_generations_of_a_score_are_those_without_a_group(per_class: int, fewest: int) -> None:
    results: Any = SimpleNamespace(settings=replace(QUICK, per_class=per_class), real=range(4 * per_class))
    sizes = np.bincount(reduce.groups(results))
    assert fewest_scored(per_class, 4) == fewest == 4 * per_class - (sizes.max() if len(sizes) > 1 else 0)


def test_real_images_are_as_many_of_each_class(data: ImageData) -> None:
    both = real_images(replace(QUICK, per_class=3), data)
    assert not set(both[0]) & set(both[1]), "what is measured from is not what is measured"
    for chosen in both:
        assert len(set(chosen)) == 12 and np.bincount(data.labels[chosen]).tolist() == [3, 3, 3, 3]


def test_units_that_are_painted_are_ever_active() -> None:
    activations = np.zeros((200, 4))
    activations[:5, 1] = 1
    activations[:1, 2] = 1
    activations[:, 3] = 1
    assert active_units(activations) == [1, 3], "one image of two hundred is too few"


def test_one_picture_takes_one_optimisation() -> None:
    one = replace(QUICK, task="inpaint", image="x.png")
    assert estimate(one).counts == {"gradient steps of single images": QUICK.inpaint_steps}
    assert estimate(QUICK).counts["trainings"] == 8
