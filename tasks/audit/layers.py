"""Where it happens: findings of numbers get the layer that tracing or the way back through the modules names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from robustray.tasks.attacks.gradient.refusals import Model
from robustray.tasks.attacks.gradient.verdicts import FrozenModel, own_copy
from robustray.tasks.audit.tracing import Kind, Operation

EXPLAINS: dict[str, tuple[Kind, ...]] = {
    "gradient": ("leaves", "step", "rank"),
    "zero gradient": ("step", "leaves", "clamp", "rank"),
    "slope along the gradient": ("step", "rank", "leaves"),
    "slope in random directions": ("step", "rank", "leaves", "mask"),
    "smoothed gradient": ("rank", "step"),
    "jumps": ("step", "rank", "leaves", "mask"),
    "randomness": ("random",),
}
"""Check -> the kinds of operations that may be behind its finding, the likeliest first."""


def layer_of(check: str, operations: Sequence[Operation]) -> tuple[str, str]:
    """(layer, operation) of the first operation that explains a finding; ("", "") if none does."""
    for kind in EXPLAINS.get(check, ()):
        for operation in operations:
            if operation.kind == kind:
                return operation.layer, operation.name
    return "", ""


def cut_at(model: Model, images: Tensor) -> str:
    """Name of the first module that a gradient enters from behind and does not leave, or leaves as zeros or not finite.

    Empty where none is found: a function, or what happens between modules.
    """
    if not isinstance(model, nn.Module):
        return ""
    calls: list[tuple[str, Tensor, Tensor]] = []
    names = {module: name for name, module in model.named_modules() if name}
    hooks = [module.register_forward_hook(_keeping(calls, name)) for module, name in names.items()]
    try:
        with FrozenModel(model), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            inputs = own_copy(images).requires_grad_(True)
            logits = model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    severed = [name for name, before, after in calls if before.requires_grad and not after.requires_grad]
    if severed:
        return severed[0]
    if not logits.requires_grad:
        return ""
    label = logits.argmax(1)
    loss = torch.nn.functional.cross_entropy(logits, label, reduction="sum")
    return max(_lost(calls, loss), key=lambda name: name.count("."), default="")  # the innermost


def _lost(calls: Sequence[tuple[str, Tensor, Tensor]], loss: Tensor) -> Iterator[str]:
    """Modules behind which a gradient is there, and before which it is not."""
    asked = [(name, before, after) for name, before, after in calls if before.requires_grad and after.requires_grad]
    tensors = [x for _, before, after in asked for x in (before, after)]
    if not tensors:
        return
    found: Sequence[Tensor | None] = torch.autograd.grad(loss, tensors, allow_unused=True, retain_graph=True)
    for k, (name, _, _) in enumerate(asked):
        before, after = found[2 * k], found[2 * k + 1]
        if after is not None and _alive(after) and (before is None or not _alive(before)):
            yield name


def _alive(gradient: Tensor) -> bool:
    """Most images have a finite gradient that is not zero."""
    largest = gradient.flatten(1).abs().amax(1) if gradient.ndim > 1 else gradient.abs()
    return float(((largest > 0) & largest.isfinite()).float().mean()) > 0.5


def _keeping(
    calls: list[tuple[str, Tensor, Tensor]], name: str
) -> Callable[[nn.Module, tuple[object, ...], object], None]:
    """A forward hook that notes the first tensor that goes in and the first that comes out."""

    def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        before, after = _first(tree_leaves(inputs)), _first(tree_leaves(output))
        if before is not None and after is not None:
            calls.append((name, before, after))

    return hook


def _first(values: Iterable[object]) -> Tensor | None:
    return next((x for x in values if isinstance(x, Tensor) and x.is_floating_point()), None)
