"""AutoAttack: its order, that each stage sees survivors only, and agreement with an implementation that is not ours."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from robustray.tasks.attacks.autoattack import AutoAttack, Cascade, FastCascade
from robustray.tasks.attacks.autoattack_rand import AutoAttackRand
from robustray.tasks.attacks.family import Fab, FabT, Square
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.objective import Margin, ModelOutput
from robustray.tasks.attacks.result import AttackResult
from robustray.tasks.attacks.search.cascade import STANDS, WRONG_BEFORE, CascadeResult, Stage, masking_warning
from robustray.tasks.attacks.settings import PGD, Norm
from robustray.tasks.errors import InputError
from tests.tasks.digits_networks import digits, trained

NORMS: tuple[Norm, ...] = ("linf", "l2")


pytestmark = pytest.mark.usefixtures("one_thread")


def eps_of(norm: Norm) -> float:
    return 0.06 if norm == "linf" else 0.4


class Small(AutoAttack):
    """AutoAttack with budgets for tests."""

    def stages(self) -> tuple[Any, ...]:
        return tuple(
            replace(stage, num_queries=30) if isinstance(stage, Square) else replace(stage, num_steps=6)  # type: ignore[call-arg]
            for stage in super().stages()
        )


class FewQueries(AutoAttack):
    def stages(self) -> tuple[Any, ...]:
        *others, square = super().stages()
        return (*others, replace(square, num_queries=500))  # type: ignore[call-arg]


@cache
def whole(norm: Norm) -> CascadeResult:
    return Small(norm=norm, eps=eps_of(norm))(trained(), *digits(80), seed=7)


# --- What runs --------------------------------------------------------------------------------------------------------


def test_the_versions_are_those_of_the_authors() -> None:
    settings: dict[str, Any] = {"norm": "linf", "eps": 8 / 255}
    plain = [repr(stage) for stage in AutoAttack(**settings).stages()]
    common = "norm='linf', eps=8/255"
    assert plain == [f"ApgdCE({common})", f"ApgdT({common})", f"FabT({common})", f"Square({common})"]
    standard = AutoAttack(**settings).stages()
    assert [stage.plan().num_steps for stage in standard] == [100, 100, 100, 5000]
    assert [getattr(stage, "num_targets", None) for stage in standard] == [None, 9, 9, None]
    plus = AutoAttack(**settings, version="plus").stages()
    assert [stage.name for stage in plus] == ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]
    assert [stage.plan().num_restarts for stage in plus] == [5, 5, 5, 1, 1, 1]
    assert isinstance(plus[2], Fab)
    rand = AutoAttackRand(**settings).stages()
    assert [(stage.name, stage.num_gradients) for stage in rand] == [("apgd-ce", 20), ("apgd-dlr", 20)]
    assert FastCascade(**settings).stages() == standard[:2]
    assert "AutoAttack" not in repr(FastCascade(**settings))
    passed_on = AutoAttack(**settings, batch_size=64, precision="fp32").stages()
    assert all((stage.batch_size, stage.precision) == (64, "fp32") for stage in passed_on)


@pytest.mark.parametrize("norm", NORMS)
def test_the_stage_table_adds_up(norm: Norm) -> None:
    result, (images, labels) = whole(norm), digits(80)
    assert result.stages == ("apgd-ce", "apgd-t", "fab-t", "square")
    clean = predict_logits(trained(), images).argmax(1)
    assert torch.equal(result.clean_predictions, clean)
    assert torch.equal(result.fell_to == WRONG_BEFORE, clean != labels)
    assert torch.equal(result.fell_to == STANDS, ~result.success)
    table = result.table()
    standing = int((clean == labels).sum())
    for position, row in enumerate(table):
        assert row == Stage(
            result.stages[position], standing, int((result.fell_to == position).sum()), standing - row.broken
        )
        standing -= row.broken
    assert standing == int((~result.success).sum())
    assert table[0].broken > 0
    assert standing > 0


@pytest.mark.parametrize("norm", NORMS)
def test_stages_by_themselves_on_the_survivors_give_the_same_bits(norm: Norm) -> None:
    result, (images, labels) = whole(norm), digits(80)
    standing, evaluations = torch.arange(80), torch.zeros(80, dtype=torch.int64)
    for position, stage in enumerate(Small(norm=norm, eps=eps_of(norm)).stages()):
        parts = standing.split(33)  # as shards would
        found = [stage(trained(), images[part], labels[part], seed=7, indices=part) for part in parts]
        success = torch.cat([part.success for part in found])
        evaluations[standing] += torch.cat([part.num_evaluations for part in found])
        fallen = standing[success]
        if position == 0:
            fallen = fallen[result.fell_to[fallen] != WRONG_BEFORE]
        assert torch.equal(fallen, (result.fell_to == position).nonzero()[:, 0])
        points = torch.cat([part.images for part in found])[success]
        assert torch.equal(points, result.images[standing[success]])
        standing = standing[~success]
    assert torch.equal(evaluations, result.num_evaluations)


@pytest.mark.parametrize("norm", NORMS)
def test_results_depend_on_neither_order_nor_shard(norm: Norm) -> None:
    (images, labels), attack = digits(80), Small(norm=norm, eps=eps_of(norm))
    names = ("images", "success", "loss", "distance", "predictions", "num_evaluations", "fell_to")

    def check(result: CascadeResult, rows: Tensor | slice) -> None:
        assert all(torch.equal(getattr(result, name), getattr(whole(norm), name)[rows]) for name in names)

    order = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    check(attack(trained(), images[order], labels[order], seed=7, indices=order), order)
    for first, size in ((0, 1), (33, 15), (63, 17)):
        rows = slice(first, first + size)
        check(attack(trained(), images[rows], labels[rows], seed=7, indices=range(first, first + size)), rows)


@pytest.mark.parametrize("norm", NORMS)
def test_the_result_is_what_it_says(norm: Norm) -> None:
    result, (images, labels) = whole(norm), digits(80)
    delta = (result.images - images).flatten(1)
    distance = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    assert torch.allclose(distance, result.distance, atol=1e-6)
    assert distance.max() <= eps_of(norm) * (1 + 1e-5)
    logits = predict_logits(trained(), result.images)
    assert torch.equal(result.predictions, logits.argmax(1))
    assert torch.equal(result.success, result.predictions != labels)
    assert torch.equal(result.loss, Margin().loss(ModelOutput(logits), images, labels))


@pytest.mark.parametrize("norm", NORMS)
def test_it_is_not_weaker_than_pgd_nor_than_its_beginning(norm: Norm) -> None:
    images, labels = digits(80)
    settings: dict[str, Any] = {"norm": norm, "eps": eps_of(norm)}
    beginning: Cascade = FastCascade(**settings)
    assert AutoAttack(**settings).stages()[:2] == beginning.stages()  # so its survivors are among those of this one
    fast = beginning(trained(), images, labels, seed=7)
    pgd = PGD(**settings, num_steps=40)(trained(), images, labels, seed=7)
    assert fast.success.sum() >= pgd.success.sum()


def test_no_images_and_no_budget() -> None:
    images, labels = digits(20)
    attack = Small(norm="l2", eps=0.0)
    result = attack(trained(), images, labels)
    assert torch.equal(result.images, images)
    assert set(result.fell_to.tolist()) <= {STANDS, WRONG_BEFORE}
    empty = attack(trained(), images[:0], labels[:0])
    assert empty.fell_to.shape == empty.success.shape == (0,)
    assert [row.attacked for row in empty.table()] == [0, 0, 0, 0]


# --- What it warns of -------------------------------------------------------------------------------------------------


def test_too_few_classes_are_refused_before_any_work() -> None:
    images, labels = digits(20)
    for num_classes in (2, 3):
        with pytest.raises(InputError, match=f"apgd-t of autoattack needs at least 4 classes.*has {num_classes}"):
            AutoAttack(norm="l2", eps=0.5)(trained(num_classes=num_classes), images, labels % num_classes)
        with pytest.raises(InputError, match="fast-cascade"):
            FastCascade(norm="l2", eps=0.5)(trained(num_classes=num_classes), images, labels % num_classes)
    four = Small(norm="l2", eps=0.4)(trained(num_classes=4), images, labels % 4)
    assert four.success.any()
    for attack in (FabT(norm="l2", eps=0.4, num_steps=6), Square(norm="l2", eps=0.4, num_queries=30)):
        assert attack(trained(num_classes=2), images, labels % 2).success.any()


def test_hidden_gradients_are_noticed() -> None:
    images, labels = digits(80)

    def staircase(x: Tensor) -> Tensor:
        """Logits of rounded pixels, with a faint gradient that leads nowhere."""
        return trained()((x * 8).round() / 8).detach() + 1e-6 * x.flatten(1)[:, :10]

    result = Small(norm="linf", eps=0.15)(staircase, images, labels)
    words = result.masking_warning()
    assert words is not None
    assert "hides its gradients" in words
    assert whole("linf").masking_warning() is None
    assert result.warnings == ()  # a property of the data set, not of one block of it

    def table(broken: int, name: Literal["square", "apgd-t"] = "square") -> tuple[Stage, ...]:
        return (Stage("apgd-ce", 900, 500, 400), Stage(name, 400, broken, 400 - broken))

    assert masking_warning(table(2), 1000) is None
    assert masking_warning(table(3), 1000) is not None
    assert masking_warning(table(300, "apgd-t"), 1000) is None
    assert masking_warning(table(1), 10) is None  # one image is no evidence


def test_a_stochastic_model_is_named_once() -> None:
    def noisy(x: Tensor) -> Tensor:
        return trained()(x) + 0.01 * torch.randn(len(x), 10)

    images, labels = digits(30)
    result = Small(norm="l2", eps=0.4)(noisy, images, labels)
    assert sum("lucky draw" in words for words in result.warnings) >= 1


def test_bad_settings_are_refused_in_words() -> None:
    for settings, says in (
        ({"version": "standart"}, "did you mean 'standard'"),
        ({"version": "rand"}, "an attack of its own: AutoAttackRand"),
        ({"eps": 8}, "pixel units"),
        ({"batch_size": 4}, "batch_size"),
        ({"precision": "half"}, "precision"),
    ):
        with pytest.raises(InputError, match=says):
            AutoAttack(**({"norm": "linf", "eps": 0.1} | settings))  # type: ignore[arg-type]
    images, labels = digits(20)
    with pytest.raises(InputError, match="brings its own objective"):
        AutoAttack(norm="linf", eps=0.1)(trained(), images, labels, targets=labels)
    for attack in (AutoAttack(norm="linf", eps=8 / 255, version="plus"), FastCascade(norm="l2", eps=0.5)):
        assert eval(repr(attack)) == attack


# --- Against pyautoattack ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "norm", "eps"), [("small:linf8", "linf", "8/255"), ("small:l2_05", "l2", "0.5")])
def test_verdicts_agree_with_pyautoattack(name: str, norm: Norm, eps: str, shared_data: Path, repository: Path) -> None:
    """16 images of each network, and a tenth of the queries: all 500 with all queries are in assets/README.md."""
    from robustray.tasks.data.reference import open_data
    from robustray.tasks.models.reference import open_model

    with (repository / "tests" / "assets" / "autoattack_golden.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == name]
    assert len(rows) == 500
    assert {(row["norm"], row["eps"]) for row in rows} == {(norm, eps)}
    model_ref = open_model(name, data_root=str(shared_data))
    data_ref = open_data("cifar10:test", data_root=str(shared_data))
    model = model_ref.build(model_ref.fetch(), "cpu")
    indices = range(16)
    images, labels = data_ref.build(data_ref.fetch(), "cpu").batch(indices)
    numerator, _, denominator = eps.partition("/")
    attack = FewQueries(norm=norm, eps=float(numerator) / float(denominator or 1))
    result: AttackResult = attack(model, images, labels, indices=indices)
    golden = torch.tensor([int(rows[index]["robust"]) for index in indices])
    assert 2 < golden.sum() < 14
    assert torch.equal((~result.success).int(), golden.int())
