"""The residual blocks that the networks for small images share; they differ in the shortcut."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)


class Block(nn.Module, ABC):
    """A block that ends in a ReLU."""

    @abstractmethod
    def before_relu(self, x: Tensor) -> Tensor: ...

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.before_relu(x))


class BasicBlock(Block):
    """conv1 bn1 ReLU conv2 bn2, plus the shortcut, ReLU (He et al. 2015, figure 2)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut

    def before_relu(self, x: Tensor) -> Tensor:
        inner = self.bn1(self.conv1(x)).relu()
        return self.bn2(self.conv2(inner)) + self.shortcut(x)


class Bottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions with bn1 to bn3, plus the shortcut, ReLU; the stride is in the 3x3 convolution."""

    def __init__(self, in_channels: int, inner_channels: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = conv1x1(in_channels, inner_channels)
        self.bn1 = nn.BatchNorm2d(inner_channels)
        self.conv2 = conv3x3(inner_channels, inner_channels, stride)
        self.bn2 = nn.BatchNorm2d(inner_channels)
        self.conv3 = conv1x1(inner_channels, 4 * inner_channels)
        self.bn3 = nn.BatchNorm2d(4 * inner_channels)
        self.shortcut = shortcut

    def before_relu(self, x: Tensor) -> Tensor:
        inner = self.bn1(self.conv1(x)).relu()
        inner = self.bn2(self.conv2(inner)).relu()
        return self.bn3(self.conv3(inner)) + self.shortcut(x)


def run_blocks(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """All blocks in order; what the final ReLU of the last one reads."""
    *inner, last = blocks
    for block in inner:
        x = block(x)
    assert isinstance(last, Block)
    return last.before_relu(x)


def init_residual(net: nn.Module) -> None:
    """He et al.'s normal initialisation of convolutions, from torch's global generator (seed it first)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
