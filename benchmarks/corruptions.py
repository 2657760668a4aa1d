"""Corruptions against imagecorruptions-imaug: images per second of one core, over all severities.

    ../corruption-peer/bin/python benchmarks/corruptions.py      (the environment of benchmarks/peers_corruptions.txt)

The record goes to benchmarks/records/corruptions.json, its numbers into docs/corruptions.md. Seconds are of the
processor, one thread, the best of several rounds in which both sides take turns, so that other work on the machine
counts little. The peer's functions run as they are, its own elastic_transform too, with the parameters of the table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["MKL_CBWR"] = "AUTO,STRICT"  # as the lab sets it

import numpy as np  # noqa: E402
import torch  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parent)  # in place of this folder: numba imports `coverage`, which is not ours

from benchmarks.versus.corruptions import peer  # noqa: E402
from robustray.tasks.corruptions.corrupt import corrupt  # noqa: E402
from robustray.tasks.corruptions.tables import CORRUPTIONS, SEVERITIES, Table  # noqa: E402
from robustray.tasks.data import open_data  # noqa: E402

SIZES: tuple[tuple[int, Table, int, int], ...] = ((32, "cifar10-c", 512, 32), (224, "imagenet-c", 8, 2))
"""Side, table, and how many images of a round: ours, the peer's."""
SLOW = ("glass-blur", "elastic-transform")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--record", type=Path, default=HERE / "records" / "corruptions.json")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    found: dict[str, Any] = {"threads": 1, "rounds": arguments.rounds}
    for side, table, many, few in SIZES:
        found[str(side)] = measured(side, table, many, few, arguments.rounds)
        print(json.dumps(found[str(side)], indent=1), flush=True)
    arguments.record.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def measured(side: int, table: Table, many: int, few: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of an image for each corruption, and images per second over all of them."""
    data = open_data(f"scenes:test,n={max(36, few)},size={side}", data_root=None).fetch()
    images = data.batch(np.resize(np.arange(len(data)), many))[0]
    indices = torch.arange(many)
    pictures = list(np.ascontiguousarray(data.images[:few].transpose(0, 2, 3, 1)))
    spent: dict[str, dict[str, float]] = {}
    for name in CORRUPTIONS:
        ours = theirs = 0.0
        for severity in SEVERITIES:
            function = peer(name, table, severity, own=True)
            both = (
                lambda name=name, severity=severity: corrupt(
                    images, name, severity, table=table, seed=0, indices=indices
                ),
                lambda function=function: [function(picture) for picture in pictures],
            )
            a, b = best(both, rounds)
            ours, theirs = ours + a / many, theirs + b / few
        per_image = 1000 / len(SEVERITIES)
        spent[name] = {"ours_ms": ours * per_image, "peer_ms": theirs * per_image, "ratio": theirs / ours}
    return {
        "table": table,
        "corruptions": spent,
        "all 14": together(spent, CORRUPTIONS),
        "without glass blur and elastic transform": together(spent, [name for name in CORRUPTIONS if name not in SLOW]),
    }


def best(functions: tuple[Callable[[], Any], ...], rounds: int) -> list[float]:
    """Processor seconds of each, the smallest of several rounds after one that is not counted."""
    fastest = [float("inf")] * len(functions)
    for function in functions:
        function()
    for _ in range(rounds):
        for place, function in enumerate(functions):
            began = time.process_time()
            function()
            fastest[place] = min(fastest[place], time.process_time() - began)
    return fastest


def together(spent: dict[str, dict[str, float]], names: Any) -> dict[str, float]:
    """Images per second when every corruption gets as many."""
    ours, theirs = (sum(spent[name][whose] for name in names) / len(names) for whose in ("ours_ms", "peer_ms"))
    return {"ours_per_s": 1000 / ours, "peer_per_s": 1000 / theirs, "ratio": theirs / ours}


if __name__ == "__main__":
    sys.exit(main())
