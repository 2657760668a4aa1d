"""The study of representations: its measures against closed forms, its blocks on networks whose latents are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.lab.keys import digest
from robustray.tasks.lab.protocol import Context
from robustray.tasks.statistics import mean_interval
from robustray.tasks.studies.representations import measures, reduce
from robustray.tasks.studies.representations.blocks import (
    NO_IMAGE,
    POINTS,
    class_block,
    invert_block,
    other_class,
    unit_block,
)
from robustray.tasks.studies.representations.compare import compare
from robustray.tasks.studies.representations.findings import claims
from robustray.tasks.studies.representations.settings import SIZES, Settings, estimate
from robustray.tasks.studies.representations.study import check_images, choose_units
from robustray.tasks.study import RunTables
from robustray.tasks.training.reference import SEEDS, reference_specs
from tests.tasks.digits_networks import trained

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = SIZES["quick"]

# --- Measures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("similarity", "expected"),
    [
        ([1.0, 0.2, 0.3, 0.4], 0.0),
        ([0.1, 0.2, 0.3, 0.4], 1.0),
        ([0.3, 0.2, 0.1, 0.4, 0.5], 0.5),
        ([0.3, 0.3, 0.3], 0.5),
        ([0.3, 0.3, 0.1], 0.25),
    ],
)
def test_the_share_that_is_closer_than_the_target(similarity: list[float], expected: float) -> None:
    assert measures.closer(similarity) == expected


def test_an_inversion_that_is_its_target_has_its_structure() -> None:
    images = np.random.default_rng(2).uniform(size=(3, 1, 8, 8)).astype(np.float32)
    assert reduce.structure(images, images) == pytest.approx([1.0] * 3)
    assert (reduce.structure(images, 1 - images) < 0).all(), "the negative has the opposite structure"


def test_alone_it_cannot_be_ranked() -> None:
    assert np.isnan(measures.closer([1.0]))


def test_a_class_mean_finds_its_targets_by_chance_exactly() -> None:
    """One image orders a class once: over all targets of the class the shares are 0, 1/(n-1), ..., 1."""
    images = np.random.default_rng(0).uniform(size=(30, 1, 8, 8))
    labels = np.zeros(30, dtype=np.int64)
    alike = measures.pairwise(images.mean(0)[None], images)[0]
    shares = [measures.closer(alike[measures.candidates(labels, target, 100, seed=0)]) for target in range(30)]
    assert sorted(shares) == pytest.approx(np.linspace(0, 1, 30))
    assert np.mean(shares) == pytest.approx(0.5)


def test_the_image_itself_is_found_and_noise_is_not() -> None:
    generator = np.random.default_rng(1)
    images, noise = generator.uniform(size=(40, 64)), generator.uniform(size=(400, 64))
    labels = np.zeros(40, dtype=np.int64)
    among = [measures.candidates(labels, target, 100, seed=0) for target in range(40)]
    alike = measures.pairwise(images, images)
    assert all(measures.closer(alike[target, rows]) == 0 for target, rows in enumerate(among))
    shares = [measures.closer(measures.pairwise(noise[i : i + 1], images[among[i % 40]])[0]) for i in range(400)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)


def test_candidates_are_of_the_class_and_the_target_comes_first() -> None:
    labels = np.arange(200) % 4
    found = measures.candidates(labels, 17, 20, seed=3)
    assert found[0] == 17 and len(found) == 20 == len(set(found.tolist())) and (labels[found] == 1).all()
    assert np.array_equal(found, measures.candidates(labels, 17, 20, seed=3))
    assert len(measures.candidates(labels, 17, 100, seed=3)) == 50, "all there are"


def test_correlation_ignores_brightness_and_contrast() -> None:
    images = np.random.default_rng(0).uniform(size=(5, 3, 4, 4))
    assert measures.correlation(images, 0.2 + 0.5 * images) == pytest.approx(np.ones(5))
    assert measures.correlation(images, 1 - images) == pytest.approx(-np.ones(5))
    assert measures.correlation(images, np.full_like(images, 0.5)) == pytest.approx(np.zeros(5))
    expected = [[np.corrcoef(a.ravel(), b.ravel())[0, 1] for b in images] for a in images]
    np.testing.assert_allclose(measures.pairwise(images, images), expected)


def test_distances_by_hand() -> None:
    assert measures.distances([[0.0, 0.0]], [[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]]) == pytest.approx(
        np.array([[5, 1, 0]])
    )


def test_visualisations_that_are_their_top_images_are_natural() -> None:
    generator = np.random.default_rng(0)
    top, centre = generator.normal(size=(6, 20)), np.zeros(20)
    shown = np.repeat(top[:, None], 3, axis=1)
    assert measures.consistency(shown, top, centre) == pytest.approx(np.ones(6))
    assert measures.consistency(-shown, top, centre) == pytest.approx(np.zeros(6))
    same = np.ones((6, 3, 20))  # whatever is excited, one image: as natural for its unit as for any other
    assert measures.consistency(same, top, centre).mean() == pytest.approx(0.5)
    many = generator.normal(size=(60, 4, 20))
    assert measures.consistency(many, generator.normal(size=(60, 20)), centre).mean() == pytest.approx(0.5, abs=0.05)


def test_starts_agree_where_the_unit_decides_the_image() -> None:
    units = np.repeat(np.eye(6)[:, None], 3, axis=1)
    assert measures.agreement(units, np.zeros(6)) == pytest.approx(np.ones(6)), "1 within, 0 between"
    starts = np.repeat(np.eye(3)[None], 6, axis=0)
    assert measures.agreement(starts, np.zeros(3)) == pytest.approx(np.zeros(6)), "the start decides: 0 and 0"


# --- Blocks, on networks whose latents are known ----------------------------------------------------------------------


class Pixels(nn.Module):
    """Its latent is the image; its first four logits are sums over quarters."""

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_with_latent(images)[0]

    def forward_with_latent(self, images: Tensor, fake_relu: bool = False) -> tuple[Tensor, Tensor]:
        latent = images.flatten(1)
        return latent.unflatten(1, (4, 16)).sum(2) - 4, latent


@pytest.fixture(scope="module")
def data() -> ImageData:
    images = np.random.default_rng(0).uniform(0.2, 0.8, (24, 1, 8, 8)).astype(np.float32)
    return ImageData(name="own", images=images, labels=np.arange(24) % 4, classes=tuple("abcd"))


def context(model: nn.Module, data: ImageData, settings: Any) -> Context:
    return Context(settings=settings, seed=0, device="cpu", load={"model": model, "data": data}.__getitem__)


def inversion(start: str, **changed: Any) -> dict[str, Any]:
    settings = replace(QUICK, **{"inversion_steps": 120, "final_step_size": 0.001, **changed})
    return {"ascent": settings.inversion(), "start": start}


@pytest.mark.parametrize("start", ["noise", "image"])
def test_a_latent_that_is_the_image_gives_the_image_back(data: ImageData, start: str) -> None:
    found = invert_block(range(24), context(Pixels(), data, inversion(start)))
    assert (found["image"] - torch.from_numpy(data.images)).abs().max() < 0.01
    assert (found["objective"] > -0.01).all() and found["path"].shape == (24, POINTS + 1)
    moved = (found["image"] - found["start"]).flatten(1).norm(dim=1)
    torch.testing.assert_close(found["distance"], moved)


def test_inversions_start_at_noise_or_at_an_image_of_another_class(data: ImageData) -> None:
    noise = invert_block(range(24), context(Pixels(), data, inversion("noise", inversion_steps=1)))
    assert set(noise["start_index"]) == {NO_IMAGE}
    image = invert_block(range(24), context(Pixels(), data, inversion("image", inversion_steps=1)))
    begun = np.array(image["start_index"])
    assert (data.labels[begun] != data.labels).all() and len(set(begun.tolist())) > 5
    assert torch.equal(image["start"], data.batch(begun)[0])
    assert begun.tolist() == [other_class(data, 0, index) for index in range(24)]


def test_rows_do_not_depend_on_how_items_are_cut() -> None:
    images = np.random.default_rng(1).uniform(size=(20, 1, 8, 8)).astype(np.float32)
    digits = ImageData(name="own", images=images, labels=np.arange(20) % 10, classes=tuple("0123456789"))
    net = trained("cnn")
    for block, settings, items in (
        (invert_block, inversion("noise", inversion_steps=5), list(range(20))),
        (class_block, inversion("image", inversion_steps=5), list(range(20))),
        (unit_block, {"ascent": QUICK.visualisation()}, [[unit, number] for unit in (3, 9) for number in range(4)]),
    ):
        whole = block(items, context(net, digits, settings))
        part = block(items[3:5], context(net, digits, settings))
        for name, values in whole.items():
            mine = torch.as_tensor(values)[3:5]
            assert torch.equal(mine, torch.as_tensor(part[name])), (block.qualified_name, name)


def test_a_unit_that_is_a_pixel_becomes_white_and_nothing_else_moves(data: ImageData) -> None:
    """The gradient of a single pixel is that pixel: steps go there until it is 1."""
    ascent = replace(QUICK, unit_steps=20, unit_step_size=0.1).visualisation()
    found = unit_block([[5, 0], [5, 1], [40, 1]], context(Pixels(), data, {"ascent": ascent}))
    assert (found["activation"] == 1).all()
    change = (found["image"] - found["start"]).flatten(1).abs()
    for row, unit in enumerate((5, 5, 40)):
        others = torch.arange(64) != unit
        assert (change[row, others] == 0).all() and change[row, unit] > 0
    assert found["start_index"][0] == NO_IMAGE and found["start_index"][1] == found["start_index"][2] >= 0


def test_units_are_drawn_among_those_that_are_ever_active() -> None:
    activations = np.zeros((50, 8))
    activations[:12, [1, 4, 6]] = 1
    activations[:3, 2] = 1
    assert sorted(choose_units(QUICK, activations, 0)) == [1, 4, 6]
    few = replace(QUICK, num_units=2)
    assert len(choose_units(few, activations, 0)) == 2
    assert choose_units(few, activations, 0) == choose_units(few, activations, 0)


# --- Estimates and claims on rows made by hand ------------------------------------------------------------------------


def rows(shares: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Shares by what, then seed, then target; baselines have one list, for every seed."""
    parts = []
    for what, by_seed in shares.items():
        for seed, values in enumerate(by_seed):
            parts.append(
                pd.DataFrame(
                    {"what": what, "seed": seed if len(by_seed) > 1 else reduce.EVERY_SEED, "start": "noise"}
                    | {"index": range(len(values)), "closer_pixels": values, "closer_judge": values}
                )
            )
    return pd.concat(parts, ignore_index=True)


def test_differences_are_paired_by_seed_and_target() -> None:
    table = rows({"robust": [[0.1, 0.2, 0.3], [0.2, 0.1, 0.3]], "standard": [[0.2, 0.3, 0.4], [0.4, 0.3, 0.5]]})
    table = pd.concat([table, rows({reduce.CLASS_MEAN: [[0.5, 0.5, 0.5]]})], ignore_index=True)
    found = reduce.closer_difference(table, "pixels", "standard")
    assert found.value == pytest.approx(-0.15) and found.n == 3
    assert found.hi - found.value == pytest.approx(mean_interval([-0.1, -0.2]).hi + 0.15), "no target differs"
    assert reduce.closer_difference(table, "judge", reduce.CLASS_MEAN).value == pytest.approx(-0.3)


def test_a_difference_that_all_seeds_and_targets_share_supports_the_claims() -> None:
    generator = np.random.default_rng(0)
    near, far = generator.uniform(0.0, 0.1, (3, 50)), generator.uniform(0.3, 0.5, (3, 50))
    units = pd.DataFrame(
        [
            {"what": what, "seed": seed, "natural": level + 0.01 * unit}
            for what, level in (("robust", 0.8), ("standard", 0.5))
            for seed in range(3)
            for unit in range(5)
        ]
    )

    def verdicts(robust: np.ndarray, standard: np.ndarray) -> list[str]:
        table = rows({"robust": robust.tolist(), "standard": standard.tolist(), reduce.CLASS_MEAN: [[0.25] * 50]})
        results: Any = type("Results", (), {"settings": QUICK})
        return [claim.verdict for claim in claims(results, table, units)]

    assert verdicts(near, far) == ["supported"] * 5
    assert verdicts(far, near)[:4] == ["contradicted"] * 4
    assert verdicts(near, near + generator.normal(0, 0.2, (3, 50)))[0] == "undecided"


def run_tables(frame: pd.DataFrame, content: str = "1", share: float = 0.5) -> RunTables:
    ranks = pd.DataFrame([{"what": "robust", "start": "noise", "pixels": share, "n": 9}])
    tables = {"images": frame, "ranks": ranks.assign(pixels_lo=share - 0.1, pixels_hi=share + 0.1)}
    return RunTables(
        label="A",
        settings={"test_data": "digits:test"},
        hashes={"data digits:test": content},
        read=lambda name, columns: tables[name][list(columns)],
    )


def test_two_runs_are_compared_target_by_target() -> None:
    a = rows({"robust": [[0.1, 0.2, 0.3, 0.9], [0.1, 0.2, 0.3, 0.9]]})
    b = rows({"robust": [[0.2, 0.3, 0.4], [0.2, 0.3, 0.4]]})
    found = compare(run_tables(a), run_tables(b))
    (table,) = found.tables
    assert table.frame.pixels.tolist() == pytest.approx([0.1]) and table.frame.n.tolist() == [3]
    assert "+10.0 points" in found.answer and found.warnings


def test_two_runs_with_as_many_other_targets_are_compared_over_those_of_both() -> None:
    a = rows({"robust": [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]})
    found = compare(run_tables(a), run_tables(a.assign(index=a["index"] + 1)))
    assert found.tables[0].frame.n.tolist() == [2] and "the 2 targets of both runs" in found.warnings[0]


@pytest.mark.parametrize(("content", "first", "says"), [("2", 0, "no test images"), ("1", 100, "no target")])
def test_without_a_target_in_common_runs_are_independent(content: str, first: int, says: str) -> None:
    a = rows({"robust": [[0.1, 0.2], [0.1, 0.2]]})
    found = compare(run_tables(a), run_tables(a.assign(index=a["index"] + first), content, share=0.8))
    (table,) = found.tables
    assert table.frame.difference.tolist() == pytest.approx([0.3]) and says in found.warnings[0]


# --- Settings and doors -----------------------------------------------------------------------------------------------


def test_the_small_size_compares_the_reference_twins() -> None:
    small = SIZES["small"]
    assert tuple(small.seeds()) == SEEDS
    for seed in SEEDS:
        for kind, twin in (("standard", "standard"), ("robust", "l2_05")):
            expected = reference_specs(seed)[twin]
            assert small.spec(kind, seed) == expected and digest(small.spec(kind, seed)) == digest(expected)  # type: ignore[arg-type]
            assert small.named()[kind, seed] == f"twin:{twin}:{seed}"  # type: ignore[index]
    assert not small.wanted() and len(replace(small, epochs=3).wanted()) == 2 * len(SEEDS)
    judge = small.judge_spec()
    assert judge.seed not in SEEDS and judge.model != small.architecture and judge.loss == "standard"


def test_what_was_given_is_not_trained() -> None:
    given = replace(QUICK, num_seeds=2, robust=("run:a", "run:b"))
    assert given.named() == {("robust", 0): "run:a", ("robust", 1): "run:b"}
    assert set(given.wanted()) == {("standard", 0), ("standard", 1)}
    assert estimate(given).counts["trainings"] == 3


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"eps": 0.0}, "eps 0"),
        ({"eps": -1.0}, "eps"),
        ({"num_seeds": 0}, "num_seeds"),
        ({"robust": ("run:a",)}, "1 networks for num_seeds 3"),
        ({"num_seeds": 1, "robust": ("run:a",), "judge": "run:a"}, "judge run:a is one of"),
        ({"starts": ()}, "starts: at least one"),
        ({"starts": ("grey",)}, "starts"),
        ({"num_targets": 0}, "num_targets"),
        ({"num_candidates": 1}, "num_candidates"),
        ({"inversion_steps": 0}, "^inversion_steps must"),
        ({"num_units": 1}, "num_units"),
        ({"unit_starts": 1}, "unit_starts"),
        ({"top_images": 0}, "top_images"),
        ({"match_eps": (0.4, 0.2)}, "match_eps"),
        ({"match_eps": ()}, "match_eps"),
        ({"path_points": 1}, "path_points"),
        ({"num_strange": 1}, "num_strange"),
        ({"num_resamples": 10}, "num_resamples"),
        ({"add_step_size": -1.0}, "^add_step_size must"),
        ({"epochs": 0}, "epochs"),
        ({"precision": "fp64"}, "precision"),
    ],
)
def test_bad_settings_are_refused_in_words(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(QUICK, **bad)


def images_of(labels: list[int]) -> ImageData:
    return ImageData(
        name="own", images=np.zeros((len(labels), 1, 8, 8), np.uint8), labels=np.array(labels), classes=tuple("abc")
    )


@pytest.mark.parametrize(
    ("changed", "train", "test", "says"),
    [
        ({"num_targets": 9}, [0, 1, 2], [0, 0, 1, 1], "num_targets 9"),
        ({}, [0, 1, 2], [0, 0, 1], "single image of class 'b'"),
        ({}, [0, 0], [0, 0, 1, 1], "no image of class 'b'"),
        ({}, [0, 0], [0, 0, 0], "one class only"),
        ({}, [0, 0, 1], [0, 0, 1, 1], "single image of class 'b': a head needs two"),
        ({"neighbours": 4}, [0, 0, 1, 1], [0, 0, 1, 1], "neighbours 4: own has 4"),
        ({"top_images": 5}, [0, 1, 2], [0, 0, 1, 1], "top_images 5"),
    ],
)
def test_images_that_do_not_fit(changed: Any, train: list[int], test: list[int], says: str) -> None:
    settings: Settings = replace(QUICK, **{"num_targets": 2, "top_images": 2, **changed})
    with pytest.raises(InputError, match=says):
        check_images(settings, images_of(train), images_of(test))


def test_images_too_small_for_structural_similarity_are_refused() -> None:
    settings: Settings = replace(QUICK, num_targets=2, top_images=2)
    tiny = replace(images_of([0, 0, 1, 1]), images=np.zeros((4, 1, 3, 8), np.uint8))
    with pytest.raises(InputError, match="own has images of 3x8: structural similarity needs sides of 4"):
        check_images(settings, tiny, tiny)
