"""Two small networks for the 8x8 digits, trained in seconds on one core."""

from __future__ import annotations

from torch import Tensor, nn

from robustray.tasks.models.normalised import ReluBackbone


class DigitsMlp(ReluBackbone):
    """64 pixels - 128 - 64 - classes; latent of width 64."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(64, 128)
        self.hidden2 = nn.Linear(128, 64)
        self.head = nn.Linear(64, num_classes)

    def body(self, x: Tensor) -> Tensor:
        return self.hidden2(self.hidden1(x.flatten(1)).relu())

    def pool(self, x: Tensor) -> Tensor:
        return x

    def classify(self, latent: Tensor) -> Tensor:
        return self.head(latent)


class DigitsCnn(ReluBackbone):
    """Three 3x3 convolutions, 16-32-64 channels, strides 1, 2, 2; mean over the 2x2 positions; latent of width 64."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.head = nn.Linear(64, num_classes)

    def body(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x).relu()).relu())

    def pool(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def classify(self, latent: Tensor) -> Tensor:
        return self.head(latent)
