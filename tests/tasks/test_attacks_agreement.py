"""A copy stands for its model only where its gradients are the model's: what stops or replaces them is found."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import robustray
from robustray.tasks.attacks import PGD, ApgdCE
from robustray.tasks.attacks.gradient.agreement import GRADIENT_TOLERANCE, _gradient_gap
from robustray.tasks.attacks.gradient.folding import StandingCopy, fast_copy
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import CrossEntropy
from robustray.tasks.errors import InputError
from tests.tasks.digits_networks import digits, trained
from tests.tasks.test_attacks_view import random_statistics

SHAPE = torch.Size((1, 8, 8))


class StraightThrough(torch.autograd.Function):
    """Rounds to eight levels; its gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (7 * x).round() / 7

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


class Passing(torch.autograd.Function):
    """A clamp with the gradient of the identity: among pixels in [0, 1] it differs from torch's at 0 and 1 alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def _without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        gate = x.sigmoid()
    return x * gate


def _attention(x: Tensor) -> Tensor:
    """Over pixels; no gradient passes through its weights."""
    tokens = x.flatten(2).transpose(1, 2)
    with torch.no_grad():
        weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
    return (weights @ tokens).transpose(1, 2).unflatten(2, x.shape[2:])


def _with_hook(x: Tensor) -> Tensor:
    x = 1 * x
    if x.requires_grad:
        x.register_hook(lambda gradient: gradient * 0.5)
    return x


DEFECTS: dict[str, Any] = {
    "straight-through rounding": StraightThrough.apply,
    "reversed": Reversed.apply,
    "no_grad": _without_gradient,
    "decorated": lambda x: x * torch.no_grad()(torch.sigmoid)(x),
    "attention": _attention,
    "hook on a tensor": _with_hook,
    "checkpoint": lambda x: checkpoint(_without_gradient, x, use_reentrant=False),
}
"""The logits of a traced copy are those of the model, its gradients are not (or it cannot be traced)."""


class Network(nn.Module):
    """Batch norms to fold (or not), and something before, between or after them."""

    def __init__(self, what: Any, where: str, norms: bool = True) -> None:
        super().__init__()
        layers: Any = copy.deepcopy(trained("bn").backbone.body)
        if not norms:
            layers = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.BatchNorm2d)))
        self.first: nn.Module = layers[0]
        self.rest: nn.Module = layers[1:]
        self.what, self.where = what, where

    def forward(self, x: Tensor) -> Tensor:
        x = self.what(x) if self.where == "front" else x
        x = self.first((x - 0.3) / 0.37)
        x = self.rest(self.what(x) if self.where == "middle" else x)
        return self.what(x) if self.where == "end" else x


PLACES = [
    (name, where) for name in DEFECTS for where in ("front", "middle", "end") if (name, where) != ("attention", "end")
]


@pytest.mark.parametrize("norms", [True, False])
@pytest.mark.parametrize(("name", "where"), PLACES)
def test_a_copy_with_other_gradients_is_refused(name: str, where: str, norms: bool) -> None:
    net = Network(DEFECTS[name], where, norms).eval()
    for made in (fast_copy(net, SHAPE), StandingCopy(net, SHAPE)):
        assert made.module is None
        assert made.num_folded == 0
        assert made.reason.startswith(("its traced copy has other gradients", "it cannot be traced"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("norms", [True, False])
def test_gradients_are_the_models_own_where_the_copy_has_others(norms: bool, precision: Any) -> None:
    net = Network(StraightThrough.apply, "front", norms).eval()
    images, labels = digits(32)
    with GradientView(net) as plain, GradientView(net, precision=precision, shape=SHAPE) as view:
        assert not view.folded
        wanted, got = (v.value_and_gradient(images, labels, CrossEntropy())[1] for v in (plain, view))
        assert (wanted - got).norm() < (1e-6 if precision == "fp32" else 0.2) * wanted.norm()  # lost, it would be 1
        assert wanted.norm() > 0


@pytest.mark.parametrize("attack", [PGD(norm="linf", eps=0.15), ApgdCE(norm="linf", eps=0.15, num_steps=20)])
def test_a_module_and_the_same_network_as_a_function_are_equally_robust(attack: Any) -> None:
    net, data = Network(StraightThrough.apply, "front").eval(), digits(200)
    module = robustray.evaluate(net, data, attack)
    function = robustray.evaluate(lambda x: net(x), data, attack)
    assert module.attacks[0].robust == function.attacks[0].robust
    assert module.attacks[0].robust.value < 0.8 * module.clean.value


def test_gradients_at_the_ends_of_the_range_are_compared() -> None:
    made = fast_copy(Network(Passing.apply, "front").eval(), SHAPE)
    assert made.module is None
    assert made.reason.startswith("its traced copy has other gradients")


def test_a_module_without_a_gradient_is_refused_and_not_attacked_through_its_copy() -> None:
    """The trace forgets no_grad, and rounding has a gradient of zero: the copy alone would pass one."""
    net = Network(lambda x: torch.no_grad()(lambda y: (7 * y).round() / 7)(x), "front").eval()
    assert fast_copy(net, SHAPE).module is None
    with pytest.raises(InputError, match="passes no gradient"):
        robustray.evaluate(net, digits(32), PGD(norm="linf", eps=0.15))


def test_tracing_leaves_no_symbols_in_the_model() -> None:
    class Keeping(nn.Module):
        """Assigns to itself on its way: a buffer, an activation."""

        level: Tensor
        last: Tensor | None

        def __init__(self) -> None:
            super().__init__()
            self.inner: Any = copy.deepcopy(trained("bn").backbone)
            self.last = None
            self.register_buffer("level", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.level = self.level + x.mean().detach()
            self.last = x
            return self.inner(x)

    net: Any = Keeping().eval()
    fast_copy(net, SHAPE)
    assert type(net.level) is Tensor and (net.last is None or type(net.last) is Tensor)
    images, labels = digits(32)
    assert PGD(norm="linf", eps=0.15)(net, images, labels).success.any()
    assert type(net.level) is Tensor


def test_infinite_gradients_at_black_pixels_do_not_unfold() -> None:
    assert fast_copy(Network(torch.sqrt, "front").eval(), SHAPE).num_folded == 2


def test_detached_differences_are_seen_by_the_trace_and_stay_folded() -> None:
    """Straight-through rounding as one mostly writes it: FX keeps `detach`."""
    net = Network(lambda x: x + ((7 * x).round() / 7 - x).detach(), "front").eval()
    assert fast_copy(net, SHAPE).num_folded == 2


@pytest.mark.parametrize(
    "kind", ["register_full_backward_hook", "register_full_backward_pre_hook", "register_forward_hook"]
)
def test_hooks_on_layers_that_fold_are_missed(kind: str) -> None:
    net: Any = random_statistics(copy.deepcopy(trained("bn").backbone))
    assert fast_copy(net, SHAPE).num_folded == 2
    doubled: dict[str, Any] = {
        "register_full_backward_hook": lambda module, given, out: (2 * given[0],),
        "register_full_backward_pre_hook": lambda module, out: (2 * out[0],),
        "register_forward_hook": lambda module, given, out: 2 * out,
    }
    handle = getattr(net.body[1], kind)(doubled[kind])
    changed = fast_copy(net, SHAPE)
    assert changed.module is None
    handle.remove()
    assert fast_copy(net, SHAPE).num_folded == 2


def test_a_branch_that_weighed_nothing_is_compared_again_once_it_does() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.gate = copy.deepcopy(trained("bn").backbone), nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x + self.gate * _without_gradient(x))

    net = Gated().eval()
    assert fast_copy(net, SHAPE).num_folded == 2
    assert StandingCopy(net, SHAPE).module is None  # made from other weights, whatever these are now
    with torch.no_grad():
        net.gate.fill_(0.5)
    assert fast_copy(net, SHAPE).module is None


def _torchvision(name: str) -> nn.Module:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # two networks announce another default initialisation
        return torchvision.models.get_model(name, weights=None, num_classes=10).eval()


def test_rounding_at_a_relu_does_not_unfold_an_honest_network() -> None:
    """Where fp32 rounding decides many maxima, fp64 tells that the copy is right."""
    net, shape = random_statistics(_torchvision("googlenet")), torch.Size((3, 64, 64))
    made = fast_copy(net, shape)
    assert made.module is not None
    assert made.num_folded == 57
    assert _gradient_gap(net, made.module, shape, torch.float32) > GRADIENT_TOLERANCE


FAMILIES = {
    **{"alexnet": 0, "densenet121": 59, "efficientnet_b0": 49, "googlenet": 57, "mnasnet0_5": 52, "mobilenet_v2": 52},
    **{"mobilenet_v3_small": 34, "regnet_y_400mf": 53, "resnet18": 20, "shufflenet_v2_x0_5": 56, "squeezenet1_1": 0},
}
"""Name -> batch norms that go into the layers before them. The networks here run in a second."""
LARGE_FAMILIES = {
    **{"convnext_tiny": 0, "efficientnet_v2_s": 110, "inception_v3": 94, "maxvit_t": 23, "resnext50_32x4d": 53},
    **{"swin_t": 0, "vgg11_bn": 8, "vit_b_32": 0, "wide_resnet50_2": 53},
}
SIDES = {"inception_v3": 96, "maxvit_t": 224, "vit_b_32": 224}


@pytest.mark.parametrize(
    ("name", "num_folded"),
    [*FAMILIES.items(), *(pytest.param(*each, marks=pytest.mark.acceptance) for each in LARGE_FAMILIES.items())],
)
def test_the_families_of_torchvision_keep_their_copy(name: str, num_folded: int) -> None:
    side = SIDES.get(name, 64 if name in ("alexnet", "densenet121") else 48)
    made = fast_copy(_torchvision(name), torch.Size((3, side, side)))
    assert made.module is not None, made.reason
    assert made.num_folded == num_folded
