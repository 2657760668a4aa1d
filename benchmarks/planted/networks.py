"""Honest networks: those that masks are put on, and those that must raise no alarm."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from benchmarks.planted.defects import DEFECTS, MIDDLE, Defect, Masked
from robustray.tasks.attacks import PGD
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.models import build_model

CIFAR_EPS, DIGITS_EPS, PLANTED_EPS = 8 / 255, 0.1, 0.2
"""PLANTED_EPS: of masked digits networks, at which about half of the images fall."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, images for it, and what is known of it."""

    name: str
    base: str
    """The network without the mask; of an honest one itself."""
    defect: Defect | None
    eps: float
    net: nn.Module
    twin: nn.Module | None
    images: Tensor
    labels: Tensor
    attacked: bool = False
    """Whether the checks that run attacks are made, too."""


PLANTED_ON = {"digits:cnn robust": DEFECTS, "twin:linf8:0": DEFECTS[::3]}
"""Robust networks that masks are put on: all of them on a digits network, every third on a network "S"."""


def names(kind: str) -> list[str]:
    """Of the cases: "planted" or "honest"."""
    if kind == "honest":
        return honest_names()
    return [f"{defect.name} on {base}" for base, defects in PLANTED_ON.items() for defect in defects]


def case(lab: SerialLab, kind: str, name: str) -> Case:
    """One of them, opened."""
    return _planted(lab, *name.rsplit(" on ", 1)) if kind == "planted" else _honest(lab, name)


def _planted(lab: SerialLab, mask: str, base: str) -> Case:
    defect = next(each for each in DEFECTS if each.name == mask)
    images, labels = images_for(lab, base)
    twin = network(lab, base)
    masked = Masked(copy.deepcopy(twin), defect.make(), defect.place, f"backbone.{MIDDLE[_arch(base)]}")
    return Case(
        name=f"{mask} on {base}",
        base=base,
        defect=defect,
        eps=PLANTED_EPS if base.startswith("digits") else CIFAR_EPS,
        net=masked.eval(),
        twin=twin,
        images=images,
        labels=labels,
    )


def _honest(lab: SerialLab, name: str) -> Case:
    images, labels = images_for(lab, name)
    return Case(
        name=name,
        base=name,
        defect=None,
        eps=eps_of(name),
        net=network(lab, name),
        twin=None,
        images=images,
        labels=labels,
        attacked=name.startswith("digits"),
    )


TORCHVISION = (
    "resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "densenet121", "efficientnet_b0",
    "regnet_y_400mf", "mnasnet0_5", "convnext_tiny", "googlenet",
)  # fmt: skip
TIMM = (
    "test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_mambaout", "test_nfnet", "test_byobnet",
    "test_vit2", "test_vit3", "test_convnext2",
)  # fmt: skip
"""timm's smallest network of each family."""


TWIN_WEIGHTS = ("small:standard", "small:linf8", "small:l2_05")


def honest_names() -> list[str]:
    """At least 40."""
    digits = [f"digits:{arch} {kind}" for arch in ("cnn", "mlp") for kind in ("standard", "robust", "random")]
    twins = [f"twin:{kind}:{k}" for kind in ("standard", "linf8", "l2_05") for k in range(3)]
    small = [f"random {name}" for name in ("small:s", "small:fine", "small:plain", "small:depthwise", "cifar:resnet20")]
    libraries = [f"random torchvision:{name}" for name in TORCHVISION] + [f"random timm:{name}" for name in TIMM]
    return [*digits, *twins, "cifar:resnet20", "cifar:resnet56", *TWIN_WEIGHTS, *small, *libraries]


def eps_of(name: str) -> float:
    return DIGITS_EPS if name.startswith("digits") else CIFAR_EPS


def images_for(lab: SerialLab, name: str) -> tuple[Tensor, Tensor]:
    """The first test images, 32 digits or 16 of CIFAR-10, which networks of 1,000 classes get enlarged to 64 pixels."""
    count = 32 if name.startswith("digits") else 16
    data = _data(lab, "digits:test" if name.startswith("digits") else "cifar10:test")
    images, labels = data.batch(range(count))
    if _of_library(name):
        images = nn.functional.interpolate(images, size=_side(name), mode="bilinear", align_corners=False).clamp(0, 1)
    return images, labels


def _of_library(name: str) -> bool:
    return "torchvision:" in name or "timm:" in name


def _side(name: str) -> int:
    return 160 if "vit" in name.partition("timm")[2] else 64


def network(lab: SerialLab, name: str) -> nn.Module:
    """In evaluation mode."""
    if name.startswith("random "):
        torch.manual_seed(len(name))
        return build_model(name.removeprefix("random ")).eval()
    if name.startswith("digits"):
        arch, kind = name.split()
        return copy.deepcopy(_trained(lab, arch, kind))
    return lab.load(lab.model(name)).eval()


@cache
def _data(lab: SerialLab, name: str):  # type: ignore[no-untyped-def]
    return lab.load(lab.data(name))


@cache
def _trained(lab: SerialLab, arch: str, kind: str) -> nn.Module:
    """A digits network after a second of training, or after adversarial training, or untrained."""
    torch.manual_seed(0)
    net = build_model(arch)
    if kind == "random":
        return net.eval()
    data = _data(lab, "digits:train")
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    attack = PGD(
        norm="linf", eps=DIGITS_EPS, num_steps=5, exit_rule="last", attack_misclassified=True, precision="fp32"
    )
    for step in range(250):
        rows = [(step * 64 + k) % len(data) for k in range(64)]
        images, labels = data.batch(rows)
        if kind == "robust" and step > 50:
            images = attack(net, images, labels, seed=step).images
        net.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return net.eval()


def _arch(base: str) -> str:
    return base.split()[0] if base.startswith("digits") else "small:s"


def open_lab(store: str, data_root: str | None) -> SerialLab:
    return SerialLab(store=Store(store), data_root=data_root)
