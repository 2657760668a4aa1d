"""Grids of scenes."""

from __future__ import annotations

from dataclasses import replace

from robustray.tasks.grids.settings import Cell, Grid, Outcome, Read
from robustray.tasks.studies.backgrounds.settings import SIZES
from robustray.tasks.study import Size


def background_correlation(size: Size) -> Grid:
    """What a network owes to backgrounds, by their correlation with the class in training and by the number of scenes.

    robustray tune background-correlation --size quick    4 runs for 8 cells, CPU, a minute
    robustray tune background-correlation --size small    15 runs for 75 cells, two CPU cores, a day
    A run has all correlations: cells that differ in nothing else are the same run.
    expected, quick: no gap at rho 0, and at rho 0.9 one of 43 to 46 points with 180 scenes and 79 to 86 with 540 (two
    seeds): short trainings lean on the background the more, the more they learn. The larger sizes have not been run
    """
    rhos, scenes, seeds = ((0.0, 0.9), (180, 540), range(2)) if size == "quick" else (
        (0.0, 0.2, 0.35, 0.5, 0.9), (900, 2_250, 9_000), range(5)
    )  # fmt: skip
    base = replace(
        SIZES[size], rhos=rhos, also_train_on=(), eps_train=(), curve_archs=(), curve_shares=(), num_swept=0,
        num_challenged=0, num_seeds=1, num_examples=1,
    )  # fmt: skip
    if size == "quick":
        base = replace(base, side=16, epochs=4, num_fixed=180, num_test=90, num_backgrounds=90)

    def read(table: str, column: str, rho: float, **more: str) -> Read:
        row = {"images": "fixed", "network": f"trained on Original, rho {rho:g}"}
        return Read(table=table, column=column, row=row | more)

    return Grid(
        question="How much does a network owe to backgrounds, by their correlation with the class and by its data?",
        paper="arXiv:2006.09994",
        study="backgrounds",
        outcomes=[
            Outcome(name="gap", words="BG-gap", unit="points", better="lower"),
            Outcome(name="accuracy", words="accuracy on the original scenes", unit="percent"),
        ],
        cells=[
            Cell(
                levels={"rho": rho, "num_train": n, "seed": seed},
                settings=replace(base, num_train=n, seed=seed),
                reads={
                    "gap": read("gaps", "gap", rho),
                    "accuracy": read("accuracy", "accuracy", rho, version="Original"),
                },
            )
            for rho in rhos
            for n in scenes
            for seed in seeds
        ],
    )
