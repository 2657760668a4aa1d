"""Wide ResNets for 32x32 images (Zagoruyko and Komodakis 2016, arXiv:1605.07146, table 1), without dropout.

Keys (`conv1 block{1,2,3}.layer.{i}.bn1/conv1/bn2/conv2/convShortcut bn1 fc`) are those of the public checkpoints of
TRADES and of what was built on it.
"""

from __future__ import annotations

from torch import Tensor, nn

from robustray.tasks.models.blocks import conv1x1, conv3x3, init_residual
from robustray.tasks.models.normalised import ReluBackbone

DEPTHS = range(10, 101, 6)
"""6n + 4 layers: n blocks in each of three stages."""
WIDTHS = range(1, 21)
"""Times 16, 32 and 64 channels."""


class WideBlock(nn.Module):
    """bn1 ReLU conv1 bn2 ReLU conv2, plus the shortcut: a 1x1 convolution behind bn1 and ReLU where channels change."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.convShortcut = conv1x1(in_channels, out_channels, stride) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        active = self.bn1(x).relu()
        inner = self.bn2(self.conv1(active)).relu()
        return self.conv2(inner) + (x if self.convShortcut is None else self.convShortcut(active))


class WideStage(nn.Module):
    """n blocks under the name `layer`; the first one changes channels and size."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, num_blocks: int) -> None:
        super().__init__()
        rest = [WideBlock(out_channels, out_channels, 1) for _ in range(num_blocks - 1)]
        self.layer = nn.Sequential(WideBlock(in_channels, out_channels, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class WideResNet(ReluBackbone):
    """WRN-depth-width; latent 64 `width` wide. Its final ReLU follows the last batch norm and is not in a block."""

    def __init__(self, depth: int, width: int, num_classes: int) -> None:
        super().__init__()
        assert depth in DEPTHS and width in WIDTHS
        per_stage = (depth - 4) // 6
        self.conv1 = conv3x3(3, 16)
        self.block1 = WideStage(16, 16 * width, 1, per_stage)
        self.block2 = WideStage(16 * width, 32 * width, 2, per_stage)
        self.block3 = WideStage(32 * width, 64 * width, 2, per_stage)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, num_classes)
        init_residual(self)
        nn.init.zeros_(self.fc.bias)

    def body(self, x: Tensor) -> Tensor:
        return self.bn1(self.block3(self.block2(self.block1(self.conv1(x)))))

    def pool(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def classify(self, latent: Tensor) -> Tensor:
        return self.fc(latent)
