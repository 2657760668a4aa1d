"""Any classifier of torchvision as a backbone. Weights are never downloaded."""

from __future__ import annotations

import warnings
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models.densenet import DenseNet
from torchvision.models.resnet import ResNet

from robustray.tasks.errors import InputError
from robustray.tasks.models.normalised import ReluBackbone, show_as
from robustray.tasks.words import nearest

# Their published weights want other pixels than the rest; with this they convert them themselves.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "inception_v3": {"transform_input": True},
    "googlenet": {"transform_input": True},
}


def check_name(name: str) -> None:
    """Raises: InputError for a name that torchvision does not have among its classifiers."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise InputError(f"torchvision has no classifier {name!r}{nearest(name, known)}")


def torchvision_backbone(name: str, num_classes: int) -> TorchvisionBackbone:
    """`torchvision.models.get_model(name)` with untrained weights. Raises: InputError for an unknown name."""
    check_name(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # two networks announce another default initialisation
        arguments = _ARGUMENTS.get(name, {})
        net = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **arguments)
    for kind, backbone in ((ResNet, TorchvisionResNet), (DenseNet, TorchvisionDenseNet)):
        if isinstance(net, kind):
            return backbone(name, net, num_classes)
    return TorchvisionBackbone(name, net, num_classes)


class TorchvisionBackbone(nn.Module):
    """A network of torchvision with its last linear layer taken out. The state dict has torchvision's own keys.

    The latent is what that layer reads. Networks that end in something else (SqueezeNet) have logits only.
    """

    def __init__(self, name: str, net: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.name = f"torchvision:{name}"
        preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        self.mean, self.std = tuple(preset.mean), tuple(preset.std)
        self.net = net
        self.head: nn.Module | None = None
        levels = {"net.": ""}
        last = [path for path, module in net.named_modules() if type(module) is nn.Linear][-1:]
        if last and getattr(head := net.get_submodule(last[0]), "out_features", None) == num_classes:
            net.set_submodule(last[0], nn.Identity())
            self.head = head
            levels["head."] = f"{last[0]}."
        show_as(self, levels)

    def features(self, x: Tensor) -> Tensor:
        """Raises: InputError for a network that does not end in a linear layer."""
        if self.head is None:
            raise InputError(f"{self.name} does not end in a linear layer, so it has no latent")
        return self._run(x)

    def classify(self, latent: Tensor) -> Tensor:
        assert self.head is not None
        return self.head(latent)

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x) if self.head is None else self.classify(self._run(x))

    def _run(self, x: Tensor) -> Tensor:
        output = self.net(x)
        return output[0] if isinstance(output, tuple) else output  # auxiliary outputs while training


class TorchvisionResNet(TorchvisionBackbone, ReluBackbone):
    """ResNet, ResNeXt and Wide ResNet."""

    net: Any

    def body(self, x: Tensor) -> Tensor:
        net = self.net
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        blocks: list[Any] = [block for stage in (net.layer1, net.layer2, net.layer3, net.layer4) for block in stage]
        for block in blocks[:-1]:
            x = block(x)
        last = blocks[-1]
        # the last block by hand: torchvision's own forward pass ends in the ReLU
        shortcut = x if last.downsample is None else last.downsample(x)
        x = last.bn2(last.conv2(last.relu(last.bn1(last.conv1(x)))))
        return (last.bn3(last.conv3(last.relu(x))) if hasattr(last, "conv3") else x) + shortcut

    def pool(self, x: Tensor) -> Tensor:
        return self.net.avgpool(x).flatten(1)


class TorchvisionDenseNet(TorchvisionBackbone, ReluBackbone):
    """DenseNet; its final ReLU follows the last batch norm."""

    net: Any

    def body(self, x: Tensor) -> Tensor:
        return self.net.features(x)

    def pool(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(x, (1, 1)).flatten(1)
