"""Grids of attacks."""

from __future__ import annotations

from dataclasses import replace

from robustray.tasks.grids.settings import Cell, Grid, Outcome, Read
from robustray.tasks.studies.attack_sweep.settings import SIZES
from robustray.tasks.study import Size


def attack_eps(size: Size) -> Grid:
    """How accuracy falls with the size of a PGD attack, by model; seeds are of the attack's random start.

    robustray tune attack-eps --size quick                    embedded data, two CPU cores, under a minute of CPU time
    robustray tune attack-eps --size small --data-root DIR    CIFAR-10, five models, two CPU cores, hours
    expected, quick: of 100 images 91 % remain correct at 0.05, 57 % [54, 60] at 0.1 and 1 % [0, 7] at 0.2, over both
    models (two seeds). The larger sizes have not been run as a grid
    """
    sizes = (0.05, 0.1, 0.2) if size == "quick" else (2 / 255, 4 / 255, 8 / 255)
    base = replace(
        SIZES[size], attacks=("pgd",), norms=("linf",), num_transfer=0, num_seeds=1, num_examples=0,
        num_images=100 if size == "quick" else SIZES[size].num_images,
    )  # fmt: skip
    return Grid(
        question="How does robust accuracy depend on the model and on the size of the perturbation?",
        paper="arXiv:1706.06083",
        study="attack-sweep",
        formats={"eps": "eps"},
        outcomes=[Outcome(name="robust_accuracy", words="robust accuracy under PGD", unit="percent")],
        cells=[
            Cell(
                levels={"model": model, "eps": eps, "seed": seed},
                settings=replace(base, models=(model,), eps_linf=(eps,), seed=seed),
                reads={"robust_accuracy": Read(table="worst-case", column="robust_accuracy", row={"eps": eps})},
            )
            for model in base.models
            for eps in sizes
            for seed in (0, 1)
        ],
    )
