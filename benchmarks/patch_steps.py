"""Steps of the design of patches per second, against a plain loop of autograd with the same network.

python benchmarks/patch_steps.py --data-root data [--steps 12] [--rounds 3]

Ten patches of 10 x 10 pixels for the published network small:standard on CIFAR-10 images, batches of 256, one thread,
and the same placements. The loop: canvases through `affine_grid` and `grid_sample`, pasted, the network, cross-entropy,
`autograd.grad`, a signed step; in fp32, and with bf16 by autocast where this CPU multiplies it. Ours: `lab.optimise`'s
own `design`, with batch norm folded. CPU time of this process (the machine may be busy), medians of rounds that take
turns. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustray.tasks.attacks.precision import Arithmetic, resolve_precision
from robustray.tasks.compose.place import Placement
from robustray.tasks.data.images import ImageData
from robustray.tasks.data.reference import open_data
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.inputs.shared import drawn
from robustray.tasks.lab.protocol import Context
from robustray.tasks.models.reference import open_model
from robustray.tasks.studies.unadversarial.design import DesignSettings, PatchKind, design, noise_canvas

KIND = PatchKind(classes=tuple(range(10)), side=10, placement=Placement())
BATCH, STEP_SIZE, SEED = 256, 0.01, 0


def plain_loop(model: nn.Module, data: ImageData, num_steps: int, precision: Arithmetic) -> Tensor:
    """Canvases (10, 3, 32, 32) after these steps."""
    ascent = _ascent(num_steps, precision)
    patches = noise_canvas(SEED, "unadversarial-start", 10, data.shape, "cpu")
    mask = torch.zeros(1, 1, 32, 32)
    mask[:, :, 11:21, 11:21] = 1
    for step in range(num_steps):
        places = drawn(ascent, len(data), step)
        images, labels = data.batch(places)
        maps = KIND.placement.maps(SEED, step, torch.from_numpy(places))
        leaf = patches.clone().requires_grad_(True)
        grid = functional.affine_grid(maps, [len(images), 3, 32, 32], align_corners=False)
        canvas = functional.grid_sample(leaf[labels] * mask, grid, align_corners=False)
        there = functional.grid_sample(mask.expand(len(images), -1, -1, -1), grid, align_corners=False)
        carrying = (canvas + (1 - there) * images).clamp(0, 1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = model(carrying)
        loss = functional.cross_entropy(logits.float(), labels)
        (gradient,) = torch.autograd.grad(loss, leaf)
        patches = (patches - STEP_SIZE * gradient.sign()).clamp(0, 1)
    return patches


def ours(model: nn.Module, data: ImageData, num_steps: int, precision: Arithmetic) -> Tensor:
    """The same canvases by the study's own design."""
    objects: Mapping[str, Any] = {"model": model, "data": data}
    settings = DesignSettings(kind=KIND, ascent=_ascent(num_steps, precision))
    work = design(Context(settings=settings, seed=SEED, device="cpu", load=objects.__getitem__))
    for _ in work.steps():
        pass
    return work.result()["patch"]


def _ascent(num_steps: int, precision: Arithmetic) -> SharedAscent:
    return SharedAscent(
        norm="linf", step_size=STEP_SIZE, num_steps=num_steps, batch_size=BATCH, seed=SEED, precision=precision
    )


def median_seconds(functions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for found, function in zip(times, functions, strict=True):
            start = time.process_time()
            function()
            found.append(time.process_time() - start)
    return [statistics.median(each) for each in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder with cifar10/ and models/")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data_root = str(arguments.data_root)
    ref, images = open_model("small:standard", data_root=data_root), open_data("cifar10:train", data_root=data_root)
    model: nn.Module = ref.build(ref.fetch(), "cpu")
    data: ImageData = images.build(images.fetch(), "cpu")
    fast = resolve_precision("cpu")
    kinds: tuple[Arithmetic, ...] = ("fp32", "bf16") if fast == "bf16" else ("fp32",)
    agree = (ours(model, data, 2, "fp32") == plain_loop(model, data, 2, "fp32")).float().mean().item()
    contenders = [
        (f"{name} {how}", partial(way, model, data, arguments.steps, how))
        for name, way in (("plain loop", plain_loop), ("ours", ours))
        for how in kinds
    ]
    seconds = median_seconds([run for _, run in contenders], arguments.rounds)
    rates = {name: arguments.steps / each for (name, _), each in zip(contenders, seconds, strict=True)}
    found: dict[str, object] = {f"{name}, steps a CPU-second": round(rate, 2) for name, rate in rates.items()}
    found |= {f"times faster, both {how}": round(rates[f"ours {how}"] / rates[f"plain loop {how}"], 2) for how in kinds}
    found["times faster, as each runs by default"] = round(rates[f"ours {fast}"] / rates["plain loop fp32"], 2)
    found["canvas entries alike after two fp32 steps"] = round(agree, 5)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
