"""The chain rule by itself."""

from __future__ import annotations

import torch
from torch import Tensor


def pulled_back(outputs: Tensor, inputs: Tensor, direction: Tensor, *, retain_graph: bool = False) -> Tensor | None:
    """The gradient of `(outputs * direction).sum()` with respect to `inputs`; None if they have no part in it.

    direction: of the shape of `outputs`. Given to `torch.autograd.grad` as an argument, it gives the same numbers, and
    makes torch import sympy, a second of CPU time in every process (torch 2.14.1).
    """
    with torch.enable_grad():
        along = (outputs * direction).sum()
    return torch.autograd.grad(along, inputs, retain_graph=retain_graph, allow_unused=True)[0]
