"""The study's controls and measures besides: the linear probe, useful units, and the correlation over architectures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.data.images import ImageData
from robustray.tasks.lab.protocol import Context
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.features.claims import robustly_useful
from robustray.tasks.studies.features.drawings import correlations
from robustray.tasks.studies.features.leakage import Leakage, fit_linear, flat, leak_block
from robustray.tasks.studies.features.results import CONTROLS, SETS, WORDS
from robustray.tasks.studies.features.settings import OUTLINE
from robustray.tasks.studies.features.students import standing
from robustray.tasks.studies.features.study import STUDY
from robustray.tasks.studies.features.transferring import mean_table, rank_correlation, slope
from robustray.tasks.studies.features.usefulness import (
    best_classes,
    searches,
    unit_block,
    unit_images,
    unit_rows,
    usefulness,
)

QUICK = OUTLINE.sizes["quick"]
PIXELS = 64


# --- Useful units -----------------------------------------------------------------------------------------------------


class Readings(nn.Module):
    """Latent = directions @ pixels; as many logits."""

    def __init__(self, directions: Tensor) -> None:
        super().__init__()
        self.directions = nn.Parameter(directions)

    def forward_with_latent(self, x: Tensor, fake_relu: bool = False, no_relu: bool = False) -> tuple[Tensor, Tensor]:
        latent = x.flatten(1) @ self.directions.T
        return latent, latent

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_with_latent(x)[0]


def two_classes(count: int) -> ImageData:
    """Class 1 is brighter in the upper half; far enough from 0 and 1 for no clip."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    shift = np.zeros((2, 1, 8, 8))
    shift[1, 0, :4] = 0.05
    pixels = 0.45 + shift[labels] + 0.03 * rng.standard_normal((count, 1, 8, 8))
    return ImageData(name="two", images=pixels.astype(np.float32), labels=labels, classes=("dark", "bright"))


def test_of_linear_features_robust_usefulness_is_known_exactly() -> None:
    """f(x) = a x: the worst perturbation takes eps |a| from y f(x), and from the standardised feature that over
    sqrt(a Sigma a): gamma = rho - eps |a| / sqrt(a Sigma a)."""
    data, eps = two_classes(200), 0.1
    directions = torch.randn(6, PIXELS, generator=torch.Generator().manual_seed(0))
    directions[0] = torch.tensor(
        data.images[data.labels == 1].mean(0) - data.images[data.labels == 0].mean(0)
    ).flatten()
    model = Readings(directions)
    x, a = data.images.reshape(200, -1).astype(np.float64), directions.numpy().astype(np.float64)
    latent = x @ a.T
    best = best_classes(latent, data.labels, 2)
    spread = np.sqrt(np.einsum("ij,jk,ik->i", a, np.cov(x.T, bias=True), a))
    assert best.scale == pytest.approx(spread, rel=1e-6)

    items = [
        [image, unit, int(best.sign[unit]) * (1 if data.labels[image] == best.label[unit] else -1)]
        for unit in range(6)
        for image in range(200)
    ]
    how = searches(replace(QUICK, eps_units=eps, precision="fp32"))
    objects = {"model": model, "data": data}
    columns = unit_block(items, Context(settings=how, seed=0, device="cpu", load=objects.__getitem__))
    rows = pd.DataFrame({name: np.asarray(torch.as_tensor(values).detach()) for name, values in columns.items()})
    found = pd.DataFrame(unit_rows(best, latent, data.labels, rows))
    exact = found.rho - eps * np.linalg.norm(a, axis=1) / spread
    assert (found.rho > 0).all() and found.rho_here.to_numpy() == pytest.approx(found.rho.to_numpy(), abs=1e-4)
    for search in ("gamma_short", "gamma_long", "gamma"):
        assert found[search].to_numpy() == pytest.approx(exact.to_numpy(), abs=2e-3), search
    assert found.gamma[0] > 0 > found.gamma[1:].max(), "the mean difference alone survives"


def test_usefulness_weights_both_classes_by_a_half() -> None:
    f = np.array([[3.0], [3.0], [3.0], [-1.0]])
    assert usefulness(f, [True, True, True, False]) == pytest.approx([(3 - -1) / 2])
    assert usefulness(f + 100, [True, True, True, False]) == pytest.approx([2.0]), "the mean cancels"
    assert usefulness(f, [True] * 4) == [0.0]


def test_no_feature_is_more_useful_than_one_that_is_the_label() -> None:
    """One class of ten: with equal weights of all images, rho of the label itself would be 1.7."""
    labels = np.repeat(np.arange(10), 30)
    rng = np.random.default_rng(0)
    best = best_classes(np.stack([labels == 3, (labels == 3) + 0.3 * rng.standard_normal(300)], 1), labels, 10)
    assert best.label.tolist() == [3, 3]
    perfect, noisy = usefulness(np.stack([labels == 3, (labels == 3)], 1), labels == 3) / best.scale
    assert perfect == pytest.approx(1.0) and 0.8 < noisy < 0.9  # 0.5 / sqrt(0.25 + 0.09)


def test_class_and_sign_are_those_that_suit_a_unit_best() -> None:
    labels = np.repeat([0, 1, 2], 50)
    rng = np.random.default_rng(0)
    high, low, dead = (labels == 1) + 0.1 * rng.random(150), -5.0 * (labels == 2) + 0.1 * rng.random(150), np.zeros(150)
    best = best_classes(np.stack([high, low, dead], 1), labels, 3)
    assert best.label[:2].tolist() == [1, 2] and best.sign[:2].tolist() == [1, -1] and np.isinf(best.scale[2])


def test_images_of_a_unit_are_halved_and_the_same_for_both_sources() -> None:
    labels = np.arange(100) % 4
    found = unit_images(labels, 2, 20, seed=1)
    assert (labels[found] == 2).sum() == 10 and len(set(found)) == 20
    assert found == unit_images(labels, 2, 20, seed=1) != unit_images(labels, 2, 20, seed=2)


def test_only_useful_units_are_asked_whether_they_are_robustly_so() -> None:
    robust = [("robust", 0.5, 0.1), ("robust", 0.5, 0.1), ("robust", 0.05, -0.1)]
    standard = [("standard", 0.5, -0.1), ("standard", 0.5, 0.1)]
    rows = [(chain, *row) for chain in (0, 1) for row in (*robust, *standard)]
    units = pd.DataFrame(rows, columns=["chain", "source", "rho", "gamma"])
    assert robustly_useful(units).value == pytest.approx(1.0 - 0.5)


# --- The linear probe -------------------------------------------------------------------------------------------------


def stripes(count: int, seed: int = 0) -> ImageData:
    """Four classes, each with its own bright row pair; noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    pixels = 0.3 + 0.05 * rng.standard_normal((count, 1, 8, 8))
    for index, label in enumerate(labels):
        pixels[index, 0, 2 * label : 2 * label + 2] += 0.4
    levels = (255 * pixels.clip(0, 1)).round().astype(np.uint8)
    return ImageData(name="stripes", images=levels, labels=labels, classes=tuple("abcd"))


def relabelled(data: ImageData, labels: npt.ArrayLike) -> ImageData:
    return replace(data, labels=np.asarray(labels))


def test_an_adversary_that_can_turn_any_class_into_another_leaves_a_linear_network_nothing_to_learn() -> None:
    """Means of classes are 2.3 apart: with 0.5 they are learnt, with 4 the best answer is none."""
    data, test = stripes(80), stripes(40, seed=1)
    learnt, nothing = (fit_linear(flat(data), data.labels, 4, Leakage(eps=eps, epochs=30), 0) for eps in (0.5, 4.0))
    assert (learnt.logits(flat(test)).argmax(1) == test.labels).all()
    assert np.linalg.norm(nothing.weights) < 0.2 * np.linalg.norm(learnt.weights)


@pytest.mark.parametrize(("shift", "right"), [(0, 1.0), (1, 0.0)])
def test_the_probe_reads_what_is_robust_in_a_set(shift: int, right: float) -> None:
    """Unchanged images: with their own labels a robust linear network reads them, with the next ones it is wrong."""
    data, test = stripes(80), stripes(40, seed=1)
    objects: dict[str, Any] = {
        "data": data,
        "set": relabelled(data, (data.labels + shift) % 4),
        "held out": stripes(40, seed=2),
        "test": test,
    }
    context = Context(settings=Leakage(eps=0.5, epochs=20), seed=0, device="cpu", load=objects.__getitem__)
    found = leak_block([0], context)
    assert found["clean"] == [1.0]
    assert (found["prediction"][0] == test.labels).mean() == right
    assert (found["prediction"][0] == (test.labels + shift) % 4).all()


# --- Attacks, architectures -------------------------------------------------------------------------------------------


def test_the_stronger_attack_meets_what_stands_under_smaller_balls_too() -> None:
    clean = pd.DataFrame({"index": range(6), "correct": [True, True, True, False, True, True]})
    pgd = {
        eps: pd.DataFrame({"index": [0, 1, 2, 4, 5], "success": [index == gone for index in (0, 1, 2, 4, 5)]})
        for eps, gone in ((0.1, 0), (0.2, 1), (0.4, 2))
    }
    assert standing(clean, pgd, 0.2, 5) == [2, 4]


def test_the_correlation_over_architectures() -> None:
    x = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    rising = rank_correlation(x, [value**3 for value in x], seed=0)
    assert rising.value == pytest.approx(1.0) and rising.lo == pytest.approx(1.0) and rising.n == 6
    mixed = rank_correlation(x, [0.1, 0.3, 0.2, 0.4, 0.6, 0.5], seed=0)
    assert mixed.value == pytest.approx(1 - 6 * 4 / (6 * 35)) and mixed.lo < mixed.value < mixed.hi <= 1
    assert slope(x, [2.2 * value for value in x], seed=0).value == pytest.approx(2.2)
    assert np.isnan(rank_correlation(x, [0.5] * 6, seed=0).value), "all alike: no correlation is known"


@pytest.mark.parametrize(("source", "parts"), [("a", 2), ("z", 1)])
def test_the_sources_architecture_is_left_out_where_it_is_compared(source: str, parts: int) -> None:
    archs = tuple("abcdef")
    means = pd.DataFrame({"arch": archs, "of_det": np.arange(6) / 10, "targeted": np.arange(6) / 20})
    results: Any = SimpleNamespace(settings=SimpleNamespace(model=source, transfer_archs=archs, seed=0))
    words = correlations(results, means)
    assert words.count("Spearman's correlation") == parts and ("without the source's" in words) == (parts == 2)


def test_means_over_chains_are_ordered_by_what_was_learnt() -> None:
    row: dict[str, Any] = {"of_d": 1.0, "untargeted": 0.5, "white_box": 1.0}
    rows = pd.DataFrame(
        [
            row | {"chain": c, "arch": arch, "of_det": det + c / 10, "targeted": det, "n": 50 - c}
            for c in (0, 1)
            for arch, det in (("b", 0.4), ("a", 0.2))
        ]
    )
    found = mean_table(rows)
    assert found.arch.tolist() == ["a", "b"] and found.of_det.tolist() == pytest.approx([0.25, 0.45])
    assert found.n.tolist() == [49, 49]


# --- All of it --------------------------------------------------------------------------------------------------------


def test_the_whole_study_with_every_option(tmp_path: Path) -> None:
    """Three chains of hardly trained networks, two cells of the grid in the first two chains, five architectures."""
    own = (f"tests.tasks.features_archs:{name}" for name in ("narrow", "wide", "linear"))
    archs = ("digits:mlp", "digits:cnn", *own)
    settings = replace(
        QUICK,
        num_images=250,
        epochs=2,
        eps_construct=(1.5,),
        perturb_steps=3,
        match_steps=3,
        student_epochs=2,
        student_lrs=(0.05, 0.1),
        grid_chains=2,
        eps_test=(0.4,),
        test_steps=2,
        num_attacked=40,
        num_units=2,
        unit_images=4,
        unit_steps=2,
        long_unit_steps=2,
        transfer_archs=archs,
        num_transferred=60,
        num_examples=1,
    )
    lab = SerialLab(store=Store(str(tmp_path)))
    STUDY.door(settings, lab)
    found = STUDY.run(settings, lab)
    tables = {table.name: table.frame for table in found.tables}
    assert set(tables) == {
        *("students", "making", "seen", "leakage", "grid", "usefulness", "units", "transfer", "accuracy")
    }
    grid = tables["grid"]
    assert set(grid.set) == {*SETS, *CONTROLS, "robust_det", "mislabelled"}
    sizes = grid.groupby(["chain", "set"]).size().unstack("chain")
    assert (sizes == [2, 2, 1]).all(axis=None), "the third chain trains what was chosen"
    chosen = grid[grid.chosen]
    assert (chosen.groupby("set").lr.nunique() == 1).all() and len(chosen) == 3 * 9, (
        "one setting of a set in all chains"
    )
    for name, cells in grid[grid.chain < 2].groupby("set"):
        best = cells.groupby("lr", sort=False).held_out.mean().idxmax()
        assert chosen[chosen.set == name].lr.iloc[0] == best, name
    assert (tables["making"].farthest_before.dropna() <= 1.5 + 1e-5).all()
    assert tables["making"].set_index("set").transfers.between(0, 1)[["D_det", "D_rand", "noise", "robust_det"]].all()
    assert sorted(tables["transfer"].arch) == sorted(archs)
    assert len(tables["units"]) == 3 * 2 * 2 and (tables["units"].gamma <= tables["units"].rho_here + 1e-6).all()
    assert {figure.name for figure in found.figures} == {"students", "robust", "usefulness", "transfer"}
    words = " ".join(claim.words for claim in found.claims)
    marked = tables["seen"][tables["seen"].not_non_robust].set
    assert ("Perturbations alone" in words) == (WORDS["D_det"] not in marked.tolist())
    assert "Architectures that learn more" in words and "on D itself" in words
