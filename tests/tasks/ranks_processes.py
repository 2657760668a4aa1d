"""Trainings for `test_training_ranks.py`, and the process of one rank: `ranks_processes.py RANK NUM_RANKS FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from robustray.tasks.data.images import ImageData
from robustray.tasks.lab.checkpoints import Checkpoints, Interval
from robustray.tasks.lab.store import Store
from robustray.tasks.training import settings
from robustray.tasks.training.loop import Trained, train_model
from robustray.tasks.training.ranks import ProcessGroup, Ranks
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.state import TrainingDiverged

CASES: dict[str, dict[str, Any]] = {
    "standard": {"label_smoothing": 0.1, "weight_decay": 1e-3},
    "adversarial": {"loss": "adversarial", "eps": 0.05, "num_steps": 2, "ema_decay": 0.9, "select": "best"},
    "trades": {
        "model": "ranks_processes:loud",
        "loss": "trades",
        "norm": "l2",
        "eps": 0.5,
        "num_steps": 2,
        "random_start": True,
        "lr": 0.002,
    },
    "frozen": {"model": "ranks_processes:frozen"},
    "diverges": {"lr": 1e30, "weight_decay": 0.0},
}


class Net(nn.Module):
    """All kinds of batch norm. Smooth: a ReLU whose input is zero but for rounding may open or shut."""

    def __init__(self, num_classes: int, *, frozen: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16, momentum=None)
        self.linear, self.bn3 = nn.Linear(16, 8), nn.BatchNorm1d(8, affine=False)
        self.head = nn.Linear(8, num_classes)
        if frozen:
            self.bn1.eval()

    def forward(self, images: Tensor) -> Tensor:
        x = functional.silu(self.bn2(self.conv2(functional.silu(self.bn1(self.conv1(images - 0.5))))))
        return self.head(functional.silu(self.bn3(self.linear(x.mean((2, 3))))))


def net(num_classes: int) -> Net:
    return Net(num_classes)


def loud(num_classes: int) -> Net:
    """With logits that are far apart: the divergence of nearly equal ones is mostly rounding."""
    made = Net(num_classes)
    nn.init.normal_(made.head.weight, std=2.0)
    return made


def frozen(num_classes: int) -> Net:
    return Net(num_classes, frozen=True)


def spec(case: str) -> TrainSpec:
    fields: dict[str, Any] = {
        "model": "ranks_processes:net",
        "data": "random",
        "epochs": 3,
        "batch_size": 12,
        "lr": 0.02,
    }
    fields |= {"augmentation": "crop-flip", "validation": 16, "check_steps": 2, "precision": "fp32"}
    return TrainSpec(**fields | {"attack_precision": "fp32", "ranks": (1, 3)} | CASES[case])


def random_data() -> ImageData:
    images = np.random.default_rng(0).integers(256, size=(64, 3, 12, 12), dtype=np.uint8)
    return ImageData(name="random", images=images, labels=np.arange(64, dtype=np.int64) % 3, classes=("a", "b", "c"))


def train(case: str, ranks: Ranks | None = None, keeper: Checkpoints | None = None) -> Trained | str:
    """What came out, or why nothing did."""
    before = settings.LARGEST_RATE
    settings.LARGEST_RATE = float("inf")  # the door refuses rates that spoil a training in a step
    try:
        return train_model(spec(case), random_data(), "cpu", ranks=ranks, keeper=keeper)
    except TrainingDiverged as error:
        return str(error)
    finally:
        settings.LARGEST_RATE = before


def checkpoints(folder: Path, said: list[str]) -> Checkpoints:
    """One in the middle of the second epoch, after 7 of 12 steps."""
    interval = Interval(steps=7, seconds=None)
    return Checkpoints(store=Store(str(folder)), key="abc", code="0123456789ab", interval=interval, say=said.append)


def numbers(trained: Trained) -> dict[str, Tensor]:
    return {f"{kind}/{k}": v for kind, snapshot in trained.weights.items() for k, v in snapshot.tensors.items()}


def main(rank: int, num_ranks: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=num_ranks)
    ranks, said = ProcessGroup(), list[str]()
    found = {case: train(case, ranks) for case in CASES}
    for name in ("interrupted", "resumed"):  # the checkpoint of the first is where the second begins
        found[name] = train("adversarial", ranks, checkpoints(folder / "store", said))
    for name, each in found.items():
        what = {"error": each} if isinstance(each, str) else {"curve": each.curve, "said": said}
        (folder / f"{name}-{rank}.json").write_text(json.dumps(what))
        if not isinstance(each, str):
            torch.save(numbers(each), folder / f"{name}-{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
