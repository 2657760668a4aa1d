"""Optimising inputs without a ball, and gradients estimated from scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from robustray.tasks.attacks.free import SPACES, FreePGD
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.nes import NES
from robustray.tasks.attacks.objective import LatentMatching, Margin
from robustray.tasks.attacks.search.free_run import from_fourier, to_fourier
from robustray.tasks.attacks.settings import PGD, Norm, RandomNoise
from robustray.tasks.errors import InputError
from tests.tasks.digits_networks import digits, same, trained

NORMS: tuple[Norm, ...] = ("linf", "l2")


pytestmark = pytest.mark.usefixtures("one_thread")


# --- Without a ball ---------------------------------------------------------------------------------------------------

STEP = {"pixels": 0.05, "fourier": 0.5, "noise": 0.02}
ATTACKS = {space: FreePGD(space=space, step_size=STEP[space], num_steps=12, precision="fp32") for space in SPACES}


def test_pixels_by_hand() -> None:
    net, (images, labels) = trained("cnn"), digits(20)
    x, losses, iterates = images, [], []
    for _ in range(6):
        x = x.clone().requires_grad_(True)
        loss = functional.cross_entropy(net(x), labels, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        losses.append(loss.detach())
        iterates.append(x.detach())
        x = (x.detach() + 0.05 * gradient).clamp(0, 1)  # the gradient as long as it is
    attack = replace(ATTACKS["pixels"], num_steps=5)
    result = attack(net, images, labels)
    best = torch.stack(losses).argmax(0)
    assert torch.allclose(result.images, torch.stack(iterates)[best, torch.arange(20)], atol=1e-5)
    assert torch.allclose(replace(attack, exit_rule="last")(net, images, labels).images, iterates[-1], atol=1e-5)
    assert (result.num_evaluations == 5 + 3).all()


@pytest.mark.parametrize("width", [7, 8])
def test_fourier_coefficients_are_those_of_the_image(width: int) -> None:
    images = 0.1 + 0.8 * torch.rand(3, 2, 8, width)
    coefficients = to_fourier(images)
    assert coefficients.shape == (3, 2, 8, width // 2 + 1, 2)
    assert torch.allclose(from_fourier(coefficients, width), images, atol=1e-5)
    # orthonormal: the constant coefficient is the mean of the logits times the root of the number of pixels
    mean = images.logit().mean((2, 3)) * (8 * width) ** 0.5
    assert torch.allclose(coefficients[:, :, 0, 0, 0], mean, atol=1e-4)
    edges = from_fourier(to_fourier(torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])), 2)
    assert torch.allclose(edges, torch.tensor([[[[1 / 512, 511 / 512], [511 / 512, 1 / 512]]]]), atol=1e-5)


def test_fourier_steps_follow_the_gradient_of_the_coefficients() -> None:
    net, (images, labels) = trained("cnn"), digits(8)
    start = to_fourier(images)
    x = start.clone().requires_grad_(True)
    loss = functional.cross_entropy(net(from_fourier(x, 8)), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    attack = replace(ATTACKS["fourier"], num_steps=1, exit_rule="last")
    assert torch.allclose(attack(net, images, labels).images, from_fourier(start + 0.5 * gradient, 8), atol=1e-5)


@pytest.mark.parametrize("space", ["pixels", "fourier"])
def test_objectives_rise(space: Any) -> None:
    net, (images, labels) = trained("cnn"), digits(30)
    result = replace(ATTACKS[space], num_steps=40)(net, images, labels)
    clean = functional.cross_entropy(predict_logits(net, images), labels, reduction="none")
    assert (result.loss >= clean - 1e-5).all() or space == "fourier"  # which starts half a grey level away
    assert (result.loss - clean).mean() > 1
    assert result.success.float().mean() > 0.3
    assert torch.equal(result.success, result.predictions != labels)
    targets = (labels + 1) % 10
    towards = replace(ATTACKS[space], num_steps=100, targeted=True)(net, images, labels, targets=targets)
    assert torch.equal(towards.success, towards.predictions == targets)
    assert towards.success.float().mean() > 0.3
    wanted = net.latent(digits(60)[0][30:]).detach()
    matching = replace(ATTACKS[space], step_size=5 * STEP[space], num_steps=40)
    latents = matching(net, images, labels, objective=LatentMatching(), targets=wanted)
    before = matching(net, images, labels, objective=LatentMatching(), targets=wanted, seed=1)
    assert torch.equal(latents.images, before.images)  # no noise, no seed
    start = -(net.latent(images) - wanted).norm(dim=1) / wanted.norm(dim=1)
    assert (latents.loss > start + 0.05).float().mean() > 0.9


def test_the_walk_sees_no_gradient_and_keeps_its_size() -> None:
    net, images, labels = trained("cnn"), torch.full((40, 1, 8, 8), 0.5), digits(40)[1]
    attack = replace(ATTACKS["noise"], exit_rule="last", num_steps=16)
    result = attack(net, images, labels)
    spread = (result.images - images).std()
    assert spread == pytest.approx(0.02 * 16**0.5, rel=0.1)
    assert not torch.equal(attack(net, images, labels, seed=1).images, result.images)


def test_fourier_images_of_odd_sizes_are_alone_what_they_are_in_company() -> None:
    """35 pixels leave a rest behind the vector units, and one transform is no batch of transforms."""
    weight = torch.rand(35, 4, generator=torch.Generator().manual_seed(0)) - 0.5

    def model(x: Tensor) -> Tensor:
        return x.flatten(1) @ weight

    images = torch.rand(20, 1, 7, 5, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    whole = ATTACKS["fourier"](model, images, labels)
    for first in (0, 7, 19):
        rows = slice(first, first + 1)
        assert same(ATTACKS["fourier"](model, images[rows], labels[rows], indices=[first]), whole, rows)


@pytest.mark.parametrize("space", SPACES)
def test_free_results_depend_on_neither_order_nor_shard(space: Any) -> None:
    (images, labels), net = digits(70), trained("cnn")
    attack = replace(ATTACKS[space], start_noise=0.05)
    whole = attack(net, images, labels, seed=7)
    assert whole.images.min() >= 0
    assert whole.images.max() <= 1
    order = torch.randperm(70, generator=torch.Generator().manual_seed(1))
    assert same(attack(net, images[order], labels[order], seed=7, indices=order), whole, order)
    for first, size in ((0, 1), (33, 15), (50, 16), (53, 17)):
        rows = slice(first, first + size)
        assert same(attack(net, images[rows], labels[rows], seed=7, indices=range(first, first + size)), whole, rows)
    assert same(replace(attack, batch_size=33)(net, images, labels, seed=7), whole)
    assert attack(net, images[:0], labels[:0]).images.shape == (0, 1, 8, 8)


def test_free_doors() -> None:
    net, (images, labels) = trained("cnn"), digits(20)
    mask = torch.zeros(20, 1, 8, 8)
    mask[..., :4] = 1
    for space in ("pixels", "noise"):
        result = replace(ATTACKS[space], exit_rule="last", start_noise=0.1)(net, images, labels, mask=mask)
        assert torch.equal(result.images[..., 4:], images[..., 4:])
        assert (result.distance > 0).all()
    with pytest.raises(InputError, match="every coefficient moves every pixel"):
        ATTACKS["fourier"](net, images, labels, mask=mask)
    with pytest.raises(InputError, match=r"labels must be in 0 .. 9"):
        ATTACKS["pixels"](net, images, labels + 10)
    for settings, says in (
        ({"space": "pixel"}, "did you mean 'pixels'"),
        ({"step_size": -1}, "step_size"),
        ({"num_steps": 0}, "num_steps"),
        ({"exit_rule": "first_success"}, "exit_rule"),
        ({"start_noise": float("nan")}, "start_noise"),
    ):
        with pytest.raises(InputError, match=says):
            FreePGD(**({"space": "pixels", "step_size": 0.1, "num_steps": 3} | settings))  # type: ignore[arg-type]
    assert eval(repr(ATTACKS["noise"])) == ATTACKS["noise"]


# --- Estimated gradients ----------------------------------------------------------------------------------------------


def eps_of(norm: Norm) -> float:
    return 0.12 if norm == "linf" else 0.7


@pytest.mark.parametrize("norm", NORMS)
def test_nes_lies_between_noise_and_pgd(norm: Norm) -> None:
    images, labels = digits(60)
    settings: dict[str, Any] = {"norm": norm, "eps": eps_of(norm)}
    nes = NES(**settings, num_samples=40)(trained("cnn"), images, labels)
    pgd = PGD(**settings)(trained("cnn"), images, labels)
    noise = RandomNoise(**settings, num_draws=20)(trained("cnn"), images, labels)
    assert noise.success.sum() < nes.success.sum() <= pgd.success.sum() + 2
    assert nes.success.sum() > 0.6 * pgd.success.sum()
    assert nes.distance.max() <= eps_of(norm) * (1 + 1e-5)
    assert torch.equal(nes.predictions, predict_logits(trained("cnn"), nes.images).argmax(1))
    assert nes.precision == "fp32"


def test_many_samples_estimate_the_direction_of_the_gradient() -> None:
    weight = torch.randn(3, 48, generator=torch.Generator().manual_seed(0))

    def linear(x: Tensor) -> Tensor:
        with torch.no_grad():  # scores only
            return x.flatten(1) @ weight.T

    images = torch.full((16, 3, 4, 4), 0.5)
    labels = linear(images).argmax(1)
    attack = NES(norm="l2", eps=0.1, step_size=0.02, num_steps=30, num_samples=400, radius=0.01)
    result = attack(linear, images, labels)
    x = images.clone().requires_grad_(True)
    logits = x.flatten(1) @ weight.T
    (gradient,) = torch.autograd.grad(functional.cross_entropy(logits, labels, reduction="sum"), x)
    moved, best = (result.images - images).flatten(1), gradient.flatten(1)
    assert (functional.cosine_similarity(moved, best) > 0.8).all()


@pytest.mark.parametrize("norm", NORMS)
def test_nes_results_depend_on_neither_order_nor_shard(norm: Norm) -> None:
    (images, labels), net = digits(40), trained("cnn")
    attack = NES(norm=norm, eps=eps_of(norm), num_steps=4, num_samples=10, num_restarts=2)
    whole = attack(net, images, labels, seed=7)
    assert 0 < whole.success[whole.num_evaluations > 1].float().mean() < 1
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert same(attack(net, images[order], labels[order], seed=7, indices=order), whole, order)
    for first, size in ((0, 1), (5, 15), (23, 17)):
        rows = slice(first, first + size)
        assert same(attack(net, images[rows], labels[rows], seed=7, indices=range(first, first + size)), whole, rows)
    assert same(replace(attack, batch_size=16)(net, images, labels, seed=7), whole)
    alone = replace(attack, num_restarts=1)(net, images, labels, seed=7)
    assert (whole.success >= alone.success).all()


def test_nes_doors() -> None:
    images, labels = digits(20)
    with pytest.raises(InputError, match="num_samples must be even"):
        NES(norm="l2", eps=0.1, num_samples=3)
    with pytest.raises(InputError, match="radius"):
        NES(norm="l2", eps=0.1, radius=-1)
    with pytest.raises(InputError, match="brings its own objective"):
        NES(norm="l2", eps=0.1)(trained("cnn"), images, labels, objective=Margin())
    still = NES(norm="linf", eps=0.0, num_steps=2, num_samples=4)(trained("cnn"), images, labels)
    assert torch.equal(still.images, images)
    assert eval(repr(NES(norm="l2", eps=0.1, radius=0.5))) == NES(norm="l2", eps=0.1, radius=0.5)
