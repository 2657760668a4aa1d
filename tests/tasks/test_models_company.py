"""An image's logits must not depend on the other images of its batch, and a door leaves no trace on a model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.attacks import FGSM
from robustray.tasks.errors import InputError
from robustray.tasks.evaluation.evaluate import evaluate
from robustray.tasks.models.doors import check_model, clamp_remark
from tests.tasks.digits_networks import digits, trained

IMAGES, LABELS = digits(24)
NET = trained("mlp")  # before any model that uses it runs without gradients
Model = Callable[[Tensor], Tensor]


class Hidden(nn.Module):
    """Holds a network where `modules()` does not look."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.nets = [net]

    def forward(self, x: Tensor) -> Tensor:
        return self.nets[0](x)


class Centred(nn.Module):
    def __init__(self, share: float = 1.0) -> None:
        super().__init__()
        self.inner, self.share = copy.deepcopy(NET), share

    def forward(self, x: Tensor) -> Tensor:
        z = self.inner(x)
        return z - self.share * z.mean(0)


class Quantised(nn.Module):
    """Rounds to steps of the largest activation of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        z = NET(x)
        step = z.abs().max() / 50
        return (z / step).round() * step


def without_statistics() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32, track_running_stats=False), nn.Linear(32, 10)
    )


def training() -> nn.Module:
    return copy.deepcopy(trained("bn")).train()


MIXERS: dict[str, tuple[Callable[[], Any], str]] = {
    "mean": (Centred, "computes over the batch"),
    "a little of the mean": (lambda: Centred(1e-3), "computes over the batch"),
    "dynamic quantisation": (Quantised, "computes over the batch"),
    "the darkest pixel of the batch": (lambda: lambda x: NET(x - x.min()), "computes over the batch"),
    "the brightest pixel of the batch": (lambda: lambda x: NET(x / x.max()), "computes over the batch"),
    "batch norm without statistics": (without_statistics, "BatchNorm1d without running statistics"),
    "the same behind a function": (lambda: lambda x, net=without_statistics(): net(x), "without running statistics"),
    "training mode behind a function": (
        lambda: lambda x, net=training(): net(x),
        r"BatchNorm2d in training mode.*\.eval",
    ),
    "training mode in a list": (lambda: Hidden(training()), r"BatchNorm2d in training mode.*\.eval"),
}


@pytest.mark.parametrize("count", [1, 2, 20])
@pytest.mark.parametrize(("make", "says"), MIXERS.values(), ids=MIXERS.keys())
def test_a_model_whose_images_meet_is_refused(make: Callable[[], Any], says: str, count: int) -> None:
    if make is Quantised and count == 1:
        pytest.skip("an image that is always alone has one answer")
    for look in (
        lambda model: check_model(model, IMAGES[:count], 10),
        lambda model: evaluate(model, (IMAGES[:count], LABELS[:count]), FGSM(norm="linf", eps=0.1)),
    ):
        with pytest.raises(InputError, match=says) as caught:
            look(make())
        assert "\n" not in str(caught.value)


def half(x: Tensor) -> Tensor:
    return NET(x).bfloat16()


def test_rounding_that_depends_on_the_batch_is_no_company() -> None:
    for model in (NET, trained("bn"), half, Centred(1e-6).eval()):
        assert check_model(model, IMAGES[:3], 10) == []


def test_statistics_of_networks_behind_functions_are_put_back() -> None:
    net = training()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for model in (lambda x: net(x), Hidden(net), net):
        try:
            check_model(model, IMAGES, 10)
        except InputError:
            assert model is not net
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(module.training for module in net.modules())
    net.eval()
    assert check_model(lambda x: net(x), IMAGES, 10) == []


def test_randomness_is_told_from_company() -> None:
    noisy = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 10))
    before = torch.random.get_rng_state()
    (warning,) = check_model(lambda x: noisy(x), IMAGES, 10)
    assert "same images again" in warning
    with pytest.raises(InputError, match="computes over the batch"):  # both at once
        check_model(lambda x: noisy(x) - noisy(x).mean(0), IMAGES, 10)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "front",
    [
        lambda x: x.clamp(0, 1),
        lambda x: torch.clip(x, 0, 1),
        lambda x: x.clone().clamp_(0, 1),
        lambda x: torch.minimum(torch.maximum(x, torch.zeros(())), torch.ones(())),
        lambda x: nn.functional.hardtanh(x, 0, 1),
    ],
)
@pytest.mark.parametrize("images", [IMAGES, 0.1 + 0.8 * IMAGES])
def test_a_model_that_clamps_its_input_is_told(front: Model, images: Tensor) -> None:
    net = NET
    (said,) = clamp_remark(lambda x: net(front(x)), images)
    assert "clamps its input" in said and "2.13" in said and "2.14" in said
    found = evaluate(lambda x: net(front(x)), (images, LABELS), FGSM(norm="linf", eps=0.1))
    assert found.warnings[0] == said


@pytest.mark.parametrize(
    "front", [lambda x: x, lambda x: (7 * x).round() / 7, lambda x: 0 * x, lambda x: 1 / (x >= 0).float() * x]
)
def test_others_are_not(front: Model) -> None:
    assert clamp_remark(lambda x: NET(front(x)), IMAGES) == []


def test_what_torch_does_with_the_gradient_of_a_clamp() -> None:
    """The remark states a fact of the installed torch: 1 at the bound up to 2.13, 0 from 2.14 on."""
    x = torch.tensor([0.0, 0.5, 1.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(x.clamp(0, 1).sum(), x)
    new = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 14)
    assert gradient.tolist() == ([0, 1, 0] if new else [1, 1, 1])
