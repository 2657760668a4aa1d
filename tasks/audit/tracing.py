"""Operations between images and logits that gradients do not see through, and the layers in which they stand.

Every operation of a forward pass is looked at (also inside functions and custom autograd functions), and which tensors
depend on the images. So rounded weights are not taken for rounded activations, and `detach()` hides nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from robustray.tasks.attacks.gradient.refusals import Model
from robustray.tasks.attacks.gradient.verdicts import FrozenModel, own_copy

Kind = Literal["step", "rank", "mask", "random", "clamp", "resize", "leaves"]


def _words(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in text.split())


KINDS: dict[Kind, frozenset[str]] = {
    "step": _words(
        "round floor ceil trunc sign sgn heaviside hardshrink frac floor_divide fmod remainder bucketize searchsorted",
        "argmax argmin one_hot quantize_per_tensor quantize_per_channel",
        "fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine_cachemask",
    ),
    "rank": _words("topk kthvalue sort argsort msort"),
    "mask": _words("gt ge lt le eq ne"),
    "random": _words(
        "bernoulli rand randn randint randperm rand_like randn_like randint_like normal normal_functional uniform",
        "exponential geometric multinomial native_dropout dropout random poisson log_normal cauchy",
    ),
    "clamp": _words("clamp clamp_min clamp_max hardtanh"),
    "resize": _words(
        "upsample_bilinear2d upsample_nearest2d upsample_bicubic2d _upsample_nearest_exact2d _upsample_bilinear2d_aa",
        "_upsample_bicubic2d_aa grid_sampler_2d",
    ),
}
"""Names of ATen's operations, without their in-place mark."""
NEEDS_IMAGES = frozenset({"step", "rank", "mask", "clamp", "resize"})
"""Kinds that matter only where the tensor depends on the images."""


@dataclass(frozen=True)
class Operation:
    """One kind of operation in one layer."""

    kind: Kind
    name: str
    """As ATen calls it; "integers" for a conversion to integers; for "leaves" what came back from outside of torch."""
    layer: str
    """Name of the innermost module that ran; empty for the model itself or a function."""
    times: int = 1


def trace(model: Model, images: Tensor) -> tuple[Operation, ...]:
    """Operations of `KINDS` in a forward pass of images (b, ...) in evaluation mode, in their order.

    torch's generator is put back. Raises: what the model raises.
    """
    with FrozenModel(model), torch.random.fork_rng(devices=[]), torch.no_grad():
        inputs = own_copy(images)
        with _Watching(model, inputs) as watching:
            model(inputs)
    return tuple(Operation(*key, times=times) for key, times in watching.found.items())


class _Watching(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch asks when it makes the class. Yes would import its compiler at the first operation, two seconds of CPU
        time (torch 2.14.1), to keep it away from here, where it compiles nothing as it is: not below such a mode."""
        return False

    def __init__(self, model: Model, images: Tensor) -> None:
        super().__init__()
        modules = model.named_modules() if isinstance(model, nn.Module) else ()
        self.names = {id(module): name for name, module in modules}
        self.found: Counter[tuple[Kind, str, str]] = Counter()
        self.running: list[str] = []
        self.storages: dict[int, Any] = {}
        """Memory that depends on the images; kept alive, so that no address is given out twice."""
        self._mark(images)

    def __enter__(self) -> _Watching:
        self.hooks = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self.hooks:
            hook.remove()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self.running.append(self.names.get(id(module), type(module).__name__))

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        depends = any(self._depends(x) for x in tree_leaves(inputs))
        leaves = [x for x in tree_leaves(output) if isinstance(x, Tensor)]
        here = self.running.pop()
        if depends and leaves and not any(map(self._depends, leaves)):
            self.found["leaves", "what comes from outside of torch", here] += 1
            for x in leaves:  # what follows depends on the images all the same
                self._mark(x)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__.rstrip("_") if hasattr(func, "overloadpacket") else str(func)
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        depends = any(map(self._depends, inputs))
        if depends:
            for x in tree_leaves(result):
                if isinstance(x, Tensor):
                    self._mark(x)
        self._note(name, depends, inputs, result)
        return result

    def _note(self, name: str, depends: bool, inputs: list[Tensor], result: Any) -> None:
        here = self.running[-1] if self.running else ""
        for kind, names in KINDS.items():
            if name in names and (depends or kind not in NEEDS_IMAGES):
                self.found[kind, name, here] += 1
        if depends and name in ("_to_copy", "to", "copy") and isinstance(result, Tensor):
            source = inputs[-1] if name == "copy" else inputs[0]
            if source.is_floating_point() and not result.is_floating_point() and result.dtype != torch.bool:
                self.found["step", "integers", here] += 1

    def _depends(self, value: Any) -> bool:
        return isinstance(value, Tensor) and _address(value) in self.storages

    def _mark(self, tensor: Tensor) -> None:
        self.storages[_address(tensor)] = tensor.untyped_storage()


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
