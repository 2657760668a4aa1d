"""Features of a torchvision network: ours against the loop that one would write, in CPU time on one core.

    python -m benchmarks.features --arch resnet18 --images 64

Prints a line of JSON: seconds of CPU time for each way, the median of --repeats that take turns, and how many times
faster ours is than the plain loop (evaluation mode, no gradients, fp32, batches of 64). Images are in memory: decoding
is no part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

from robustray.tasks.latents.cache import look, quick_look
from robustray.tasks.models.registry import build_model

BATCH = 64


def plain(model: Any, images: torch.Tensor) -> torch.Tensor:
    """The network without its head, as torchvision made it."""
    body = torch.nn.Sequential(*list(model.children())[:-1])
    with torch.no_grad():
        return torch.cat([body(part).flatten(1) for part in images.split(BATCH)])


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(arch: str, num_images: int, side: int, repeats: int) -> dict[str, Any]:
    """CPU seconds by way."""
    torch.set_num_threads(1)
    images = torch.rand(num_images, 3, side, side, generator=torch.Generator().manual_seed(0))
    theirs = getattr(import_module("torchvision.models"), arch)().eval()
    ours = build_model(f"torchvision:{arch}", 1000).eval()
    ways: dict[str, Callable[[], object]] = {
        "plain": lambda: plain(theirs, images),
        "fp32": lambda: look(ours, images),
        "bf16": lambda: quick_look(ours, images),
    }
    for run in ways.values():
        run()
    found = {name: statistics.median(times) for name, times in _in_turns(ways, repeats).items()}
    return {
        "arch": arch,
        "images": num_images,
        "side": side,
        "repeats": repeats,
        "load": round(os.getloadavg()[0], 1),
        **{f"{name}_seconds": round(value, 3) for name, value in found.items()},
        **{f"{name}_times": round(found["plain"] / found[name], 2) for name in ("fp32", "bf16")},
    }


def _in_turns(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            times[name].append(seconds(run))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.arch, arguments.images, arguments.side, arguments.repeats)))


if __name__ == "__main__":
    main()
