"""Grids of unadversarial patches."""

from __future__ import annotations

from dataclasses import replace

from robustray.tasks.grids.settings import Cell, Grid, Outcome, Read
from robustray.tasks.studies.unadversarial.settings import OUTLINE, Settings
from robustray.tasks.study import Size


def patch_size(size: Size) -> Grid:
    """How large a designed patch must be to help, with and without rotation of the places it is designed for.

    robustray tune patch-size --size quick                    8 designs, CPU, a minute
    robustray tune patch-size --size small --data-root DIR    CIFAR-10, 24 designs, two CPU cores, a day
    Cells of the same seed share their classifier.
    expected, quick: of 90 images 30 to 32 % are recognised with patches of 6 pixels and 34 to 39 % with patches of 12,
    with and without rotation (two seeds). The larger sizes have not been run as a grid
    """
    base = replace(OUTLINE.sizes[size], num_designs=1, num_examples=1, joint=False)
    sides, seeds = ((6, 12), range(2)) if size == "quick" else ((4, 6, 10, 14), range(3))
    base = replace(base, other_sides=(), other_models=(), print_mm=0.0)
    if size == "quick":
        base = replace(
            base, num_classifiers=1, design_steps=20, num_images=90, severities=(3,),
            corruptions=("gaussian-noise",),
        )  # fmt: skip

    def settings(side: int, rotation: float, seed: int) -> Settings:
        """One classifier of this seed: one that is trained, or the twin of that number."""
        models = base.models and (base.models[seed],)
        return replace(base, models=models, side=side, rotation=rotation, seed=seed)

    def read(column: str) -> Read:
        return Read(table="patches", column=column, row={"patch": "the designed patch"})

    return Grid(
        question="How large must a designed patch be, and what does it cost to be robust to rotation?",
        paper="arXiv:2012.12235",
        study="unadversarial",
        outcomes=[
            Outcome(name="clean", words="accuracy with the designed patch", unit="percent"),
            Outcome(name="corrupted", words="the same on corrupted images", unit="percent"),
        ],
        cells=[
            Cell(
                levels={"side": side, "rotation": rotation, "seed": seed},
                settings=settings(side, rotation, seed),
                reads={column: read(column) for column in ("clean", "corrupted")},
            )
            for side in sides
            for rotation in (0.0, 45.0)
            for seed in seeds
        ],
    )
