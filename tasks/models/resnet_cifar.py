"""ResNet-20/32/44/56/110 for 32x32 images (He et al. 2015, arXiv:1512.03385, section 4.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from robustray.tasks.models.blocks import BasicBlock, conv3x3, init_residual, run_blocks
from robustray.tasks.models.normalised import ReluBackbone

DEPTHS = (20, 32, 44, 56, 110)


class PadShortcut(nn.Module):
    """Option A: every second pixel, new channels zero (half of them before, half behind). Has no parameters."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.side = new_channels // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.side, self.side))


class CifarResNet(ReluBackbone):
    """6n + 2 layers: three stages of n basic blocks with 16, 32 and 64 channels; latent of width 64."""

    def __init__(self, depth: int, num_classes: int) -> None:
        super().__init__()
        assert depth in DEPTHS
        per_stage = (depth - 2) // 6
        self.conv1 = conv3x3(3, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, per_stage)
        self.layer2 = _stage(16, 32, per_stage)
        self.layer3 = _stage(32, 64, per_stage)
        self.linear = nn.Linear(64, num_classes)
        init_residual(self)

    def body(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        return run_blocks([*self.layer1, *self.layer2, *self.layer3], x)

    def pool(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def classify(self, latent: Tensor) -> Tensor:
        return self.linear(latent)


def _stage(in_channels: int, out_channels: int, num_blocks: int) -> nn.Sequential:
    grows = out_channels > in_channels
    shortcut = PadShortcut(out_channels - in_channels) if grows else nn.Identity()
    first = BasicBlock(in_channels, out_channels, 2 if grows else 1, shortcut)
    rest = [BasicBlock(out_channels, out_channels, 1, nn.Identity()) for _ in range(num_blocks - 1)]
    return nn.Sequential(first, *rest)
