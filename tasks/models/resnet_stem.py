"""ResNet-18 to 152 with the stem for 32x32 images: 3x3 convolution of stride 1, no max-pooling.

Keys (`conv1 bn1 layer{1..4}.{i}.conv1/bn1/conv2/bn2[/conv3/bn3]/shortcut.0/1 linear`) are those of the public CIFAR
checkpoints, the published robust ones included (MadryLab/robustness 1.2.1).
"""

from __future__ import annotations

from torch import Tensor, nn

from robustray.tasks.models.blocks import BasicBlock, Bottleneck, conv1x1, conv3x3, init_residual, run_blocks
from robustray.tasks.models.normalised import ReluBackbone

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Depth -> blocks per stage (He et al. 2015, table 1); from 50 on they are bottlenecks."""


class StemResNet(ReluBackbone):
    """Four stages; the first has `width` channels (published: 64). Latent 8 times as wide, 32 from depth 50 on."""

    def __init__(self, depth: int, num_classes: int, width: int = 64) -> None:
        super().__init__()
        bottleneck = depth >= 50
        self.conv1 = conv3x3(3, width)
        self.bn1 = nn.BatchNorm2d(width)
        first, second, third, fourth = BLOCKS[depth]
        wide = 4 * width if bottleneck else width  # channels between the blocks of the first stage
        self.layer1 = _stage(width, wide, 1, first, bottleneck)
        self.layer2 = _stage(wide, 2 * wide, 2, second, bottleneck)
        self.layer3 = _stage(2 * wide, 4 * wide, 2, third, bottleneck)
        self.layer4 = _stage(4 * wide, 8 * wide, 2, fourth, bottleneck)
        self.linear = nn.Linear(8 * wide, num_classes)
        init_residual(self)

    def body(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        return run_blocks([*self.layer1, *self.layer2, *self.layer3, *self.layer4], x)

    def pool(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def classify(self, latent: Tensor) -> Tensor:
        return self.linear(latent)


def _stage(in_channels: int, out_channels: int, stride: int, num_blocks: int, bottleneck: bool) -> nn.Sequential:
    shortcut: nn.Module = nn.Identity()
    if stride > 1 or in_channels != out_channels:
        shortcut = nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))
    kind, inner = (Bottleneck, out_channels // 4) if bottleneck else (BasicBlock, out_channels)
    rest = [kind(out_channels, inner, 1, nn.Identity()) for _ in range(num_blocks - 1)]
    return nn.Sequential(kind(in_channels, inner, stride, shortcut), *rest)
