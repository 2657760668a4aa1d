"""The study of unadversarial patches: designs on networks whose answer is known, and what is read off the rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.compose.place import FIXED, Placement, blended, centred_square, placed
from robustray.tasks.data.images import ImageData
from robustray.tasks.inputs.settings import SharedAscent, WeightSteps
from robustray.tasks.lab.protocol import Context
from robustray.tasks.studies.unadversarial.blocks import (
    NO_PATCH,
    Look,
    look_block,
    picture_block,
    plain_block,
    visible_share,
)
from robustray.tasks.studies.unadversarial.design import DesignSettings, PatchKind, carriers, design, joint_design
from robustray.tasks.studies.unadversarial.further_tables import Further, cross_table, joint_table, size_table
from robustray.tasks.studies.unadversarial.making import surest
from robustray.tasks.studies.unadversarial.reduce import Cell, Chain, Results, confusion_table, swap_table
from robustray.tasks.studies.unadversarial.settings import OUTLINE
from robustray.tasks.studies.unadversarial.stamping import central, stamped

QUICK = OUTLINE.sizes["quick"]
STILL = PatchKind(classes=(0, 2), side=4, placement=FIXED)
CENTRE = (slice(None), slice(4, 8), slice(4, 8))


class Colours(nn.Module):
    """Class c is whatever has the most of colour c: logits = 20 x mean of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        return 20 * x.mean((2, 3))


def images(count: int = 32) -> ImageData:
    levels = np.random.default_rng(0).integers(100, 156, (count, 3, 12, 12), dtype=np.uint8)
    return ImageData(name="random", images=levels, labels=np.arange(count) % 3, classes=("red", "green", "blue"))


def context(settings: Any, *, patch: np.ndarray | None = None, seed: int = 5) -> Context:
    objects: dict[str, Any] = {"model": Colours(), "data": images()}
    if patch is not None:
        objects["patch"] = {"patch": patch[None]}
    return Context(settings=settings, seed=seed, device="cpu", load=objects.__getitem__)


def designed(kind: PatchKind, *, one_class: bool = False) -> tuple[np.ndarray, list[float]]:
    """Patches, and the mean cross-entropy before each step."""
    ascent = SharedAscent(norm="linf", step_size=0.1, num_steps=12, batch_size=8, precision="fp32")
    work = design(context(DesignSettings(kind=kind, ascent=ascent, one_class=one_class), seed=3))
    losses = [-row["objective"] for row in work.steps()]
    return work.result()["patch"].numpy(), losses


def test_a_network_of_colours_gets_patches_of_its_colours() -> None:
    """The best red square is (1, 0, 0), and only the square that shows is ever moved."""
    (red, blue), losses = designed(STILL)
    assert (red[CENTRE][0] == 1).all() and (red[CENTRE][1:] == 0).all()
    assert (blue[CENTRE][2] == 1).all() and (blue[CENTRE][:2] == 0).all()
    assert len(losses) == 12 and losses[-1] < 0.5 * losses[0]
    unseen = np.ones((12, 12), bool)
    unseen[4:8, 4:8] = False
    assert abs(red[:, unseen].mean() - 0.5) < 0.05


def test_patches_for_one_class_are_designed_on_all_images() -> None:
    """Class 0 is the one whose truth is easily mistaken for "none given"."""
    labels = images().labels
    settings = DesignSettings(kind=STILL, ascent=SharedAscent(norm="linf", step_size=0.1, num_steps=1), one_class=True)
    indices, slots = carriers(settings, labels, 3)
    assert indices.tolist() == list(range(32)) and np.bincount(slots).tolist() == [16, 16]
    assert set(labels[slots == 0].tolist()) == {0, 1, 2}, "the patch of class 0 lies on all classes"
    (red, blue), losses = designed(STILL, one_class=True)
    assert (red[CENTRE][0] == 1).all() and (blue[CENTRE][2] == 1).all() and losses[-1] < 0.5 * losses[0]
    own, _ = carriers(DesignSettings(kind=STILL, ascent=settings.ascent), labels, 3)
    assert set(labels[own].tolist()) == {0, 2}


def test_a_patch_and_its_mask_go_through_one_map() -> None:
    """Wherever a white patch lands it is as bright as its mask: no dark rim, no light one."""
    square = centred_square(32, 32, 10)
    white, there = placed(torch.ones(1, 3, 32, 32), square, Placement().maps(1, 0, torch.arange(64)))
    assert (white - there).abs().max() < 1e-6 and 0 < float(there.min(1).values.mean()) < 1
    black = torch.zeros(64, 3, 32, 32)
    assert (blended(black, white, there) - there).abs().max() < 1e-6
    assert (blended(black + 1, white, there) - 1).abs().max() < 1e-6, "white on white is white"


@pytest.mark.parametrize(("length", "side"), [(32, 10), (15, 4), (9, 8)])
def test_stamping_a_square_is_placing_its_canvas(length: int, side: int) -> None:
    """Also where the square can't be in the very middle; with the same gradient."""
    generator = torch.Generator().manual_seed(0)
    images, canvases = (torch.rand(n, 3, length, length, generator=generator) for n in (16, 2))
    maps, slots = Placement().maps(1, 0, torch.arange(16)), torch.arange(16) % 2
    canvases.requires_grad_(True)
    found = stamped(images, central(canvases, side), slots, maps)
    expected = blended(images, *placed(canvases[slots], centred_square(length, length, side), maps))
    assert (found - expected).abs().max() < 1e-5
    weights = torch.rand(found.shape, generator=generator)
    gradients = [torch.autograd.grad((each * weights).sum(), canvases)[0] for each in (found, expected)]
    assert (gradients[0] - gradients[1]).abs().max() < 1e-3 and gradients[0].abs().max() > 1


def test_how_much_of_a_patch_is_visible() -> None:
    """A square of a third of the side: whole in the middle whatever its size and turn, half of it at an edge, a quarter
    in a corner."""
    everywhere = Placement(rotation=45.0, shift=0.0, scale=(0.5, 1.5)).maps(0, 0, torch.arange(8))
    assert torch.equal(visible_share(everywhere, 1 / 3), torch.ones(8))
    moved = torch.tensor([[[1.0, 0, -1], [0, 1, 0]], [[1, 0, -1], [0, 1, 1]], [[0.5, 0, -1], [0, 0.5, 0]]])
    assert visible_share(moved, 1 / 3).tolist() == [0.5, 0.25, 0.0], "the last one is moved by a whole side"


def test_plain_patches_are_noise_or_training_images() -> None:
    kind = PatchKind(classes=(0, 2), side=4, placement=FIXED)
    noise, image = np.asarray(plain_block([[], [3, 5]], context(kind))["patch"])
    assert noise.shape == image.shape == (2, 3, 12, 12)
    assert abs(noise.mean() - 0.5) < 0.03 and 0.08 < noise.std() < 0.12
    assert image[:, :, :4].sum() == 0, "beside the square is nothing"
    small = image[0][CENTRE]
    assert np.abs(small.mean() - images().images[3].mean() / 255) < 0.02


def test_every_patch_lands_at_the_same_place_whatever_is_corrupted() -> None:
    kind = PatchKind(classes=(0, 2), side=4, placement=Placement())
    white, grey = np.ones((2, 3, 12, 12), np.float32), np.full((2, 3, 12, 12), 0.25, np.float32)
    items = [[index, index % 2] for index in range(16)]
    seen = {
        name: look_block(items, context(Look(kind=kind), patch=patch)) for name, patch in (("w", white), ("g", grey))
    }
    noisy = look_block(items, context(Look(kind=kind, corruption="contrast", severity=5), patch=white))
    assert torch.equal(seen["w"]["visible"], seen["g"]["visible"]) and torch.equal(
        seen["w"]["visible"], noisy["visible"]
    )
    part = look_block(items[7:], context(Look(kind=kind), patch=white))
    assert torch.equal(part["visible"], seen["w"]["visible"][7:]), "not on the cut either"
    other = look_block(items, context(Look(kind=kind), patch=white, seed=6))
    assert not torch.equal(other["visible"], seen["w"]["visible"]), "on the seed it does"


def test_without_a_patch_images_are_as_they_are() -> None:
    rows = look_block([[index, NO_PATCH] for index in range(9)], context(Look(kind=STILL)))
    expected = Colours()(torch.from_numpy(images().images[:9]).float() / 255).argmax(1)
    assert torch.equal(rows["prediction"], expected) and float(rows["visible"].sum()) == 0


def test_the_patch_alone_lies_on_grey_or_noise() -> None:
    red = np.zeros((2, 3, 12, 12), np.float32)
    red[:, 0] = 1
    on_grey, on_noise = (
        picture_block([[1, 0], [2, NO_PATCH]], context(Look(kind=STILL, ground=ground), patch=red))["image"]
        for ground in ("grey", "noise")
    )
    assert (on_grey[0][CENTRE][0] == 1).all() and (on_grey[1] == 0.5).all()
    assert (on_noise[0][CENTRE][0] == 1).all() and 0.25 < on_noise[1].std() < 0.33
    rows = look_block([[1, 0]], context(Look(kind=STILL, ground="grey"), patch=red))
    assert int(rows["prediction"][0]) == 0 and not rows["correct"][0], "image 1 is green, its red patch is answered"


# --- What is read off the rows ----------------------------------------------------------------------------------------


def rows(correct: Sequence[int]) -> pd.DataFrame:
    return pd.DataFrame({"index": range(len(correct)), "correct": np.array(correct, bool), "visible": 1.0})


ONE = Chain("net", 0)


def results() -> Results:
    cells = (Cell("", 0), Cell("contrast", 1), Cell("contrast", 5))
    designed, none = ([1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]), ([1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0])
    seen = {
        (ONE, name, cell): rows(row)
        for name, outcomes in (("designed", designed), ("none", none))
        for cell, row in zip(cells, outcomes, strict=True)
    }
    own = pd.DataFrame({"slot": [0, 0, 1, 1], "label": [0, 0, 2, 2], "prediction": [0, 1, 2, 2]})
    seen[ONE, "designed", cells[0]] = pd.concat([seen[ONE, "designed", cells[0]], own], axis=1)
    swapped = pd.DataFrame(
        {"index": [5, 6, 7, 5], "label": [1, 2, 0, 1], "slot": [0, 0, 1, 1], "prediction": [0, 2, 2, 2]}
    )
    return Results(
        settings=QUICK,
        classes=("red", "green", "blue"),
        kind=STILL,
        chains=(ONE,),
        seen=seen,
        alone={},
        plain={ONE.model: pd.DataFrame({"index": [4, 5, 6, 7], "prediction": [0, 1, 2, 2]})},
        swapped={ONE: swapped},
        further=Further(sides={}, cross={}, joint={}, without={}),
        printed=ONE,
        patches={},
        curves={ONE: pd.DataFrame()},
        pictures={},
    )


def test_gains_are_paired_by_image() -> None:
    found = results()
    assert found.gain("none", (Cell("", 0),)).value == pytest.approx(0.5)
    assert found.gain("none", found.cells).value == pytest.approx((2 / 4 + 1 / 4 - 1 / 4 - 0) / 2)
    assert found.corrupted("designed").value == pytest.approx(3 / 8)
    assert found.accuracy("none", Cell("contrast", 1)).value == 0.25


def test_a_single_cell_that_all_images_stand_leaves_an_interval() -> None:
    """Four of four are not everything: Wilson's interval, as for clean images."""
    both = results()
    seen = {key: frame for key, frame in both.seen.items() if key[2] != Cell("contrast", 5)}
    seen[ONE, "designed", Cell("contrast", 1)] = rows([1, 1, 1, 1])
    single = dataclasses.replace(both, seen=seen)
    found = single.corrupted("designed")
    assert single.cells == (Cell("contrast", 1),) and found == single.accuracy("designed", Cell("contrast", 1))
    assert found.value == found.hi == 1 and 0.5 < found.lo < 0.52


def test_what_a_patch_does_on_objects_of_other_classes() -> None:
    """Red's patch lies on images 5 and 6, which are answered green and blue without it; blue's on 7 and 5."""
    table = swap_table(results()).set_index("patch_of")
    assert table.loc["red", "patch_with"] == 0.5 and table.loc["red", "patch_without"] == 0.0
    assert table.loc["red", "object_with"] == 0.5 and table.loc["red", "object_without"] == 1.0
    assert table.loc["blue", "patch_with"] == 1.0 and table.loc["blue", "patch_without"] == 0.5
    assert table.n.tolist() == [2, 2]


def test_weights_that_learnt_along_judge_in_place_of_the_models_own() -> None:
    """A network that answers red whatever it sees, and weights that make it answer blue."""
    last = nn.Linear(432, 3)
    nn.init.zeros_(last.weight)
    last.bias = nn.Parameter(torch.tensor([5.0, 0.0, 0.0]))
    network = nn.Sequential(nn.Flatten(), last).eval()
    learnt = {"weights/1.weight": np.zeros((3, 432), np.float32), "weights/1.bias": np.array([0, 0, 5], np.float32)}
    objects: dict[str, Any] = {"model": network, "data": images(), "weights": learnt}
    seen = {}
    for along in (False, True):
        asked = Context(settings=Look(kind=STILL, learnt=along), seed=0, device="cpu", load=objects.__getitem__)
        seen[along] = look_block([[0, NO_PATCH], [1, NO_PATCH]], asked)["prediction"].tolist()
    assert seen == {False: [0, 0], True: [2, 2]} and last.bias[0].item() == 5, "the model stays as it was"


def test_a_network_learns_along_with_its_patches() -> None:
    """From a network that knows nothing: patches alone change nothing, both together learn."""
    last = nn.Linear(3, 3)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    ascent = SharedAscent(norm="linf", step_size=0.1, num_steps=40, batch_size=8, precision="fp32")
    kind = PatchKind(classes=(0, 1, 2), side=8, placement=FIXED)
    settings = DesignSettings(kind=kind, ascent=ascent, weights=WeightSteps(lr=0.5, final_lr=0.0))
    objects: dict[str, Any] = {"model": network, "data": images()}
    work = joint_design(Context(settings=settings, seed=3, device="cpu", load=objects.__getitem__))
    losses = [-row["objective"] for row in work.steps()]
    assert losses[0] == pytest.approx(np.log(3), abs=1e-4) and losses[-1] < 0.7
    assert float(last.weight.detach().abs().sum()) == 0, "the model that was given stays as it was"
    assert work.result()["weights/2.weight"].abs().sum() > 0


def further() -> Results:
    """Networks a:0 and a:1 are of one kind, for which patches are; b is another one. Four images; without a patch a
    recognises the first, b none."""
    seen: dict[tuple[Chain, str, Cell], pd.DataFrame] = {}
    outcomes = {"none": [1, 0, 0, 0], "random": [0] * 4, "training image": [0] * 4, "designed": [1, 1, 1, 0]}
    chains = (Chain("a:0", 0), Chain("a:1", 0))
    for chain in chains:
        seen |= {(chain, name, cell): rows(each) for name, each in outcomes.items() for cell in results().cells}
        seen |= {(chain, name, Cell("", 0)): rows(each) for name, each in outcomes.items()}
    learnt = {"none": [0, 0, 0, 0], "random": [0, 0, 0, 1], "training image": [0, 0, 1, 1], "designed": [1, 1, 1, 1]}
    cross = {("a:0", "a:1"): [1, 1, 0, 0], ("a:1", "a:0"): [1, 0, 0, 0]}
    cross |= {("a:0", "b"): [0, 0, 0, 0], ("a:1", "b"): [1, 0, 0, 0], ("b", "b"): [1, 1, 1, 1]}
    cross |= {("b", "a:0"): [1, 1, 1, 0], ("b", "a:1"): [1, 0, 0, 0]}
    found = Further(
        sides={(2, c.model, name): rows([0, 0, 0, 0]) for c in chains for name in ("random", "training image")}
        | {(2, c.model, "designed"): rows([1, 1, 0, 0]) for c in chains},
        cross={(*pair, "designed"): rows(each) for pair, each in cross.items()}
        | {(*pair, name): rows([0, 0, 0, 1]) for pair in cross for name in ("random", "training image")},
        joint={
            (c.model, name, cell): rows(each)
            for c in chains
            for name, each in learnt.items()
            for cell in (Cell("", 0), *results().cells)
        },
        without={"a:0": rows([1, 0, 0, 0]), "a:1": rows([1, 0, 0, 0]), "b": rows([0, 0, 0, 0])},
    )
    settings = dataclasses.replace(QUICK, models=("a:0", "a:1"), other_models=("b",), side=4, other_sides=(2,))
    return dataclasses.replace(results(), settings=settings, chains=chains, seen=seen, further=found)


def test_patches_of_other_sizes_against_no_patch() -> None:
    table = size_table(further()).set_index(["side", "patch"])
    assert table.loc[(2, "the designed patch"), "accuracy"] == 0.5
    assert table.loc[(2, "no patch"), "gain"] == 0.25 and table.loc[(4, "no patch"), "gain"] == 0.5
    assert table.loc[(2, "no patch"), "accuracy"] == 0.25 and table.loc[(4, "a patch of noise"), "gain"] == 0.75
    assert np.isnan(table.loc[(2, "the designed patch"), "gain"])


def test_one_networks_patches_on_another() -> None:
    by_patch = cross_table(further()).set_index(["patch", "designed_for", "judged_by", "relation"])
    table = by_patch.loc["the designed patch"]
    assert table.loc[("a", "a", "itself"), "accuracy"] == 0.75 and table.loc[("a", "a", "itself"), "pairs"] == 2
    assert table.loc[("a", "a", "same kind"), "accuracy"] == pytest.approx((0.5 + 0.25) / 2)
    assert table.loc[("b", "a", "other kind"), "accuracy"] == 0.5 and table.loc[("b", "b", "itself"), "accuracy"] == 1
    assert len(table) == 5, "of b there is one network only"
    gains = by_patch.gain.unstack("patch")  # of the designed patch over the others
    assert gains.loc[("a", "b", "other kind"), "no patch"] == pytest.approx(0.125)
    assert gains.loc[("a", "b", "other kind"), "a patch of noise"] == pytest.approx(-0.125)
    assert gains.loc[("b", "b", "itself"), "the best training image"] == 0.75
    assert gains["the designed patch"].isna().all()


def test_networks_that_learnt_along_against_frozen_ones() -> None:
    table = joint_table(further()).set_index(["network", "patch"])
    assert table.loc[("frozen", "the designed patch"), "clean"] == 0.75
    assert table.loc[("frozen", "the designed patch"), "gain_clean"] == 0.25, "of what learnt together over it"
    assert table.loc[("learnt along", "no patch"), "clean"] == 0 and table.loc[("learnt along", "no patch"), "n"] == 4
    assert table.loc[("learnt along", "a patch of noise"), "gain_clean"] == 0.75
    assert table.loc[("learnt along", "the best training image"), "corrupted"] == 0.5
    assert table.loc[("learnt along", "its own patch"), "corrupted"] == 1


def test_each_patch_on_each_class_has_three_answers() -> None:
    table = confusion_table(results()).set_index(["patch_of", "images_of"])
    assert len(table) == 6, "two patches on three classes"
    for row in (table.loc["red", "green"], table.loc["red", "blue"], table.loc["blue", "red"]):
        assert row.own + row.patch + row.other == pytest.approx(1)
    assert table.loc[("red", "green"), "patch"] == 1 and table.loc[("red", "blue"), "own"] == 1
    assert table.loc[("red", "red"), "own"] == table.loc[("red", "red"), "patch"] == 0.5, "on its own class"
    assert table.loc[("red", "red"), "other"] == 0.5 and table.loc[("blue", "blue"), "own"] == 1


def test_classifiers_are_what_is_repeated_where_there_are_several() -> None:
    """Two classifiers of two designs are two seeds, one classifier of four designs is four."""
    seen: dict[tuple[Chain, str, Cell], pd.DataFrame] = {}
    chains = [Chain(name, number) for name in "ab" for number in range(2)]
    for chain in chains:
        right = 60 if chain.model == "a" else 80
        seen[chain, "designed", Cell("", 0)] = rows([1] * right + [0] * (100 - right))
    base = results()
    two = dataclasses.replace(base, chains=tuple(chains), seen=seen)
    assert two.num_seeds == 2 and two.accuracy("designed", Cell("", 0)).value == pytest.approx(0.7)
    wide = two.accuracy("designed", Cell("", 0))
    alone = dataclasses.replace(base, chains=tuple(chains[:2]), seen=seen).accuracy("designed", Cell("", 0))
    assert alone.hi - alone.lo < 0.25 < 0.9 < wide.hi - wide.lo, "t with one degree of freedom, over classifiers"


def test_the_surest_training_image_of_each_class() -> None:
    seen = pd.DataFrame({"index": [4, 5, 6, 7], "label": [0, 0, 2, 2], "loss": [0.5, 0.1, 0.3, 0.9]})
    assert surest(seen, (0, 2)) == [5, 6]
