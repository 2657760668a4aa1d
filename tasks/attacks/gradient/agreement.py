"""Whether a traced copy may stand for its model: it has to agree in logits and in gradients.

FX traces through custom autograd functions and forgets `torch.no_grad()`, hooks on the way back and checkpoints. Such a
copy has the model's logits and other gradients: a network with straight-through rounding in front would look robust.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from robustray.tasks.attacks.gradient.chain import pulled_back
from robustray.tasks.attacks.settings import MIN_BATCH

TOLERANCE = 1e-4
"""Largest difference between the logits of a copy and of its model, relative to the largest logit."""
GRADIENT_TOLERANCE = 1e-3
"""Largest length of the difference between both gradients of one image, relative to that of the model's."""
OTHER_GRADIENTS = "its traced copy has other gradients"

Twin = Callable[[], tuple[nn.Module, nn.Module]]
"""Makes the model and its copy once more, in fp64."""


def difference(root: nn.Module, module: nn.Module, shape: torch.Size, twin: Twin) -> str:
    """Why `module` cannot stand for `root`, both in evaluation mode; empty if logits and gradients agree.

    In fp32 rounding tips over a ReLU or a maximum here and there, and a network with many of them would be refused for
    nothing. So where gradients differ, fp64 decides: there rounding is a billion times smaller, and a stopped gradient
    is as large as before. Where the model cannot run in fp64, what fp32 showed counts.
    """
    if found := logits_difference(root, module, shape):
        return found
    try:
        if not _passes_gradients(root, shape):
            return "no gradient passes from its output to its images"
        gap = _gradient_gap(root, module, shape, torch.float32)
    except Exception as error:  # the model's own code: attacks run on it and say what is wrong
        return f"its gradients cannot be compared ({type(error).__name__})"
    if gap > GRADIENT_TOLERANCE:
        with contextlib.suppress(Exception):  # the model's own code may convert to another kind
            gap = _gradient_gap(*twin(), shape, torch.float64)
    if not gap <= GRADIENT_TOLERANCE:
        return (
            f"its traced copy has other gradients ({gap:.2g} of their length apart): something stops or replaces them"
        )
    return ""


@torch.no_grad()
def logits_difference(root: nn.Module, module: nn.Module, shape: torch.Size) -> str:
    """As `difference`, of outputs alone."""
    try:
        wanted, got = (_outputs(net, _images(net, shape, torch.float32)) for net in (root, module))
    except Exception as error:  # what tracing fixed need not fit; a model that fails itself will say so in use
        return f"its traced copy cannot be compared with it ({type(error).__name__})"
    if len(wanted) != len(got):
        return "its traced copy returns something else"
    for a, b in zip(wanted, got, strict=True):
        if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.shape != b.shape:
            return "its traced copy returns something else"
        gap = float((a - b).abs().max())
        if not gap <= TOLERANCE * float(a.abs().max()):  # NaN is a difference too
            return f"its traced copy differs by {gap:.2g}"
    return ""


@torch.enable_grad()
def _passes_gradients(root: nn.Module, shape: torch.Size) -> bool:
    """A trace forgets `torch.no_grad()`: without this, the copy of a model without gradient would have one of zero."""
    images = _images(root, shape, torch.float32).requires_grad_(True)
    outputs = _outputs(root, images.clone())
    asking = [output.sum() for output in outputs if output.requires_grad]
    return bool(asking) and torch.autograd.grad(asking[0], images, allow_unused=True)[0] is not None


def _gradient_gap(root: nn.Module, module: nn.Module, shape: torch.Size, kind: torch.dtype) -> float:
    """The largest over images and outputs, relative to the length of the model's gradient; inf where only one of them
    is zero, and for NaN or infinity in only one of them."""
    worst = 0.0
    for wanted, got in zip(*(_gradients(net, shape, kind) for net in (root, module)), strict=True):
        if not torch.equal(wanted.isfinite(), got.isfinite()):
            return torch.inf
        wanted, got = (gradient.nan_to_num(0, 0, 0) for gradient in (wanted, got))
        length, gap = wanted.flatten(1).norm(dim=1), (wanted - got).flatten(1).norm(dim=1)
        share = torch.where(gap == 0, 0.0, gap / length).nan_to_num(torch.inf, torch.inf)
        worst = max(worst, float(share.max()))
    return worst


@torch.enable_grad()
def _gradients(net: nn.Module, shape: torch.Size, kind: torch.dtype) -> list[Tensor]:
    """For each output its gradient (images, ...): along another random direction of the output for each image."""
    images = _images(net, shape, kind).requires_grad_(True)
    generator = torch.Generator().manual_seed(1)
    found = []
    for output in _outputs(net, images.clone()):  # a model may change in place what it is given
        direction = torch.randn(output.shape, generator=generator).to(output)
        gradient = None
        if output.requires_grad:
            gradient = pulled_back(output, images, direction, retain_graph=True)
        found.append(torch.zeros_like(images) if gradient is None else gradient)
    return found


def _outputs(net: nn.Module, images: Tensor) -> tuple[Any, ...]:
    with torch.autocast(images.device.type, enabled=False):
        output = net(images)
    return output if isinstance(output, tuple) else (output,)


def _images(net: nn.Module, shape: torch.Size, kind: torch.dtype) -> Tensor:
    """Fixed random images on the device of `net`: one half of full contrast, with pixels of exactly 0 and 1 among them,
    where derivatives of clamps and roots are special; one of low contrast at all brightnesses."""
    images = torch.rand(MIN_BATCH, *shape, generator=torch.Generator().manual_seed(0))
    half = len(images) // 2
    images[:half] = (1.25 * images[:half] - 0.125).clamp(0, 1)
    levels = torch.linspace(0, 0.8, half).view(-1, *[1] * len(shape))
    images[half:] = 0.2 * images[half:] + levels
    return images.to(next(net.parameters(), torch.empty(0)).device, kind)
