"""Attacks against what is known exactly: linear models, vanishing gradients, and the last bit of every result."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.attacks import FGSM, PGD, RandomNoise
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.objective import Margin
from robustray.tasks.attacks.precision import resolve_precision
from robustray.tasks.attacks.result import AttackResult
from tests.tasks.digits_networks import digits, same, trained

Norms = Literal["linf", "l2"]
NORMS: tuple[Norms, ...] = ("linf", "l2")
NO_BF16 = "this CPU does not multiply bf16: bits of emulated bf16 are not promised"
PRECISIONS = [
    "fp32",
    pytest.param("bf16", marks=pytest.mark.skipif(resolve_precision("cpu") != "bf16", reason=NO_BF16)),
]


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "auto" is fp32 here, on any machine."""
    monkeypatch.setattr("robustray.tasks.attacks.search.rows.resolve_precision", lambda device: "fp32")


pytestmark = pytest.mark.usefixtures("one_thread")


# --- Closed forms -----------------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """Logits w x + b of random w and b, times a scale."""

    def __init__(self, num_classes: int, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.weight = scale * (torch.rand(num_classes, 48, generator=generator) - 0.5) / 4
        self.bias = scale * (torch.rand(num_classes, generator=generator) - 0.5) / 4

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.flatten(1), self.weight, self.bias)


def interior_images(count: int) -> Tensor:
    """Away from 0 and 1, so that the box never binds for eps <= 0.2."""
    return 0.4 + 0.2 * torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_a_linear_model_falls_exactly_where_its_margin_ends(norm: Norms, random_start: bool) -> None:
    # Two classes: the worst case of z_y - z_j within eps is (z_y - z_j) - eps ||w_y - w_j||_q, q the dual norm.
    net, images = Linear(2), interior_images(200)
    logits = predict_logits(net, images)
    labels = logits.argmax(1)
    weight = net.weight[0] - net.weight[1]
    dual = weight.abs().sum() if norm == "linf" else weight.norm()
    gap = (logits[:, 0] - logits[:, 1]).abs()
    eps = float(gap.median() / dual)  # half of the images are within reach
    assert 0 < eps < 0.2
    # large steps: from a random point of the l2 sphere, the angle to the optimum falls by 1 / (1 + step / eps) a step
    attack = PGD(norm=norm, eps=eps, step_size=eps / 2, num_steps=30, random_start=random_start, exit_rule="best_loss")
    result = attack(net, images, labels, objective=Margin())
    worst = gap - eps * dual
    assert torch.allclose(-result.loss, worst, atol=2e-4 * eps * float(dual))
    sure = worst.abs() > 1e-3 * eps * dual
    assert sure.sum() > 150
    assert torch.equal(result.success[sure], (worst < 0)[sure])
    assert torch.allclose(result.distance, torch.tensor(eps), rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_among_several_classes_the_targeted_attack_reaches_each_worst_case(norm: Norms) -> None:
    net, images = Linear(5), interior_images(60)
    logits = predict_logits(net, images)
    labels = logits.argmax(1)
    targets = (labels + 1 + torch.arange(60) % 4) % 5
    weight = net.weight[targets] - net.weight[labels]
    dual = weight.abs().sum(1) if norm == "linf" else weight.norm(dim=1)
    eps = 0.05 if norm == "linf" else 0.2

    class Gap(Margin):
        """z_target - z_label only."""

        def loss(self, output: Any, images: Tensor, state: Tensor) -> Tensor:
            chosen = output.logits.gather(1, state)
            return chosen[:, 1] - chosen[:, 0]

        def success(self, output: Any, images: Tensor, state: Tensor) -> Tensor:
            return output.logits.argmax(1) == state[:, 1]

    attack = PGD(norm=norm, eps=eps, step_size=eps / 2, num_steps=30, exit_rule="best_loss")
    result = attack(net, images, labels, objective=Gap(), targets=torch.stack((labels, targets), 1))
    clean = logits.gather(1, targets[:, None])[:, 0] - logits.gather(1, labels[:, None])[:, 0]
    reached = result.loss[result.num_evaluations > 1]
    assert torch.allclose(
        reached, (clean + eps * dual)[result.num_evaluations > 1], atol=2e-4 * eps * float(dual.max())
    )


# --- Vanishing gradients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [300.0, 400.0])
def test_overconfident_models_stay_attackable(scale: float) -> None:
    # Cross-entropy gradients shrink like exp(-scale): far below any usual floor under the l2 norm.
    net, plain, images = Linear(2, scale), Linear(2), interior_images(100)
    labels = predict_logits(net, images).argmax(1)
    gap = predict_logits(plain, images).diff(dim=1)[:, 0].abs()
    weight = plain.weight[0] - plain.weight[1]
    eps = float(gap.max() / weight.norm()) * 1.2
    x = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(net(x), labels, reduction="sum"), x)
    largest = gradient.flatten(1).abs().amax(1)
    with_gradient = largest > 0
    assert largest[with_gradient].min() < 1e-12
    assert with_gradient.sum() > 20
    result = PGD(norm="l2", eps=eps, random_start=False)(net, images, labels)
    assert result.success[with_gradient].all()
    assert torch.isfinite(result.images).all()
    # where it is exactly zero, images stay where they are and nothing turns NaN
    assert (result.distance[~with_gradient] == 0).all()


def test_tiny_gradients_take_full_steps() -> None:
    from robustray.tasks.attacks.search.norms import GEOMETRIES

    direction = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    unit = direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    for scale in (1e-38, 1e-30, 1e-12, 1.0, 1e30):
        assert torch.allclose(GEOMETRIES["l2"].direction(unit * scale), unit, atol=1e-5)
    assert (GEOMETRIES["l2"].direction(torch.zeros(2, 1, 4, 4)) == 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_zero_gradient_gives_a_zero_step(norm: Norms) -> None:
    def flat(x: Tensor) -> Tensor:
        return (x.flatten(1) * 0)[:, :3] + torch.tensor([1.0, 0.0, -1.0])

    images = interior_images(20)
    attack = PGD(norm=norm, eps=0.1, random_start=False, exit_rule="last")
    result = attack(flat, images, torch.zeros(20, dtype=torch.int64))
    assert torch.equal(result.images, images)
    assert not result.success.any()


# --- The same bits in any company -------------------------------------------------------------------------------------


CASES: dict[str, Any] = {
    "pgd linf": PGD(norm="linf", eps=0.12),
    "pgd l2": PGD(norm="l2", eps=0.7),
    "pgd last": PGD(norm="linf", eps=0.08, num_steps=5, exit_rule="last"),
    "pgd best": PGD(norm="l2", eps=0.7, num_steps=5, exit_rule="best_loss", num_restarts=2),
    "pgd restarts": PGD(norm="l2", eps=0.5, num_steps=5, num_restarts=3),
    "fgsm": FGSM(norm="l2", eps=0.7),
    "noise": RandomNoise(norm="l2", eps=3.0, num_draws=4),
}
WHOLE = 300


@cache
def undisturbed(case: str, kind: str, precision: Any) -> AttackResult:
    return replace(CASES[case], precision=precision)(trained(kind), *digits(WHOLE), seed=7)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["mlp", "cnn", "bn"])
@pytest.mark.parametrize("case", CASES)
def test_the_cases_are_not_trivial(case: str, kind: str, precision: str) -> None:
    result = undisturbed(case, kind, precision)
    attacked = result.num_evaluations > 1
    assert attacked.float().mean() > 0.7
    assert 0 < result.success[attacked].float().mean() < 1
    assert (result.precision, result.folded) == (precision, kind == "bn")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["mlp", "cnn", "bn"])
@pytest.mark.parametrize("case", CASES)
def test_results_do_not_depend_on_the_order(case: str, kind: str, precision: Any) -> None:
    images, labels = digits(WHOLE)
    order = torch.randperm(WHOLE, generator=torch.Generator().manual_seed(1))
    attack = replace(CASES[case], precision=precision)
    result = attack(trained(kind), images[order], labels[order], seed=7, indices=order)
    assert same(result, undisturbed(case, kind, precision), order)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 127, 128, 129])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["mlp", "bn"])
@pytest.mark.parametrize("case", ["pgd linf", "pgd l2", "pgd restarts", "noise"])
def test_sharded_equals_unsharded(case: str, kind: str, precision: Any, size: int) -> None:
    images, labels = digits(WHOLE)
    attack = replace(CASES[case], precision=precision)
    # tiny shards: a few from every part are enough
    firsts = range(0, WHOLE, size) if size > 100 else (0, 33, WHOLE - size)
    for first in firsts:
        rows = slice(first, min(first + size, WHOLE))
        indices = list(range(WHOLE))[rows]
        result = attack(trained(kind), images[rows], labels[rows], seed=7, indices=indices)
        assert same(result, undisturbed(case, kind, precision), rows)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("batch_size", [16, 33, 100])
def test_results_do_not_depend_on_the_batch_size(batch_size: int, precision: Any) -> None:
    images, labels = digits(WHOLE)
    attack = replace(CASES["pgd restarts"], batch_size=batch_size, precision=precision)
    assert same(attack(trained("bn"), images, labels, seed=7), undisturbed("pgd restarts", "bn", precision))


def test_predictions_do_not_depend_on_the_company() -> None:
    images, _ = digits(WHOLE)
    for kind in ("mlp", "cnn", "bn"):
        whole = predict_logits(trained(kind), images)
        assert torch.equal(torch.cat([predict_logits(trained(kind), x) for x in images.split(37)]), whole)
        assert torch.equal(predict_logits(trained(kind), images[5:6]), whole[5:6])


def test_seeds_repeat_and_differ() -> None:
    images, labels = digits(100)
    attack = PGD(norm="linf", eps=0.1, exit_rule="last", num_steps=2)
    a, b, c = (attack(trained("cnn"), images, labels, seed=seed) for seed in (0, 0, 1))
    assert same(a, b)
    assert not torch.equal(a.images, c.images)
    elsewhere = attack(trained("cnn"), images, labels, seed=0, indices=range(100, 200))
    assert not torch.equal(a.images, elsewhere.images)


# --- Published figures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "norm", "eps", "robust"), [("small:linf8", "linf", 8 / 255, 0.376), ("small:l2_05", "l2", 0.5, 0.553)]
)
def test_shared_robust_networks_are_as_robust_as_measured_elsewhere(
    name: str, norm: Norms, eps: float, robust: float, shared_data: Path
) -> None:
    from robustray.tasks.data.reference import open_data
    from robustray.tasks.models.reference import open_model

    root = str(shared_data)
    model_ref, data_ref = open_model(name, data_root=root), open_data("cifar10:test", data_root=root)
    model = model_ref.build(model_ref.fetch(), "cpu")
    images, labels = data_ref.build(data_ref.fetch(), "cpu").batch(range(256))
    result = PGD(norm=norm, eps=eps, random_start=False)(model, images, labels)
    # On the first 1,000 images; the first 256 lie within three of their standard errors.
    assert 1 - result.success.float().mean().item() == pytest.approx(
        robust, abs=3 * (robust * (1 - robust) / 256) ** 0.5
    )
