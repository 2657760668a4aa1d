"""What large sweeps would cost, for docs/planning.md: measured passes, published sizes of networks, an assumed GPU."""

from __future__ import annotations

import json
from statistics import median

import pandas as pd

from robustray.tasks.sweeps.options import PASSES
from robustray.tasks.sweeps.planning import Gpu, Sweep, cost
from scripts.docs_tables import ROOT

GPU = Gpu(tflops=312, utilisation=0.2)
"""Assumed. The rate is NVIDIA's of an A100 in bf16, dense."""
FORWARD = {"ResNet-50, 224 px": 2 * 4.09, "ResNet-20, 32 px": 2 * 0.041}
"""10^9 floating-point operations of a forward pass; torchvision's table, and the paper of ResNets by its layers."""
WITH_GRADIENT = 2
"""Times a forward pass: backward to the image, without gradients of weights, costs as much as forward."""
PGD_STEPS = 20


def planning(what: str, path: str) -> str:
    """what: "sweeps", by the table of costs at `path`; "reached", by the record of attacks at `path`."""
    return {"sweeps": _sweeps, "reached": _reached}[what](path)


def _sweeps(path: str) -> str:
    network = FORWARD["ResNet-50, 224 px"]
    costs = pd.read_csv(ROOT / path)
    costs = costs[(costs.norm == "linf") & (costs.attack == "autoattack")].set_index("model").per_image
    fallen, robust = costs["cifar:resnet20"], costs["small:linf8"]

    def attacked(passes: float, runs: int = 1) -> Sweep:
        return Sweep(images=50_000, models=5, passes=passes, gflop=WITH_GRADIENT * network, runs=runs)

    plans = {
        "5 ResNet-50s, AutoAttack, none robust": (attacked(fallen), 512),
        "the same, robust ones": (attacked(robust), 64),
        "the same, every image survives: `robustray show`": (attacked(PASSES["autoattack"]), 64),
        "the same by `malt-cascade`, every image survives": (attacked(PASSES["malt-cascade"]), 512),
        "PGD-20, 6 sizes, every image survives": (attacked(PGD_STEPS + 2, runs=6), 512),
        "replication: predictions of 40 models on 50,000 + 10,000": (
            Sweep(images=60_000, models=40, passes=1, gflop=network), 1_000,
        ),
    }  # fmt: skip
    lines = [
        "| | passes an image | GPU hours | GPUs for one day | block | a block takes | pieces | store |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (sweep, block) in plans.items():
        found = cost(sweep, GPU, block=block)
        lines.append(
            f"| {name} | {sweep.passes:,.0f} | {_short(found.gpu_hours)} | {found.gpus(days=1)} | {block:,} | "
            f"{_short(found.block_seconds)} s | {found.pieces:,} | {found.bytes / 1e6:,.0f} MB |"
        )
    return "\n".join(lines) + "\n"


def _reached(path: str) -> str:
    records = [
        record
        for record in json.loads((ROOT / path).read_text())["records"]
        if (record["kind"], record["model"], record["norm"]) == ("pgd", "cifar:resnet20", "linf")
        and record["contender"] == "robustray, last iterate"
    ]
    operations = PGD_STEPS * WITH_GRADIENT * FORWARD["ResNet-20, 32 px"]
    lines = ["| ResNet-20, PGD-20, one core | CPU time an image | 10⁹ operations a second |", "|---|---|---|"]
    for precision in dict.fromkeys(record["precision"] for record in records):
        seconds = median(r["cpu"] / r["images"] for r in records if r["precision"] == precision)
        lines.append(f"| {precision} | {1e3 * seconds:.1f} ms | {operations / seconds:.0f} |")
    return "\n".join(lines) + "\n"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


TABLES = {"planning": planning}
