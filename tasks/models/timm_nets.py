"""Classifiers of timm (an extra) as backbones. Weights are never downloaded."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor, nn

from robustray.tasks.errors import InputError
from robustray.tasks.models.normalised import ReluBackbone, show_as
from robustray.tasks.words import nearest


def check_name(name: str) -> None:
    """Raises: InputError without timm, and for a name that it does not have."""
    timm = _timm()
    if not timm.is_model(name):
        known = timm.list_models()
        guess = nearest(name.partition(".")[0], known).partition(" Known:")[0]  # a thousand names
        raise InputError(f"timm has no model {name!r}{guess} timm.list_models() has all {len(known)} names")


def timm_backbone(name: str, num_classes: int) -> TimmBackbone:
    """`timm.create_model(name)` with untrained weights. Raises: InputError without timm, and for an unknown name."""
    check_name(name)
    net = _timm().create_model(name, pretrained=False, num_classes=num_classes)
    last = _last_relu(net)
    return TimmBackbone(name, net) if last is None else TimmReluBackbone(name, net, last)


class TimmBackbone(nn.Module):
    """A network of timm. The state dict has timm's own keys; the latent is what its linear classifier reads."""

    def __init__(self, name: str, net: Any) -> None:
        super().__init__()
        self.name = f"timm:{name}"
        self.mean, self.std = tuple(net.pretrained_cfg["mean"]), tuple(net.pretrained_cfg["std"])
        self.net = net
        show_as(self, {"net.": ""})

    def features(self, x: Tensor) -> Tensor:
        """Raises: InputError for a network that does not end in one linear layer."""
        if not isinstance(self.net.get_classifier(), nn.Linear):
            raise InputError(f"{self.name} does not end in one linear layer, so it has no latent")
        return self.net.forward_head(self.net.forward_features(x), pre_logits=True)

    def classify(self, latent: Tensor) -> Tensor:
        return self.net.get_classifier()(latent)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TimmReluBackbone(TimmBackbone, ReluBackbone):
    """timm's residual networks, without the last block's final ReLU, which is between `body` and `pool` instead."""

    def __init__(self, name: str, net: Any, last_relu: str) -> None:
        super().__init__(name, net)
        net.set_submodule(last_relu, nn.Identity())

    def body(self, x: Tensor) -> Tensor:
        return self.net.forward_features(x)

    def pool(self, x: Tensor) -> Tensor:
        return self.net.forward_head(x, pre_logits=True)

    def features(self, x: Tensor) -> Tensor:
        return ReluBackbone.features(self, x)

    def forward(self, x: Tensor) -> Tensor:
        return ReluBackbone.forward(self, x)


def _last_relu(net: Any) -> str | None:
    """Path of the ReLU that ends the last block of a residual network; None for other networks."""
    if type(net).__name__ != "ResNet" or not isinstance(net.get_classifier(), nn.Linear):
        return None
    path = f"layer4.{len(net.layer4) - 1}"
    for name in ("act3", "act2"):  # of a bottleneck, of a basic block
        if hasattr(net.get_submodule(path), name):
            return f"{path}.{name}" if type(net.get_submodule(f"{path}.{name}")) is nn.ReLU else None
    return None


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise InputError(
            "timm:NAME needs timm, which is not installed: pip install timm (it is in the extra `hub`)"
        ) from error
