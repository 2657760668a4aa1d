"""The fast view of a model: what is folded, what is refused, and that verdicts stay those of the model itself."""

from __future__ import annotations

import gc
import weakref
from typing import Any, Literal, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustray.tasks.attacks import FGSM, PGD
from robustray.tasks.attacks.gradient.folding import _kept, fast_copy
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import CrossEntropy, LatentMatching, Margin
from robustray.tasks.attacks.precision import resolve_precision
from robustray.tasks.errors import InputError
from robustray.tasks.models.normalised import Normalised
from robustray.tasks.models.registry import build_model
from robustray.tasks.models.small import SmallResNet

SHAPE = torch.Size((3, 32, 32))
Norms = Literal["linf", "l2"]


def random_statistics(net: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms as after training: running statistics, scales and shifts of their own."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and module.affine:
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and module.running_var is not None:
                cast(Tensor, module.running_mean).normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return net.eval()


def small_net(scale: float = 50.0) -> Normalised:
    """Network "S" whose logits are centred and differ between random images, by about `scale` / 20."""
    torch.manual_seed(0)
    backbone = SmallResNet(10)
    net = Normalised(backbone, [0.5] * 3, [0.25] * 3)
    random_statistics(net)
    with torch.no_grad():
        backbone.head.weight.mul_(scale)
        backbone.head.bias.copy_(-backbone.head.weight @ net.latent(images_of(200)).mean(0))
    return net


def images_of(count: int, shape: torch.Size = SHAPE) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))


class Plain(nn.Module):
    """A list of layers."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


# --- Folding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "num_norms"), [("cifar:resnet20", 19), ("cifar:resnet56", 55), ("small:s", 9), ("cifar:resnet18", 20)]
)
def test_all_batch_norms_of_the_registered_networks_are_folded(name: str, num_norms: int) -> None:
    net = random_statistics(build_model(name, 10))
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    made = fast_copy(net, SHAPE)
    assert made.module is not None
    assert made.num_folded == len(norms) == num_norms
    assert not made.reason
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made.module.modules())
    assert not any(parameter.requires_grad for parameter in made.module.parameters())
    wanted, got = net(images_of(8)), made.module(images_of(8))
    assert (wanted - got).abs().max() <= 1e-4 * wanted.abs().max()


FOLDED: list[tuple[str, list[nn.Module], tuple[int, ...], int]] = [
    ("conv", [nn.Conv2d(3, 8, 3, bias=True), nn.BatchNorm2d(8), nn.Flatten(), nn.LazyLinear(4)], (3, 6, 6), 1),
    ("groups", [nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8), nn.Flatten(), nn.LazyLinear(4)], (4, 6, 6), 1),
    ("conv1d", [nn.Conv1d(2, 8, 3), nn.BatchNorm1d(8), nn.Flatten(), nn.LazyLinear(4)], (2, 9), 1),
    ("linear", [nn.Flatten(), nn.Linear(27, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)], (3, 3, 3), 1),
    ("no affine", [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False), nn.Flatten(), nn.LazyLinear(4)], (3, 6, 6), 1),
    ("last layer", [nn.Flatten(), nn.Linear(27, 4), nn.BatchNorm1d(4)], (3, 3, 3), 1),
    ("norm first", [nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), nn.Flatten(), nn.LazyLinear(4)], (3, 6, 6), 0),
    ("none", [nn.Conv2d(3, 8, 3), nn.Flatten(), nn.LazyLinear(4)], (3, 6, 6), 0),
    (
        "batch statistics",
        [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False), nn.Flatten(), nn.LazyLinear(4)],
        (3, 6, 6),
        0,
    ),
]


@pytest.mark.parametrize(("layers", "shape", "num_folded"), [row[1:] for row in FOLDED], ids=[row[0] for row in FOLDED])
def test_what_is_folded_gives_the_same_logits(layers: list[nn.Module], shape: Any, num_folded: int) -> None:
    net, images = Plain(*layers), images_of(32, shape)
    net.eval()(images)  # fixes the lazy layers
    made = fast_copy(random_statistics(net), images.shape[1:])
    assert made.num_folded == num_folded
    assert bool(made.reason) == (num_folded == 0)
    assert made.module is not None
    assert torch.allclose(made.module(images), net(images), atol=1e-5)


def test_layers_used_twice_are_not_folded() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.twice = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
            self.other, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.conv(x)) + self.conv(x)  # the convolution runs twice
            inner = self.other(x)
            x = self.twice(inner) + inner  # its output is read twice
            return self.head(x.mean((2, 3)))

    made = fast_copy(random_statistics(Shared()), SHAPE)
    assert made.module is not None
    assert made.num_folded == 0


def test_a_model_may_check_the_shape_of_its_images() -> None:
    class Strict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            if x.ndim != 4 or x.shape[1:] != (3, 32, 32):
                raise ValueError(f"images of shape {x.shape[1:]}")
            return self.head(self.norm(self.conv(x)).reshape(x.shape[0], 8, -1).mean(2))

    net = random_statistics(Strict())
    made = fast_copy(net, SHAPE)
    assert made.num_folded == 1
    assert made.module is not None
    assert torch.allclose(made.module(images_of(5)), net(images_of(5)), atol=1e-5)  # of other batch sizes too
    assert fast_copy(net, torch.Size((3, 16, 16))).reason == "it cannot be traced (ValueError)"


def test_a_subclass_of_a_layer_is_left_alone() -> None:
    class Doubled(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    net = random_statistics(Plain(Doubled(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 900, 4)))
    made = fast_copy(net, SHAPE)
    assert made.num_folded == 0


def test_a_model_that_cannot_be_traced_goes_unfolded_and_says_so() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_net()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) if x.mean() > 0 else -self.inner(x)

    with GradientView(Branches().eval(), precision="fp32", shape=SHAPE) as view:
        assert not view.folded
        assert view.exact
        assert view.why_not_folded == "it cannot be traced (TraceError)"
    with GradientView(lambda x: x.flatten(1)[:, :10], precision="fp32", shape=SHAPE) as view:
        assert (view.folded, view.why_not_folded) == (False, "only modules can be traced")
    with GradientView(small_net()) as view:
        assert (view.folded, view.exact) == (False, True)


def test_a_copy_that_says_something_else_is_refused() -> None:
    class Frozen(nn.Module):
        """Its noise is drawn once while tracing, and then every time."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.conv(x)).mean((2, 3))) + torch.randn(4)

    made = fast_copy(Frozen().eval(), SHAPE)
    assert made.module is None
    assert made.reason.startswith("its traced copy differs by")


@pytest.mark.parametrize("latent", [False, True])
def test_copies_follow_their_model(latent: bool) -> None:
    net, images = small_net(), images_of(8)
    backbone = cast(SmallResNet, net.backbone)

    def agrees() -> bool:
        module = fast_copy(net, SHAPE, latent=latent).module
        assert module is not None
        got = module(images)[0] if latent else module(images)
        return torch.allclose(got, net(images), atol=1e-4)

    assert agrees()
    first = fast_copy(net, SHAPE, latent=latent)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.1)
        cast(Tensor, backbone.stem.bn.running_mean).add_(0.1)
        backbone.head.bias.add_(1)
    assert agrees()
    assert fast_copy(net, SHAPE, latent=latent) is first  # brought up to date, not traced again
    backbone.head.bias.data.add_(1.0)  # past the version counter
    assert agrees()
    backbone.blocks = backbone.blocks[:2]
    backbone.head = nn.Linear(64, 10)
    assert agrees()
    assert fast_copy(net, SHAPE, latent=latent).num_folded == 6


def test_copies_go_with_their_model() -> None:
    net = small_net()
    fast_copy(net, SHAPE)
    num_kept, gone = len(_kept), weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None
    assert len(_kept) < num_kept


# --- The view ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fake_relu", [False, True])
def test_latents_and_their_gradients_survive_folding(fake_relu: bool) -> None:
    net, images = small_net(), images_of(20)
    wanted = net.latent(images_of(40)[20:]).detach()
    objective = LatentMatching(fake_relu=fake_relu)
    found = []
    for precision, shape in (("fp32", None), ("fp32", SHAPE), ("bf16", SHAPE), ("bf16", None)):
        with GradientView(
            net, needs_latent=True, fake_relu=fake_relu, precision=cast(Any, precision), shape=shape
        ) as view:
            assert view.folded == (shape is not None)
            found.append(view.value_and_gradient(images, wanted, objective))
    (loss, gradient, output), others = found[0], found[1:]
    assert output.latent is not None
    for (other_loss, other_gradient, other), tolerance in zip(others, (1e-4, 0.05, 0.05), strict=True):
        assert other.latent is not None
        assert other.latent.dtype == other.logits.dtype == other_gradient.dtype == torch.float32
        assert torch.allclose(other_loss, loss, rtol=tolerance)
        assert (other.latent - output.latent).norm() < tolerance * output.latent.norm()
        assert (other_gradient - gradient).norm() < 4 * tolerance * gradient.norm()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_are_those_of_the_model_and_verdicts_its_own(precision: Any) -> None:
    net, images = small_net(), images_of(40)
    labels = predict_logits(net, images).argmax(1)
    with GradientView(net) as plain, GradientView(net, precision=precision, shape=SHAPE) as view:
        assert view.folded
        assert not view.exact
        wanted, got = (v.value_and_gradient(images, labels, CrossEntropy()) for v in (plain, view))
        error = (wanted[1] - got[1]).flatten(1).norm(dim=1) / wanted[1].flatten(1).norm(dim=1)
        assert error.median() < (1e-4 if precision == "fp32" else 0.3)
        assert torch.allclose(got[2].logits, wanted[2].logits, atol=1e-4 if precision == "fp32" else 0.3)
        # in bits, what the plain model says
        assert torch.equal(view.evaluate(images).logits, plain.evaluate(images).logits)
        assert torch.equal(view.value(images, labels, Margin())[0], plain.value(images, labels, Margin())[0])
        # without a gradient, what it says with one
        loss, output = view.estimate(images, labels, Margin())
        assert torch.allclose(output.logits, got[2].logits, atol=1e-5 if precision == "fp32" else 0.1)
        assert loss.dtype == torch.float32


def test_logits_of_the_copy_have_no_ties_in_bf16() -> None:
    net, images = small_net(), images_of(64)
    with GradientView(net, precision="bf16", shape=SHAPE) as view:
        logits = view.estimate(images, torch.zeros(64, dtype=torch.int64), CrossEntropy())[1].logits
    assert not torch.equal(logits, logits.bfloat16().float())


def test_a_gradient_lost_in_bf16_is_found_in_fp32() -> None:
    class Lossy(nn.Module):
        """Under autocast its products lose everything, as matrix units do with the smallest numbers."""

        def forward(self, x: Tensor) -> Tensor:
            flat = x.flatten(1)
            scale = torch.where(flat[:, :1] > 0.5, 0.0 if torch.is_autocast_enabled("cpu") else 1.0, 1.0)
            return flat[:, :4] * scale

    images, labels = images_of(40), torch.zeros(40, dtype=torch.int64)
    with GradientView(Lossy().eval()) as plain, GradientView(Lossy().eval(), precision="bf16") as view:
        wanted = plain.value_and_gradient(images, labels, CrossEntropy())[1]
        assert torch.equal(view.value_and_gradient(images, labels, CrossEntropy())[1], wanted)


# --- Attacks on it ----------------------------------------------------------------------------------------------------


class Deceptive(nn.Module):
    """Under autocast every image looks misclassified; the model itself gives way only to a real perturbation."""

    def __init__(self) -> None:
        super().__init__()
        self.lies = 0

    def forward(self, x: Tensor) -> Tensor:
        lie = torch.is_autocast_enabled("cpu")
        self.lies += lie * len(x)
        value = (x - 0.5).flatten(1).mean(1)  # label 0 while positive
        return torch.stack((value - int(lie), -value), 1)


@pytest.mark.parametrize("num_restarts", [1, 3])
def test_a_success_only_bf16_sees_does_not_count_and_the_attack_goes_on(num_restarts: int) -> None:
    net, images = Deceptive(), 0.55 + 0.05 * images_of(70) + torch.linspace(0, 0.2, 70).view(-1, 1, 1, 1)
    labels = torch.zeros(70, dtype=torch.int64)
    within = (images.flatten(1).mean(1) - 0.5) < 0.12  # beyond eps, the label stays
    assert 0 < within.float().mean() < 1
    attack = PGD(norm="linf", eps=0.12, num_steps=6, num_restarts=num_restarts, precision="bf16", batch_size=32)
    result = attack(net, images, labels)
    assert torch.equal(result.success, within)
    assert torch.equal(result.success, net(result.images).argmax(1) == 1)
    assert torch.allclose(result.loss, functional.cross_entropy(net(result.images), labels, reduction="none"))
    # one clean pass; for each start 6 gradients, each followed by a refusal, and a look at x_T
    assert (result.num_evaluations[~within] == 1 + num_restarts * (2 * 6 + 1)).all()
    assert net.lies > 0
    assert (result.precision, result.folded) == ("bf16", False)


@pytest.mark.parametrize("exit_rule", ["first_success", "last", "best_loss"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_results_are_the_plain_models_words(precision: Any, norm: Norms, exit_rule: Any) -> None:
    net, images = small_net(), images_of(40)
    labels = predict_logits(net, images).argmax(1)
    labels[::7] = (labels[::7] + 1) % 10
    eps = 0.004 if norm == "linf" else 0.1
    attack = PGD(norm=norm, eps=eps, num_steps=4, num_restarts=2, exit_rule=exit_rule, precision=precision)
    result = attack(net, images, labels)
    logits = predict_logits(net, result.images)
    assert torch.equal(result.predictions, logits.argmax(1))
    assert torch.equal(result.success, logits.argmax(1) != labels)
    assert torch.equal(result.loss, functional.cross_entropy(logits, labels, reduction="none"))
    delta = (result.images - images).flatten(1)
    assert torch.allclose(result.distance, delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1), atol=1e-6)
    assert result.distance.max() <= eps * (1 + 1e-4)
    assert (result.distance[::7] == 0).all()
    assert 0.2 < result.success.float().mean() < 1
    assert (result.precision, result.folded) == (precision, True)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_folding_changes_no_verdict_of_a_step() -> None:
    net, images = small_net(), images_of(60)
    labels = predict_logits(net, images).argmax(1)
    by_precision = [
        FGSM(norm="linf", eps=0.01, precision=precision)(net, images, labels) for precision in ("fp32", "bf16")
    ]
    assert (by_precision[0].success != by_precision[1].success).float().mean() < 0.1
    with GradientView(net) as view:
        gradient = view.value_and_gradient(images, labels, CrossEntropy())[1]
    by_hand = predict_logits(net, (images + 0.01 * gradient.sign()).clamp(0, 1)).argmax(1) != labels
    assert torch.equal(by_precision[0].success, by_hand)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_saturated_images_stay_attackable(precision: Any) -> None:
    net, images = small_net(2000.0), images_of(60)
    labels = predict_logits(net, images).argmax(1)
    x = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(functional.cross_entropy(net(x), labels, reduction="sum"), x)
    size = gradient.flatten(1).norm(dim=1)
    tiny = (size > 0) & (size < 1e-12)
    assert tiny.sum() >= 5
    result = PGD(norm="l2", eps=1.5, num_steps=20, random_start=False, precision=precision)(net, images, labels)
    assert result.success[tiny].all()


def test_auto_is_what_this_machine_multiplies() -> None:
    net, images = small_net(), images_of(20)
    result = FGSM(norm="linf", eps=0.01)(net, images, torch.zeros(20, dtype=torch.int64))
    assert result.precision == resolve_precision("cpu")
    assert resolve_precision("meta") == "fp32"
    with pytest.raises(InputError, match="precision cannot be 'bf17'"):
        FGSM(norm="linf", eps=0.01, precision=cast(Any, "bf17"))


def test_a_surrounding_autocast_changes_no_verdict() -> None:
    net, images = small_net(), images_of(20)
    plain = predict_logits(net, images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(predict_logits(net, images), plain)
