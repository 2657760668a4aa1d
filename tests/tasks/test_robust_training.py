"""The study of robust training: its grid, its rules against hand-made outcomes, and invariants of a tiny run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.figures import signed
from robustray.tasks.kit.images import check_alike
from robustray.tasks.lab.keys import digest
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.published import engstrom
from robustray.tasks.statistics.intervals import wilson
from robustray.tasks.studies.robust_training.findings import answer, claims, warnings
from robustray.tasks.studies.robust_training.results import Results, label
from robustray.tasks.studies.robust_training.settings import SIZES, Network, Settings, estimate
from robustray.tasks.studies.robust_training.study import STUDY, check_images
from robustray.tasks.studies.robust_training.tables import stages, tables
from robustray.tasks.study import Claim, Findings
from robustray.tasks.training.reference import SEEDS, reference_specs
from robustray.tasks.training.work import training_passes
from scripts.docs_tables.robust_training import grid

TINY = replace(
    SIZES["quick"],
    model="digits:mlp",
    eps_train_linf=(0.3,),
    eps_train_l2=(1.5,),
    eps_test_linf=(0.1, 0.3),
    eps_test_l2=(1.5,),
    epochs=2,
    num_steps=1,
    step_share=0.1,
    num_images=40,
    num_autoattack=16,
    num_traced=16,
    trace_steps=25,
    num_examples=2,
)
"""Networks that learn a little and fall to the first stage of AutoAttack: the later ones are slow."""

# --- The grid ---------------------------------------------------------------------------------------------------------


def test_the_small_size_trains_the_reference_twins() -> None:
    """Equal specs have equal keys: later studies get these weights, and this study finds those that are there."""
    small = SIZES["small"]
    for network in small.networks():
        twin = {"none": "standard", "linf": "linf8", "l2": "l2_05"}[network.norm]
        expected = reference_specs(network.seed)[twin]
        assert small.spec(network) == expected and digest(small.spec(network)) == digest(expected)
    assert sorted({network.seed for network in small.networks()}) == list(SEEDS)
    assert len(small.networks()) == 9


def test_standard_networks_are_trained_once_for_both_norms() -> None:
    paper = SIZES["paper"]
    kinds = [(n.norm, n.eps) for n in paper.networks() if n.seed == 0]
    assert kinds == [("none", 0), ("linf", 8 / 255), ("l2", 0.25), ("l2", 0.5), ("l2", 1.0)]
    assert len(paper.networks()) == len(set(paper.networks())) == 3 * len(kinds)
    assert {n.norm for n in replace(paper, norms=("l2",)).networks()} == {"none", "l2"}


def test_where_autoattack_tests() -> None:
    trained = replace(SIZES["quick"], autoattack_at="trained")
    for settings, expected in (
        (trained, [0.2, 0.1, 0.2]),
        (replace(trained, autoattack_at="reference"), [0.2, None, 0.2]),
    ):
        assert [settings.autoattack_eps("linf", eps) for eps in (0.0, 0.1, 0.2)] == expected
    assert replace(trained, num_autoattack=0).autoattack_eps("linf", 0.2) is None


def test_networks_differ_in_threat_and_seed_only() -> None:
    quick = SIZES["quick"]
    robust = quick.spec(Network("l2", 0.8, 1))
    assert (robust.loss, robust.norm, robust.eps, robust.step_size) == ("adversarial", "l2", 0.8, 0.4)
    back: dict[str, Any] = {"loss": "standard", "norm": "linf", "eps": 0.0, "step_size": None, "num_steps": 7}
    assert replace(robust, **back) == quick.spec(Network("none", 0.0, 1))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({}, {"linf": 0.2, "l2": 0.8}), ({"eps_train_l2": (0.4, 0.5, 0.8), "eps_test_l2": (0.4, 0.5, 0.8)}, {"l2": 0.5})],
)
def test_the_reference_size_is_the_customary_one_or_the_largest(changed: Any, expected: Mapping[Any, float]) -> None:
    settings = replace(SIZES["quick"], **changed)
    assert {norm: settings.reference_eps(norm) for norm in expected} == expected


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"norms": ()}, "norms: at least one"),
        ({"norms": ("l2", "l2")}, "names one twice"),
        ({"norms": ("l1",)}, "norm"),
        ({"eps_train_linf": ()}, "eps_train_linf.*none"),
        ({"eps_train_linf": (0.0, 0.1)}, "eps_train_linf.*positive"),
        ({"eps_train_l2": (0.8, 0.4)}, "eps_train_l2.*ascend"),
        ({"eps_train_l2": (float("nan"),)}, "eps_train_l2.*nan"),
        ({"eps_test_linf": (8.0,)}, "8/255"),
        ({"eps_test_linf": (0.1, 0.3)}, "eps_test_linf: 0.2 is missing"),
        ({"num_seeds": 0}, "num_seeds"),
        ({"seed": -1}, "seed"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"lr": -0.1}, "lr"),
        ({"schedule": "steps"}, "lr_drops"),
        ({"lr_drops": (5,)}, "lr_drops"),
        ({"num_steps": 0}, "num_steps"),
        ({"step_share": -1.0}, "step_share"),
        ({"validation": 0}, "validation"),
        ({"validation": 1.5}, "validation"),
        ({"trace_steps": 20}, "trace_steps"),
        ({"num_autoattack": -1}, "num_autoattack"),
        ({"autoattack_at": "tested"}, "autoattack_at"),
        ({"num_traced": -1}, "num_traced"),
        ({"select": "first"}, "select"),
        ({"precision": "fp64"}, "precision"),
        ({"attack_precision": "fp64"}, "attack_precision"),
        ({"block": 0}, "block"),
    ],
)
def test_bad_settings_are_refused_in_words(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(SIZES["quick"], **bad)


def images_of(shape: tuple[int, ...] = (50, 1, 8, 8), classes: str = "abcdefghij") -> ImageData:
    labels = np.arange(shape[0], dtype=np.int64) % len(classes)
    return ImageData(name="own", images=np.zeros(shape, np.uint8), labels=labels, classes=tuple(classes))


@pytest.mark.parametrize(
    ("changed", "test", "says"),
    [
        ({}, images_of((50, 3, 8, 8)), "same shape"),
        ({}, images_of(classes="abc"), "same classes"),
        ({"num_images": 51}, images_of(), "num_images 51"),
        ({"num_images": 40, "num_traced": 41}, images_of(), "num_traced 41: only 40"),
        ({"num_images": 40, "num_autoattack": 41}, images_of(), "num_autoattack 41: only 40"),
    ],
)
def test_data_that_do_not_fit_are_refused_in_words(changed: Any, test: ImageData, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_alike(images_of(), test)
        check_images(replace(TINY, **changed), test)


def test_autoattack_needs_classes_for_its_targets() -> None:
    three = images_of(classes="abc")
    with pytest.raises(InputError, match="set num_autoattack to 0"):
        check_images(TINY, three)
    check_images(replace(TINY, num_autoattack=0), three)


def test_test_images_may_not_be_training_images(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    with pytest.raises(InputError, match="the same images"):
        STUDY.door(replace(TINY, test_data="digits:train"), lab)


def test_passes_of_a_training_by_hand() -> None:
    small = SIZES["small"]
    assert training_passes(small.spec(Network("none", 0.0, 0)), 50_000) == 14 * (49_000 + 1_000)
    assert training_passes(small.spec(Network("linf", 8 / 255, 0)), 50_000) == 14 * (49_000 * 4 + 1_000 * 12)
    assert "9 trainings" in estimate(small).note


# --- Rules, on outcomes made by hand ----------------------------------------------------------------------------------


def made(
    correct: Mapping[tuple[str, float, float], Sequence[int]],
    *,
    n: int = 1000,
    first_gradient: float = 0.1,
    **changed: Any,
) -> Results:
    """Of l-inf networks: (kind, size trained at, size tested at) -> images that stand, one number per seed."""
    num_seeds = len(next(iter(correct.values())))
    given: dict[str, Any] = {
        "norms": ("linf",),
        "eps_train_linf": (0.2,),
        "eps_test_linf": (0.1, 0.2),
        "num_seeds": num_seeds,
        "num_autoattack": 0,
    }
    settings: Settings = replace(SIZES["quick"], **{**given, **changed})
    clean, parts = {}, []
    curve = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5, "clean_accuracy": 0.5, "robust_accuracy": 0.2}]
    for network in settings.networks():
        position = network.seed - settings.seed
        counts = {eps: correct[network.norm, network.eps, eps][position] for eps in (0.0, 0.1, 0.2)}
        clean[network] = pd.DataFrame({"index": range(n), "correct": np.arange(n) < counts[0.0]})
        for eps in (0.1, 0.2):
            rows: dict[str, Any] = {"index": range(n), "success": np.arange(n) >= counts[eps], "fell_to": "pgd"}
            rows |= {"carried": False, "first_gradient": first_gradient}
            parts.append(
                pd.DataFrame(rows).assign(
                    data="digits:test", model=label(network), norm="linf", eps=eps, attack="pgd", seed=0
                )
            )
    return Results(
        settings=settings,
        images=images_of(),
        models={network: "run:0" for network in clean},
        curves={network: curve for network in clean},
        clean=clean,
        records=pd.concat(parts, ignore_index=True),
        traces={},
        gradients={},
    )


def outcomes(
    standard: Sequence[Sequence[int]], robust: Sequence[Sequence[int]]
) -> dict[tuple[str, float, float], Sequence[int]]:
    """Clean, at 0.1, at 0.2: for each the images that stand, by seed."""
    return {("none", 0.0, eps): counts for eps, counts in zip((0.0, 0.1, 0.2), standard, strict=True)} | {
        ("linf", 0.2, eps): counts for eps, counts in zip((0.0, 0.1, 0.2), robust, strict=True)
    }


EXPECTED = outcomes([[950, 952, 948], [500, 500, 500], [0, 0, 0]], [[800, 803, 798], [700, 700, 700], [500, 505, 497]])
REVERSED = outcomes([[800, 803, 798], [500, 500, 500], [400, 402, 398]], [[950, 952, 948], [9, 9, 9], [300, 298, 301]])
NOISY = outcomes([[950, 700, 800], [500, 500, 500], [0, 40, 0]], [[800, 900, 750], [600, 600, 600], [500, 0, 100]])


@pytest.mark.parametrize(
    ("results", "verdicts"),
    [
        (EXPECTED, ["supported"] * 3),
        (REVERSED, ["contradicted"] * 3),
        (NOISY, ["undecided"] * 3),
        ({key: counts[:2] for key, counts in EXPECTED.items()}, ["supported"] * 3),
        ({key: counts[:1] for key, counts in EXPECTED.items()}, ["undecided"] * 3),
    ],
    ids=["as expected", "reversed", "seeds disagree", "two seeds", "one seed decides nothing"],
)
def test_verdicts_follow_from_seeds_and_images(results: Any, verdicts: list[str]) -> None:
    found: list[Claim] = list(claims(made(results)))
    assert [claim.verdict for claim in found] == verdicts
    assert all("interval" in claim.test and claim.n == 1000 for claim in found)


def test_nothing_is_gained_where_attacks_had_no_gradient_to_follow() -> None:
    results = made(EXPECTED, first_gradient=0.0)
    assert [claim.verdict for claim in claims(results)] == ["supported", "undecided", "supported"]
    assert any("exactly zero or not finite for 1,000 of 1,000" in warning for warning in warnings(results))


def test_estimates_are_means_over_seeds() -> None:
    price, gain, left = claims(made(EXPECTED))
    assert price.estimate == pytest.approx(np.mean([-150, -149, -150]) / 1000)
    assert gain.estimate == pytest.approx(np.mean([500, 505, 497]) / 1000)
    assert left.estimate == 0 and left.interval is not None
    assert left.interval == pytest.approx((0.0, float(wilson(0, 1000)[1]))), "no seed and no image fell"


def test_the_grid_has_the_form_of_the_published_table() -> None:
    (grid,) = [table for table in tables(made(EXPECTED)) if table.name == "grid-linf"]
    assert grid.frame.eps_test.tolist() == [0, 0.1, 0.2]
    assert grid.frame["standard"].tolist() == pytest.approx([0.95, 0.5, 0.0])
    assert grid.frame["ℓ∞ 0.2"].tolist() == pytest.approx([0.800333, 0.7, 0.500667], abs=1e-5)
    assert grid.frame.seeds.tolist() == [3, 3, 3] and grid.frame.n.tolist() == [1000, 1000, 1000]
    assert not any(str(column).startswith("published") for column in grid.frame), "nothing is published on digits"


def test_ours_stand_beside_the_published_ones_on_cifar() -> None:
    results = made(EXPECTED, test_data=engstrom.DATA)
    assert "published" not in tables(results)[0].caption, "no size of this grid is published"
    paper = SIZES["paper"]
    for norm in paper.norms:
        for eps_train in (0.0, *paper.eps_train(norm)):
            assert all(engstrom.cell(paper.test_data, norm, eps_train, eps) for eps in (0.0, *paper.eps_test(norm)))


def test_the_grid_is_rendered_for_the_documentation(tmp_path: Path) -> None:
    frame = tables(made(EXPECTED))[0].frame.assign(**{"published, ℓ∞ 0.2": ["87.03", "53.49 / 53.29", None]})
    frame.to_csv(tmp_path / "grid-linf.csv", index=False)
    lines = grid(str(tmp_path / "grid-linf.csv")).splitlines()
    assert lines[0] == "| tested at | standard | ℓ∞ 0.2 | published, ℓ∞ 0.2 |"
    assert lines[2].startswith("| clean | 95.0 [") and lines[2].endswith("| 87.03 |")
    assert lines[4].startswith("| 0.2 | 0.0 [0.0, ") and lines[4].endswith("| – |")


def test_the_answer_names_price_gain_and_n() -> None:
    text = answer(made(EXPECTED))
    for words in ("trained at ℓ∞ 0.2 keeps 50.1 %", "keeps 0.0 %", "80.0 % instead of 95.0 %", "3 seeds, n = 1,000"):
        assert words in text, text
    assert not list(warnings(made(EXPECTED)))
    (few,) = warnings(made({key: counts[:1] for key, counts in EXPECTED.items()}))
    assert few.startswith("one seed: ")


def test_learning_curves_that_go_wrong_are_told() -> None:
    results = made(EXPECTED)
    network = results.settings.networks()[-1]
    rows = [(1, 0.3, ""), (2, 0.5, ""), (3, 0.4, "robust overfitting"), (4, 0.1, "catastrophic overfitting")]
    curve = [{"epoch": e, "loss": 1.0, "accuracy": 0.5, "robust_accuracy": r, "flag": f} for e, r, f in rows]
    found = list(warnings(replace(results, curves={network: curve})))
    assert len(found) == 2 and all(label(network) in line and "50.0 % did after epoch 2" in line for line in found)
    assert "robust overfitting in epoch 3 of 4" in found[0] and "catastrophic overfitting in epoch 4" in found[1]


def test_gradients_are_scaled_each_by_itself() -> None:
    gradients = np.random.default_rng(0).standard_normal((3, 1, 8, 8)) * np.array([1, 1e-6, 0])[:, None, None, None]
    shown = signed(gradients)
    assert shown.min() >= 0 and shown.max() <= 1 and (shown[2] == 0.5).all()
    inside = (shown[:2] > 0) & (shown[:2] < 1)
    assert inside.mean() > 0.95 and shown[1].std() == pytest.approx(shown[0].std(), rel=0.5)


# --- A tiny run -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SerialLab]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield SerialLab(store=Store(str(tmp_path_factory.mktemp("store"))))
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def found(lab: SerialLab) -> Findings:
    STUDY.door(TINY, lab)
    return STUDY.run(TINY, lab)


def table(found: Findings, name: str) -> pd.DataFrame:
    return next(t.frame for t in found.tables if t.name == name)


def test_the_run_says_how_much_it_saw(found: Findings) -> None:
    assert "2 seeds, n = 40 images of digits:test" in found.answer
    assert len(found.claims) == 2 * 4 and all(claim.paper is None for claim in found.claims)
    assert found.figures[0].name == "accuracy-linf" and found.pictures[0].name == "gradients"


def test_every_network_can_be_had_by_its_key(found: Findings, lab: SerialLab) -> None:
    networks = table(found, "networks")
    assert len(networks) == 2 * (2 + 1 + 1)  # seeds; the standard ones are tested in both norms
    assert networks.weights.nunique() == 6
    assert isinstance(lab.load(lab.model(networks.weights[0])), torch.nn.Module)
    curves = table(found, "curves")
    assert len(curves) == 6 * TINY.epochs and curves.clean_accuracy.notna().all()
    assert curves.robust_accuracy.notna().sum() == 4 * TINY.epochs, "robust accuracy has no size for standard ones"


def test_accuracy_never_rises_with_the_size_of_the_attack(found: Findings) -> None:
    rows = table(found, "accuracy")
    for _, cell in rows.groupby(["norm", "eps_train"]):
        assert cell.sort_values("eps_test").accuracy.is_monotonic_decreasing
    assert ((rows.lo <= rows.accuracy) & (rows.accuracy <= rows.hi)).all()


def test_autoattack_leaves_no_more_than_the_clean_ones(found: Findings) -> None:
    rows = table(found, "autoattack")
    assert set(rows.n) == {16} and len(rows) == 2 * 2
    assert set(table(found, "stages").stage) == set(stages()["autoattack"])
    assert (table(found, "images").query("attack == 'autoattack'")["index"] < 16).all()


def test_more_steps_are_followed_from_the_same_start(found: Findings) -> None:
    steps = table(found, "steps")
    assert len(steps) == 2 * 2 and set(steps.n) == {16}
    assert (steps.loss_25 >= steps.loss_20 - 0.5).all()


def test_a_second_run_computes_nothing(found: Findings, lab: SerialLab) -> None:
    computed = {step: count.computed_blocks for step, count in lab.journal.counts.items()}
    assert set(computed) == set(STUDY.steps)
    again = STUDY.run(TINY, lab)
    assert {step: count.computed_blocks for step, count in lab.journal.counts.items()} == computed
    assert again.answer == found.answer
    for name in ("accuracy", "images", "curves"):
        pd.testing.assert_frame_equal(table(again, name), table(found, name))
