"""The latent and the last ReLU, with and without batch norms folded."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.attacks.gradient.folding import fast_copy
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import LatentMatching
from robustray.tasks.errors import InputError
from robustray.tasks.models import build_model
from robustray.tasks.models.normalised import Normalised, final_relu

WITH_RELU = [
    *("cifar:resnet20", "cifar:resnet18-w16", "cifar:resnet50-w4", "cifar:wrn-10-2", "small:s"),
    *("digits:mlp", "digits:cnn", "small:fine", "small:plain", "small:depthwise"),
    *("torchvision:resnet18", "torchvision:resnext50_32x4d", "torchvision:densenet121"),
]
WITHOUT_RELU = ["mobilenet_v3_small", "shufflenet_v2_x0_5", "googlenet"]


pytestmark = pytest.mark.usefixtures("one_thread")


def built(name: str, num_classes: int = 10) -> Normalised:
    """Untrained, with batch norms as after training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(name, num_classes)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.1)
                cast(Tensor, module.running_mean).normal_(0, 0.1)
                cast(Tensor, module.running_var).uniform_(0.5, 2)
    assert isinstance(model, Normalised)
    return model.eval().requires_grad_(False)


def images_for(name: str, count: int = 2) -> Tensor:
    shape = {"digits": (1, 8, 8), "torchvision": (3, 64, 64)}.get(name.partition(":")[0], (3, 32, 32))
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", WITH_RELU)
def test_only_gradients_know_of_the_fake_relu_and_only_the_latent_of_no_relu(name: str) -> None:
    model, images = built(name), images_for(name).requires_grad_()
    logits, latent = model.forward_with_latent(images)
    assert torch.equal(logits, model(images))
    fake_logits, fake = model.forward_with_latent(images, fake_relu=True)
    assert torch.equal(fake, latent) and torch.equal(fake_logits, logits)
    real_logits, bare = model.forward_with_latent(images, no_relu=True)
    assert torch.equal(real_logits, logits)
    assert bare.shape == latent.shape and (bare <= latent).all() and (bare < 0).any()
    # the fake ReLU's gradient is that of the identity: the one of the latent without ReLU, where that is averaged
    of = {"real": latent, "fake": fake, "none": bare}
    gradients = {kind: torch.autograd.grad(z.sum(), images, retain_graph=True)[0] for kind, z in of.items()}
    assert not torch.equal(gradients["real"], gradients["fake"])
    torch.testing.assert_close(gradients["fake"], gradients["none"])
    torch.testing.assert_close(model.latent(images, no_relu=True), bare)


def test_the_fake_relu_in_closed_form() -> None:
    x = torch.tensor([-2.0, -0.0, 0.0, 3.0], requires_grad=True)
    for fake, slope in ((False, [0.0, 0.0, 0.0, 1.0]), (True, [1.0] * 4)):
        y = final_relu(x, fake)
        assert y.tolist() == [0.0, 0.0, 0.0, 3.0]
        assert torch.autograd.grad(y.sum(), x)[0].tolist() == slope


def test_only_the_last_relu_is_fake() -> None:
    model, images = built("digits:mlp"), torch.rand(1, 1, 8, 8).requires_grad_()
    net = cast(Any, model.backbone)
    with torch.no_grad():
        net.hidden1.bias.fill_(-100.0)  # all units of the first layer are dead
    gradient = torch.autograd.grad(model.latent(images, fake_relu=True).sum(), images)[0]
    assert not gradient.any()


@pytest.mark.parametrize("name", WITHOUT_RELU)
def test_the_latent_of_other_torchvision_nets_is_what_their_head_reads(name: str) -> None:
    model, images = built(f"torchvision:{name}", 11), images_for("torchvision:")
    logits, latent = model.forward_with_latent(images)
    assert logits.shape == (2, 11) and latent.ndim == 2 and torch.equal(logits, model(images))
    assert torch.equal(cast(Any, model.backbone).head(latent), logits)
    for flag in ("fake_relu", "no_relu"):
        with pytest.raises(InputError, match=rf"torchvision:{name} has no {flag}: its last block ends in no R"):
            model.latent(images, **{flag: True})


def test_refusals() -> None:
    squeeze = built("torchvision:squeezenet1_1")
    images = images_for("torchvision:")
    assert squeeze(images).shape == (2, 10)
    with pytest.raises(InputError, match="does not end in a linear layer, so it has no latent"):
        squeeze.latent(images)
    small = built("small:s")
    with pytest.raises(InputError, match="exclude each other"):
        small.latent(images_for("small:s"), fake_relu=True, no_relu=True)
    own = Normalised(_Halves(), [0.0], [1.0])
    assert own.latent(torch.ones(2, 1, 8, 8)).shape == (2, 64)
    with pytest.raises(InputError, match="_Halves has no fake_relu"):
        own.latent(torch.ones(2, 1, 8, 8), fake_relu=True)


class _Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 3)

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def classify(self, latent: Tensor) -> Tensor:
        return self.head(latent)


def test_auxiliary_outputs_are_left_out_while_training() -> None:
    model = built("torchvision:googlenet").train()
    assert model(images_for("torchvision:")).shape == (2, 10)


# --- through the gradient view ----------------------------------------------------------------------------------------

# the batch norms that a copy has lost, and those that stay: behind a sum, a concatenation or another ReLU's input
FOLDED = {
    "cifar:resnet20": (19, 0),
    "cifar:resnet50-w4": (53, 0),
    # each block's second, and the first one of all, which reads the stem; the others read a sum
    "cifar:wrn-10-2": (4, 3),
    "torchvision:resnet18": (20, 0),
}


@pytest.mark.parametrize("name", FOLDED)
def test_what_can_be_folded_is_and_the_logits_stay(name: str) -> None:
    model, images = built(name), images_for(name, 16)
    made = fast_copy(model, images.shape[1:])
    assert made.module is not None and made.reason == ""
    kept = sum(isinstance(module, nn.BatchNorm2d) for module in made.module.modules())
    assert (made.num_folded, kept) == FOLDED[name]
    logits = model(images)
    assert (made.module(images) - logits).abs().max() <= 1e-4 * logits.abs().max()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made.module(images).dtype == torch.float32, "the head is exact in any precision"


@pytest.mark.parametrize("relu", ["real", "fake_relu", "no_relu"])
@pytest.mark.parametrize("name", ["small:s", "cifar:wrn-10-2", "torchvision:resnet18"])
def test_latents_and_their_gradients_come_through_the_view(name: str, relu: str) -> None:
    model, images = built(name), images_for(name, 16)
    flags: dict[str, Any] = {} if relu == "real" else {relu: True}
    wanted = model.latent(images.flip(0), **flags)
    objective = LatentMatching(**flags)
    free = images.clone().requires_grad_()
    logits, latent = model.forward_with_latent(free, **flags)
    loss = -(latent - wanted).norm(dim=1) / wanted.norm(dim=1)
    (gradient,) = torch.autograd.grad(loss.sum(), free)
    with GradientView(model, needs_latent=True, **flags, shape=images.shape[1:]) as view:
        assert view.folded
        got_loss, got_gradient, output = view.value_and_gradient(images, wanted, objective)
        assert view.evaluate(images).latent is not None
    assert output.latent is not None
    for a, b in ((got_loss, loss), (got_gradient, gradient), (output.latent, latent), (output.logits, logits)):
        assert (a - b).norm() <= 1e-3 * b.norm()


def test_the_view_refuses_in_words() -> None:
    model, images = built("torchvision:mobilenet_v3_small"), images_for("torchvision:")
    with (
        GradientView(model, needs_latent=True, fake_relu=True, shape=images.shape[1:]) as view,
        pytest.raises(InputError, match="torchvision:mobilenet_v3_small has no fake_relu"),
    ):
        view.evaluate(images)
    with pytest.raises(InputError, match="exclude each other"):
        LatentMatching(fake_relu=True, no_relu=True)
    with pytest.raises(InputError, match="exclude each other"):
        GradientView(model, needs_latent=True, fake_relu=True, no_relu=True)


def test_copies_of_a_model_share_nothing() -> None:
    model, images = built("torchvision:resnet18"), images_for("torchvision:")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        cast(Any, twin.backbone).head.bias.add_(1)
    assert torch.allclose(twin(images), model(images) + 1)
