"""FAB: exact projections, exact distances on linear models, and the same bits in any company."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.attacks.family import ApgdCE, Fab, FabT
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.search.fab import NearestResult
from robustray.tasks.attacks.search.planes import step_to_plane
from robustray.tasks.errors import InputError
from tests.tasks.digits_networks import digits, same, trained

Norms = Literal["linf", "l2"]
NORMS: tuple[Norms, ...] = ("linf", "l2")
KINDS: tuple[Any, ...] = (FabT, Fab)
Targeted: Any = FabT  # whose result has more than any attack's


pytestmark = pytest.mark.usefixtures("one_thread")


# --- The projection ---------------------------------------------------------------------------------------------------


def planes(count: int = 200, width: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    """Points of the box (a third of the coordinates at 0 or 1), normals with zeros among them, offsets."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(count, width, generator=generator) * 1.5 - 0.25).clamp(0, 1)
    normal = torch.randn(count, width, generator=generator)
    normal[torch.rand(count, width, generator=generator) < 0.2] = 0
    return x, normal, torch.randn(count, generator=generator)


def by_bisection(norm: Norms, x: Tensor, normal: Tensor, offset: Tensor) -> Tensor:
    """The same point from the optimality condition, in double precision."""
    x, normal, offset = x.double(), normal.double(), offset.double()
    toward = -offset.sign()[:, None] * normal.sign()
    low, high = torch.zeros_like(offset), torch.full_like(offset, 1e4)
    for _ in range(200):
        level = (low + high) / 2
        size = level[:, None] * (normal.abs() if norm == "l2" else 1)
        z = (x + toward * size).clamp(0, 1)
        short = ((z - x) * normal).sum(1).abs() < offset.abs()
        low, high = torch.where(short, level, low), torch.where(short, high, level)
    size = high[:, None] * (normal.abs() if norm == "l2" else 1)
    return ((x + toward * size).clamp(0, 1) - x).float()


@pytest.mark.parametrize("norm", NORMS)
def test_steps_end_on_the_plane_and_nearest(norm: Norms) -> None:
    x, normal, offset = planes()
    step = step_to_plane(norm, x, normal, offset)
    landed = x + step
    assert landed.min() >= -1e-6
    assert landed.max() <= 1 + 1e-6
    assert torch.allclose((step * normal).sum(1), -offset, atol=1e-4)
    exact = by_bisection(norm, x, normal, offset)
    assert torch.allclose(step, exact, atol=1e-4)
    # no other point of the plane within the box is nearer
    generator = torch.Generator().manual_seed(1)
    size = step.abs().amax(1) if norm == "linf" else step.norm(dim=1)
    for _ in range(50):
        other = torch.rand(x.shape, generator=generator)
        gap = ((other - x) * normal).sum(1) + offset
        beyond = torch.where(offset > 0, gap < 0, gap > 0)  # on the far side: the way there crosses the plane
        crossing = (offset / (offset - gap).where(offset != gap, torch.ones_like(gap))).abs()[:, None] * (other - x)
        length = crossing.abs().amax(1) if norm == "linf" else crossing.norm(dim=1)
        assert (length >= size - 1e-4)[beyond].all()


@pytest.mark.parametrize("norm", NORMS)
def test_unreachable_planes_end_in_the_corner_and_empty_normals_move_nothing(norm: Norms) -> None:
    x, normal, _ = planes()
    step = step_to_plane(norm, x, normal, torch.full((200,), 1e3))
    corner = torch.where(normal > 0, 0.0, torch.where(normal < 0, 1.0, x))
    assert torch.allclose(x + step, corner, atol=1e-6)
    assert torch.allclose(x + step_to_plane(norm, x, normal * 1e-38, torch.full((200,), 1e3)), corner, atol=1e-6)
    assert (step_to_plane(norm, x, torch.zeros_like(normal), torch.ones(200)) == 0).all()
    assert (step_to_plane(norm, x, normal, torch.zeros(200)) == 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_steps_see_neither_the_scale_of_the_plane_nor_other_rows(norm: Norms) -> None:
    x, normal, offset = planes()
    whole = step_to_plane(norm, x, normal, offset)
    for scale in (2.0**-60, 2.0**40):
        assert torch.equal(step_to_plane(norm, x, normal * scale, offset * scale), whole)
    for rows in (slice(0, 16), slice(17, 57)):
        assert torch.equal(step_to_plane(norm, x[rows], normal[rows], offset[rows]), whole[rows])


# --- Linear models ----------------------------------------------------------------------------------------------------


class Linear(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.weight = (torch.rand(num_classes, 48, generator=generator) - 0.5) / 4
        self.bias = (torch.rand(num_classes, generator=generator) - 0.5) / 4

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.flatten(1), self.weight, self.bias)


def interior_images(count: int) -> Tensor:
    return 0.4 + 0.2 * torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(2))


def exact_distance(net: Linear, images: Tensor, norm: Norms) -> tuple[Tensor, Tensor]:
    """labels, and the distance to the nearest boundary: the smallest gap_j / ||w_y - w_j||_q."""
    logits = predict_logits(net, images)
    labels = logits.argmax(1)
    difference = net.weight[labels][:, None] - net.weight[None]
    dual = difference.abs().sum(2) if norm == "linf" else difference.norm(dim=2)
    gap = logits.gather(1, labels[:, None]) - logits
    own = nn.functional.one_hot(labels, logits.shape[1]).bool()
    return labels, (gap / dual.masked_fill(own, 1)).masked_fill(own, torch.inf).amin(1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_classes", [2, 3, 5])
@pytest.mark.parametrize("norm", NORMS)
def test_the_smallest_perturbation_is_the_exact_distance(norm: Norms, num_classes: int, kind: Any) -> None:
    net, images = Linear(num_classes), interior_images(60)
    labels, distance = exact_distance(net, images, norm)
    eps = float(distance.median())
    result = kind(norm=norm, eps=eps, num_steps=10, smallest=True, precision="fp32")(net, images, labels)
    assert isinstance(result, NearestResult)
    assert (result.boundary >= distance * (1 - 1e-5)).all()
    assert torch.allclose(result.boundary, distance, rtol=4e-3)
    sure = (distance / eps - 1).abs() > 5e-3
    assert torch.equal(result.success[sure], (distance < eps)[sure])
    broken = result.success & (result.distance > 0)
    assert torch.allclose(result.distance[broken], result.boundary[broken], rtol=1e-5)
    # leaving at the first success says the same about eps
    early = kind(norm=norm, eps=eps, num_steps=10, precision="fp32")(net, images, labels)
    assert torch.equal(early.success, result.success)
    assert (early.distance >= result.distance)[broken].all()
    assert (early.num_evaluations <= result.num_evaluations).all()
    assert (early.boundary[~early.success] >= eps).all()


@pytest.mark.parametrize("norm", NORMS)
def test_in_a_corner_the_box_is_part_of_the_problem(norm: Norms) -> None:
    # Half of the pixels cannot move the way they would help most: the distance is that of the projection.
    net, images = Linear(2), interior_images(40).round()
    images[:, :, ::2] = interior_images(40)[:, :, ::2]
    logits = predict_logits(net, images)
    labels = logits.argmax(1)
    sign = torch.where(labels == 0, 1.0, -1.0)[:, None]
    normal = sign * (net.weight[0] - net.weight[1])[None]
    gap = (logits[:, 0] - logits[:, 1]).abs()
    step = step_to_plane(norm, images.flatten(1), normal, gap)
    distance = step.abs().amax(1) if norm == "linf" else step.norm(dim=1)
    reachable = ((step * normal).sum(1) + gap).abs() < 1e-4
    assert reachable.sum() > 20
    result = Targeted(norm=norm, eps=0.01, num_steps=40, smallest=True, precision="fp32")(net, images, labels)
    assert (result.boundary >= distance - 1e-4)[reachable].all()
    assert torch.allclose(result.boundary[reachable], distance[reachable], rtol=1e-2)


def test_where_there_is_no_boundary_none_is_found() -> None:
    def flat(x: Tensor) -> Tensor:
        return (x.flatten(1) * 0)[:, :5] + torch.arange(5.0).flip(0)

    for kind in KINDS:
        result = kind(norm="l2", eps=0.5, num_steps=5, num_restarts=2)(
            flat, interior_images(20), torch.zeros(20, dtype=torch.int64)
        )
        assert (result.boundary == torch.inf).all()
        assert torch.isfinite(result.images).all()
        assert not result.success.any()
    wrong = Targeted(norm="l2", eps=0.5)(flat, interior_images(4), torch.ones(4, dtype=torch.int64))
    assert (wrong.boundary == 0).all()
    assert (wrong.num_evaluations == 1).all()


# --- Invariants and company -------------------------------------------------------------------------------------------


CASES: dict[str, Any] = {
    "t linf": FabT(norm="linf", eps=0.06, num_steps=5),
    "t l2": FabT(norm="l2", eps=0.4, num_steps=8, num_targets=4, num_restarts=2),
    "t bf16": FabT(norm="l2", eps=0.4, num_steps=8, num_targets=4, precision="bf16"),
    "smallest": FabT(norm="linf", eps=0.06, num_steps=8, smallest=True, precision="fp32"),
    "untargeted": Fab(norm="l2", eps=0.4, num_steps=8, num_restarts=2),
}
WHOLE = 80


@pytest.mark.parametrize("case", CASES)
def test_results_depend_on_neither_order_nor_shard(case: str) -> None:
    (images, labels), net, attack = digits(WHOLE), trained(), CASES[case]
    whole = attack(net, images, labels, seed=7)
    assert 0 < whole.success[whole.num_evaluations > 1].float().mean() < 1
    order = torch.randperm(WHOLE, generator=torch.Generator().manual_seed(1))
    assert same(attack(net, images[order], labels[order], seed=7, indices=order), whole, order)
    for first, size in ((0, 1), (33, 15), (60, 16), (WHOLE - 17, 17)):
        rows = slice(first, first + size)
        assert same(attack(net, images[rows], labels[rows], seed=7, indices=range(first, first + size)), whole, rows)
    assert same(replace(attack, batch_size=50)(net, images, labels, seed=7), whole)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("norm", NORMS)
def test_ball_box_and_verdicts(norm: Norms, precision: Any, kind: Any) -> None:
    images, labels = digits(40)  # most pixels are 0 or 1
    net, eps = trained(), 0.08 if norm == "linf" else 0.5
    result = kind(norm=norm, eps=eps, num_steps=10, precision=precision)(net, images, labels)
    assert result.distance.max() <= eps
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    assert torch.equal(result.predictions, predict_logits(net, result.images).argmax(1))
    assert torch.equal(result.success, result.predictions != labels)
    assert 0 < result.success.float().mean() < 1
    # what did not fall is returned as it was
    assert torch.equal(result.images[~result.success], images[~result.success])
    assert (result.boundary[~result.success] > eps).all()
    assert (result.boundary <= result.distance + 1e-6)[result.success].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", NORMS)
def test_no_budget_no_mask_and_no_images(norm: Norms, kind: Any) -> None:
    images, labels = digits(20)
    for eps, mask in ((0.0, None), (0.3, torch.zeros(20, 1, 1, 1))):
        result = kind(norm=norm, eps=eps, num_steps=3)(trained(), images, labels, mask=mask)
        assert torch.equal(result.images, images)
    empty = kind(norm=norm, eps=0.1)(trained(), images[:0], labels[:0])
    assert empty.boundary.shape == empty.success.shape == (0,)


@pytest.mark.parametrize("norm", NORMS)
def test_more_steps_and_restarts_are_never_weaker(norm: Norms) -> None:
    images, labels = digits(60)
    attack = Targeted(norm=norm, eps=0.05 if norm == "linf" else 0.3, num_steps=3, smallest=True, precision="fp32")
    results = [replace(attack, num_steps=steps)(trained(), images, labels) for steps in (3, 6, 20)]
    boundaries = [result.boundary for result in results]
    # the line search at the end may land a little differently
    assert all((b <= a * 1.01).all() for a, b in pairwise(boundaries))
    again = replace(attack, num_restarts=3)(trained(), images, labels)
    assert (again.boundary <= boundaries[0]).all()
    stands = ~results[0].success
    assert (again.num_evaluations > results[0].num_evaluations)[stands].all()
    assert norm == "linf" or (again.boundary < boundaries[0]).any()


@pytest.mark.parametrize("norm", NORMS)
def test_fab_is_about_as_strong_as_apgd(norm: Norms) -> None:
    images, labels = digits(100)
    eps = 0.06 if norm == "linf" else 0.4
    fab = FabT(norm=norm, eps=eps, num_steps=30)(trained(), images, labels).success
    apgd = ApgdCE(norm=norm, eps=eps, num_steps=30)(trained(), images, labels).success
    assert fab.sum() >= apgd.sum() - 1


def test_a_mask_keeps_pixels() -> None:
    images, labels = digits(30)
    mask = torch.zeros(30, 1, 8, 8)
    mask[..., :4] = 1
    result = FabT(norm="l2", eps=2.0, num_steps=10)(trained(), images, labels, mask=mask)
    assert torch.equal(result.images[..., 4:], images[..., 4:])
    assert result.success[result.num_evaluations > 1].any()


def test_bad_settings_are_refused_in_words() -> None:
    for settings, says in (({"num_targets": 0}, "num_targets"), ({"num_steps": 0}, "num_steps"), ({"eps": -1}, "eps")):
        with pytest.raises(InputError, match=says):
            FabT(**({"norm": "l2", "eps": 0.1} | settings))  # type: ignore[arg-type]
    assert repr(FabT(norm="l2", eps=0.5, smallest=True)) == "FabT(norm='l2', eps=0.5, smallest=True)"
