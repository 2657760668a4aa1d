"""Network "S": 309k parameters, fast enough to train robustly on two CPU cores (docs/studies/robust-training.md)."""

from __future__ import annotations

from torch import Tensor, nn

from robustray.tasks.models.blocks import BasicBlock, init_residual, run_blocks
from robustray.tasks.models.normalised import ReluBackbone


class ConvNorm(nn.Module):
    """Convolution without bias and batch normalisation, under the names `conv` and `bn`."""

    def __init__(self, in_channels: int, out_channels: int, size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class SmallResNet(ReluBackbone):
    """3x3 stem of stride 2 to 32 channels; basic blocks 32-32, 32-64, 64-128 (strides 1, 2, 2); latent of width 128."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, size=3, stride=2)
        self.blocks = nn.Sequential(
            BasicBlock(32, 32, 1, nn.Identity()),
            BasicBlock(32, 64, 2, ConvNorm(32, 64, size=1, stride=2)),
            BasicBlock(64, 128, 2, ConvNorm(64, 128, size=1, stride=2)),
        )
        self.head = nn.Linear(128, num_classes)
        init_residual(self)

    def body(self, x: Tensor) -> Tensor:
        return run_blocks(self.blocks, self.stem(x).relu())

    def pool(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def classify(self, latent: Tensor) -> Tensor:
        return self.head(latent)
