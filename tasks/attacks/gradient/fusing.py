"""Fewer passes over memory in a traced copy of a model.

On a CPU that multiplies bf16 in matrix units, the sum and the ReLU behind a convolution cost as much time as it does:
they become one operation with it. And strided slices and means hand back gradients in a layout of their own, which
makes every sum and ReLU further down several times slower: those are put in order where they arise. In fp32 neither
changes a bit (compared for ResNet-20 and network "S"); in bf16 a sum is rounded once instead of twice. Measured on one
core: a gradient of ResNet-20 takes 25 % less time in bf16 and 7 % less in fp32, a bf16 forward pass of network "S"
11 % less.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

_RELU_FUNCTIONS = (torch.relu, functional.relu)
_ADD_FUNCTIONS = (operator.add, operator.iadd, torch.add)


def fuse(traced: fx.GraphModule) -> int:
    """Rewrite in place; returns how many convolutions took in what follows them.

    Taken in: ReLU, and before it the sum with another tensor, where nothing else uses what lies between.
    """
    graph, count = traced.graph, 0
    modules: dict[str, Any] = dict(traced.named_modules())
    for relu in [node for node in graph.nodes if _is_relu(node, modules)]:
        conv, other, between = _source(relu.args[0], modules)
        if conv is None:
            continue
        layer = ConvReLU(modules[str(conv.target)])
        traced.add_submodule(f"conv_relu_{count}", layer)
        with graph.inserting_before(relu):
            fused = graph.call_module(f"conv_relu_{count}", (conv.args[0],) if other is None else (conv.args[0], other))
        relu.replace_all_uses_with(fused)
        for node in (relu, *between, conv):
            graph.erase_node(node)
        count += 1
    _order_gradients(graph, dict(traced.named_modules()))
    traced.recompile()
    return count


class ConvReLU(nn.Module):
    """relu(conv(x)) or relu(conv(x) + other); one operation on a CPU that can."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.training = False
        self._ready: tuple[object, Tensor, Tensor | None] | None = None
        """What the numbers below were made from, weight and bias in the arithmetic of the last pass."""

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        conv, kind = self.conv, _in_one(x)
        if kind is not None and not conv.weight.requires_grad and (other is None or other.shape == self._shape(x)):
            where = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
            out: Tensor = _ConvReLU.apply(x, other, *self._numbers(kind), where, kind)
            return out
        out = conv(x)
        return (out if other is None else out + other).relu()

    def _numbers(self, kind: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Weight and bias, converted again where they have changed: every change in place raises a version."""
        weight, bias = self.conv.weight.detach(), self.conv.bias
        tensors = (weight,) if bias is None else (weight, bias)
        state = (kind, *((x.data_ptr(), -1 if x.is_inference() else x._version) for x in tensors))
        if self._ready is None or self._ready[0] != state:
            self._ready = state, weight.to(kind), None if bias is None else bias.detach().to(kind)
        return self._ready[1:]

    def _shape(self, x: Tensor) -> tuple[int, ...]:
        """Of the output."""
        conv, sides = self.conv, []
        for axis, side in enumerate(x.shape[2:]):
            padding = conv.padding[axis]
            assert isinstance(padding, int)
            reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
            sides.append((side + 2 * padding - reach - 1) // conv.stride[axis] + 1)
        return len(x), conv.out_channels, *sides


class _ConvReLU(torch.autograd.Function):
    """In one `kind`, that of weight and bias; the sum is rounded once, after the ReLU. No gradient of weights."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, other: Tensor | None, weight: Tensor, bias: Tensor | None, where: Any, kind: torch.dtype
    ) -> Tensor:
        operations = torch.ops.mkldnn._convolution_pointwise
        ctx.kinds, ctx.where = (x.dtype, None if other is None else other.dtype), where
        x = x.to(kind)
        out: Tensor
        if other is None:
            out = operations(x, weight, bias, *where, "relu", [], "")
        else:
            out = operations.binary(x, other.to(kind), weight, bias, *where, "add", 1.0, "relu", [], "")
        ctx.save_for_backward(x, weight, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, out = ctx.saved_tensors
        padding, stride, dilation, groups = ctx.where
        kind, other_kind = ctx.kinds
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        passed = torch.ops.aten.threshold_backward(gradient, out, 0)
        below = torch.ops.aten.convolution_backward(
            passed, x, weight, None, stride, padding, dilation, False, [0, 0], groups, [True, False, False]
        )[0]
        return below.to(kind), None if other_kind is None else passed.to(other_kind), None, None, None, None


def _in_one(x: Tensor) -> torch.dtype | None:
    """The arithmetic in which convolution, sum and ReLU of x are one operation here; None if they stay apart."""
    if x.device.type != "cpu" or x.ndim != 4:
        return None
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return kind if kind in (torch.bfloat16, torch.float32) and _can(kind) else None


@functools.cache
def _can(kind: torch.dtype) -> bool:
    """Not public: where a release of torch or a CPU lacks it, the operations stay apart."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    if not there or kind == torch.float32:
        return there
    known = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return known is not None and bool(known())


# --- What is where in a graph -----------------------------------------------------------------------------------------


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_method":
        return node.target in ("relu", "relu_")
    if node.op == "call_module":
        return type(modules[str(node.target)]) is nn.ReLU
    return node.op == "call_function" and node.target in _RELU_FUNCTIONS


def _is_add(node: fx.Node) -> bool:
    """Of two tensors, perhaps of a tensor and a number."""
    plain = len(node.args) == 2 and not node.kwargs
    function = node.op == "call_function" and node.target in _ADD_FUNCTIONS
    return plain and (function or (node.op == "call_method" and node.target in ("add", "add_")))


def _source(node: Any, modules: dict[str, nn.Module]) -> tuple[fx.Node | None, fx.Node | None, tuple[fx.Node, ...]]:
    """The convolution whose output `node` is, what is added to it, and the nodes between; (None, None, ()) if none."""

    def is_conv(node: Any) -> bool:
        if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.users) != 1:
            return False
        conv = modules[str(node.target)]
        # exact type: a subclass may compute anything
        return type(conv) is nn.Conv2d and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)

    if is_conv(node):
        return node, None, ()
    if isinstance(node, fx.Node) and _is_add(node) and len(node.users) == 1:
        for conv, other in (node.args, node.args[::-1]):
            if is_conv(conv) and isinstance(other, fx.Node) and other is not conv:
                assert isinstance(conv, fx.Node)
                return conv, other, (node,)
    return None, None, ()


# --- Layout of gradients ----------------------------------------------------------------------------------------------


def channels_last_gradient(x: Any) -> Any:
    """x, or another name of it, whose gradient is handed on in channels_last if x holds images.

    By a hook: where the model goes on to change x in place, autograd refuses a view that a custom function has made.
    """
    if not (isinstance(x, Tensor) and x.ndim == 4 and x.requires_grad):
        return x
    view = x.view_as(x)
    view.register_hook(_channels_last)
    return view


def _channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


def _order_gradients(graph: fx.Graph, modules: dict[str, nn.Module]) -> None:
    """Wherever an activation goes into anything but a convolution, a ReLU or a sum, whose gradients are in order."""
    for node in list(graph.nodes):
        if node.op not in ("call_module", "call_function", "call_method"):
            continue
        for user in list(node.users):
            orderly = user.op == "output" or _is_relu(user, modules) or _is_add(user)
            if user.op == "call_module" and isinstance(modules[str(user.target)], (nn.Conv2d, ConvReLU)):
                orderly = True
            if not orderly:
                with graph.inserting_before(user):
                    user.replace_input_with(node, graph.call_function(channels_last_gradient, (node,)))
