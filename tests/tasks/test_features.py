"""The study of features: how sets are made, on networks whose answer is known, and what is read off the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import Ascent
from robustray.tasks.lab.protocol import Context
from robustray.tasks.lab.seeds import stream
from robustray.tasks.studies.features.blocks import (
    Avoiding,
    avoid_block,
    l2,
    match_block,
    moved_by,
    noise_block,
    perturb_block,
)
from robustray.tasks.studies.features.claims import generalise, repeats_of
from robustray.tasks.studies.features.findings import _of_controls, answer
from robustray.tasks.studies.features.recipes import SOURCES
from robustray.tasks.studies.features.reduce import outside
from robustray.tasks.studies.features.results import FEWEST_ERRORS, Chain, Results, Student, choice, reached
from robustray.tasks.studies.features.sets import next_labels, pairs
from robustray.tasks.studies.features.settings import OUTLINE
from robustray.tasks.study import refuse_idle

QUICK = OUTLINE.sizes["quick"]
PIXELS = 64
ROUNDING = math.sqrt(PIXELS) / 510


class Linear(nn.Module):
    """Latent = the pixels themselves; logits = weights @ latent."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward_with_latent(self, x: Tensor, fake_relu: bool = False, no_relu: bool = False) -> tuple[Tensor, Tensor]:
        latent = x.flatten(1)
        return latent @ self.weights.T, latent

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_with_latent(x)[0]


def images(count: int = 40) -> ImageData:
    rng = np.random.default_rng(0)
    levels = rng.integers(64, 192, (count, 1, 8, 8), dtype=np.uint8)
    return ImageData(name="random", images=levels, labels=np.arange(count) % 4, classes=tuple("abcd"))


def rows(function: Any, items: Sequence[Any], settings: Any = None, **objects: Any) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    objects |= {"model": Linear(torch.randn(4, PIXELS)), "data": images()}
    found = function(items, Context(settings=settings, seed=3, device="cpu", load=objects.__getitem__))
    return {name: np.asarray(values) for name, values in found.items()}


def test_a_latent_that_is_the_image_gives_the_image_back() -> None:
    """g(x) = x: the only image with the target's latent is the target, whatever it started from."""
    ascent = replace(QUICK.matching(), num_steps=200, final_step_size=0.002)
    made = rows(match_block, [[index, (index + 7) % 40] for index in range(20)], ascent)
    assert (made["label"] == images().labels[:20]).all() and (made["start"] == (np.arange(20) + 7) % 40).all()
    assert (made["first_gap"] > 0.2).all() and (made["last_gap"] < 0.01).all()
    assert np.abs(made["image"].astype(int) - images().images[:20].astype(int)).max() <= 2
    moved = (images().images[:20].astype(float) - images().images[made["start"]]) / 255
    assert made["distance"] == pytest.approx(np.sqrt((moved**2).sum((1, 2, 3))), abs=0.02)


def test_perturbed_images_stay_in_their_ball_and_carry_the_label_they_were_moved_to() -> None:
    eps = 0.7
    made = rows(perturb_block, [[index, (index + 1) % 4] for index in range(40)], QUICK.perturbing(eps))
    assert (made["label"] == (made["original"] + 1) % 4).all()
    assert (made["moved"] <= eps + 1e-5).all(), "before rounding"
    assert (made["distance"] <= eps + ROUNDING).all() and made["distance"].mean() > 0.9 * eps
    assert np.abs(made["distance"] - made["moved"]).max() <= ROUNDING + 1e-5
    assert (made["prediction"] == made["label"]).mean() > 0.5
    stored = torch.from_numpy(made["image"]).float() / 255
    torch.manual_seed(0)
    assert (Linear(torch.randn(4, PIXELS))(stored).argmax(1).numpy() == made["prediction"]).all(), "of what is stored"


def test_on_a_linear_network_of_two_classes_the_best_perturbation_is_known() -> None:
    """Towards class 1 of logits W x, two classes: along w1 - w0, whatever the image."""
    weights = torch.randn(2, PIXELS, generator=torch.Generator().manual_seed(1))
    grey = np.full((20, 1, 8, 8), 128, dtype=np.uint8)
    data = ImageData(name="grey", images=grey, labels=np.zeros(20, dtype=np.int64), classes=("a", "b"))
    objects = {"model": Linear(weights), "data": data}
    ascent = Ascent(step_size=0.2, num_steps=5, eps=0.9, precision="fp32")
    context = Context(settings=ascent, seed=0, device="cpu", load=objects.__getitem__)
    found = perturb_block([[index, 1] for index in range(20)], context)
    along = (weights[1] - weights[0]) / torch.linalg.vector_norm(weights[1] - weights[0])
    expected = 128 / 255 + 0.9 * along.view(1, 8, 8)
    stored = torch.as_tensor(np.asarray(found["image"])).float() / 255
    assert (stored - expected).abs().max() <= 0.5 / 255 + 1e-4


@pytest.mark.parametrize("label", [-1, 4])
def test_a_class_that_does_not_exist_is_refused(label: int) -> None:
    with pytest.raises(InputError, match=f"no class {label} to perturb towards: the source has 0..3"):
        rows(perturb_block, [[0, label]], QUICK.perturbing(0.5))


def test_perturbations_that_avoid_other_networks_do_not_fool_these() -> None:
    torch.manual_seed(1)
    others = {"avoided 0": Linear(torch.randn(4, PIXELS)), "avoided 1": Linear(torch.randn(4, PIXELS))}
    items = [[index, (index + 1) % 4] for index in range(40)]
    ascent = QUICK.perturbing(1.5)
    lonely = rows(avoid_block, items, Avoiding(ascent=ascent, count=2), **others)
    usual = rows(perturb_block, items, ascent)
    assert (lonely["moved"] <= 1.5 + 1e-5).all() and (lonely["label"] == usual["label"]).all()

    def losses(made: dict[str, np.ndarray]) -> float:
        stored = torch.from_numpy(made["image"]).float() / 255
        labels = torch.from_numpy(made["original"].astype(np.int64))
        each = [nn.functional.cross_entropy(network(stored), labels) for network in others.values()]
        return float(sum(each).detach())  # type: ignore[union-attr]

    assert losses(lonely) < losses(usual) - 1 and (lonely["prediction"] == lonely["label"]).mean() > 0.5


def test_the_control_has_the_length_and_labels_that_it_is_given() -> None:
    asked = [[index, 2, 0.1 + 0.01 * index] for index in range(40)]
    made = rows(noise_block, asked)
    assert made["label"].tolist() == [2] * 40
    assert np.abs(made["distance"] - [item[2] for item in asked]).max() <= ROUNDING
    assert (rows(noise_block, asked[20:])["image"] == made["image"][20:]).all(), "noise belongs to the image"


def test_a_random_perturbation_that_is_clipped_keeps_its_length() -> None:
    """On black and white pixels half of a random direction is cut off."""
    images = (torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    direction = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    length = torch.linspace(0.1, 3.0, 20)
    moved = moved_by(images, direction, length)
    assert moved.min() >= 0 and moved.max() <= 1
    torch.testing.assert_close(l2(moved - images), length, rtol=1e-4, atol=1e-5)
    step = (moved - images) * direction
    assert (step >= 0).all(), "along its direction"
    far = moved_by(images, direction, torch.full((20,), 9.0))
    corner = torch.where(direction > 0, 1.0, 0.0)
    assert (far != corner).float().mean() < 0.01, "farther than the box reaches: its corner, all but"


@pytest.mark.parametrize("count", [2, 3, 50])
def test_pairs_are_one_cycle_that_knows_no_labels(count: int) -> None:
    start = {target: begin for target, begin in pairs(count, seed=5)}
    seen, at = [], 0
    for _ in range(count):
        seen.append(at)
        at = start[at]
    assert at == 0 and sorted(seen) == list(range(count)), "nobody starts from itself, everybody is used once"
    assert pairs(count, seed=5) == pairs(count, seed=5)


def test_the_last_class_is_followed_by_the_first() -> None:
    assert next_labels(images(5)) == [1, 2, 3, 0, 1]


# --- What is read off the rows ----------------------------------------------------------------------------------------


def predictions(labels: Sequence[int], said: Sequence[int]) -> pd.DataFrame:
    frame = pd.DataFrame({"index": range(len(labels)), "label": labels, "prediction": said})
    return frame.assign(correct=frame.label == frame.prediction)


def student(name: str, held_out: Sequence[int], *, chain: int = 0, lr: float = 0.1) -> Student:
    seen = predictions([0] * len(held_out), held_out)
    return Student(chain=chain, name=name, lr=lr, augmentation="none", held_out=seen, test=seen)


def test_settings_are_chosen_on_held_out_images_the_first_of_equals() -> None:
    weak, good, equal = (student("D", said, lr=lr) for said, lr in (([1, 1], 1.0), ([0, 1], 0.1), ([1, 0], 0.01)))
    assert choice([weak, good, equal]) == {"D": (0.1, "none")}
    other = student("D", [0, 0], chain=1, lr=0.01)
    assert choice([good, equal, other]) == {"D": (0.01, "none")}, "by the mean over the chains of the grid"


def test_the_least_of_all_sets_decides_the_size() -> None:
    whole, half = predictions([0, 1], [0, 1]), predictions([0, 1], [0, 0])
    assert reached([{"D_rand": whole, "D_det": whole}, {"D_rand": whole, "D_det": half}]) == 0.5


def results() -> Results:
    labels = [0, 1, 2, 3]
    tested = {
        (0, "D_det"): predictions(labels, [0, 1, 2, 0]),
        (0, "unperturbed"): predictions(labels, [1, 2, 3, 0]),
        (0, "noise"): predictions(labels, [1, 2, 3, 3]),
    }
    small, large = (pd.DataFrame({"index": [0, 1, 2], "success": gone}) for gone in ([1, 0, 0], [0, 1, 0]))
    chosen = [student("D_det", [0]), student("unperturbed", [1, 0]), student("noise", [0, 0])]
    attacked = {key: {0.2: small, 0.4: large} for key in tested}
    chain = Chain(d=images(), sets={}, tried={})
    return Results(settings=QUICK, eps=1.0, chains={0: chain}, chosen=chosen, tested=tested, attacked=attacked)


def test_label_rules() -> None:
    found = results()
    assert found.accuracy("unperturbed", moved=1).value == 1.0 and found.accuracy("unperturbed").value == 0.0
    assert found.accuracy("noise", moved=1).value == 0.75 and found.accuracy("noise").value == 0.25
    assert found.accuracy("D_det").value == 0.75 and found.accuracy("D_det").n == 4


def test_what_breaks_at_a_size_is_broken_at_larger_ones() -> None:
    found = results()
    assert found.stands(0, "D_det", 0.2).tolist() == [False, True, True, False]
    assert found.stands(0, "D_det", 0.4).tolist() == [False, False, True, False], "image 0 fell at 0.2"


def test_the_better_control_is_chosen_on_held_out_images() -> None:
    found = results()
    assert found.control(0) == "noise"
    assert found.above_control().value == pytest.approx(0.75 - 0.25)


def seen_results(before: int, after: int) -> Results:
    """40 images of class 0 with label 1; a witness that answers 1 on so many of them before and after."""
    made = pd.DataFrame({"index": range(40), "original": 0, "label": 1, "prediction": 1})
    said = {"D": [1] * before + [0] * (40 - before), "D_det": [1] * after + [2] + [0] * (39 - after)}
    answers = {(0, name): pd.DataFrame({"index": range(40), "prediction": each}) for name, each in said.items()}
    return replace(results(), chains={0: Chain(d=images(), sets={"D_det": made}, tried={})}, answers=answers)


def test_a_set_that_a_robust_network_sees_through_is_marked() -> None:
    found = seen_results(2, 6).seen(0, "D_det")
    assert {name: int(flags.sum()) for name, flags in found.items()} == {"y": 33, "t": 6, "other": 1, "t before": 2}
    assert seen_results(2, 6).not_non_robust("D_det"), "10 points more"
    assert not seen_results(2, 4).not_non_robust("D_det"), "5 points are not more than 5"
    assert not seen_results(6, 2).not_non_robust("D_det")


def test_images_whose_new_label_is_their_own_say_nothing() -> None:
    found = seen_results(2, 6)
    found.chains[0].sets["D_det"].loc[:5, "label"] = 0
    assert len(found.seen(0, "D_det")["t"]) == 34


def test_the_answer_has_the_control_of_the_claim() -> None:
    """Noise is the better control of the first chain and unperturbed images are that of the second, on held-out images:
    10 and 30 % of test images. Over both chains noise has 30 %."""
    right = {(0, "noise"): 1, (0, "unperturbed"): 5, (1, "noise"): 5, (1, "unperturbed"): 3}
    tested = {key: predictions([0] * 10, [0] * count + [1] * (10 - count)) for key, count in right.items()}
    better = {(0, "noise"), (1, "unperturbed")}
    chosen = [student(name, [0 if (chain, name) in better else 1], chain=chain) for chain, name in right]
    one = seen_results(2, 2)
    found = Results(
        settings=QUICK,
        eps=1.0,
        chains=dict.fromkeys(range(2), one.chains[0]),
        chosen=chosen,
        tested=tested,
        answers={(chain, name): rows for chain in range(2) for (_, name), rows in one.answers.items()},
    )
    asked = (("D", "none", 0.0), ("D_det", "none", 0.0), ("D_R", "pgd", 0.4), ("D_NR", "pgd", 0.4))
    accuracy = pd.DataFrame(asked, columns=["set", "attack", "eps"])
    accuracy = accuracy.assign(labels="y", accuracy=0.5, lo=0.4, hi=0.6, n=10)
    assert found.control_accuracy().value == pytest.approx(0.2)
    assert "(control: 20" in answer(found, accuracy)


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({0: 400, 1: 5}, "wrong on 5 images only; take fewer --early-epochs"),
        ({0: 400, 1: FEWEST_ERRORS}, "gives all that it is wrong on one label; take more --early-epochs"),
    ],
)
def test_why_there_are_no_errors_of_an_early_network(counts: dict[int, int], says: str) -> None:
    leaks = dict.fromkeys([(0, "D_rand"), (0, "D_det")])
    found: Any = SimpleNamespace(not_non_robust=lambda name: False, names=(), num_mislabelled=counts, leaks=leaks)
    (warning,) = _of_controls(found)
    assert says in warning


@pytest.mark.parametrize(("control_right", "verdict"), [(0, "supported"), (30, "supported"), (40, "undecided")])
def test_the_main_claim_needs_a_ratio_of_three(control_right: int, verdict: str) -> None:
    """100 of 400 images for D_det; a control with 30 is below a third of it, one with 40 is not."""

    def answers(right: int) -> pd.DataFrame:
        return predictions([0] * 400, [0] * right + [1] * (400 - right))

    tested = {(c, name): answers(n) for c in range(3) for name, n in (("D_det", 100), ("noise", control_right))}
    tested |= {(c, "unperturbed"): answers(0) for c in range(3)}
    chosen = [
        student(name, [0] if name == "noise" else [1], chain=c) for c in range(3) for name in ("noise", "unperturbed")
    ]
    chains = {c: Chain(d=images(), sets={}, tried={}) for c in range(3)}
    found = Results(settings=QUICK, eps=1.0, chains=chains, chosen=chosen, tested=tested)
    assert found.above_control().lo > 0
    claim = generalise(found, repeats_of(found))
    assert claim.verdict == verdict and "3 times the control's" in claim.test


def test_a_set_that_leaves_its_ball_is_found() -> None:
    good = {"set": "D_det", "eps": 1.0, "farthest_before": 1.0 + 5e-6, "farthest_stored": 1.0 + ROUNDING}
    rows = [good, good | {"farthest_before": 1.0001}, good | {"farthest_stored": 1.001 + ROUNDING}]
    assert outside(results(), pd.DataFrame(rows)).index.tolist() == [1, 2]
    assert outside(results(), pd.DataFrame([good | {"farthest_before": np.nan, "farthest_stored": 9.0}])).empty, "D_R"


def test_seeds_of_students_are_not_those_of_sources() -> None:
    chains = range(999)
    sources = [QUICK.source(kind, chain).seed for chain in chains for kind in SOURCES if kind != "robust"]
    further = [QUICK.avoided(number, chain, "digits:train").seed for number in range(3) for chain in chains]
    students = [QUICK.pupil("digits:train", 0.1, "none", chain).seed for chain in chains]
    everybody = [*sources, *further, *students]
    assert len(set(everybody)) == len(everybody)
    with pytest.raises(InputError, match="students would share seeds"):
        replace(QUICK, num_chains=1_000)
    assert stream(0, "features-pairs").permutation(9).tolist() != stream(0, "features-held-out").permutation(9).tolist()


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_attacked", 20), ("num_units", 3), ("unit_steps", 3), ("num_avoided", 2), ("early_epochs", 1 + QUICK.epochs)],
)
def test_what_sets_alone_do_not_need_is_refused(name: str, value: int) -> None:
    changed = replace(QUICK, **{name: value})
    refuse_idle(changed, QUICK)
    with pytest.raises(InputError, match="does nothing here: --build"):
        refuse_idle(replace(changed, build="sets"), QUICK)


def test_build_writes_sets_that_can_be_read_again(tmp_path: Path) -> None:
    """`--build FOLDER`, with the five lines of the documentation that read a set elsewhere."""
    import io

    import pyarrow.parquet as pq
    from PIL import Image

    from robustray.tasks.lab.serial import SerialLab
    from robustray.tasks.lab.store import Store
    from robustray.tasks.studies.features.study import STUDY

    settings = replace(
        QUICK,
        num_images=300,
        epochs=1,
        eps_construct=(0.5,),
        perturb_steps=2,
        match_steps=2,
        build=str(tmp_path / "sets"),
    )
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    assert STUDY.door(settings, lab).incomplete
    found = STUDY.run(settings, lab)
    assert not STUDY.door(settings, lab).incomplete
    STUDY.run(settings, lab)  # goes on where it is: the same sets are left as they are
    assert not STUDY.door(replace(settings, block=64, num_chains=2), lab).incomplete, "the same sets"
    for other in (
        replace(settings, match_steps=3),
        replace(settings, train_data="digits:test", test_data="digits:train"),
    ):
        with pytest.raises(InputError, match="D_R, D_NR, D_rand, D_det there were made with other settings or data"):
            STUDY.door(other, lab)
    written = {path.name for path in (tmp_path / "sets").iterdir()}
    assert written == {"D_R", "D_NR", "D_rand", "D_det", "records", "README.md"}
    assert "licence of the data" in (tmp_path / "sets/README.md").read_text()
    assert [table.name for table in found.tables] == ["making"] and not found.claims
    table = pq.read_table(tmp_path / "sets/D_det").to_pydict()
    first = np.asarray(Image.open(io.BytesIO(table["image"][0]["bytes"])))
    data = lab.load(lab.data(str(tmp_path / "sets/D_det")))
    assert len(data) == len(table["label"]) == 240 and (data.images[0, 0] == first).all()
    assert data.labels.tolist() == table["label"] and data.classes == tuple("0123456789")

    train = lab.load(lab.data("digits:train"))
    for name in ("D_det", "D_R"):
        record, stored = (
            pd.read_parquet(tmp_path / f"sets/records/{name}.parquet"),
            lab.load(lab.data(f"{tmp_path}/sets/{name}")),
        )
        assert record.label.tolist() == stored.labels.tolist()
        begun = train.images[record.start if name == "D_R" else record.image]
        moved = np.sqrt(np.square((stored.images.astype(float) - begun) / 255).sum((1, 2, 3)))
        assert record.distance.to_numpy() == pytest.approx(moved, abs=1e-5), f"{name}: of the images that it names"
        if name == "D_R":
            assert (train.labels[record.image] == record.label).all() and (record.start != record.image).all()
