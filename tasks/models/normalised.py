"""The model that attacks and training see: pixels in [0, 1] go in, logits (and the latent) come out."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn


class Backbone(Protocol):
    """A classifier in two halves; `classify(features(x))` is its forward pass."""

    def features(self, x: Tensor, fake_relu: bool = False) -> Tensor:
        """Normalised images (b, channels, height, width) -> latent (b, width): what the linear head reads.

        fake_relu: the last block's final ReLU passes gradients as if it were the identity.
        """
        ...

    def classify(self, latent: Tensor) -> Tensor:
        """Latent (b, width) -> logits (b, classes)."""
        ...


class Normalised(nn.Module):
    """A backbone with its normalisation inside, so that budgets and step sizes are in pixel units.

    Contract of robust_training.md section 2, without its clamp to [0, 1]: attacks keep their iterates in the box
    themselves, and a clamp would hide it if one did not. The state dict has the backbone's own keys.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        """backbone: a module that is a `Backbone`. mean, std: one number per channel, in pixel units [0, 1]."""
        super().__init__()
        self.backbone = backbone
        hide_level(self, "backbone.")
        # not persistent: weights files hold the backbone only
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, channels, height, width) in [0, 1] -> logits (b, classes)."""
        return self.backbone(self._normalise(images))

    def latent(self, images: Tensor, fake_relu: bool = False) -> Tensor:
        """Penultimate features (b, width): after the last ReLU and the pooling, the input of the linear head."""
        return self._halves.features(self._normalise(images), fake_relu)

    def forward_with_latent(self, images: Tensor, fake_relu: bool = False) -> tuple[Tensor, Tensor]:
        """(logits, latent). fake_relu: the last block's final ReLU is ReLU forwards and the identity backwards, so that
        dead units still receive gradient; the values do not change."""
        latent = self.latent(images, fake_relu)
        return self._halves.classify(latent), latent

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


def hide_level(module: nn.Module, level: str) -> None:
    """Leave `level` ("backbone.") out of the keys of `module`'s state dict, in saving and in loading.

    So weights files have the keys of the published networks, whatever is wrapped around them here.
    """
    module.register_state_dict_post_hook(partial(_leave_out, level))
    module.register_load_state_dict_pre_hook(partial(_put_back, level))


def _leave_out(level: str, module: nn.Module, state: MutableMapping[str, Any], prefix: str, metadata: Any) -> None:
    for key in [key for key in state if key.startswith(prefix + level)]:
        state[prefix + key.removeprefix(prefix + level)] = state.pop(key)


def _put_back(level: str, module: nn.Module, state: MutableMapping[str, Any], prefix: str, *rest: Any) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        state[prefix + level + key.removeprefix(prefix)] = state.pop(key)
