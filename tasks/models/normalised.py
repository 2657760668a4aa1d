"""The model that attacks and training see: pixels in [0, 1] go in, logits (and the latent) come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from robustray.tasks.errors import InputError


class Backbone(Protocol):
    """A classifier in two halves; `classify(features(x))` is its forward pass."""

    def features(self, x: Tensor) -> Tensor:
        """Normalised images (b, channels, height, width) -> latent (b, width): what the linear head reads."""
        ...

    def classify(self, latent: Tensor) -> Tensor:
        """Latent (b, width) -> logits (b, classes)."""
        ...


class ReluBackbone(nn.Module, ABC):
    """A `Backbone` whose last block ends in a ReLU, and one can look before it: body, ReLU, pool, linear head."""

    @abstractmethod
    def body(self, x: Tensor) -> Tensor:
        """Normalised images -> what the last block's final ReLU reads (b, channels, ...)."""

    @abstractmethod
    def pool(self, x: Tensor) -> Tensor:
        """What that ReLU gives -> latent (b, width)."""

    @abstractmethod
    def classify(self, latent: Tensor) -> Tensor:
        """Latent (b, width) -> logits (b, classes)."""

    def features(self, x: Tensor) -> Tensor:
        return self.pool(torch.relu(self.body(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))


class Normalised(nn.Module):
    """A backbone with its normalisation inside, so that budgets and step sizes are in pixel units.

    Like the wrapper of MadryLab/robustness 1.2.1, without its clamp to [0, 1]: attacks keep their iterates in the box
    themselves, and a clamp would hide it if one did not. The state dict has the backbone's own keys.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        """backbone: a module that is a `Backbone`. mean, std: one number per channel, in pixel units [0, 1]."""
        super().__init__()
        self.backbone = backbone
        show_as(self, {"backbone.": ""})
        # not persistent: weights files hold the backbone only
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, channels, height, width) in [0, 1] -> logits (b, classes)."""
        return self.backbone(self._normalise(images))

    def latent(self, images: Tensor, fake_relu: bool = False, *, no_relu: bool = False) -> Tensor:
        """Penultimate features (b, width): the second of `forward_with_latent`."""
        return self.forward_with_latent(images, fake_relu, no_relu=no_relu)[1]

    def forward_with_latent(
        self, images: Tensor, fake_relu: bool = False, *, no_relu: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(logits, latent): the latent (b, width) is the input of the linear head, after the last ReLU and the pooling.

        fake_relu: the last block's final ReLU is ReLU forwards and the identity backwards, so that dead units still
        receive gradient; no value changes. no_relu: the latent is pooled from what that ReLU reads; the logits stay the
        model's own (the reference puts the head on that latent, which it was never trained for).

        Raises: InputError for both at once, for a network without such a ReLU, and for one without a linear head.
        """
        if fake_relu and no_relu:
            raise InputError("fake_relu and no_relu exclude each other: give one")
        x, backbone = self._normalise(images), self.backbone
        if not (fake_relu or no_relu):
            latent = self._halves.features(x)
            return self._halves.classify(latent), latent
        if not isinstance(backbone, ReluBackbone):
            name = getattr(backbone, "name", type(backbone).__name__)
            raise InputError(
                f"{name} has no {'fake' if fake_relu else 'no'}_relu: its last block ends in no ReLU in reach; "
                "residual networks and DenseNets have one"
            )
        before = backbone.body(x)
        latent = backbone.pool(final_relu(before, fake_relu))
        return backbone.classify(latent), backbone.pool(before) if no_relu else latent

    def _normalise(self, images: Tensor) -> Tensor:
        if images.shape[1] != self.mean.shape[1]:  # one channel would be broadcast to three, in silence
            raise ValueError(f"images have {images.shape[1]} channels, the model takes {self.mean.shape[1]}")
        return (images - self.mean) / self.std

    @property
    def _halves(self) -> Backbone:
        return cast(Backbone, self.backbone)


def final_relu(x: Tensor, fake: bool) -> Tensor:
    """ReLU; with `fake`, its gradient is that of the identity."""
    positive = torch.relu(x)
    # exact forwards: x + 0 where x > 0, x - x = 0 elsewhere
    return x + (positive - x).detach() if fake else positive


def show_as(module: nn.Module, levels: Mapping[str, str]) -> None:
    """Give keys of `module`'s state dict other first parts, in saving and in loading: {"net.": "", "head.": "fc."}.

    So weights files have the keys of the published networks, whatever is wrapped around them here.
    """
    # of several that fit, the longest is meant: "" fits all keys
    module.register_state_dict_post_hook(partial(_on_saving, sorted(levels.items(), key=lambda e: -len(e[0]))))
    back = [(shown, level) for level, shown in levels.items()]
    module.register_load_state_dict_pre_hook(partial(_on_loading, sorted(back, key=lambda e: -len(e[0]))))


def _on_saving(
    levels: Sequence[tuple[str, str]], module: nn.Module, state: MutableMapping[str, Any], prefix: str, metadata: Any
) -> None:
    _rename(state, prefix, levels)


def _on_loading(
    levels: Sequence[tuple[str, str]], module: nn.Module, state: MutableMapping[str, Any], prefix: str, *rest: Any
) -> None:
    _rename(state, prefix, levels)


def _rename(state: MutableMapping[str, Any], prefix: str, levels: Sequence[tuple[str, str]]) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        inner = key.removeprefix(prefix)
        old, new = next((each for each in levels if inner.startswith(each[0])), ("", ""))
        state[prefix + new + inner.removeprefix(old)] = state.pop(key)
