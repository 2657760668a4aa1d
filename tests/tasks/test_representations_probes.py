"""What else is asked of representations: blocks in closed form on networks whose latent is known, measures by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from robustray.tasks.attacks.objective import ModelOutput
from robustray.tasks.crowds.tables import read_table
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.objectives import UnitUpTo
from robustray.tasks.lab.protocol import Context
from robustray.tasks.studies.representations import agreement, layers, measures, probed, probes
from robustray.tasks.studies.representations.kinds import STRANGE
from robustray.tasks.studies.representations.people import answers_of, people_table
from robustray.tasks.studies.representations.probing import _added, class_means, directions, head_images
from robustray.tasks.studies.representations.settings import SIZES
from robustray.tasks.studies.representations.strange import strange_image
from tests.tasks.digits_networks import trained

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = replace(SIZES["quick"], match_eps=(0.1, 0.4), interpolation_steps=8, add_steps=30, direction_steps=20)


class Pixels(nn.Module):
    """Its latent is the image; its four logits are sums over quarters."""

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_with_latent(images)[0]

    def forward_with_latent(self, images: Tensor, fake_relu: bool = False) -> tuple[Tensor, Tensor]:
        latent = images.flatten(1)
        return latent.unflatten(1, (4, 16)).sum(2) - 4, latent


class Layered(Pixels):
    """The same, and a linear block that it makes nothing of."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 8, bias=False).requires_grad_(False)
        rows = torch.linalg.qr(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)))[0].T
        self.layer.weight.copy_(rows * torch.tensor([3.0] + [1.0] * 7)[:, None])

    def forward(self, images: Tensor) -> Tensor:
        self.layer(images.flatten(1))
        return super().forward(images)


@pytest.fixture(scope="module")
def data() -> ImageData:
    images = np.random.default_rng(0).uniform(0.3, 0.7, (24, 1, 8, 8)).astype(np.float32)
    return ImageData(name="own", images=images, labels=np.arange(24) % 4, classes=tuple("abcd"))


def context(model: nn.Module, data: ImageData, settings: Any) -> Context:
    return Context(settings=settings, seed=0, device="cpu", load={"model": model, "data": data}.__getitem__)


MATCH: dict[str, Any] = {"ascent": QUICK.matching(), "sizes": [0.1, 0.4]}
PATH = {"ascent": QUICK.interpolation(), "points": 5}

# --- Blocks -----------------------------------------------------------------------------------------------------------


def test_a_latent_that_is_the_image_comes_as_near_as_the_ball_allows(data: ImageData) -> None:
    found = probes.match_block(range(24), context(Pixels(), data, MATCH))
    images = torch.from_numpy(data.images)
    away = (images[found["start_index"]] - images).flatten(1).norm(dim=1)
    length = images.flatten(1).norm(dim=1)
    torch.testing.assert_close(found["before"], away / length)
    for place, size in enumerate(MATCH["sizes"]):
        torch.testing.assert_close(found["distance"][:, place], (away - size) / length, atol=2e-3, rtol=0)


def test_between_two_images_a_latent_that_is_the_image_gives_their_blend(data: ImageData) -> None:
    found = probes.interpolate_block([[3, step] for step in range(5)], context(Pixels(), data, PATH))
    other = found["start_index"][0]
    assert data.labels[other] != data.labels[3]
    first, last = (torch.from_numpy(data.images[index]) for index in (3, other))
    for step in range(5):
        torch.testing.assert_close(found["image"][step], first + step / 4 * (last - first))
    assert (found["distance"] < 1e-6).all(), "it starts at the goal, and the best iterate is kept"


def test_an_addition_stops_at_its_level_by_itself(data: ImageData) -> None:
    """Pixel 5 is the unit: steps of 0.05 go there and nowhere else; what is above the level stays to the bit."""
    items = [[5, number, 0.9] for number in range(3)] + [[5, number, 0.1] for number in range(3)]
    found = probes.add_block(items, context(Pixels(), data, {"ascent": QUICK.addition()}))
    change = (found["image"] - found["start"]).flatten(1)
    assert ((found["activation"][:3] >= 0.9 - 1e-6) & (found["activation"][:3] < 0.96)).all()
    assert (change[:3, 5] > 0).all() and change[:, torch.arange(64) != 5].abs().max() == 0
    assert torch.equal(found["image"][3:], found["start"][3:]) and (found["distance"][3:] == 0).all()


def test_above_its_level_a_unit_has_no_gradient() -> None:
    latent = torch.tensor([[0.5, 3.0]], requires_grad=True)
    state = {"unit": torch.tensor([1]), "level": torch.tensor([2.0])}
    loss = UnitUpTo().loss(ModelOutput(torch.zeros(1, 2), latent), torch.zeros(1, 1), state)
    loss.sum().backward()
    assert loss.item() == 0 and latent.grad is not None and latent.grad.abs().max() == 0


def test_along_a_direction_that_is_a_pixel_that_pixel_becomes_white(data: ImageData) -> None:
    chosen = torch.eye(64)[[0, 9, 18, 27]].tolist()
    settings = {"ascent": QUICK.direction(), "directions": chosen}
    found = probes.direct_block([[0, 0], [2, 0], [2, 1]], context(Pixels(), data, settings))
    for row, pixel in enumerate((0, 18, 18)):
        assert found["image"].flatten(1)[row, pixel] == 1
    assert not torch.equal(found["start"][1], found["start"][2]), "each number starts elsewhere"


def test_images_of_no_class_are_given_back_where_the_latent_is_the_image(data: ImageData) -> None:
    settings = {"ascent": replace(QUICK, inversion_steps=120, final_step_size=0.001).inversion()}
    items = [[kind, number] for kind in range(len(STRANGE)) for number in range(3)]
    found = probes.strange_block(items, context(Pixels(), data, settings))
    assert (found["image"] - found["target"]).abs().max() < 0.01 and (found["after"] < 0.01).all()


def test_a_block_that_is_linear_moves_as_far_as_its_largest_singular_value_says(data: ImageData) -> None:
    """max over |d| <= eps of |A d| = eps * the largest singular value; a latent that is the image moves by eps."""
    net = Layered()
    settings = {"ascent": replace(QUICK, sense_steps=40).sensing(), "sizes": [0.1, 0.2], "taps": ["layer", "latent"]}
    found = layers.sense_block(range(24), context(net, data, settings))
    for place, size in enumerate((0.1, 0.2)):
        torch.testing.assert_close(found["moved"][:, 1, place], torch.full((24,), size), atol=1e-5, rtol=0)
        moved = found["moved"][:, 0, place]
        assert (moved <= 3 * size * (1 + 1e-5)).all() and (moved > 0.96 * 3 * size).all()
    assert (found["apart"] > 0).all(), "no image is its own partner"


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_images_are_pictures_and_depend_on_kind_and_number_only(kind: str) -> None:
    many = torch.stack([strange_image(kind, number, (3, 8, 8), seed=0) for number in range(20)])
    assert many.shape == (20, 3, 8, 8) and many.min() >= 0 and many.max() <= 1
    assert torch.equal(many[7], strange_image(kind, 7, (3, 8, 8), seed=0))
    assert len({row.numpy().tobytes() for row in many}) == 20
    assert not torch.equal(many[7], strange_image(kind, 7, (3, 8, 8), seed=1))


def test_the_map_of_a_unit_that_is_a_pixel_is_that_pixel(data: ImageData) -> None:
    found = probes.map_block(range(5), context(Pixels(), data, {}))
    expected = torch.eye(64)[torch.from_numpy(data.images[:5]).flatten(1).argmax(1)]
    assert torch.equal(found["unit_map"].flatten(1), expected)
    logits = Pixels()(torch.from_numpy(data.images[:5])).softmax(1) - torch.eye(4)[data.labels[:5]]
    torch.testing.assert_close(found["loss_map"].flatten(1), logits.repeat_interleave(16, dim=1))


def test_rows_do_not_depend_on_how_items_are_cut() -> None:
    images = np.random.default_rng(1).uniform(size=(20, 1, 8, 8)).astype(np.float32)
    digits = ImageData(name="own", images=images, labels=np.arange(20) % 10, classes=tuple("0123456789"))
    along = {"ascent": QUICK.direction(), "directions": torch.ones(10, 64).tolist()}
    sense = {"ascent": QUICK.sensing(), "sizes": [0.2], "taps": ["backbone.conv2", "latent"]}
    for block, settings, items in (
        (probes.match_block, MATCH, list(range(20))),
        (probes.interpolate_block, PATH, [[index, step] for index in (3, 9) for step in range(5)]),
        (probes.add_block, {"ascent": QUICK.addition()}, [[unit, n, 0.5] for unit in (3, 9) for n in range(4)]),
        (probes.direct_block, along, [[label, 0] for label in range(10)]),
        (probes.strange_block, {"ascent": QUICK.interpolation()}, [[kind, n] for kind in range(3) for n in range(3)]),
        (probes.map_block, {}, list(range(20))),
        (layers.sense_block, sense, list(range(20))),
    ):
        whole = block(items, context(trained("cnn"), digits, settings))
        part = block(items[3:5], context(trained("cnn"), digits, settings))
        for name, values in whole.items():
            mine = torch.as_tensor(values)[3:5]
            assert torch.equal(mine, torch.as_tensor(part[name])), (block.qualified_name, name)


# --- Measures ---------------------------------------------------------------------------------------------------------


def test_paths_by_hand() -> None:
    direct: Any = [[1, 0, 0], [1, 0, 0], [0, 1, 0]]
    detour = [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    slow = [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0]]
    found = measures.path_measures([direct, detour, slow], [[0, 1]] * 3)
    assert found["ends"] == pytest.approx([1, 2 / 3, 1])
    assert found["variation"] == pytest.approx([1, 2, 1])


def test_concentration_by_hand() -> None:
    changes = np.zeros((3, 2, 1, 10))
    changes[0] = 0.3
    changes[1, :, 0, 4] = 1
    assert measures.concentration(changes) == pytest.approx([0.2, 1, 0.2]), "even, one place, none"


def test_nearest_neighbours_leave_out_the_image_itself() -> None:
    rows = np.array([[0.0], [1.0], [3.0], [6.0], [10.0]])
    assert probed.neighbours(rows, np.array([0, 4]), 2).tolist() == [[1, 2], [3, 2]]


def test_differences_are_paired_by_twins_and_item() -> None:
    values: Any = {
        ("robust", 0): np.array([1.0, 2, 3]),
        ("standard", 0): np.array([0.5, 1.5, 2.5]),
        ("robust", 1): np.array([3.0, 3, 3]),
        ("standard", 1): np.array([2.5, 2.5, 2.5]),
    }
    assert probed.difference(values, range(2)).interval == pytest.approx((0.5, 0.5))
    assert probed.over_networks(values, "robust").value == pytest.approx(2.5)
    assert probed.difference({}, range(2)).n == 0, "nothing was asked"


def test_what_is_left_of_a_distance_is_relative_to_its_start() -> None:
    """Twice as far apart from the beginning, and half as near after: the same share is left."""
    rows = pd.DataFrame({"before": [2.0, 4.0], "distance": [np.array([1.0, 0.5]), np.array([2.0, 1.0])]})
    far = pd.DataFrame({"before": 2 * rows.before, "distance": [2 * each for each in rows.distance]})
    matched = {("robust", 0): rows, ("standard", 0): far}
    results: Any = SimpleNamespace(settings=QUICK, probes=SimpleNamespace(matched=matched))
    left = probed.match_mean(results)
    assert left["robust", 0] == pytest.approx([0.375, 0.375]) and left["standard", 0] == pytest.approx([0.375, 0.375])
    found = probed.match_table(results)
    assert found.left.tolist() == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25])
    assert found.distance.tolist() == pytest.approx([3, 6, 1.5, 3, 0.75, 1.5])


@pytest.mark.parametrize(("count", "level"), [(101, 99.0), (10_001, 9_991.0)], ids=["one of a hundred", "the tenth"])
def test_the_level_of_an_addition(count: int, level: float) -> None:
    """Of activations 0, 1, 2, ...: the 99th percentile of few images, the tenth largest of many."""
    latents = np.random.default_rng(0).permutation(count)[:, None].astype(float)
    settings = replace(QUICK, top_images=10, add_starts=2)
    assert _added(settings, latents, [0]) == [[0, 0, level], [0, 1, level]]


# --- A head and its directions ----------------------------------------------------------------------------------------


def test_directions_point_to_their_class() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    rows = 10 * np.eye(3, 6)[labels] + generator.normal(size=(90, 6))
    found = np.array(directions(rows, labels, 4, seed=0))
    assert np.linalg.norm(found[:3], axis=1) == pytest.approx(np.ones(3)) and (found[3] == 0).all()
    means = class_means(rows, labels, 4)
    assert (found[:3] @ means[:3].T).argmax(1).tolist() == [0, 1, 2] and np.isnan(means[3]).all()


def test_head_images_are_as_many_of_each_class() -> None:
    images = ImageData(
        name="own", images=np.zeros((30, 1, 8, 8), np.uint8), labels=np.arange(30) % 3, classes=tuple("abc")
    )
    drawn = head_images(replace(QUICK, head_images=12), images)
    assert len(set(drawn)) == 12 and np.bincount(images.labels[drawn]).tolist() == [4, 4, 4]
    assert len(head_images(replace(QUICK, head_images=1_000), images)) == 30


# --- People -----------------------------------------------------------------------------------------------------------


def test_confusions_by_hand() -> None:
    answers = np.array([[8.0, 2, 0], [10, 0, 0], [1, 4, 5], [0, 0, 10]])
    labels = np.array([0, 0, 1, 2])
    found = agreement.confusions(answers, labels, np.ones(4))
    assert found == pytest.approx([(0.1 + 0.1) / 2, (0 + 0) / 2, (0.5 + 0) / 2])
    twice = agreement.confusions(answers, labels, np.array([2.0, 0, 1, 1]))
    assert twice == pytest.approx([(0.2 + 0.1) / 2, 0, 0.25]), "an image that was drawn twice counts twice"


def test_nearness_and_doubt_by_hand() -> None:
    means = np.array([[0.0, 0], [3, 4], [6, 0]])
    assert agreement.nearness(means) == pytest.approx([-5, -6, -5])
    found = agreement.doubt(np.array([[0.0, 0], [3, 0]]), np.array([0, 2]), means)
    assert found == pytest.approx([0 - 5, 3 - 3])


@pytest.mark.parametrize("seed", range(3))
def test_spearman_is_scipys(seed: int) -> None:
    a, b = np.random.default_rng(seed).integers(0, 5, size=(2, 40)).astype(float)
    expected: Any = stats.spearmanr(a, b)
    assert agreement.spearman(a, b) == pytest.approx(expected.statistic)
    assert agreement.spearman(a, np.ones(40)) == 0


def people_results(num_seeds: int = 2) -> Any:
    """Robust latents lie where people's answers do, standard ones anywhere."""
    generator = np.random.default_rng(0)
    labels = np.arange(120) % 4
    places = np.array([0.0, 1.0, 3.0, 7.0])
    seen = places[labels] + generator.normal(size=120)
    answers = np.exp(-np.square(seen[:, None] - places)) + 1e-3
    images = ImageData(
        name="own",
        images=generator.uniform(size=(120, 1, 4, 4)).astype(np.float32),
        labels=labels,
        classes=tuple("abcd"),
    )
    latents, means = {}, {}
    anywhere = generator.normal(size=(120, 5)), generator.normal(size=(4, 5))
    for seed in range(num_seeds):
        latents["robust", seed], means["robust", seed] = seen[:, None], places[:, None]
        latents["standard", seed], means["standard", seed] = anywhere
    return SimpleNamespace(
        settings=replace(QUICK, num_seeds=num_seeds, num_resamples=200),
        images=images,
        baselines=SimpleNamespace(means=generator.uniform(size=(5, 1, 4, 4))),
        probes=SimpleNamespace(answers=100 * answers, latents=latents, means=means),
    )


def test_latents_that_lie_where_answers_do_agree_with_people() -> None:
    results = people_results()
    found = agreement.people_estimates(results)
    assert found["robust", "images"].value > 0.8 and found["robust", "pairs"].value > 0.8
    assert abs(found["pixels", "images"].value) < 0.4
    gap = agreement.people_difference(found, "images")
    assert gap.lo > 0.3 and gap.n == 120
    assert gap.value == pytest.approx(found["robust", "images"].value - found["standard", "images"].value)
    assert agreement.people_table(results, found).what.tolist() == ["robust", "standard", "pixels"]
    results.probes.answers = None
    assert agreement.people_estimates(results) == {} and agreement.people_difference({}, "pairs").n == 0


def written(folder: Path, **changed: Any) -> str:
    columns = {"index": [2, 0, 1], "label": [0, 0, 1], "count_a": [3, 4, 1], "count_b": [0, 1, 5]} | changed
    path = folder / "answers.parquet"
    pd.DataFrame(columns).to_parquet(path)
    return str(path)


TWO = ImageData(name="own", images=np.zeros((3, 1, 4, 4), np.uint8), labels=np.array([0, 1, 0]), classes=("a", "b"))


def test_answers_are_put_into_the_order_of_the_images(tmp_path: Path) -> None:
    table: Any = people_table(written(tmp_path), TWO).fetch()
    assert answers_of(table, TWO).tolist() == [[4, 1], [1, 5], [3, 0]]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"index": [2, 0, 0]}, "each of the 3 images of own once"),
        ({"label": [0, 0, 0]}, "image 1 has label 0, own has 1"),
        ({"count_a": [0, 4, 1]}, "image 2 has no answer"),
    ],
)
def test_answers_about_other_images_are_refused(changed: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        answers_of(people_table(written(tmp_path, **changed), TWO).fetch(), TWO)


def test_answers_about_a_class_without_images_are_refused(tmp_path: Path) -> None:
    three = replace(TWO, classes=("a", "b", "c"))
    with pytest.raises(InputError, match=r"own has no image of class 'c'.*leave --people out"):
        answers_of(people_table(written(tmp_path, count_c=[0, 1, 0]), three).fetch(), three)


def test_cifar10h_is_about_the_cifar10_test_images(shared_data: Path) -> None:
    import pyarrow.parquet as pq

    file = pq.read_table(next((shared_data / "cifar10").glob("test-*.parquet")), columns=["label"])
    labels = file["label"].to_numpy()
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    data = ImageData(name="cifar10:test", images=np.zeros((10_000, 1, 1, 1), np.uint8), labels=labels, classes=names)
    reference: Any = people_table(str(shared_data / "annotations" / "cifar10h_counts.parquet"), data)
    answers = answers_of(read_table(reference.name, reference.schema), data)
    confused = agreement.confusions(answers, labels, np.ones(10_000))
    pairs = [(names[i], names[j]) for i, j in zip(*np.triu_indices(10, 1), strict=True)]
    assert pairs[int(confused.argmax())] in {("cat", "dog"), ("deer", "horse"), ("automobile", "truck")}
