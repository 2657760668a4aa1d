"""What a few calls of a model run through, also behind a function: seen by a hook on all modules, and put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.module import register_module_forward_pre_hook


class Seen:
    """Modules that have run, each with the buffers it had before."""

    def __init__(self) -> None:
        self._before: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}

    def note(self, module: nn.Module, inputs: Any) -> None:
        """The hook: called before each module's forward pass."""
        if module not in self._before:
            self._before[module] = [(x, x.detach().clone()) for x in module.buffers(recurse=False)]

    @torch.no_grad()
    def put_back(self) -> None:
        """Buffers that have changed in place."""
        for buffer, before in (pair for pairs in self._before.values() for pair in pairs):
            if not torch.equal(buffer, before):
                buffer.copy_(before)

    def in_training(self) -> str:
        """Kind of a batch norm that runs in training mode and has statistics of its own; empty if there is none."""
        return self._first(lambda norm: norm.training and norm.running_mean is not None)

    def likely_mixer(self) -> str:
        """Why the images of a batch are not independent, in words."""
        if kind := self._first(lambda norm: norm.running_mean is None and isinstance(norm, _BatchNorm)):
            return f"a {kind} without running statistics (track_running_stats=False) normalises with the batch"
        return "it computes over the batch, as z - z.mean(0) does"

    def _first(self, which: Any) -> str:
        norms = (module for module in self._before if isinstance(module, _NormBase))
        return next((type(norm).__name__ for norm in norms if which(norm)), "")


@contextlib.contextmanager
def watched(model: Any) -> Iterator[Seen]:
    """Inside, `model` is in evaluation mode if it is a module; on leaving, modes and buffers are what they were."""
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, nn.Module) else []
    for module, _ in modes:
        module.training = False
    seen = Seen()
    handle = register_module_forward_pre_hook(seen.note)
    try:
        yield seen
    finally:
        handle.remove()
        seen.put_back()
        for module, training in modes:
            module.training = training
