"""What a gradient step costs beside its convolutions alone: nothing that uses the library's convolutions is faster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import CrossEntropy
from robustray.tasks.attacks.precision import Arithmetic
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.attacks.settings import Norm


@dataclass(frozen=True, eq=False)
class _Layer:
    module: nn.Conv2d
    inputs: Tensor
    outputs: Tensor


def convolutions(model: nn.Module, images: Tensor, precision: Arithmetic) -> Callable[[int], None]:
    """A function of the number of repetitions: every convolution of the model forward, then its input gradient.

    Channels last, in `precision`, on tensors of the shapes that a pass of these images has; no bias, activation, batch
    norm, sum or cast between them.
    """
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    layers: list[_Layer] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...], outputs: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        layers.append(_Layer(module, *(_last(tensor.detach().to(kind)) for tensor in (inputs[0], outputs))))

    hooks = [m.register_forward_hook(keep) for m in model.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        model(_last(images))
    for hook in hooks:
        hook.remove()
    weights = [_last(layer.module.weight.detach().to(kind)) for layer in layers]

    @torch.no_grad()
    def run(times: int) -> None:
        for _ in range(times):
            for layer, weight in zip(layers, weights, strict=True):
                m = layer.module
                assert isinstance(m.padding, tuple)
                functional.conv2d(layer.inputs, weight, None, m.stride, m.padding, m.dilation, m.groups)
            for layer, weight in zip(reversed(layers), reversed(weights), strict=True):
                m = layer.module
                torch.ops.aten.convolution_backward(
                    layer.outputs, layer.inputs, weight, None,
                    m.stride, m.padding, m.dilation, False, [0, 0], m.groups, [True, False, False],
                )  # fmt: skip

    return run


def gradient_steps(
    model: nn.Module, images: Tensor, labels: Tensor, norm: Norm, eps: float, precision: Arithmetic
) -> Callable[[int], None]:
    """A function of the number of steps: PGD as the engine takes it, without its clean pass and its verdict."""
    geometry = GEOMETRIES[norm]

    def run(times: int) -> None:
        x = images
        with GradientView(model, precision=precision, shape=images.shape[1:]) as view:
            for _ in range(times):
                _, gradient, _ = view.value_and_gradient(x, labels, CrossEntropy())
                x = geometry.project(x + eps / 8 * geometry.direction(gradient), images, eps)

    return run


def _last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)
