"""Transfer between models: definitions by hand, the diagonal, and the two block functions in a lab and in the sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.settings import PGD
from robustray.tasks.attacks.transfer import (
    Exchange,
    Rate,
    TransferResult,
    crafting,
    transfer,
    transfer_block,
    transferred_block,
)
from robustray.tasks.errors import InputError
from robustray.tasks.lab.pieces import to_table
from robustray.tasks.lab.protocol import Context
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.attack_sweep import matrix
from robustray.tasks.studies.attack_sweep.settings import Settings
from robustray.tasks.studies.attack_sweep.study import STUDY
from robustray.tasks.study import Findings

pytestmark = pytest.mark.usefixtures("one_thread")


def net(seed: int, classes: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, classes)).eval()


def relative(seed: int) -> nn.Module:
    """The source with slightly other weights: its examples often transfer."""
    model = net(0)
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=noise))
    return model


SOURCE, OTHER = net(0), net(1)
IMAGES = torch.rand(80, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = predict_logits(SOURCE, IMAGES).argmax(1)
LABELS[::7] = predict_logits(OTHER, IMAGES).argmax(1)[::7]
ATTACK = crafting(norm="linf", eps=0.05, num_steps=5, precision="fp32")


def found(attack: Any = ATTACK, source: Any = SOURCE, **targets: Any) -> TransferResult:
    return transfer(attack, source, targets or {"itself": SOURCE, "other": OTHER}, IMAGES, LABELS, seed=2)


# --- By hand ----------------------------------------------------------------------------------------------------------


def test_rates_are_those_of_the_definition() -> None:
    result = found()
    for name, model in (("itself", SOURCE), ("other", OTHER)):
        both = [
            i
            for i in range(80)
            if int(predict_logits(SOURCE, IMAGES)[i].argmax()) == int(LABELS[i])
            and int(predict_logits(model, IMAGES)[i].argmax()) == int(LABELS[i])
        ]
        seen = predict_logits(model, result.crafted.images).argmax(1)
        assert result.rate(name) == Rate(fooled=sum(int(seen[i] != LABELS[i]) for i in both), n=len(both))
    assert 0 < result.rate("other").n < result.rate("itself").n < 80
    assert result.attack == ATTACK


def test_the_diagonal_is_the_white_box_rate() -> None:
    result = found()
    assert result.rate("itself") == result.white_box
    assert 0 < result.white_box.value < 1
    alone = ATTACK(SOURCE, IMAGES, LABELS, seed=2)
    assert torch.equal(result.crafted.images, alone.images)


def test_a_model_against_itself_has_four_equal_cells() -> None:
    cells = [found(source=SOURCE, a=SOURCE, b=SOURCE).rate(name) for name in ("a", "b")]
    assert len(set(cells)) == 1


def test_a_rate_without_images_is_no_number() -> None:
    nothing = Rate(fooled=0, n=0)
    assert np.isnan(nothing.value) and nothing.interval == (0.0, 1.0)
    empty = transfer(ATTACK, SOURCE, {"other": OTHER}, IMAGES[:0], LABELS[:0])
    assert empty.rate("other") == nothing == empty.white_box


def test_crafting_uses_all_steps_and_the_highest_loss() -> None:
    assert crafting(norm="l2", eps=0.5, exit_rule="first_success") == PGD(norm="l2", eps=0.5, exit_rule="best_loss")
    first = PGD(norm="linf", eps=0.05, num_steps=5, precision="fp32")
    near, far = found(first), found()
    right = near.crafted.clean_predictions == LABELS
    assert (far.crafted.num_evaluations[right] >= near.crafted.num_evaluations[right]).all()
    assert far.crafted.loss[right].sum() > near.crafted.loss[right].sum()


def test_models_of_other_classes_are_refused() -> None:
    with pytest.raises(InputError, match=r"one set of labels.*wide 5"):
        found(wide=net(0, 5))


# --- In a lab ---------------------------------------------------------------------------------------------------------


class Data:
    def batch(self, indices: Any) -> tuple[Tensor, Tensor]:
        return IMAGES[list(indices)], LABELS[list(indices)]


def context(settings: Exchange, **models: Any) -> Context:
    objects: Mapping[str, Any] = {"data": Data(), **models}
    return Context(settings=settings, seed=2, device="cpu", load=objects.__getitem__)


def test_the_block_function_is_the_call() -> None:
    settings = Exchange(attack=ATTACK, models=("a", "b"))
    here = context(settings, source=SOURCE, a=SOURCE, b=OTHER)
    rows, result = transfer_block(range(80), here), found(a=SOURCE, b=OTHER)
    for position, name in enumerate("ab"):
        assert np.array_equal(rows["predictions"][:, position], result.predictions[name])
        assert np.array_equal(rows["clean_predictions"][:, position], result.clean_predictions[name])
    assert torch.equal(rows["white_box"], result.crafted.predictions != LABELS)
    assert to_table(transfer_block, rows, 80).num_rows == 80
    parts = [transfer_block(range(first, min(first + 33, 80)), here) for first in (0, 33, 66)]
    assert np.array_equal(np.concatenate([part["predictions"] for part in parts]), rows["predictions"])


def test_examples_from_elsewhere_as_an_attack() -> None:
    """By hand with one source; with two, success is either's; it does not depend on the cut."""
    attack = crafting(norm="linf", eps=0.1, num_steps=5, precision="fp32", attack_misclassified=True)
    other, third = relative(1), relative(2)

    def rows(items: Any, *names: str) -> dict[str, Any]:
        here = context(Exchange(attack=attack, models=names), model=SOURCE, other=other, third=third)
        return dict(transferred_block(items, here))

    right = (predict_logits(SOURCE, IMAGES).argmax(1) == LABELS).nonzero()[:, 0].tolist()
    one = rows(right, "other")
    crafted = attack(other, IMAGES[right], LABELS[right], seed=2, indices=right)
    fooled = predict_logits(SOURCE, crafted.images).argmax(1) != LABELS[right]
    assert torch.equal(one["success"], fooled) and 0 < int(fooled.sum()) < len(right)
    assert torch.equal(one["evaluations"], crafted.num_evaluations + 2)
    assert one["distance"].max() <= 0.1 * (1 + 1e-5)
    two, other_way = rows(right, "other", "third"), rows(right, "third", "other")
    either = fooled | rows(right, "third")["success"]
    assert torch.equal(two["success"], either) and torch.equal(other_way["success"], either)
    assert (two["loss"][~either] >= one["loss"][~either]).all()
    assert to_table(transferred_block, two, len(right)).num_rows == len(right)
    halves = [rows(right[:20], "other", "third"), rows(right[20:], "other", "third")]
    for name in ("success", "loss", "distance", "evaluations", "prediction"):
        assert torch.equal(torch.cat([half[name] for half in halves]), two[name]), name
    wrong = [i for i in range(80) if i not in right]
    assert rows(wrong, "other")["success"].all() and (rows(wrong, "other")["distance"] == 0).all()


# --- In the sweep -----------------------------------------------------------------------------------------------------


OWN = """
import torch
from torch import nn


def a():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 4))


def b():
    model = a()
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=noise))
    return model


def data():
    images = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = a()(images).argmax(1)
    labels[::9] = (labels[::9] + 1) % 4
    return images.numpy(), labels.numpy(), tuple("abcd")
"""

TWO = Settings(
    models=("transfer_nets:a", "transfer_nets:b"),
    data=("transfer_nets:data",),
    attacks=("pgd",),
    norms=("linf",),
    eps_linf=(0.05, 0.1, 0.15),
    num_steps=5,
    num_transfer=30,
    num_examples=0,
    precision="fp32",
    block=16,
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SerialLab]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "transfer_nets.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield SerialLab(store=Store(str(folder / "store")))


def changed(**values: Any) -> Settings:
    return replace(TWO, **values)


def table(findings: Findings, name: str) -> pd.DataFrame:
    return next(t.frame for t in findings.tables if t.name == name)


def test_the_matrix_of_a_sweep(lab: SerialLab) -> None:
    findings = STUDY.run(TWO, lab)
    matrix = table(findings, "transfer")
    assert len(matrix) == 4 and (matrix.n == 30).all()
    assert (matrix.eps == 0.1).all() and (matrix.steps == 5).all()
    diagonal = matrix[matrix.source == matrix.target]
    assert (diagonal.rate == diagonal.white_box).all()
    assert ((matrix.lo <= matrix.rate) & (matrix.rate <= matrix.hi)).all()
    assert matrix.groupby("source").white_box.nunique().tolist() == [1, 1]
    (figure,) = [figure for figure in findings.figures if figure.name.startswith("transfer")]
    assert "n = 30" in figure.caption and figure.svg.count("transfer_nets:b") >= 2
    assert not {t.name for t in STUDY.run(changed(num_transfer=0), lab).tables} & {"transfer"}
    assert not {t.name for t in STUDY.run(changed(models=("transfer_nets:a",)), lab).tables} & {"transfer"}


def test_the_images_of_the_matrix_are_one_fixed_list() -> None:
    def clean(right: list[bool]) -> pd.DataFrame:
        return pd.DataFrame({"index": range(len(right)), "correct": right})

    both = [clean([True, True, False, True, True]), clean([False, True, True, True, True])]
    assert matrix.common_correct(both, 2) == [1, 3]
    assert matrix.common_correct(both, 9) == [1, 3, 4]


def test_no_common_image_is_said(lab: SerialLab, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "opposites.py").write_text(
        "import numpy as np, torch\nfrom torch import nn\n"
        "class Always(nn.Module):\n"
        "    def __init__(self, k):\n"
        "        super().__init__()\n"
        "        self.bias = nn.Parameter(5 * torch.eye(4)[k])\n"
        "    def forward(self, x):\n"
        "        return x.flatten(1)[:, :4] * 1e-3 + self.bias\n"
        "def zero():\n    return Always(0)\n"
        "def one():\n    return Always(1)\n"
        "def data():\n    return np.zeros((20, 1, 8, 8), np.float32), np.arange(20) % 2, tuple('abcd')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    findings = STUDY.run(changed(models=("opposites:zero", "opposites:one"), data=("opposites:data",)), lab)
    assert findings.warnings[0].startswith("no transfer matrix on opposites:data: there is no image that all 2 models")


def test_transfer_counts_into_the_worst_case(lab: SerialLab) -> None:
    """It never attacks a model with its own examples; a weak white box beside it leaves some of its successes alone."""
    findings = STUDY.run(changed(attacks=("fgsm", "transfer"), sources=("transfer_nets:a", "transfer_nets:b")), lab)
    rows = table(findings, "images")
    worst = table(findings, "worst-case").query("eps > 0").set_index(["model", "eps"]).robust_accuracy
    either = (
        rows.groupby(["model", "eps", "index"], observed=True).success.any().groupby(["model", "eps"], observed=True)
    )
    assert {key: 1 - value for key, value in either.mean().items()} == pytest.approx(worst.to_dict())
    by_transfer = rows[(rows.attack == "transfer") & rows.success & ~rows.carried]
    assert len(by_transfer) and set(by_transfer.fell_to) == {"transfer"}
    passes = rows[(rows.attack == "transfer") & ~rows.carried].evaluations
    assert passes.max() <= (5 + 1) + 2 + 2  # one source, not two
    assert "fgsm and transfer" in findings.answer


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"num_transfer": -1}, "num_transfer must be a whole number of at least 0"),
        ({"attacks": ("transfer",)}, "transfer needs models to craft on: name them with --sources"),
        ({"sources": ("transfer_nets:b",)}, "only the attack transfer uses them"),
        ({"attacks": ("transfer",), "sources": ("transfer_nets:b", "transfer_nets:b")}, "names one twice"),
        ({"attacks": ("transfer",), "sources": ("transfer_nets:b",)}, "transfer_nets:b has no source but itself"),
    ],
)
def test_bad_settings_are_refused_in_words(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        changed(**bad)


def test_a_source_under_another_name_is_still_itself(lab: SerialLab, tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "same_weights.py").write_text(
        "from torch import nn\nimport torch\n"
        "def a():\n    torch.manual_seed(0)\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from robustray.tasks.sweeps.cells import foreign_sources

    ref = lab.model("same_weights:a")
    assert foreign_sources("a", ("b", "digits:cnn"), {"a": ref, "b": ref}) == ["digits:cnn"]
    with pytest.raises(InputError, match="nothing but a itself"):
        foreign_sources("a", ("b",), {"a": ref, "b": ref})
