"""Grids of trainings."""

from __future__ import annotations

from dataclasses import replace

from robustray.tasks.grids.settings import Cell, Grid, Outcome, Read
from robustray.tasks.studies.robust_training.settings import SIZES
from robustray.tasks.study import Size


def robust_training_eps(size: Size) -> Grid:
    """What training at a size costs in clean accuracy, and what it gains under attacks of one size, the same for all.

    robustray tune robust-training-eps --size quick                    embedded data, two CPU cores, about a minute
    robustray tune robust-training-eps --size small --data-root DIR    CIFAR-10, nine trainings, two CPU cores, a day
    expected, quick: trained at 0.05, 41 % [28, 54] of 100 images remain correct at 0.1 (two seeds); at 0.2, about
    chance, as four epochs are too few for it. The larger sizes have not been run as a grid
    """
    trained, tested, seeds = ((0.05, 0.2), 0.1, (0, 1)) if size == "quick" else (
        (2 / 255, 4 / 255, 8 / 255), 8 / 255, (0, 1, 2)
    )  # fmt: skip
    base = replace(
        SIZES[size], norms=("linf",), eps_test_linf=tuple(sorted({*trained, tested})), num_seeds=1, num_examples=0,
        num_autoattack=0, num_traced=0,
    )  # fmt: skip
    if size == "quick":
        base = replace(base, epochs=4, num_images=100)

    def read(eps: float, eps_test: float) -> Read:
        return Read(table="accuracy", column="accuracy", row={"norm": "linf", "eps_train": eps, "eps_test": eps_test})

    return Grid(
        question="What does the size of the perturbations trained on cost in accuracy, and what does it buy?",
        paper="arXiv:1706.06083",
        study="robust-training",
        formats={"eps_train": "eps"},
        outcomes=[
            Outcome(name="robust_accuracy", words=f"accuracy under PGD at {tested:.3g}", unit="percent"),
            Outcome(name="clean_accuracy", words="accuracy on clean images", unit="percent"),
        ],
        cells=[
            Cell(
                levels={"eps_train": eps, "seed": seed},
                settings=replace(base, eps_train_linf=(eps,), seed=seed),
                reads={"robust_accuracy": read(eps, tested), "clean_accuracy": read(eps, 0.0)},
            )
            for eps in trained
            for seed in seeds
        ],
    )
