"""What single blocks of a network put out: for measures that go from block to block.

A *tap* is a name: that of a module whose output is read, or `LATENT`, what the linear head reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from robustray.tasks.attacks.gradient.verdicts import FrozenModel
from robustray.tasks.errors import InputError

LATENT = "latent"


class Tapped(nn.Module):
    """A network with the output of one block, flattened, in the place of its latent: what optimises or compares
    latents then does so there. Weights, modes and logits are the network's own."""

    def __init__(self, model: nn.Module, tap: str) -> None:
        """tap: of `taps_of`, other than `LATENT`."""
        super().__init__()
        self.model = model
        self._tap = tap

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits

    def forward_with_latent(self, images: Tensor, fake_relu: bool = False) -> tuple[Tensor, Tensor]:
        """(logits, output (batch, width)). Raises: InputError for `fake_relu`: only the last block's ReLU has one."""
        if fake_relu:
            raise InputError(f"{self._tap} has no fake_relu: take the tap {LATENT!r}")
        found: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            found.append(output)

        handle = self.model.get_submodule(self._tap).register_forward_hook(keep)
        try:
            logits = self.model(images)
        finally:
            handle.remove()
        return logits, found[-1].flatten(1)


def tapped(model: nn.Module, tap: str) -> nn.Module:
    """The network as it is, for `LATENT`, or `Tapped`."""
    return model if tap == LATENT else Tapped(model, tap)


def taps_of(model: Any, images: Tensor) -> tuple[str, ...]:
    """The blocks of a network, in the order in which they put something out, and then `LATENT`.

    Blocks are the network's children (its backbone's, where it has one) and the members of those that are rows of
    modules; without norms, and without what puts out the logits. Blocks that the forward pass does not call as modules
    are none: of the last block of our residual networks the latent tells.

    images: (b > 0, ...) for one pass. A network that is no module has no blocks, only its latent.
    """
    if not isinstance(model, nn.Module):
        return (LATENT,)
    names = {block: name for name, block in _blocks(model)}
    seen: dict[str, Tensor] = {}

    def note(block: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            seen.setdefault(names[block], output)

    handles = [block.register_forward_hook(note) for block in names]
    try:
        with FrozenModel(model) as view:
            logits = view.evaluate(images).logits
    finally:
        for handle in handles:
            handle.remove()
    inner = [name for name, output in seen.items() if not torch.equal(output[: len(images)].float(), logits)]
    return (*inner, LATENT)


def _blocks(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    backbone = getattr(model, "backbone", None)
    root, prefix = (backbone, "backbone.") if isinstance(backbone, nn.Module) else (model, "")
    for name, child in root.named_children():
        inner = list(child.named_children()) if isinstance(child, nn.Sequential | nn.ModuleList) else []
        for place, block in [(f"{prefix}{name}.{key}", each) for key, each in inner] or [(f"{prefix}{name}", child)]:
            if not isinstance(block, torch.nn.modules.batchnorm._NormBase):
                yield place, block
