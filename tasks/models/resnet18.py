"""ResNet-18 with the stem for 32x32 images: 3x3 convolution of stride 1, no max-pooling.

Keys (`conv1 bn1 layer{1..4}.{i}.conv1/bn1/conv2/bn2/shortcut.0/1 linear`) are those of the public CIFAR ResNet-18
checkpoints, robust ones included.
"""

from __future__ import annotations

from torch import Tensor, nn

from robustray.tasks.models.blocks import BasicBlock, conv3x3, init_residual, run_blocks


class CifarResNet18(nn.Module):
    """Four stages of two basic blocks with 64 to 512 channels; latent of width 512."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(3, 64)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64)
        self.layer2 = _stage(64, 128)
        self.layer3 = _stage(128, 256)
        self.layer4 = _stage(256, 512)
        self.linear = nn.Linear(512, num_classes)
        init_residual(self)

    def features(self, x: Tensor, fake_relu: bool = False) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = run_blocks([*self.layer1, *self.layer2, *self.layer3, *self.layer4], x, fake_relu)
        return x.mean((2, 3))

    def classify(self, latent: Tensor) -> Tensor:
        return self.linear(latent)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))


def _stage(in_channels: int, out_channels: int) -> nn.Sequential:
    stride = 1 if in_channels == out_channels else 2
    shortcut: nn.Module = nn.Identity()
    if stride == 2:
        shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
        )
    return nn.Sequential(
        BasicBlock(in_channels, out_channels, stride, shortcut),
        BasicBlock(out_channels, out_channels, 1, nn.Identity()),
    )
