"""Fused copies: fp32 keeps its bits, bf16 the values of the operations apart, gradients come in one layout."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, fx, nn
from torch.nn import functional

from robustray.tasks.attacks.gradient import fusing
from robustray.tasks.attacks.gradient.fusing import ConvReLU, fuse
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import CrossEntropy

Body = Callable[[Any, Tensor], Tensor]
needs_bf16 = pytest.mark.skipif(
    not fusing._can(torch.bfloat16), reason="this CPU or torch has no fused bf16 convolutions"
)


class Net(nn.Module):
    """All shapes of what is taken in and of what is not, by `body`."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body: Body = body
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.strided = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.circular = nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular")
        self.same = nn.Conv2d(16, 16, 3, padding="same")
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x).mean((2, 3))


CASES: dict[str, tuple[Body, int]] = {
    "method": (lambda m, x: m.first(x).relu(), 1),
    "function": (lambda m, x: functional.relu(m.first(x), inplace=True), 1),
    "module": (lambda m, x: m.act(m.first(x)), 1),
    "sum": (lambda m, x: torch.relu(m.second(h := m.first(x).relu()) + h), 2),
    "sum the other way round": (lambda m, x: torch.relu((h := m.first(x).relu()) + m.second(h)), 2),
    "sum of two convolutions": (lambda m, x: (m.second(h := m.first(x).relu()) + m.second(h)).relu(), 2),
    "sum with a broadcast": (lambda m, x: (m.first(x) + x.mean((1, 2, 3), keepdim=True)).relu(), 1),
    "strided slice": (lambda m, x: (m.strided(h := m.first(x).relu()) + h[:, :, ::2, ::2]).relu(), 2),
    "sum with a number": (lambda m, x: (m.first(x) + 1).relu(), 0),
    "used twice": (lambda m, x: (h := m.first(x)).relu() + h, 0),
    "sum used twice": (lambda m, x: (s := m.first(x) + m.first(x)).relu() + s, 0),
    "no ReLU": (lambda m, x: m.first(x).tanh(), 0),
    "changed in place": (lambda m, x: m.second(functional.hardswish(m.first(x), inplace=True)).relu(), 1),
    "padding of another kind": (lambda m, x: m.circular(m.same(m.first(x)).relu()).relu(), 0),
}


def made(body: Body) -> tuple[fx.GraphModule, fx.GraphModule, int]:
    """As it is, fused, and the number of fused convolutions."""
    torch.manual_seed(0)
    net = Net(body).requires_grad_(False).to(memory_format=torch.channels_last)
    graph = fx.Tracer().trace(net)
    plain, fused = fx.GraphModule(net, graph), fx.GraphModule(net, copy.deepcopy(graph))
    return plain, fused, fuse(fused)


def gradient(net: nn.Module, bf16: bool) -> tuple[Tensor, Tensor]:
    images = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    x = images.contiguous(memory_format=torch.channels_last).requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        out = net(x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    return out.detach(), torch.autograd.grad((out.float() * weights).sum(), x)[0]


@pytest.mark.parametrize("name", CASES)
def test_what_is_taken_in_and_fp32_keeps_its_bits(name: str) -> None:
    body, expected = CASES[name]
    plain, fused, count = made(body)
    assert count == expected == sum(isinstance(module, ConvReLU) for module in fused.modules())
    for wanted, got in zip(gradient(plain, bf16=False), gradient(fused, bf16=False), strict=True):
        assert torch.equal(wanted, got)


@needs_bf16
@pytest.mark.parametrize("name", CASES)
def test_bf16_is_as_near_to_fp32_as_the_operations_apart(name: str) -> None:
    plain, fused, _ = made(CASES[name][0])
    for truth, apart, together in zip(
        gradient(plain, bf16=False), gradient(plain, bf16=True), gradient(fused, bf16=True), strict=True
    ):
        error, own = ((values.float() - truth).norm() for values in (apart, together))
        assert own <= 1.2 * error + 1e-6 * truth.norm()
        assert together.dtype == apart.dtype


@pytest.mark.parametrize("bf16", [False, pytest.param(True, marks=needs_bf16)])
def test_an_image_has_the_same_bits_in_every_batch(bf16: bool) -> None:
    _, fused, _ = made(CASES["strided slice"][0])
    images = torch.rand(64, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16), torch.no_grad():
        whole = fused(images)
        parts = torch.cat([fused(part) for part in images.split(16)])
    assert torch.equal(whole, parts)


@pytest.mark.parametrize("bf16", [False, pytest.param(True, marks=needs_bf16)])
def test_changed_weights_are_seen(bf16: bool) -> None:
    _, fused, _ = made(CASES["sum"][0])
    before, _ = gradient(fused, bf16)
    with torch.no_grad():
        for parameter in fused.parameters():
            parameter.mul_(2)
    doubled, _ = gradient(fused, bf16)
    for parameter in fused.parameters():
        parameter.data = parameter.data / 2
    assert not torch.equal(doubled, before)
    assert torch.equal(gradient(fused, bf16)[0], before)


def test_numbers_of_other_kinds_and_weights_that_learn_stay_apart() -> None:
    """fp64 has no such operation, and it has no gradient for weights."""
    plain, fused, _ = made(CASES["sum"][0])
    images = torch.rand(16, 3, 8, 8)
    assert torch.equal(plain.double()(images.double()), fused.double()(images.double()))
    fused.float().requires_grad_(True)
    fused(images).sum().backward()
    assert all(p.grad is not None for name, p in fused.named_parameters() if "first" in name or "second" in name)


def test_operations_stay_apart_where_they_are_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, fused, _ = made(CASES["sum"][0])
    monkeypatch.setattr(fusing, "_can", lambda kind: False)
    for wanted, got in zip(gradient(plain, bf16=True), gradient(fused, bf16=True), strict=True):
        assert torch.equal(wanted, got)


def test_gradients_are_handed_on_in_the_layout_of_images() -> None:
    x = torch.rand(16, 4, 8, 8, requires_grad=True)
    given = torch.rand(16, 4, 8, 8)
    (passed,) = torch.autograd.grad(fusing.channels_last_gradient(x), x, given)
    assert torch.equal(passed, given)
    assert passed.is_contiguous(memory_format=torch.channels_last)
    assert fusing.channels_last_gradient(7) == 7  # sizes are in graphs too
    rows = torch.rand(16, 4, requires_grad=True)
    assert fusing.channels_last_gradient(rows) is rows


def test_slices_and_means_hand_on_ordered_gradients_and_convolutions_need_nothing() -> None:
    _, fused, _ = made(CASES["strided slice"][0])
    ordered = [node for node in fused.graph.nodes if node.target is fusing.channels_last_gradient]
    assert [user.target for node in ordered for user in node.users] == [operator.getitem, "mean"]


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0", "densenet121", "shufflenet_v2_x0_5"])
def test_networks_of_torchvision_keep_their_gradients(name: str) -> None:
    """They change activations in place, concatenate, slice, scale channels."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, num_classes=10).eval()
    images, labels = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
    with GradientView(model, shape=images.shape[1:]) as view:
        _, gradient, _ = view.value_and_gradient(images, labels, CrossEntropy())
        assert view.folded
    x = images.requires_grad_(True)
    (plain,) = torch.autograd.grad(functional.cross_entropy(model(x), labels, reduction="sum"), x)
    assert (gradient - plain).norm() < 1e-3 * plain.norm()
