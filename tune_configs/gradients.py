"""Grids of policy gradients."""

from __future__ import annotations

from dataclasses import replace

from robustray.tasks.grids.settings import Cell, Grid, Level, Outcome, Read
from robustray.tasks.studies.closer_look.settings import SIZES
from robustray.tasks.study import Size


def gradient_samples(size: Size) -> Grid:
    """How many steps an estimate of the policy gradient needs, before and late in the training, over agents.

    robustray tune gradient-samples --size quick    2 runs for 16 cells, CPU, half a minute
    robustray tune gradient-samples --size small    5 runs for 160 cells, CPU, about half an hour
    A run has both algorithms, all milestones and all numbers of steps: cells that differ in nothing else are the same
    run. Small: 11 million steps of Hopper, of which a core collects 6,000 a second.
    expected, quick: independent estimates from 64 steps have a mean cosine of 0.11 [0.05, 0.16], from 256 one of 0.23
    [-0.39, 0.84] (two seeds), over both algorithms, untrained and after four updates. The larger sizes have not been
    run as a grid
    """
    base = replace(SIZES[size], num_agents=1, arms=False, landscape=(0.0, 1.0), landscape_agents=0, landscape_steps=64)
    if size == "quick":
        base = replace(
            base, iterations=6, update_steps=256, milestones=(0.0, 0.67), sample_sizes=(64, 256), num_repeats=4,
            truth_blocks=6, fit_blocks=2, heldout_blocks=1,
        )  # fmt: skip

    def read(column: str, algorithm: str, update: int, steps: int) -> Read:
        row: dict[str, Level] = {"algorithm": algorithm, "update": update, "steps": steps}
        return Read(table="concentration", column=column, row=row)

    return Grid(
        question="How many steps does an estimate of the policy gradient need, and when?",
        paper="arXiv:1811.02553",
        study="closer-look",
        outcomes=[
            Outcome(name="pairwise", words="mean cosine between independent estimates"),
            Outcome(name="to_truth", words="mean cosine with the gradient of many more steps"),
        ],
        cells=[
            Cell(
                levels={"algorithm": algorithm, "update": update, "steps": steps, "seed": seed},
                settings=replace(base, seed=seed),
                reads={column: read(column, algorithm, update, steps) for column in ("pairwise", "to_truth")},
            )
            for algorithm in base.algorithms
            for update in base.updates
            for steps in base.sample_sizes
            for seed in range(2 if size == "quick" else 5)
        ],
    )
