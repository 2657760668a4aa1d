"""Small networks of other kinds than "S", about as fast: whether something is a matter of the architecture."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from robustray.tasks.models.blocks import BasicBlock, init_residual, run_blocks
from robustray.tasks.models.normalised import ReluBackbone
from robustray.tasks.models.small import ConvNorm


class _Pooled(ReluBackbone):
    """Mean over positions, a linear head. Subclasses have `head`."""

    head: nn.Linear

    def pool(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def classify(self, latent: Tensor) -> Tensor:
        return self.head(latent)


class OtherResNet(_Pooled):
    """As "S", with stages of `width`, twice and four times as many channels, behind a stem of another stride."""

    def __init__(self, num_classes: int, width: int, stem_stride: int) -> None:
        super().__init__()
        widths = (width, width, 2 * width, 4 * width)
        self.stem = ConvNorm(3, width, size=3, stride=stem_stride)
        self.blocks = nn.Sequential(
            *(
                BasicBlock(a, b, 1 if a == b else 2, nn.Identity() if a == b else ConvNorm(a, b, size=1, stride=2))
                for a, b in pairwise(widths)
            )
        )
        self.head = nn.Linear(widths[-1], num_classes)
        init_residual(self)

    def body(self, x: Tensor) -> Tensor:
        return run_blocks(self.blocks, self.stem(x).relu())


class PlainNet(_Pooled):
    """Six 3x3 convolutions without shortcuts, 32-32-64-64-128-128 channels, strides 2, 1, 2, 1, 2, 1."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        widths = (3, 32, 32, 64, 64, 128, 128)
        self.layers = nn.Sequential(*(ConvNorm(a, b, size=3, stride=1 if a == b else 2) for a, b in pairwise(widths)))
        self.head = nn.Linear(widths[-1], num_classes)
        init_residual(self)

    def body(self, x: Tensor) -> Tensor:
        *first, last = self.layers
        for layer in first:
            x = layer(x).relu()
        return last(x)


class Separable(nn.Module):
    """A 3x3 convolution of every channel by itself, then one of 1x1, both with batch norm (arXiv:1704.04861)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False
        )
        self.bn = nn.BatchNorm2d(in_channels)
        self.pointwise = ConvNorm(in_channels, out_channels, size=1, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.bn(self.depthwise(x)).relu())


class DepthwiseNet(_Pooled):
    """A stem of stride 2 to 32 channels, then separable convolutions 64-64-128-128-256, strides 1, 2, 1, 2, 1."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, size=3, stride=2)
        self.layers = nn.Sequential(
            Separable(32, 64, 1),
            Separable(64, 64, 2),
            Separable(64, 128, 1),
            Separable(128, 128, 2),
            Separable(128, 256, 1),
        )
        self.head = nn.Linear(256, num_classes)
        init_residual(self)

    def body(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        *first, last = self.layers
        for layer in first:
            x = layer(x).relu()
        return last(x)
