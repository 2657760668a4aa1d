"""A model run again so that gradients pass where its own code stops, rounds, clips or saturates them.

Values are computed as the model computes them; only the way back differs (straight-through estimators and BPDA:
arXiv:1308.3432; Athalye, Carlini and Wagner, arXiv:1802.00420, section 4.1):
- rounding, signs, clamps, fake quantisation and conversions to integers pass gradients as they are;
- `detach`, `.data`, `no_grad` and hooks on tensors do nothing; custom functions are differentiated through their
  forward pass;
- softmax, sigmoid and tanh that are saturated have the gradient of a warmer one;
- layers that are named, and those that no gradient leaves, pass gradients as they are if their output is as large as
  their input.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.overrides import TorchFunctionMode

from robustray.tasks.attacks.gradient.refusals import Model
from robustray.tasks.attacks.gradient.stand_ins import Through

ROUNDS = frozenset(
    (
        "round",
        "floor",
        "ceil",
        "trunc",
        "fix",
        "sign",
        "sgn",
        "hardshrink",
        "heaviside",
        "fake_quantize_per_tensor_affine",
    )
)
CLAMPS = frozenset(("clamp", "clip", "clamp_min", "clamp_max", "hardtanh"))
STOPS = frozenset(("detach", "detach_", "requires_grad_"))
CONVERSIONS = frozenset(("to", "type", "byte", "char", "short", "int", "long"))
LEAVES_TORCH = frozenset(("numpy", "__array__", "tolist"))
SQUASHES = frozenset(("softmax", "sigmoid", "tanh"))
WARM = 4.0
"""Largest input of a sigmoid or tanh, and largest lead in a softmax, of which the gradient is not flat."""
ROUNDS_OF_REPAIR = 8
"""Layers that no gradient leaves are repaired one after the other, at most so many."""


def unmasked(model: Model, images: Tensor, layers: Sequence[str] = ()) -> Model | None:
    """A function with the model's logits on whose way back nothing is stopped; None where no gradient can be had.

    images: a few (b, ...) on which it is tried. layers: names of modules that pass gradients as they are. The model is
    copied where it is a module, and left alone.
    """
    net = model
    if isinstance(model, nn.Module):
        try:
            net = copy.deepcopy(model).eval().requires_grad_(False)
        except (RuntimeError, TypeError):  # what cannot be copied is run as it is
            net = model
    if isinstance(net, nn.Module) and net is not model:
        _without_backward_hooks(net)
        for name in layers:
            with contextlib.suppress(AttributeError):
                if not any(True for _ in net.get_submodule(name).parameters()):
                    net.get_submodule(name).register_forward_hook(_identity_back)
    for keep_integers in (False, True):
        run = _running(net, keep_integers)
        with contextlib.suppress(Exception):  # what the model's code does with floats for integers is its own
            if _repaired(net if net is not model else None, run, images):
                return run
    return None


def _running(net: Model, keep_integers: bool) -> Model:
    def run(images: Tensor) -> Tensor:
        with _Unmasking(keep_integers), _functions_differentiated(net):
            return net(images)

    return run


def _repaired(net: Any, run: Model, images: Tensor) -> bool:
    """Whether a gradient arrives, after layers that none leaves were made to pass it."""
    for _ in range(ROUNDS_OF_REPAIR):
        severed: list[nn.Module] = []
        hooks = [each.register_forward_hook(_noting(severed)) for each in net.modules()] if net is not None else []
        try:
            with torch.enable_grad(), torch.random.fork_rng(devices=[]):
                inputs = images.detach().clone().requires_grad_(True)
                logits = run(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        if logits.requires_grad:
            gradient: Tensor | None = torch.autograd.grad(logits.square().sum(), inputs, allow_unused=True)[0]
            if gradient is not None and bool(gradient.nan_to_num(0, 0, 0).any()):
                return True
        if not severed:
            return False
        severed[0].register_forward_hook(_identity_back)
    return False


def _noting(severed: list[nn.Module]) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if _alike(inputs, output) and inputs[0].requires_grad and not output.requires_grad:
            severed.append(module)

    return hook


def _identity_back(module: nn.Module, inputs: Any, output: Any) -> Any:
    """A forward hook: the same output, whose gradient goes to the input."""
    return Through.apply(inputs[0], output.detach()) if _alike(inputs, output) else output


def _alike(inputs: Any, output: Any) -> bool:
    first = inputs[0] if inputs else None
    return isinstance(first, Tensor) and isinstance(output, Tensor) and first.shape == output.shape


def _without_backward_hooks(net: nn.Module) -> None:
    for module in net.modules():
        module._backward_hooks.clear()
        module._backward_pre_hooks.clear()


class _Unmasking(TorchFunctionMode):
    """See the head of this file."""

    def __init__(self, keep_integers: bool) -> None:
        super().__init__()
        self.keep_integers = keep_integers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if func is torch._C._set_grad_enabled:
            return None if args and args[0] is False else func(*args, **kwargs)
        x = args[0] if args and isinstance(args[0], Tensor) else None
        if x is None or not x.is_floating_point():
            return func(*args, **kwargs)
        if name == "register_hook":
            return _NoHandle()
        if name in STOPS or getattr(func, "__self__", None) is Tensor.data:
            return x
        if name in LEAVES_TORCH:
            return func(x.detach(), *args[1:], **kwargs)
        if name in SQUASHES and x.requires_grad:
            return _warmer(func, name, x, args, kwargs)
        plain = name.rstrip("_")
        if plain in ROUNDS or plain in CLAMPS or name in CONVERSIONS:
            return self._passed(func, name, x, args, kwargs)
        return func(*args, **kwargs)

    def _passed(self, func: Any, name: str, x: Tensor, args: Any, kwargs: Any) -> Any:
        source = x.detach().clone() if name.endswith("_") else x.detach()
        with torch.no_grad():
            value = func(source, *args[1:], **kwargs)
        if name in CONVERSIONS:
            if value.is_floating_point() or value.dtype == torch.bool or self.keep_integers:
                return func(*args, **kwargs)
            value = value.to(x.dtype)
        if value.shape != x.shape or not x.requires_grad:
            return func(*args, **kwargs)
        if name.endswith("_"):  # in place: the constant is added, which leaves the gradient as it is
            return x.add_((value - x).detach())
        return Through.apply(x, value)


class _NoHandle:
    """What `register_hook` returns where no hook is registered."""

    def remove(self) -> None: ...


def _warmer(func: Any, name: str, x: Tensor, args: Any, kwargs: Any) -> Tensor:
    """The value of a squashing function with the gradient that it would have if its input were smaller."""
    size = x.detach().abs().amax()
    if name == "softmax":
        size = (x.detach().amax(-1) - x.detach().mean(-1)).amax()
    cooled = x * (WARM / size) if float(size) > WARM else x
    return Through.apply(func(cooled, *args[1:], **kwargs), func(x.detach(), *args[1:], **kwargs))


class _Context:
    """What a custom function's forward pass may write to."""

    needs_input_grad = (True,) * 64

    def save_for_backward(self, *tensors: Tensor) -> None: ...
    def mark_dirty(self, *tensors: Tensor) -> None: ...
    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...
    def set_materialize_grads(self, value: bool) -> None: ...


@contextlib.contextmanager
def _functions_differentiated(net: Model) -> Iterator[None]:
    """Inside, `apply` of custom autograd functions runs their forward pass as ordinary code; also where it was given a
    name of its own, among the attributes of the network's modules or in the files of their classes."""
    original = Function.__dict__["apply"]

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if cls is Through or cls.__module__.partition(".")[0] == "torch":
            return original.__get__(None, cls)(*args, **kwargs)
        if cls.setup_context is not Function.setup_context:
            return cls.forward(*args, **kwargs)
        return cls.forward(_Context(), *args, **kwargs)

    named = list(_named_applies(net))
    Function.apply = classmethod(apply)
    try:
        for names, name, held in named:
            names[name] = partial(apply, held.__self__)
        yield
    finally:
        Function.apply = original
        for names, name, held in named:
            names[name] = held


def _named_applies(net: Model) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """(namespace, name, bound method) wherever `apply` of a custom function was taken down."""
    modules = list(net.modules()) if isinstance(net, nn.Module) else []
    spaces = {id(each.__dict__): each.__dict__ for each in modules}
    for code in [net, *(type(each).forward for each in modules)]:
        names = getattr(code, "__globals__", {})
        if not str(names.get("__name__", "")).startswith("torch"):
            spaces[id(names)] = names
    for space in spaces.values():
        for name, value in list(space.items()):
            owner = getattr(value, "__self__", None)
            custom = isinstance(owner, type) and issubclass(owner, Function) and owner is not Through
            if custom and getattr(value, "__name__", "") == "apply":
                yield space, name, value
