"""A small network that sees where the pad is, trained on plain and random pads; then frozen, and pads are designed for
it. Nothing here needs OpenGL, and nothing sees weather.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustray.tasks.attacks.objective import ModelOutput, OnLogits
from robustray.tasks.attacks.search import noise
from robustray.tasks.checks import check_count, check_size
from robustray.tasks.data.images import ImageData
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.inputs.shared import Design, SharedParameter, box
from robustray.tasks.lab import seeds
from robustray.tasks.lab.optimise import optimisation
from robustray.tasks.lab.protocol import Context
from robustray.tasks.pad.scenes import (
    PAD_TEXELS,
    Scenes,
    anywhere,
    drawn,
    grounds,
    plain_pad,
    random_pads,
)
from robustray.tasks.pad.settings import Flight
from robustray.tasks.training.fit import Fit


class PadNet(nn.Module):
    """Images (batch, 3, side, side) in [0, 1] -> (batch, 2): where the pad is, in shares of the height.

    Four 3x3 convolutions with batch norm, 16-32-64-64 channels, strides 2, 2, 2, 1; two linear layers on all places,
    since it is places that are asked for.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        widths, strides = (3, 16, 32, 64, 64), (2, 2, 2, 1)
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths, widths[1:], strides, strict=False):
            layers += [
                nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
            side = (side - 1) // stride + 1
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * side**2, 128), nn.ReLU())
        self.head = nn.Linear(128, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(2 * images - 1))


def frozen(flight: Flight, arrays: Mapping[str, Any], device: str = "cpu") -> PadNet:
    """The network with these weights, in evaluation mode."""
    net = PadNet(flight.side)
    net.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    return net.to(device).eval().requires_grad_(False)


# --- Training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RegressorSettings:
    """Training by Adam on squared errors; half of each batch has the plain pad, half a random one each."""

    flight: Flight
    num_steps: int
    batch_size: int = 64
    lr: float = 2e-3
    """Of the first step; it falls to zero along a cosine."""
    num_grounds: int = 256
    """Each is drawn once and seen often, at other places."""

    def __post_init__(self) -> None:
        check_count("num_steps", self.num_steps, at_least=1)
        check_count("batch_size", self.batch_size, at_least=2)
        check_count("num_grounds", self.num_grounds, at_least=1)
        check_size("lr", self.lr, at_most=1.0)


@optimisation(version=1)
def regressor(context: Context) -> Fit:
    """A `PadNet`; settings: `RegressorSettings`. Its result is the net's state dict."""
    settings: RegressorSettings = context.settings
    flight, seed, size = settings.flight, context.seed, settings.batch_size
    with seeds.torch_seeded(seeds.integer(seed, "pad-net")):
        net = PadNet(flight.side)
    pool = grounds(flight, seed, torch.arange(settings.num_grounds))
    optimizer = torch.optim.Adam(net.parameters(), lr=settings.lr)
    net.to(context.device)

    def loss(step: int) -> Tensor:
        optimizer.param_groups[0]["lr"] = settings.lr * (1 + np.cos(np.pi * step / settings.num_steps)) / 2
        indices = torch.arange(step * size, (step + 1) * size)
        scenes = anywhere(flight, seed, indices)
        half = size // 2
        pads = torch.cat([plain_pad().expand(half, -1, -1, -1), random_pads(seed, indices[half:])])
        images = drawn(flight, scenes, pool[_which(seed, indices, len(pool))], pads)
        said = net.train()(images.to(context.device))
        return (said - scenes.target().to(context.device)).square().sum(1).mean()

    return Fit(module=net, optimizer=optimizer, loss=loss, num_steps=settings.num_steps, seed=seed)


def _which(seed: int, indices: Tensor, count: int) -> Tensor:
    """(batch,): the ground of each situation."""
    return (noise.uniform(seed, "pad-ground", 0, indices, (1,), "cpu")[:, 0] * count).long()


# --- Design -----------------------------------------------------------------------------------------------------------


class SquaredError(OnLogits):
    """Minus the squared distance between what the network says and `state`, (batch, 2)."""

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        return -(output.logits - state).square().sum(1)

    def success(self, output: ModelOutput, images: Tensor, state: Tensor) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class PadDesignSettings:
    """How a pad is designed: by steps of the one driver, on so many situations that no flight will meet."""

    flight: Flight
    ascent: SharedAscent
    num_scenes: int = 2_048
    num_grounds: int = 256


@optimisation(version=1)
def pad_design(context: Context) -> SharedParameter:
    """A pad (1, 3, PAD_TEXELS, PAD_TEXELS) on which the network errs least; settings: `PadDesignSettings`; reference
    "regressor": its arrays."""
    settings: PadDesignSettings = context.settings
    flight, seed, device = settings.flight, context.seed, context.device
    indices = torch.arange(settings.num_scenes)
    scenes, pool = anywhere(flight, seed, indices), grounds(flight, seed, torch.arange(settings.num_grounds))
    ground = _which(seed, indices, len(pool))

    def place(step: int, at: Tensor, labels: Tensor) -> dict[str, Tensor]:
        at = at.cpu()
        return {**{name: value[at] for name, value in scenes._asdict().items()}, "ground": ground[at]}

    def apply(parameter: Tensor, images: Tensor, placements: Any) -> Tensor:
        below = pool[placements["ground"]]
        here = Scenes(**{name: placements[name] for name in Scenes._fields})
        return drawn(flight, here, below, parameter.cpu()).to(images.device)

    start = noise.normal(seed, "pad-design", 0, torch.arange(1), (3, PAD_TEXELS, PAD_TEXELS), "cpu")
    return SharedParameter(
        name="pad",
        ascent=settings.ascent,
        model=frozen(flight, context.load("regressor"), device),
        design=Design(apply=apply, place=place, project=box, objective=SquaredError()),
        data=_numbers(flight, settings.num_scenes),
        indices=range(settings.num_scenes),
        parameter=(0.5 + 0.1 * start).clamp(0, 1).to(device),
        targets=scenes.target(),
    )


def _numbers(flight: Flight, count: int) -> ImageData:
    """What the driver counts by: the pictures themselves are drawn with the pad in them."""
    return ImageData(
        name="situations above a pad",
        images=np.broadcast_to(np.zeros((1, 3, 1, 1), np.uint8), (count, 3, flight.side, flight.side)),
        labels=np.zeros(count, dtype=np.int64),
        classes=("pad",),
    )
