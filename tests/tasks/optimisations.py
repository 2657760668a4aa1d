"""Optimisations for `lab.optimise`: a universal perturbation of images, and a regressor, which is no classifier.

Workers import this module by name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.objective import CrossEntropy
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.inputs.shared import SharedParameter, universal
from robustray.tasks.lab import protocol, seeds
from robustray.tasks.lab.optimise import optimisation
from robustray.tasks.lab.protocol import Context, block_function


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


@block_function(version=1, columns={"x": protocol.Tensor("float32"), "y": pa.float32()})
def points_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Points of a noisy plane: y = 2 x_0 - x_1 + 0.5."""
    drawn = np.stack([seeds.stream(context.seed, "point", item).standard_normal(3) for item in items])
    x, noise = drawn[:, :2].astype(np.float32), drawn[:, 2]
    return {"x": x, "y": (2 * x[:, 0] - x[:, 1] + 0.5 + 0.1 * noise).astype(np.float32)}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a regressor is fitted."""

    num_steps: int
    lr: float = 0.05
    batch_size: int = 32
    orders: str = ""
    """Folder with orders: while there is `hold`, no more steps are taken than it says; `steps` counts those taken."""


class Regression:
    """Least squares by stochastic gradient descent with momentum: a `robustray.tasks.lab.resumable.Optimisation`."""

    def __init__(self, fit: Fit, x: Tensor, y: Tensor, seed: int) -> None:
        self.fit, self.x, self.y, self.seed = fit, x, y, seed
        self.model = nn.Linear(x.shape[1], 1)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.zero_()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=fit.lr, momentum=0.9)
        self.step = 0

    def steps(self) -> Generator[dict[str, float], None, None]:
        while self.step < self.fit.num_steps:
            obey(self.fit.orders, self.step)
            drawn = seeds.stream(self.seed, "batch", self.step).integers(len(self.x), size=self.fit.batch_size)
            batch = torch.from_numpy(drawn)
            loss = (self.model(self.x[batch])[:, 0] - self.y[batch]).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.step += 1
            yield {"loss": float(loss.detach())} if self.step % 2 else {}

    def result(self) -> dict[str, Tensor]:
        return dict(self.model.state_dict())

    def tensors(self) -> dict[str, Tensor]:
        moving = {
            f"momentum/{name}": self.optimizer.state[parameter]["momentum_buffer"]
            for name, parameter in self.model.named_parameters()
            if parameter in self.optimizer.state
        }
        return {**self.model.state_dict(), **moving}

    def record(self) -> dict[str, int]:
        return {"step": self.step}

    def load(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        self.model.load_state_dict({name: t for name, t in tensors.items() if not name.startswith("momentum/")})
        for name, parameter in self.model.named_parameters():
            self.optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum/{name}"].clone()
        self.step = record["step"]


@optimisation(version=1)
def regression(context: Context) -> Regression:
    """refs: "points", rows of `points_block`."""
    rows = context.load("points")
    x, y = (torch.from_numpy(np.array(rows[name])) for name in ("x", "y"))
    return Regression(context.settings, x, y, context.seed)


@block_function(version=1, columns={"y": pa.float64()})
def fitted_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """The regressor's answers; refs: "points" and "fit", what a regression found."""
    fit = context.load("fit")
    return {"y": (context.load("points")["x"][items] @ fit["weight"][0] + fit["bias"]).astype(np.float64)}


class Broken(Regression):
    """A regressor whose result later steps cannot read: `gives` is what it is instead."""

    gives: Any = None

    def result(self) -> dict[str, Any]:
        return self.gives


@optimisation(version=1)
def broken(context: Context) -> Broken:
    made = Broken(Fit(num_steps=1), torch.zeros(4, 2), torch.zeros(4), 0)
    made.gives = {
        "nothing": {},
        "infinite": {"a": torch.tensor([1.0, torch.inf])},
        "bfloat16": {"a": torch.ones(2, dtype=torch.bfloat16)},
        "number": {"a": 1.0},
    }[context.settings]
    return made


def obey(folder: str, step: int) -> None:
    if not folder:
        return
    with Path(folder, "steps").open("a") as steps:
        steps.write(f"{os.getpid()} {step}\n")
    while (hold := Path(folder, "hold")).exists() and step >= int(hold.read_text()):
        time.sleep(0.02)
