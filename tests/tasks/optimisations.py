"""Optimisations for `lab.optimise`: a universal perturbation of images, and a regressor, which is no classifier.

Workers import this module by name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.objective import CrossEntropy
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.inputs.shared import SharedParameter, universal
from robustray.tasks.lab import seeds
from robustray.tasks.lab.optimise import optimisation
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.training.fit import Fit


@dataclass(frozen=True, kw_only=True)
class Universal:
    """A universal perturbation within eps."""

    eps: float
    ascent: SharedAscent


@optimisation(version=1)
def perturbation(context: Context) -> SharedParameter:
    """refs: "model", "data". The seed draws the start."""
    settings: Universal = context.settings
    data = context.load("data")
    start = seeds.stream(context.seed, "start").uniform(-settings.eps, settings.eps, (1, *data.shape))
    return SharedParameter(
        ascent=settings.ascent,
        model=context.load("model"),
        design=universal(settings.ascent.norm, settings.eps, CrossEntropy()),
        data=data,
        indices=range(len(data)),
        parameter=torch.from_numpy(start.astype(np.float32)).to(context.device),
    )


@block_function(version=1, columns={"correct": pa.bool_()})
def perturbed_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Images with the perturbation; refs: "model", "data" and, unless they are to stay as they are, "perturbation"."""
    images, labels = load_images(items, context)
    if context.settings == "perturbed":
        images = (images + torch.from_numpy(np.array(context.load("perturbation")["parameter"]))).clamp(0, 1)
    return {"correct": predict_logits(context.load("model"), images).argmax(1) == labels}


@block_function(version=1, columns={"x": Tensor("float32"), "y": pa.float32()})
def points_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Points of a noisy plane: y = 2 x_0 - x_1 + 0.5."""
    drawn = np.stack([seeds.stream(context.seed, "point", item).standard_normal(3) for item in items])
    x, noise = drawn[:, :2].astype(np.float32), drawn[:, 2]
    return {"x": x, "y": (2 * x[:, 0] - x[:, 1] + 0.5 + 0.1 * noise).astype(np.float32)}


@dataclass(frozen=True, kw_only=True)
class Regress:
    """How a regressor is fitted."""

    num_steps: int
    optimizer: str = "SGD"
    lr: float = 0.05
    orders: str = ""
    """Folder with orders: while there is `hold`, no more steps are taken than it says; `steps` counts those taken."""


@optimisation(version=1)
def regression(context: Context) -> Fit:
    """Least squares; refs: "points", rows of `points_block`. Dropout draws: by the number of the step."""
    settings: Regress = context.settings
    rows = context.load("points")
    x, y = (torch.from_numpy(np.array(rows[name])) for name in ("x", "y"))
    module = nn.Sequential(nn.Dropout(0.05), nn.Linear(2, 1))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    more = {"momentum": 0.9} if settings.optimizer == "SGD" else {}
    optimizer = getattr(torch.optim, settings.optimizer)(module.parameters(), lr=settings.lr, **more)

    def loss(step: int) -> torch.Tensor:
        obey(settings.orders, step)
        batch = torch.from_numpy(seeds.stream(context.seed, "batch", step).integers(len(x), size=32))
        return (module(x[batch])[:, 0] - y[batch]).square().mean()

    return Fit(module=module, optimizer=optimizer, loss=loss, num_steps=settings.num_steps, seed=context.seed)


@block_function(version=1, columns={"y": pa.float64()})
def fitted_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """The regressor's answers; refs: "points" and "fit", what a regression found."""
    fit = context.load("fit")
    return {"y": (context.load("points")["x"][items] @ fit["1.weight"][0] + fit["1.bias"]).astype(np.float64)}


class Broken(Fit):
    """A fit whose result later steps cannot read, by its name."""

    gives: str = ""

    def result(self) -> dict[str, Any]:
        made: dict[str, dict[str, Any]] = {
            "nothing": {},
            "infinite": {"a": torch.tensor([1.0, torch.inf])},
            "bfloat16": {"a": torch.ones(2, dtype=torch.bfloat16)},
            "number": {"a": 1.0},
        }
        return made[self.gives]


@optimisation(version=1)
def broken(context: Context) -> Broken:
    module = nn.Linear(2, 1)
    made = Broken(
        module=module,
        optimizer=torch.optim.SGD(module.parameters()),
        loss=lambda step: module(torch.ones(1, 2)).sum() * (torch.nan if context.settings == "diverges" else 1),
        num_steps=1,
    )
    made.gives = context.settings
    return made


def obey(folder: str, step: int) -> None:
    if not folder:
        return
    with Path(folder, "steps").open("a") as steps:
        steps.write(f"{os.getpid()} {step}\n")
    while (hold := Path(folder, "hold")).exists() and step >= int(hold.read_text()):
        time.sleep(0.02)
