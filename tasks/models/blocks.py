"""The basic residual block that ResNets and network "S" share; they differ in the shortcut."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from robustray.tasks.models.normalised import final_relu


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """conv1 bn1 ReLU conv2 bn2, plus the shortcut, ReLU (He et al. 2015, figure 2)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut

    def forward(self, x: Tensor, fake_relu: bool = False) -> Tensor:
        inner = self.bn1(self.conv1(x)).relu()
        return final_relu(self.bn2(self.conv2(inner)) + self.shortcut(x), fake_relu)


def run_blocks(blocks: Iterable[nn.Module], x: Tensor, fake_relu: bool) -> Tensor:
    """All blocks in order; the last one with the fake ReLU if asked for."""
    *inner, last = blocks
    for block in inner:
        x = block(x)
    return last(x, fake_relu)


def init_residual(net: nn.Module) -> None:
    """He et al.'s normal initialisation of convolutions, from torch's global generator (seed it first)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
