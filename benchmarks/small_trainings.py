"""How much of two busy cores goes into training steps when hundreds of small trainings run side by side.

    python benchmarks/small_trainings.py [--rounds 3]

The trainings are those that the transfer study fine-tunes by, at its quick size (200 of 36 steps) and at its small size
(16 of 200 steps). Every worker adds up the wall time that it spends in `TrainStep` (forward, backward, update); what is
left of `workers x wall time` is everything else: batches, checks of the model before the first training, building
models, sending, publishing weights, looking up what is there. Wall time is counted from the request to the last result,
with the workers started before. Records go to benchmarks/records/small-trainings.json.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
FOLDER = "SMALL_TRAININGS_FOLDER"
"""In the environment: where processes write the seconds of their steps."""
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH")]))
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torch  # noqa: E402
from noop import hold_block  # noqa: E402
from torch import nn  # noqa: E402

from benchmarks.load import ForeignLoad  # noqa: E402
from robustray.distributed.lab import RayLab  # noqa: E402
from robustray.tasks.lab.base import BlockLab  # noqa: E402
from robustray.tasks.lab.serial import SerialLab  # noqa: E402
from robustray.tasks.lab.store import Store  # noqa: E402
from robustray.tasks.models.registry import build_model  # noqa: E402
from robustray.tasks.training.settings import TrainSpec  # noqa: E402
from robustray.tasks.training.step import TrainStep  # noqa: E402


def scenes_cnn(num_classes: int) -> nn.Module:
    """The network of the quick size."""
    return _timed("scenes:cnn", num_classes)


def small_s(num_classes: int) -> nn.Module:
    """The network of the small size."""
    return _timed("small:s", num_classes)


def _timed(name: str, num_classes: int) -> nn.Module:
    """Whoever builds a model counts the seconds of its training steps from then on."""
    if not hasattr(TrainStep, "untimed"):
        TrainStep.untimed = TrainStep.__call__  # type: ignore[attr-defined]
        TrainStep.__call__ = _count  # type: ignore[method-assign]
    return build_model(name, num_classes=num_classes)


def _count(self: TrainStep, batch: Any) -> None:
    began = time.perf_counter()
    self.untimed(batch)  # type: ignore[attr-defined]
    seconds = time.perf_counter() - began
    _file(os.environ[FOLDER]).write(f"{seconds}\n")


@functools.cache
def _file(folder: str) -> IO[str]:
    """Of this process; a line is in it at once. Opening it at every step would count as time beside the steps."""
    return open(Path(folder) / f"{os.getpid()}", "a", buffering=1)


FORMS: dict[str, tuple[int, TrainSpec]] = {
    "quick": (
        200,
        TrainSpec(
            model="small_trainings:scenes_cnn", data="scenes:train,n=84,size=16", epochs=12, batch_size=28, lr=0.02
        ),
    ),
    "small": (
        16,
        TrainSpec(
            model="small_trainings:small_s", data="scenes:train,n=350,size=32", epochs=40, batch_size=64, lr=0.01
        ),
    ),
}
"""Size of the study -> number of trainings, which differ in their seeds, and one of them."""


def specs(form: str, number: int, first_seed: int) -> list[TrainSpec]:
    """Trainings of a form with the seeds first_seed, first_seed + 1, ..."""
    return [replace(FORMS[form][1], seed=seed) for seed in range(first_seed, first_seed + number)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--output", type=Path, default=HERE / "records" / "small-trainings.json")
    arguments = parser.parse_args()
    records: list[dict[str, Any]] = []
    for number in range(arguments.rounds):
        for form in arguments.forms:
            for workers in (0, 2):
                records.append({"round": number, "form": form, "workers": workers} | measure(workers, form))
                print(records[-1], file=sys.stderr)
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__}
    arguments.output.write_text(json.dumps({"machine": machine, "records": records}, indent=1) + "\n")
    for form in arguments.forms:
        for workers in (0, 2):
            shares = [r["share_in_steps"] for r in records if (r["form"], r["workers"]) == (form, workers)]
            middle, least, most = statistics.median(shares), min(shares), max(shares)
            print(f"{form}, {workers or 'no'} workers: {middle:.3f} ({least:.3f}–{most:.3f}) of the time in steps")


def measure(workers: int, form: str) -> dict[str, float]:
    """All trainings of a form on a new store, after the workers have started and trained once."""
    with tempfile.TemporaryDirectory() as folder:
        steps = Path(folder) / "steps"
        steps.mkdir()
        os.environ[FOLDER] = str(steps)
        store = Store(str(Path(folder) / "store"))
        lab: BlockLab = RayLab(store=store, workers=workers) if workers else SerialLab(store=store)
        lab.map("hold", hold_block, range(20 if workers else 1), block=1).result()
        lab.train([replace(spec, epochs=1) for spec in specs(form, 2 * max(1, workers), 10_000)]).result()
        wanted = specs(form, FORMS[form][0], 0)
        before, foreign, began = _seconds(steps), ForeignLoad(), time.perf_counter()
        lab.train(wanted).result()
        wall = time.perf_counter() - began
        found = {
            "trainings": len(wanted),
            "share_in_steps": (_seconds(steps) - before) / (max(1, workers) * wall),
            "wall_seconds": wall,
            "foreign_load": foreign.cpus(),
        }
        lab.close()
    return found


def _seconds(folder: Path) -> float:
    lines: Sequence[str] = [line for path in folder.iterdir() for line in path.read_text().splitlines()]
    return sum(map(float, lines))


if __name__ == "__main__":
    main()
