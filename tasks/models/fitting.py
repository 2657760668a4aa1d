"""Which known architecture some weights belong to."""

from __future__ import annotations

import re

from robustray.tasks.errors import InputError
from robustray.tasks.models.registry import MODELS, build_model, model_entry
from robustray.tasks.models.weights import Weights, head_key, misfit

_TORCHVISION = {
    "fc.weight": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2"),
    "conv5.0.weight": ("shufflenet_v2_x1_0",),
    "layers.0.weight": ("mnasnet1_0",),
    "features.0.0.weight": ("mobilenet_v2",),
    "features.0.weight": ("vgg16_bn",),
    "features.conv0.weight": ("densenet161",),
}
"""A key that they have -> networks whose robust weights are published."""


def fitting(weights: Weights) -> str | None:
    """Name of a known architecture that has exactly these weights, shapes included; None if there is none here."""
    import torch

    with torch.device("meta"):  # shapes without numbers: quick, and no draw from any generator
        for name in [*MODELS, *_spelt(weights), *_of_torchvision(weights)]:
            head = head_key(build_model(name))
            if head is None or head not in weights or weights[head].ndim != 2:
                continue
            if not misfit(weights, build_model(name, int(weights[head].shape[0]))):
                return name
    return None


def _spelt(weights: Weights) -> list[str]:
    """Wide ResNets and residual networks of the width that the weights seem to have."""
    names = []
    blocks = sum(bool(re.fullmatch(r"block1\.layer\.\d+\.conv1\.weight", key)) for key in weights)
    if blocks and "bn1.weight" in weights:
        names.append(f"cifar:wrn-{6 * blocks + 4}-{weights['bn1.weight'].size // 64}")
    elif "conv1.weight" in weights:
        width = len(weights["conv1.weight"])
        names += [f"cifar:resnet{depth}-w{width}" for depth in (18, 34, 50, 101, 152)]
    return [name for name in names if _is_known(name)]


def _of_torchvision(weights: Weights) -> list[str]:
    return [f"torchvision:{name}" for key, names in _TORCHVISION.items() if key in weights for name in names]


def _is_known(name: str) -> bool:
    try:
        return model_entry(name) is not None
    except InputError:  # out of the bounds of such names
        return False
