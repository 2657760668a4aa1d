"""Steps of the design of patches per second, against a plain loop of autograd with the same network.

python benchmarks/patch_steps.py --data-root data [--steps 12] [--rounds 3]

Ten patches of 10 x 10 pixels for the published network small:standard on CIFAR-10 images, batches of 256, one thread,
and the same placements. The loop: canvases through `affine_grid` and `grid_sample`, pasted, the network, cross-entropy,
`autograd.grad`, a signed step; in fp32, and with bf16 by autocast where this CPU multiplies it. Ours: `lab.optimise`'s
own `design`, with batch norm folded. The floor: nothing but the pass of that folded network, forward and backward, on
images that stay the same; no way of placing patches gets below it. CPU time of this process (the machine may be busy),
medians of rounds that take turns. First steps, in which ours folds and checks the network once, are apart: a design has
hundreds. The record goes to benchmarks/records/patch_steps.json, its table into docs/studies/unadversarial.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import CrossEntropy
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


def plain_loop(model: nn.Module, data: ImageData, num_steps: int, precision: Arithmetic) -> Iterator[Tensor]:
    """Canvases (10, 3, 32, 32) after each step."""
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
        yield patches


def ours(model: nn.Module, data: ImageData, num_steps: int, precision: Arithmetic) -> Iterator[Tensor]:
    """The same canvases by the study's own design."""
    objects: Mapping[str, Any] = {"model": model, "data": data}
    settings = DesignSettings(kind=KIND, ascent=_ascent(num_steps, precision))
    work = design(Context(settings=settings, seed=SEED, device="cpu", load=objects.__getitem__))
    for _ in work.steps():
        yield work.result()["patch"]


def floor(model: nn.Module, data: ImageData, num_steps: int, precision: Arithmetic) -> Iterator[Tensor]:
    """The gradients of the same images, in each step again."""
    images, labels = data.batch(drawn(_ascent(num_steps, precision), len(data), 0))
    with GradientView(model, precision=precision, shape=images.shape[1:]) as view:
        for _ in range(num_steps):
            yield view.value_and_gradient(images, labels, CrossEntropy())[1]


def _ascent(num_steps: int, precision: Arithmetic) -> SharedAscent:
    return SharedAscent(
        norm="linf", step_size=STEP_SIZE, num_steps=num_steps, batch_size=BATCH, seed=SEED, precision=precision
    )


def seconds(run: Iterator[Tensor]) -> tuple[float, float]:
    """CPU time of the first step, and the mean of those after it."""
    start = time.process_time()
    next(run)
    first = time.process_time()
    count = sum(1 for _ in run)
    return first - start, (time.process_time() - first) / count


def last(run: Iterator[Tensor]) -> Tensor:
    *_, result = run
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder with cifar10/ and models/")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", type=Path, default=Path(__file__).parent / "records" / "patch_steps.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data_root = str(arguments.data_root)
    ref, images = open_model("small:standard", data_root=data_root), open_data("cifar10:train", data_root=data_root)
    model: nn.Module = ref.build(ref.fetch(), "cpu")
    data: ImageData = images.build(images.fetch(), "cpu")
    kinds: tuple[Arithmetic, ...] = ("fp32", "bf16") if resolve_precision("cpu") == "bf16" else ("fp32",)
    agree = (last(ours(model, data, 2, "fp32")) == last(plain_loop(model, data, 2, "fp32"))).float().mean().item()
    contenders: list[tuple[str, Callable[..., Iterator[Tensor]], Arithmetic]] = [
        (name, way, how) for how in kinds for name, way in (("loop", plain_loop), ("ours", ours), ("floor", floor))
    ]
    times: dict[tuple[str, str], list[tuple[float, float]]] = {(name, how): [] for name, _, how in contenders}
    for _ in range(arguments.rounds):
        for name, way, how in contenders:
            times[name, how].append(seconds(way(model, data, arguments.steps + 1, how)))
    found: dict[str, object] = {
        "rounds": arguments.rounds,
        "steps": arguments.steps,
        "alike after two fp32 steps": agree,
    }
    found["milliseconds"] = {
        how: {
            name: {
                "first": 1e3 * statistics.median(first for first, _ in times[name, how]),
                "step": 1e3 * statistics.median(step for _, step in times[name, how]),
                "fastest": 1e3 * min(step for _, step in times[name, how]),
                "slowest": 1e3 * max(step for _, step in times[name, how]),
            }
            for name in ("loop", "ours", "floor")
        }
        for how in kinds
    }
    print(json.dumps(found, indent=1))
    arguments.record.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
