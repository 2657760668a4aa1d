"""What a sweep too large to try costs: GPU hours, nodes, pieces and bytes, by multiplication.

`docs/planning.md` shows where its numbers come from and which of them to replace by your own. Imports nothing heavy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from robustray.tasks.kit import checks

ROW_BYTES = 32
"""Of a row of `attack_block` in a piece, at most: its columns take 31 bytes before compression."""
PIECE_BYTES = 3_500
"""Of a piece beside its rows, at most: names and types of the columns, statistics, the schema."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is computed: every image against every model, by attacks of so many passes together."""

    images: int
    models: int
    passes: float
    """Of one image through one model: with its gradient, or without."""
    gflop: float
    """Of one pass, in 10^9 floating-point operations; a multiplication with its addition counts as two."""
    runs: int = 1
    """Perturbation sizes × norms × seeds: how often everything above is done."""

    def __post_init__(self) -> None:
        checks.counts(at_least=1, images=self.images, models=self.models, runs=self.runs)
        checks.positive(passes=self.passes, gflop=self.gflop)


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """What computes it."""

    tflops: float
    """Published rate in the precision of the attack, in 10^12 floating-point operations per second."""
    utilisation: float
    """The share of it that the attack reaches, in (0, 1]: measure it, it is the number that decides."""

    def __post_init__(self) -> None:
        checks.positive(tflops=self.tflops)
        checks.shares(ends="(]", utilisation=self.utilisation)

    @property
    def gflops(self) -> float:
        return 1_000 * self.tflops * self.utilisation


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What it takes."""

    gpu_hours: float
    block_seconds: float
    """Of one block on one GPU that does nothing else."""
    pieces: int
    bytes: int
    """In the store; the table of all rows, which the driver reads, takes about as much."""

    def gpus(self, *, days: float) -> int:
        """GPUs with which it is done in so many days, above 0, if nothing is lost between them. Raises: InputError."""
        checks.positive(days=days)
        return math.ceil(self.gpu_hours / (24 * days))


def cost(sweep: Sweep, gpu: Gpu, *, block: int) -> Cost:
    """block: images of a piece. Every block is one file, and what a kill costs at most on each GPU."""
    checks.counts(at_least=1, block=block)
    seconds = sweep.passes * sweep.gflop / gpu.gflops
    maps = sweep.models * sweep.runs
    pieces = maps * math.ceil(sweep.images / block)
    return Cost(
        gpu_hours=sweep.images * maps * seconds / 3_600,
        block_seconds=min(block, sweep.images) * seconds,
        pieces=pieces,
        bytes=sweep.images * maps * ROW_BYTES + pieces * PIECE_BYTES,
    )
