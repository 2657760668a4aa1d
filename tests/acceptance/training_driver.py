"""A program that trains on the digits, for `test_training_faults.py`: `main`.

Its network counts the steps it is trained by, in the folder that FOLDER names in the environment. Files there give
orders: while there is `hold`, no process takes more steps than it says; with `full`, no file grows beyond the bytes it
says (a disk that is full).
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import Tensor, nn

from robustray.tasks.errors import InputError
from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.checkpoints import Interval
from robustray.tasks.lab.executor import Silent
from robustray.tasks.lab.protocol import Context, block_function
from robustray.tasks.lab.store import Store
from robustray.tasks.training.settings import TrainSpec

INTERVAL = 10
NUM_STEPS = 60
FOLDER = "TRAINING_DRIVER_FOLDER"


class Net(nn.Module):
    """Convolutions and batch norm; smooth, so that several ranks differ by rounding only."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.hidden, self.head = nn.Linear(16 * 64, 64), nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            _count_and_obey()
        x = nn.functional.silu(self.norm(self.conv(images))).flatten(1)
        return self.head(nn.functional.silu(self.hidden(x)))


def net(num_classes: int) -> Net:
    return Net(num_classes)


def _count_and_obey() -> None:
    folder = Path(os.environ[FOLDER])
    mine = folder / f"steps-{os.getpid()}"
    with mine.open("a") as steps:
        steps.write("step\n")
    taken = len(mine.read_text().splitlines())
    while taken >= (_ordered(folder / "hold") or NUM_STEPS + 1):
        time.sleep(0.02)
    if size := _ordered(folder / "full"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _ordered(path: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError):
        return int(path.read_text())
    return None


@block_function(version=1, columns={"item": pa.int64()})
def slow_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    time.sleep(0.2)
    return {"item": items}


class Told(Silent):
    def message(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def spec(ranks: int | tuple[int, int], lr: float) -> TrainSpec:
    """60 steps, 20 in an epoch."""
    return TrainSpec(
        model="training_driver:net",
        data="digits:train",
        epochs=3,
        batch_size=64,
        lr=lr,
        loss="adversarial",
        eps=0.1,
        num_steps=2,
        random_start=True,
        ema_decay=0.9,
        attack_precision="fp32",
        validation=150,
        check_steps=2,
        ranks=ranks,
    )


def main(url: str, *, workers: int, ranks: int | Sequence[int] = 1, lr: float = 0.05, beside: int = 0) -> None:
    """beside: blocks of another step that are asked for before, and read after."""
    from robustray.distributed.lab import open_lab

    lab: BlockLab = open_lab(
        store=Store(url),
        workers=workers,
        address=None,
        device="cpu",
        data_root=None,
        progress=Told(),
        checkpoint_every=Interval(steps=INTERVAL, seconds=None),
    )
    try:
        lab.prepare_store()
        other = lab.map("beside", slow_block, range(beside), block=1)
        handle = lab.train([spec(ranks if isinstance(ranks, int) else (ranks[0], ranks[1]), lr)])
        print(json.dumps({"key": handle.jobs[0].key}))  # type: ignore[attr-defined]
        handle.result()
        print(json.dumps({"beside": lab.journal.count("beside").computed_blocks}))
        assert len(other.result()) == beside
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    finally:
        lab.close()
