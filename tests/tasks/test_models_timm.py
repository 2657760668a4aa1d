"""timm, an extra that CI does not install: a stand-in with its interface, and timm itself where it is."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.errors import InputError
from robustray.tasks.models import build_model, open_model
from robustray.tasks.models.imports import import_weights
from robustray.tasks.models.normalised import Normalised

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 3, padding=1)
        self.act2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act2(self.conv1(x))


class ResNet(nn.Module):
    """What timm's networks offer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.pretrained_cfg = {"mean": MEAN, "std": STD}
        self.layer4 = nn.Sequential(Block())
        self.fc = nn.Linear(5, num_classes)

    def get_classifier(self) -> nn.Module:
        return self.fc

    def forward_features(self, x: Tensor) -> Tensor:
        return self.layer4(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


class Other(ResNet):
    """Not a residual network by its name."""


class TwoHeads(Other):
    def get_classifier(self) -> Any:
        return self.fc, self.fc


KINDS = {"resnet": ResNet, "other": Other, "two_heads": TwoHeads}


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, *, pretrained: bool, num_classes: int) -> nn.Module:
        assert not pretrained, "weights are never downloaded"
        return KINDS[name](num_classes)

    stand_in = SimpleNamespace(create_model=create_model, is_model=lambda name: name in KINDS)
    stand_in.list_models = lambda: list(KINDS)
    monkeypatch.setitem(sys.modules, "timm", stand_in)


def built(name: str, num_classes: int = 4) -> Normalised:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(f"timm:{name}", num_classes)
    assert isinstance(model, Normalised)
    return model.eval()


def reference(name: str, num_classes: int = 4) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return KINDS[name](num_classes).eval()


@pytest.mark.parametrize("name", KINDS)
def test_logits_keys_and_normalisation_are_timms(name: str, timm: None) -> None:
    model, net = built(name), reference(name)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))
    assert torch.equal(model(IMAGES), net((IMAGES - mean) / std))
    assert list(model.state_dict()) == list(net.state_dict())


def test_the_last_relu_of_residual_networks_is_within_reach(timm: None) -> None:
    model, plain = built("resnet"), built("other")
    images = IMAGES.clone().requires_grad_()
    logits, latent = model.forward_with_latent(images, fake_relu=True)
    assert torch.equal(latent, plain.latent(images)) and torch.equal(logits, plain(images))
    bare = model.latent(images, no_relu=True)
    assert (bare < latent).any() and (bare <= latent).all()
    gradients = [torch.autograd.grad(z.sum(), images)[0] for z in (latent, bare)]
    torch.testing.assert_close(*gradients)


def test_refusals(timm: None) -> None:
    with pytest.raises(InputError, match="timm:other has no fake_relu"):
        built("other").latent(IMAGES, fake_relu=True)
    with pytest.raises(InputError, match="timm:two_heads does not end in one linear layer, so it has no latent"):
        built("two_heads").latent(IMAGES)
    with pytest.raises(InputError, match=r"timm has no model 'resnt': did you mean 'resnet'\? timm.list_models\(\)"):
        open_model("timm:resnt@w.safetensors", data_root=None)
    with pytest.raises(InputError, match="timm:resnet has no weights"):
        open_model("timm:resnet", data_root=None)


def test_weights_come_in_by_the_importer(timm: None, tmp_path: Path) -> None:
    net = reference("resnet", 7)
    torch.save({"state_dict": net.state_dict()}, tmp_path / "model.pt")
    done = import_weights(tmp_path / "model.pt", tmp_path / "w.safetensors", "timm:resnet")
    assert done.num_classes == 7 and done.mean == pytest.approx(MEAN)
    ref = open_model(f"timm:resnet@{tmp_path / 'w.safetensors'}", data_root=None)
    assert torch.equal(ref.build(ref.fetch(), "cpu")(IMAGES), built("resnet", 7)(IMAGES))


def test_without_timm_the_line_to_type_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    (tmp_path / "w.safetensors").touch()
    for call in (
        lambda: open_model(f"timm:resnet18@{tmp_path / 'w.safetensors'}", data_root=None),
        lambda: build_model("timm:resnet18"),
    ):
        with pytest.raises(InputError, match=r"needs timm, which is not installed: pip install timm"):
            call()


@pytest.mark.parametrize("name, has_relu", [("resnet18", True), ("mobilenetv3_small_050", False)])
def test_timm_itself(name: str, has_relu: bool) -> None:
    library = pytest.importorskip("timm", reason="the extra `hub` is not installed")
    model: Any = build_model(f"timm:{name}", 11).eval()
    assert set(model.state_dict()) == set(library.create_model(name, pretrained=False, num_classes=11).state_dict())
    images = torch.rand(2, 3, 64, 64)
    logits, latent = model.forward_with_latent(images)
    assert logits.shape == (2, 11) and torch.equal(logits, model(images))
    if has_relu:
        assert torch.equal(model.latent(images, fake_relu=True), latent)
