"""What models may return and do to what they are given: other arithmetic, no gradient, changes in place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robustray.tasks.attacks import (
    ATTACKS,
    FGSM,
    NES,
    PGD,
    RSFGSM,
    ApgdCE,
    FabT,
    FreePGD,
    RandomNoise,
    Square,
)
from robustray.tasks.attacks.gradient.trial import try_gradient
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import CrossEntropy
from robustray.tasks.errors import InputError
from robustray.tasks.evaluation.evaluate import evaluate
from tests.tasks.digits_networks import digits, same, trained

IMAGES, LABELS = digits(40)
NET = trained("mlp")  # before any model that uses it runs without gradients
FEW: list[Any] = [
    PGD(norm="linf", eps=0.1, num_steps=5),
    PGD(norm="l2", eps=0.5, num_steps=5, exit_rule="best_loss"),
    FGSM(norm="linf", eps=0.1),
    RSFGSM(norm="linf", eps=0.1),
    ApgdCE(norm="linf", eps=0.1, num_steps=5),
    FabT(norm="l2", eps=0.5, num_steps=5),
    Square(norm="linf", eps=0.1, num_queries=60),
    Square(norm="l2", eps=0.5, num_queries=60),
    RandomNoise(norm="linf", eps=0.1),
    NES(norm="linf", eps=0.1, num_steps=3, num_samples=10),
    FreePGD(space="pixels", step_size=0.1, num_steps=5),
]
IDS = [f"{attack.name} {getattr(attack, 'norm', '')}" for attack in FEW]


class Cast(nn.Module):
    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        self.inner, self.kind = NET, kind

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).to(self.kind)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("attack", FEW, ids=IDS)
def test_logits_of_any_float_are_attacked_in_fp32(attack: Any, kind: torch.dtype) -> None:
    net = Cast(kind).eval()
    given, in_fp32 = attack(net, IMAGES, LABELS), attack(lambda x: net(x).float(), IMAGES, LABELS)
    assert same(given, in_fp32)
    assert given.loss.dtype == given.images.dtype == torch.float32


def test_whole_numbers_are_no_logits() -> None:
    with pytest.raises(InputError, match="int64, expected logits in floating point"):
        FGSM(norm="linf", eps=0.1)(lambda x: NET(x).long(), IMAGES, LABELS)


class InPlace(nn.Module):
    """Normalises where the pixels lie; or not, if told so."""

    def __init__(self, convolution: bool, in_place: bool = True) -> None:
        super().__init__()
        self.inner = copy.deepcopy(trained("cnn" if convolution else "mlp").backbone)
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.sub_(0.3).div_(0.37) if self.in_place else (x - 0.3) / 0.37)


@pytest.mark.parametrize("convolution", [False, True])
@pytest.mark.parametrize("attack", FEW, ids=IDS)
def test_a_model_that_changes_its_input_changes_nothing_of_the_callers(attack: Any, convolution: bool) -> None:
    net, images, labels = InPlace(convolution).eval(), IMAGES.clone(), LABELS.clone()
    result = attack(net, images, labels)
    assert torch.equal(images, IMAGES)
    assert torch.equal(labels, LABELS)
    assert 0 <= result.images.min() <= result.images.max() <= 1
    if not isinstance(attack, FreePGD):
        away = (result.images - IMAGES).flatten(1)
        size = away.abs().amax(1) if attack.norm == "linf" else away.norm(dim=1)
        assert size.max() <= attack.eps + 1e-6
    assert same(result, attack(InPlace(convolution, in_place=False).eval(), IMAGES, LABELS))


@pytest.mark.parametrize("form", [lambda x: x, lambda x: x.numpy()])
def test_evaluate_leaves_the_callers_images_alone(form: Callable[[Tensor], Any]) -> None:
    images = IMAGES[:16].clone()
    given = form(images), form(LABELS[:16])
    evaluate(InPlace(convolution=False).eval(), given, ["pgd", "square", "noise"], eps=0.1, num_images=16)
    assert torch.equal(images, IMAGES[:16])


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "detach": lambda x: x.detach(),
    "numpy": lambda x: torch.from_numpy(x.detach().numpy().copy()),
    "byte": lambda x: (x * 255).byte().float() / 255,
    "no_grad": torch.no_grad()(lambda x: 1 * x),
}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_model_without_gradients_is_refused_at_the_door_by_attacks_that_need_them(way: Any, frozen: bool) -> None:
    inner = copy.deepcopy(NET).requires_grad_(not frozen)
    net = nn.Sequential(Lambda(way), inner).eval()
    for attack in ("pgd", "apgd-ce", "fab-t", "autoattack"):
        with pytest.raises(InputError, match=r"passes no gradient to its images.*square"):
            evaluate(net, (IMAGES, LABELS), attack, eps=0.1)
    found = evaluate(net, (IMAGES, LABELS), RandomNoise(norm="linf", eps=0.1))
    assert found.warnings == ()


class Lambda(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def test_reentrant_checkpoints_are_named() -> None:
    net = nn.Sequential(Lambda(lambda x: checkpoint(NET, x, use_reentrant=True))).eval()
    with pytest.raises(InputError, match="use_reentrant=False"):
        try_gradient(net, IMAGES)


def test_inside_inference_mode_the_reason_is_inference_mode() -> None:
    with torch.inference_mode():
        built = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
        images = IMAGES.clone()
        with pytest.raises(InputError, match=r"inside torch.inference_mode\(\)"):
            evaluate(NET, (IMAGES, LABELS), "pgd", eps=0.1)
    with pytest.raises(InputError, match=r"weights .* made inside torch.inference_mode\(\).*deepcopy"):
        evaluate(built, (IMAGES, LABELS), "pgd", eps=0.1)
    evaluate(copy.deepcopy(built), (IMAGES, LABELS), "pgd", eps=0.1)
    made_there = PGD(norm="linf", eps=0.1)(NET, images, LABELS)
    assert same(made_there, PGD(norm="linf", eps=0.1)(NET, IMAGES, LABELS))


@pytest.mark.parametrize("name", sorted({*ATTACKS} - {"nes"}))
def test_a_single_output_is_refused_with_what_to_do(name: str) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    for call in (
        lambda: evaluate(net, (IMAGES, torch.zeros(40, dtype=torch.int64)), name, eps=0.1),
        lambda: ATTACKS[name](norm="linf", eps=0.1)(net, IMAGES, torch.zeros(40, dtype=torch.int64)),
    ):
        with pytest.raises(InputError, match=r"one output.*two classes.*torch\.cat") as caught:
            call()
        assert "fab" not in str(caught.value)


NUMBERS: list[Any] = [np.float64(0.25), np.float32(0.25), np.float16(0.25), np.array(0.25), torch.tensor(0.25)]


@pytest.mark.parametrize("eps", NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ATTACKS)
def test_sizes_may_be_numpys_or_torchs(name: str, eps: Any) -> None:
    assert ATTACKS[name](norm="l2", eps=eps) == ATTACKS[name](norm="l2", eps=0.25)
    assert repr(ATTACKS[name](norm="l2", eps=eps)) == repr(ATTACKS[name](norm="l2", eps=0.25))


def test_so_may_whole_numbers_and_several_sizes() -> None:
    assert PGD(norm="linf", eps=0.25, num_steps=np.int64(7)) == PGD(norm="linf", eps=0.25, num_steps=7)  # type: ignore[arg-type]
    sizes: list[Any] = [np.linspace(0.25, 0.5, 2, dtype=np.float32), torch.linspace(0.25, 0.5, 2), *NUMBERS]
    for eps in sizes:
        found = evaluate(NET, (IMAGES, LABELS), "fgsm", eps=eps)
        assert [score.eps for score in found.attacks] == ([0.25] if np.ndim(eps) == 0 else [0.25, 0.5])
    with pytest.raises(InputError, match="finite number"):
        PGD(norm="linf", eps=np.array([0.1, 0.2]))  # type: ignore[arg-type]


class NoBf16(nn.Module):
    """Has an operation without bf16 behind its convolution, as recurrent layers are on some machines."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if x.dtype == torch.bfloat16:
            raise RuntimeError('"recurrent" not implemented for BFloat16')
        return self.head(x.flatten(1))


def test_a_model_that_cannot_run_in_bf16_is_attacked_in_fp32_and_it_is_said() -> None:
    torch.manual_seed(0)
    net = NoBf16().eval()
    labels = net(IMAGES).argmax(1)
    low, high = (PGD(norm="linf", eps=0.1, precision=kind)(net, IMAGES, labels) for kind in ("bf16", "fp32"))
    assert low.precision == "fp32"
    assert same(low, high)
    found = evaluate(net, (IMAGES, labels), PGD(norm="linf", eps=0.1, precision="bf16"))
    assert "cannot run in bf16" in found.warnings[0]
    with GradientView(net, precision="bf16", shape=IMAGES.shape[1:]) as view:
        view.value_and_gradient(IMAGES, labels, CrossEntropy())
        assert view.why_not_bf16.startswith("RuntimeError")
