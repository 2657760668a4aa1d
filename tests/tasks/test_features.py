"""The study of features: how sets are made, on networks whose answer is known, and what is read off the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.data.images import ImageData
from robustray.tasks.lab.protocol import Context
from robustray.tasks.lab.seeds import stream
from robustray.tasks.studies.features.blocks import match_block, noise_block, perturb_block
from robustray.tasks.studies.features.reduce import Chain, Results, Student, best, reached
from robustray.tasks.studies.features.settings import OUTLINE
from robustray.tasks.studies.features.study import next_labels, pairs

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


def rows(function: Any, items: Sequence[Any], settings: Any = None) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    objects = {"model": Linear(torch.randn(4, PIXELS)), "data": images()}
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
    assert (made["distance"] <= eps + ROUNDING).all() and made["distance"].mean() > 0.9 * eps
    assert (made["prediction"] == made["label"]).mean() > 0.5
    stored = torch.from_numpy(made["image"]).float() / 255
    torch.manual_seed(0)
    assert (Linear(torch.randn(4, PIXELS))(stored).argmax(1).numpy() == made["prediction"]).all(), "of what is stored"


def test_the_control_has_the_length_and_labels_that_it_is_given() -> None:
    asked = [[index, 2, 0.1 + 0.01 * index] for index in range(40)]
    made = rows(noise_block, asked)
    assert made["label"].tolist() == [2] * 40
    assert np.abs(made["distance"] - [item[2] for item in asked]).max() <= ROUNDING
    assert (rows(noise_block, asked[20:])["image"] == made["image"][20:]).all(), "noise belongs to the image"


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
    other = student("D", [1, 1], chain=1)
    assert best([weak, good, equal, other]) == [good, other]


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


def test_seeds_of_students_are_not_those_of_sources() -> None:
    chains = range(QUICK.num_chains)
    sources = {QUICK.source(kind, chain).seed for chain in chains for kind in ("standard", "robust")}
    students = {QUICK.pupil("digits:train", 0.1, "none", chain).seed for chain in chains}
    assert not sources & students and len(students) == len(chains)
    assert stream(0, "features-pairs").permutation(9).tolist() != stream(0, "features-held-out").permutation(9).tolist()


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
        num_chains=1,
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
    assert {path.name for path in (tmp_path / "sets").iterdir()} == {"D_R", "D_NR", "D_rand", "D_det"}
    assert [table.name for table in found.tables] == ["making"] and not found.claims
    table = pq.read_table(tmp_path / "sets/D_det").to_pydict()
    first = np.asarray(Image.open(io.BytesIO(table["image"][0]["bytes"])))
    data = lab.load(lab.data(str(tmp_path / "sets/D_det")))
    assert len(data) == len(table["label"]) == 1154 and (data.images[0, 0] == first).all()
    assert data.labels.tolist() == table["label"] and data.classes == tuple("0123456789")
