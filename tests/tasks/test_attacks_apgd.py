"""APGD: its schedule, its losses, what is known exactly, and the same bits in any company."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.attacks.family import RSFGSM, ApgdCE, ApgdDLR, ApgdMargin, ApgdT, Malt
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.objective import Margin, ModelOutput
from robustray.tasks.attacks.objectives_dlr import DLR, Gap, TargetedDLR, ranked_targets
from robustray.tasks.attacks.result import AttackResult
from robustray.tasks.attacks.search.apgd import checkpoints
from robustray.tasks.attacks.settings import FGSM, PGD
from robustray.tasks.errors import InputError
from tests.tasks.digits_networks import digits, same, trained

Norms = Literal["linf", "l2"]
NORMS: tuple[Norms, ...] = ("linf", "l2")
KINDS: tuple[Any, ...] = (ApgdCE, ApgdDLR, ApgdT)


pytestmark = pytest.mark.usefixtures("one_thread")


# --- Schedule ---------------------------------------------------------------------------------------------------------


def test_checkpoints_are_those_of_the_paper() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(10) == [3, 5, 6, 7, 8, 9, 10]
    assert checkpoints(1) == [1]
    for num_steps in range(1, 300):
        p = [0.0, 0.22]
        while p[-1] <= 1:
            p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
        wanted = {math.ceil(share * num_steps - 1e-9) for share in p[1:-1]}
        assert checkpoints(num_steps) == sorted(wanted)


# --- Losses -----------------------------------------------------------------------------------------------------------

LOGITS = torch.tensor([[5.0, 1.0, 3.0, -2.0, 0.5], [5.0, 1.0, 3.0, -2.0, 0.5], [-1.0, 4.0, 4.0, 0.0, 3.5]])
LABELS = torch.tensor([0, 2, 3])


def loss_of(objective: Any, logits: Tensor, state: Tensor) -> Tensor:
    return objective.loss(ModelOutput(logits), torch.zeros(len(logits), 1), state)


def test_dlr_by_hand() -> None:
    # -(z_y - max of the others) / (z_(1) - z_(3))
    wanted = torch.tensor([-(5 - 3) / (5 - 1), -(3 - 5) / (5 - 1), -(0 - 4) / (4 - 3.5)])
    assert torch.allclose(loss_of(DLR(), LOGITS, LABELS), wanted)
    positive = loss_of(DLR(), LOGITS, LABELS) > 0
    assert torch.equal(positive, loss_of(Margin(), LOGITS, LABELS) > 0)


def test_targeted_dlr_by_hand() -> None:
    state = torch.stack((LABELS, torch.tensor([4, 0, 1])), 1)
    wanted = torch.tensor([-(5 - 0.5) / (5 - (1 + 0.5) / 2), -(3 - 5) / (5 - (1 + 0.5) / 2), -(0 - 4) / (4 - 3.5 / 2)])
    assert torch.allclose(loss_of(TargetedDLR(), LOGITS, state), wanted)
    assert torch.allclose(loss_of(Gap(), LOGITS, state), torch.tensor([-4.5, 2.0, 4.0]))


@pytest.mark.parametrize("objective", [DLR(), TargetedDLR()])
def test_dlr_sees_neither_shift_nor_scale(objective: Any) -> None:
    logits = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 10
    state = labels if isinstance(objective, DLR) else torch.stack((labels, (labels + 3) % 10), 1)
    plain = loss_of(objective, logits, state)
    for shift, scale in ((100.0, 1.0), (0.0, 1e4), (-7.0, 1e-3)):
        assert torch.allclose(loss_of(objective, logits * scale + shift, state), plain, rtol=2e-2)
    assert torch.equal(loss_of(objective, logits * 2**10, state), plain)  # no rounding: to the bit


def test_equal_logits_have_a_finite_loss_and_gradient() -> None:
    logits = torch.ones(4, 5, requires_grad=True)
    labels = torch.zeros(4, dtype=torch.int64)
    for objective, state in ((DLR(), labels), (TargetedDLR(), torch.stack((labels, labels + 1), 1))):
        loss = loss_of(objective, logits, state)
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert (loss == 0).all()
        assert torch.isfinite(gradient).all()


def test_targets_are_the_classes_behind_the_label() -> None:
    targets = ranked_targets(LOGITS, torch.tensor([0, 2, 3]), 3)
    assert targets.tolist() == [[2, 1, 4], [0, 1, 4], [1, 2, 4]]  # equal logits in the order of the classes
    assert ranked_targets(LOGITS, LABELS, 9).shape == (3, 4)
    assert ranked_targets(LOGITS, LABELS, None).shape == (3, 4)


# --- Linear models ----------------------------------------------------------------------------------------------------


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


def gaps_and_duals(net: Linear, images: Tensor, norm: Norms) -> tuple[Tensor, Tensor, Tensor]:
    """labels (b,); gap to and dual norm of the difference with each class (b, classes), inf and 0 for the label."""
    logits = predict_logits(net, images)
    labels = logits.argmax(1)
    difference = net.weight[labels][:, None] - net.weight[None]
    dual = difference.abs().sum(2) if norm == "linf" else difference.norm(dim=2)
    gap = logits.gather(1, labels[:, None]) - logits
    own = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    return labels, gap.masked_fill(own, torch.inf), dual.masked_fill(own, 0.0)


@pytest.mark.parametrize("norm", NORMS)
def test_two_classes_reach_the_exact_worst_case(norm: Norms) -> None:
    # The smallest z_y - z_j within eps is (z_y - z_j) - eps ||w_y - w_j||_q, q the dual norm.
    net, images = Linear(2), interior_images(200)
    labels, gap, dual = gaps_and_duals(net, images, norm)
    gap = gap.amin(1)
    reach = float(dual[0].amax())
    eps = float(gap.median()) / reach
    result = ApgdCE(norm=norm, eps=eps, precision="fp32")(net, images, labels)
    worst = gap - eps * reach
    sure = worst.abs() > 1e-3 * eps * reach
    assert sure.sum() > 150
    assert torch.equal(result.success[sure], (worst < 0)[sure])
    stands = ~result.success
    assert torch.allclose(-result.loss[stands], worst[stands], atol=1e-3 * eps * reach)
    assert torch.allclose(result.distance[stands], torch.tensor(eps), rtol=1e-3)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("kind", "num_classes"), [(ApgdDLR, 3), (ApgdT, 4), (ApgdT, 6)])
def test_among_several_classes_everything_within_reach_falls(kind: Any, num_classes: int, norm: Norms) -> None:
    net, images = Linear(num_classes), interior_images(100)
    labels, gap, dual = gaps_and_duals(net, images, norm)
    radius = (gap / dual).amin(1)
    eps = float(radius.median())
    result = kind(norm=norm, eps=eps, precision="fp32")(net, images, labels)
    sure = (radius / eps - 1).abs() > 0.02
    assert sure.sum() > 60
    # nothing beyond the exact radius falls; within it the targeted attack misses nothing
    assert not result.success[sure & (radius > eps)].any()
    missed = ~result.success[sure & (radius < eps)]
    assert missed.float().mean() <= (0.0 if kind is ApgdT else 0.05)
    worst = (eps * dual - gap).amax(1)
    assert (result.loss <= worst + 1e-4).all()


def test_dlr_breaks_what_cross_entropy_cannot_see() -> None:
    # At this scale the gradient of cross-entropy is exactly zero on every image, from every start.
    net, plain = Linear(3, 4000.0), Linear(3)
    labels, gap, dual = gaps_and_duals(plain, interior_images(100), "l2")
    radius = (gap / dual).amin(1)
    eps = float(radius.median())
    far = radius > 0.5 * eps
    images, labels = interior_images(100)[far], labels[far]
    blind = ApgdCE(norm="l2", eps=eps, precision="fp32")(net, images, labels)
    seeing = ApgdDLR(norm="l2", eps=eps, precision="fp32")(net, images, labels)
    assert seeing.success.float().mean() > blind.success.float().mean() + 0.2
    assert seeing.success[(radius < 0.95 * eps)[far]].float().mean() > 0.95


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", NORMS)
def test_a_zero_gradient_moves_nothing_and_is_no_nan(kind: Any, norm: Norms) -> None:
    def flat(x: Tensor) -> Tensor:
        return (x.flatten(1) * 0)[:, :5] + torch.arange(5.0).flip(0)

    result = kind(norm=norm, eps=0.1)(flat, interior_images(20), torch.zeros(20, dtype=torch.int64))
    assert torch.isfinite(result.images).all()
    assert not result.success.any()


# --- Against the algorithm, written down for one image ----------------------------------------------------------------


def by_hand(net: nn.Module, image: Tensor, start: Tensor, label: int, norm: Norms, eps: float, steps: int) -> Tensor:
    """The point of highest cross-entropy, or the first one that is classified wrongly."""

    def look(x: Tensor) -> tuple[float, Tensor, bool]:
        x = x.clone().requires_grad_(True)
        logits = net(x[None])
        loss = nn.functional.cross_entropy(logits, torch.tensor([label]))
        (gradient,) = torch.autograd.grad(loss, x)
        return float(loss.detach()), gradient, int(logits.argmax()) != label

    def project(x: Tensor) -> Tensor:
        delta = x - image
        delta = delta.clamp(-eps, eps) if norm == "linf" else delta * min(1, eps / float(delta.norm()))
        return (image + delta).clamp(0, 1)

    def ahead(x: Tensor, gradient: Tensor) -> Tensor:
        direction = gradient.sign() if norm == "linf" else gradient / gradient.norm()
        return project(x + size * direction)

    size, x = 2 * eps, start
    loss, gradient, wrong = look(x)
    if wrong:
        return x
    best, best_gradient, losses, best_loss = x, gradient, [loss], loss
    before, at_check, halved, last_check = x, loss, False, 0
    at_check = -math.inf
    for k in range(1, steps + 1):
        if k == 1:
            x, before = ahead(x, gradient), x
        else:
            x, before = project(x + 0.75 * (ahead(x, gradient) - x) + 0.25 * (x - before)), x
        loss, gradient, wrong = look(x)
        if wrong:
            return x
        losses.append(loss)
        if loss > best_loss:
            best, best_gradient, best_loss = x, gradient, loss
        if k in checkpoints(steps):
            rises = sum(b > a for a, b in zip(losses[last_check:-1], losses[last_check + 1 :], strict=True))
            stuck = rises <= 0.75 * (k - last_check) or (not halved and best_loss == at_check)
            if stuck:
                size, x, gradient = size / 2, best, best_gradient
                losses[-1] = best_loss
            halved, at_check, last_check = stuck, best_loss, k
    return best


@pytest.mark.parametrize("norm", NORMS)
def test_every_row_follows_the_algorithm_of_the_paper(norm: Norms) -> None:
    from robustray.tasks.attacks.search.norms import GEOMETRIES

    count = 30
    images, labels = digits(count)
    net, eps = trained("mlp"), 0.06 if norm == "linf" else 0.4
    result = ApgdCE(norm=norm, eps=eps, num_steps=30, precision="fp32")(net, images, labels, seed=3)
    geometry, every = GEOMETRIES[norm], torch.arange(count)
    drawn = geometry.draw(3, "apgd-ce", 0 * every, every, images.shape[1:])
    length = geometry.size(drawn).view(-1, 1, 1, 1)
    starts = geometry.project(images + eps * drawn / length, images, eps)
    right = predict_logits(net, images).argmax(1) == labels
    wanted = torch.stack(
        [
            by_hand(net, images[i], starts[i], int(labels[i]), norm, eps, 30) if right[i] else images[i]
            for i in range(count)
        ]
    )
    # rounding may turn a comparison of losses, and a path with it, now and then
    same_path = (result.images - wanted).abs().flatten(1).amax(1) < 1e-4
    assert same_path.float().mean() > 0.9
    wrong = predict_logits(net, wanted).argmax(1) != labels
    assert (wrong == result.success).float().mean() > 0.97
    assert 0.1 < result.success[right].float().mean() < 0.9


# --- Invariants and company -------------------------------------------------------------------------------------------


CASES: dict[str, Any] = {
    "ce linf": ApgdCE(norm="linf", eps=0.1, num_steps=20, num_restarts=2),
    "dlr l2": ApgdDLR(norm="l2", eps=0.5, num_steps=20),
    "t linf": ApgdT(norm="linf", eps=0.08, num_steps=10),
    "t l2": ApgdT(norm="l2", eps=0.5, num_steps=10, num_targets=4, num_restarts=2),
    "t bf16": ApgdT(norm="linf", eps=0.08, num_steps=10, num_targets=4, precision="bf16"),
}
WHOLE = 100


@cache
def undisturbed(case: str, kind: str) -> AttackResult:
    return CASES[case](trained(kind), *digits(WHOLE), seed=7)


@pytest.mark.parametrize("kind", ["mlp", "bn"])
@pytest.mark.parametrize("case", CASES)
def test_results_depend_on_neither_order_nor_shard(case: str, kind: str) -> None:
    images, labels = digits(WHOLE)
    whole = undisturbed(case, kind)
    assert 0 < whole.success[whole.num_evaluations > 1].float().mean() < 1
    order = torch.randperm(WHOLE, generator=torch.Generator().manual_seed(1))
    assert same(CASES[case](trained(kind), images[order], labels[order], seed=7, indices=order), whole, order)
    for first, size in ((0, 1), (33, 15), (60, 16), (WHOLE - 17, 17)):
        rows = slice(first, first + size)
        indices = range(first, first + size)
        assert same(CASES[case](trained(kind), images[rows], labels[rows], seed=7, indices=indices), whole, rows)
    assert same(replace(CASES[case], batch_size=50)(trained(kind), images, labels, seed=7), whole)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("norm", NORMS)
def test_ball_box_and_verdicts(norm: Norms, precision: Any, kind: Any) -> None:
    images, labels = digits(60)  # most pixels are 0 or 1
    net, eps = trained("bn"), 0.1 if norm == "linf" else 0.6
    result = kind(norm=norm, eps=eps, num_steps=10, precision=precision)(net, images, labels)
    delta = (result.images - images).flatten(1)
    distance = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    assert torch.allclose(distance, result.distance, atol=1e-6)
    assert distance.max() <= eps * (1 + 1e-5)
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    logits = predict_logits(net, result.images)
    assert torch.equal(result.predictions, logits.argmax(1))
    assert torch.equal(result.success, result.predictions != labels)
    assert torch.equal(result.loss, loss_of(Margin(), logits, labels))
    assert result.precision == precision
    assert 0 < result.success.float().mean() < 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", NORMS)
def test_no_budget_and_no_mask_change_nothing(norm: Norms, kind: Any) -> None:
    images, labels = digits(20)
    for eps, mask in ((0.0, None), (0.3, torch.zeros(20, 1, 1, 1))):
        result = kind(norm=norm, eps=eps, num_steps=5)(trained("mlp"), images, labels, mask=mask)
        assert torch.equal(result.images, images)
    empty = kind(norm=norm, eps=0.1)(trained("mlp"), images[:0], labels[:0])
    assert empty.images.shape == (0, 1, 8, 8)
    assert empty.success.shape == empty.num_evaluations.shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_keeps_pixels(kind: Any) -> None:
    images, labels = digits(30)
    mask = torch.zeros(30, 1, 8, 8)
    mask[..., :4] = 1
    result = kind(norm="l2", eps=1.0, num_steps=10)(trained("cnn"), images, labels, mask=mask)
    assert torch.equal(result.images[..., 4:], images[..., 4:])
    assert result.success[result.num_evaluations > 1].any()


@pytest.mark.parametrize("kind", KINDS)
def test_restarts_are_never_weaker(kind: Any) -> None:
    images, labels = digits(100)
    attack = kind(norm="linf", eps=0.05, num_steps=5)
    one, three = (replace(attack, num_restarts=n)(trained("mlp"), images, labels, seed=1) for n in (1, 3))
    assert (three.success >= one.success).all()
    assert (three.loss >= one.loss)[~three.success].all()
    assert (three.num_evaluations > one.num_evaluations)[~one.success].all()
    assert (three.num_evaluations == one.num_evaluations)[one.success].all()


@pytest.mark.parametrize("norm", NORMS)
def test_apgd_is_not_weaker_than_pgd(norm: Norms) -> None:
    images, labels = digits(100)
    net, eps = trained("mlp"), 0.06 if norm == "linf" else 0.4
    pgd = PGD(norm=norm, eps=eps, num_steps=40)(net, images, labels).success.sum()
    ce, dlr, targeted = (kind(norm=norm, eps=eps, num_steps=40)(net, images, labels).success.sum() for kind in KINDS)
    assert ce >= pgd - 1
    assert targeted >= max(ce, dlr) - 1


def test_passes_are_counted() -> None:
    rows = 0
    net, (images, labels) = trained("cnn"), digits(32)
    labels = predict_logits(net, images).argmax(1)

    def counting(x: Tensor) -> Tensor:
        nonlocal rows
        rows += len(x)
        return net(x)

    result = ApgdCE(norm="linf", eps=1e-6, num_steps=10, precision="fp32")(counting, images, labels)
    assert (result.num_evaluations == 1 + 11 + 1).all()  # clean, x_0 ... x_10, the verdict on the best
    assert rows == result.num_evaluations.sum() + 16  # the first look; of a model that repeats itself there is no other
    result = ApgdT(norm="linf", eps=1e-6, num_steps=10)(net, images, labels)
    assert (result.num_evaluations == 1 + 9 * 11 + 9).all()


@pytest.mark.parametrize("norm", NORMS)
def test_malt_goes_to_the_nearest_boundary_first(norm: Norms) -> None:
    """On a linear model its order is exact, so that one target is enough; that of the logits is not."""
    net, images = Linear(6), interior_images(60)
    labels, gap, dual = gaps_and_duals(net, images, norm)
    nearest = (gap / dual).amin(1)
    eps = float(nearest.median())
    result = Malt(norm=norm, eps=eps, num_steps=20, num_targets=1)(net, images, labels)
    clear = (nearest / eps - 1).abs() > 0.02
    assert torch.equal(result.success[clear], (nearest < eps)[clear])
    assert (
        result.num_evaluations[clear & ~result.success] == 1 + 5 + 21 + 1
    ).all()  # clean, five gradients, steps, verdict
    by_logits = ApgdT(norm=norm, eps=eps, num_steps=20, num_targets=1)(net, images, labels)
    assert by_logits.success.sum() < result.success.sum() + (norm == "l2")  # where both orders may be the same
    margin = ApgdMargin(norm=norm, eps=eps, num_steps=20)(net, images, labels)
    assert (margin.success <= (nearest <= eps * 1.0001)).all() and margin.success.any()


def test_averaged_gradients_see_through_noise() -> None:
    plain, generator = Linear(4, 20.0), torch.Generator().manual_seed(0)

    def noisy(x: Tensor) -> Tensor:
        return plain(x + 0.05 * torch.randn(x.shape, generator=generator))

    images = interior_images(60)
    labels, gap, dual = gaps_and_duals(plain, images, "linf")
    eps = float((gap / dual).amin(1).median())
    result = ApgdCE(norm="linf", eps=eps, num_steps=15, num_gradients=20)(noisy, images, labels)
    assert "lucky draw" in result.warnings[0]
    broken = predict_logits(plain, result.images).argmax(1) != labels
    assert broken[(gap / dual).amin(1) < 0.9 * eps].float().mean() > 0.9


# --- Doors ------------------------------------------------------------------------------------------------------------


def test_too_few_classes_are_refused_in_words() -> None:
    images = interior_images(20)
    labels = torch.zeros(20, dtype=torch.int64)
    with pytest.raises(InputError, match="the DLR loss needs at least 3 classes, the model has 2: use apgd-ce"):
        ApgdDLR(norm="linf", eps=0.1)(Linear(2), images, labels)
    with pytest.raises(InputError, match="targeted DLR loss needs at least 4 classes, the model has 3"):
        ApgdT(norm="linf", eps=0.1)(Linear(3), images, labels)
    assert ApgdT(norm="linf", eps=0.2)(Linear(4), images, labels).success.any()  # three targets


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (ApgdCE, {"norm": "linf", "eps": 8}, "pixel units"),
    (ApgdCE, {"norm": "linff", "eps": 0.1}, "did you mean 'linf'"),
    (ApgdDLR, {"norm": "l2", "eps": 0.1, "num_steps": 0}, "num_steps"),
    (ApgdDLR, {"norm": "l2", "eps": 0.1, "num_restarts": 0}, "num_restarts"),
    (ApgdT, {"norm": "l2", "eps": 0.1, "num_targets": 0}, "num_targets"),
    (ApgdT, {"norm": "l2", "eps": 0.1, "batch_size": 8}, "batch_size"),
    (ApgdCE, {"norm": "l2", "eps": 0.1, "precision": "fp16"}, "precision"),
    (RSFGSM, {"norm": "l2", "eps": -1.0}, "eps"),
]


@pytest.mark.parametrize(("kind", "settings", "says"), BAD)
def test_bad_settings_are_refused_in_words(kind: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        kind(**settings)


def test_ones_own_objective_is_refused_in_words() -> None:
    images, labels = digits(20)
    cases: list[dict[str, Any]] = [{"objective": Margin()}, {"targets": labels}]
    for given in cases:
        with pytest.raises(InputError, match="apgd-ce brings its own objective"):
            ApgdCE(norm="linf", eps=0.1)(trained("mlp"), images, labels, **given)
    with pytest.raises(InputError, match=r"labels must be in 0 .. 9"):
        ApgdCE(norm="linf", eps=0.1)(trained("mlp"), images, labels + 10)


def test_reprs_can_be_read_back() -> None:
    for attack in (
        ApgdCE(norm="linf", eps=8 / 255),
        ApgdT(norm="l2", eps=0.5, num_targets=3),
        RSFGSM(norm="l2", eps=1),
    ):
        assert eval(repr(attack)) == attack
    assert repr(ApgdCE(norm="linf", eps=8 / 255)) == "ApgdCE(norm='linf', eps=8/255)"


@pytest.mark.parametrize("norm", NORMS)
def test_rs_fgsm_is_one_step_of_a_quarter_more_than_the_budget(norm: Norms) -> None:
    images, labels = digits(60)
    eps = 0.1 if norm == "linf" else 1.0
    result = RSFGSM(norm=norm, eps=eps)(trained("cnn"), images, labels)
    plan = RSFGSM(norm=norm, eps=eps).plan()
    assert (plan.step_size, plan.random_start, plan.num_steps) == (1.25 * eps, True, 1)
    assert result.distance.max() <= eps * (1 + 1e-5)
    assert result.success.sum() > FGSM(norm=norm, eps=eps / 10)(trained("cnn"), images, labels).success.sum()
