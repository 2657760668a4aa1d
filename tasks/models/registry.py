"""Architectures by name. Names are data: nothing here imports torch before a model is built."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from robustray.tasks.data.own import describe, load_function, looks_like_own
from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from torch import nn

_Stats = tuple[float, ...]
_IMAGENET: tuple[_Stats, _Stats] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CIFAR10: tuple[_Stats, _Stats] = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_DIGITS: tuple[_Stats, _Stats] = ((0.3053,), (0.3765,))
_SCENES: tuple[_Stats, _Stats] = ((0.45, 0.45, 0.45), (0.2, 0.2, 0.2))


@dataclass(frozen=True)
class Network:
    """A class or function of `tasks.models` by its place, with arguments. As text: naming it imports nothing, and the
    code of one network does not lead to that of all."""

    place: str
    """`module:name` below `robustray.tasks.models`."""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """The place in full: where its code begins."""
        return f"robustray.tasks.models.{self.place}"

    def __call__(self, num_classes: int) -> nn.Module:
        """An untrained `normalised.Backbone`, initialised from torch's global generator."""
        module, _, name = self.root.partition(":")
        return getattr(importlib.import_module(module), name)(num_classes=num_classes, **self.arguments)


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """An architecture with the normalisation it is trained with."""

    backbone: Network
    mean: _Stats | None
    std: _Stats | None
    """Per channel, in pixel units [0, 1]; None: the backbone's own attributes of these names."""
    num_classes: int
    """Where nothing else is asked for."""
    input_shape: tuple[int, int, int]
    """(channels, height, width) it is made for; convolutional ones take other sizes too."""


def _of_cifar(network: Network, stats: tuple[_Stats, _Stats] = _CIFAR10) -> ModelEntry:
    return ModelEntry(backbone=network, mean=stats[0], std=stats[1], num_classes=10, input_shape=(3, 32, 32))


def _cifar_resnet(depth: int) -> ModelEntry:
    # the published option-A weights were trained with ImageNet's mean and std
    return _of_cifar(Network("resnet_cifar:CifarResNet", {"depth": depth}), _IMAGENET)


def _stem_resnet(depth: int, width: int = 64) -> ModelEntry:
    return _of_cifar(Network("resnet_stem:StemResNet", {"depth": depth, "width": width}))


def _wide_resnet(depth: int, width: int) -> ModelEntry:
    return _of_cifar(Network("wide_resnet:WideResNet", {"depth": depth, "width": width}))


def _of_digits(place: str) -> ModelEntry:
    return ModelEntry(backbone=Network(place), mean=_DIGITS[0], std=_DIGITS[1], num_classes=10, input_shape=(1, 8, 8))


def _from_library(family: str, name: str) -> ModelEntry:
    network = Network(f"{family}_nets:{family}_backbone", {"name": name})
    return ModelEntry(backbone=network, mean=None, std=None, num_classes=1000, input_shape=(3, 224, 224))


MODELS: Mapping[str, ModelEntry] = {
    **{f"cifar:resnet{depth}": _cifar_resnet(depth) for depth in (20, 32, 44, 56, 110)},
    **{f"cifar:resnet{depth}": _stem_resnet(depth) for depth in (18, 34, 50)},
    "cifar:resnet18-w16": _stem_resnet(18, width=16),
    **{f"cifar:wrn-{depth}-{width}": _wide_resnet(depth, width) for depth, width in ((28, 10), (34, 10))},
    "small:s": _of_cifar(Network("small:SmallResNet")),
    "small:fine": _of_cifar(Network("small_others:OtherResNet", {"width": 16, "stem_stride": 1})),
    "small:wide": _of_cifar(Network("small_others:OtherResNet", {"width": 48, "stem_stride": 2})),
    "small:plain": _of_cifar(Network("small_others:PlainNet")),
    "small:depthwise": _of_cifar(Network("small_others:DepthwiseNet")),
    "digits:mlp": _of_digits("digits:DigitsMlp"),
    "digits:cnn": _of_digits("digits:DigitsCnn"),
    "scenes:cnn": ModelEntry(
        backbone=Network("scenes:ScenesCnn"),
        mean=_SCENES[0],
        std=_SCENES[1],
        num_classes=9,
        input_shape=(3, 32, 32),
    ),
}
"""Architectures by name. Besides these there are the names that `FORMS` describes, and the user's own
`module:function`."""

FORMS: Mapping[str, str] = {
    "cifar:resnetDEPTH-wWIDTH": "ResNet-18, 34, 50, 101 or 152 whose first stage has WIDTH channels (64 as published)",
    "cifar:wrn-DEPTH-WIDTH": "Wide ResNet: DEPTH 10, 16, 22 ... 100, WIDTH 1 to 20 times 16 channels",
    "torchvision:NAME": "any classifier of torchvision, 1,000 classes",
    "timm:NAME": "any classifier of timm (pip install timm), 1,000 classes",
}
"""Names with a part that the user chooses -> what they name."""

_FAMILIES = ("cifar", "small", "digits", "scenes", "torchvision", "timm", "run", "twin")
_RESNET = re.compile(r"cifar:resnet(\d+)(?:-w(\d+))?")
_WIDE_RESNET = re.compile(r"cifar:wrn-(\d+)-(\d+)")


def model_entry(name: str) -> ModelEntry | None:
    """The entry of a registered architecture; None when `name` is the user's own `module:function`.

    Whether torchvision or timm has the name is found out by `check_name` or by building the model.

    Raises: InputError for a name that is neither, with the nearest known one.
    """
    if name in MODELS:
        return MODELS[name]
    family, _, rest = name.partition(":")
    if family in ("torchvision", "timm") and rest:
        return _from_library(family, rest)
    if found := _WIDE_RESNET.fullmatch(name):
        depth, width = map(int, found.groups())
        if not 10 <= depth <= 100 or depth % 6 != 4 or not 1 <= width <= 20:
            raise InputError(f"there is no {name}: cifar:wrn-DEPTH-WIDTH takes DEPTH 10, 16, 22 ... 100, WIDTH 1 to 20")
        return _wide_resnet(depth, width)
    if (found := _RESNET.fullmatch(name)) and int(found[1]) in (18, 34, 50, 101, 152):
        width = int(found[2] or 64)
        if not 1 <= width <= 256:
            raise InputError(f"there is no {name}: cifar:resnet{found[1]}-wWIDTH takes WIDTH 1 to 256")
        return _stem_resnet(int(found[1]), width)
    if looks_like_own(name) and family not in _FAMILIES:
        return None
    raise InputError(f"there is no model {name!r}{nearest(name, [*MODELS, *FORMS])}")


def code_root(name: str) -> str:
    """Where the code of an architecture begins, as a root of CODE: its own class, or the user's module.

    Raises: InputError as `model_entry`.
    """
    entry = model_entry(name)
    return name.partition(":")[0] if entry is None else entry.backbone.root


def check_name(name: str) -> None:
    """Raises: InputError for a name that torchvision or timm does not have, and for timm where it is not installed."""
    family, _, rest = name.partition(":")
    if family == "torchvision":
        from robustray.tasks.models import torchvision_nets

        torchvision_nets.check_name(rest)
    if family == "timm":
        from robustray.tasks.models import timm_nets

        timm_nets.check_name(rest)


def build_model(
    name: str,
    num_classes: int | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> nn.Module:
    """An untrained model in training mode: images (b, channels, height, width) in [0, 1] -> logits (b, num_classes).

    name: a registered architecture (then the result is a `Normalised`), or the user's own `module:function`, called
    with `num_classes=` if it takes that. Initialised from torch's global generator: seed it first. num_classes, mean,
    std: instead of the architecture's own; mean and std only for registered ones.

    Raises: InputError for an unknown name, and when the user's own function fails or returns no torch module.
    """
    entry = model_entry(name)
    if entry is None:
        return _build_own(name, num_classes)
    from robustray.tasks.models.normalised import Normalised

    backbone: Any = entry.backbone(entry.num_classes if num_classes is None else num_classes)
    return Normalised(backbone, mean or entry.mean or backbone.mean, std or entry.std or backbone.std)


def takes_num_classes(name: str) -> bool:
    """Whether `build_model(name, num_classes)` has an effect on the number of outputs. Raises: InputError."""
    return model_entry(name) is not None or "num_classes" in _parameters(name)


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(load_function(name)).parameters
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} has no readable signature: wrap it in a plain function") from error


def _build_own(name: str, num_classes: int | None) -> nn.Module:
    from torch import nn

    arguments: dict[str, int] = {}
    for parameter in _parameters(name).values():
        if parameter.name == "num_classes" and num_classes is not None:
            arguments["num_classes"] = num_classes
        elif parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise InputError(f"{name} needs {parameter.name!r}: give it a default (only num_classes is ever passed)")
    try:
        model = load_function(name)(**arguments)
    except (Exception, SystemExit) as error:
        raise InputError(f"{name} raised {describe(error)}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"{name} returned {type(model).__name__}, expected a torch.nn.Module")
    return model
