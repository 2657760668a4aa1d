"""Grids of transfer."""

from __future__ import annotations

from dataclasses import replace

from robustray.tasks.grids.settings import Cell, Grid, Outcome, Read
from robustray.tasks.studies.transfer.kinds import FIXED, FULL, OTHERS, STANDARD
from robustray.tasks.studies.transfer.settings import SIZES, Settings
from robustray.tasks.study import Size


def transfer_sources(size: Size) -> Grid:
    """What a source trained at a size is worth on each target, as fixed features and fine-tuned, over chains.

    robustray tune transfer-sources --size quick                    scenes and textures, two CPU cores, 2 minutes
    robustray tune transfer-sources --size small --data-root DIR    CIFAR-10, 4 sizes, 3 targets, 5 seeds: 60 cells
    Trainings are shared: a cell trains its source, a standard one and those of the null, and finds in the store what
    another cell has trained.
    expected, quick: as fixed features 54 % [47, 61] of other scenes and 18 % [17, 19] of textures, of ten kinds (two
    seeds); 5.6 points [3.9, 7.3] less from sources trained at 0.15 than from standard ones. The larger sizes have not
    been run as a grid: the study does the same in one run
    """
    base = SIZES[size]
    targets = {data: base.test_of(data) if data != OTHERS else "" for data in base.data}
    sizes, seeds = (0.0, *base.eps_train), range(base.num_seeds)
    if size == "quick":
        base = replace(base, epochs=8, tune_epochs=4, num_draws=1)
        sizes = (0.0, base.eps_train[-1])
        targets, seeds = {OTHERS: "", "textures:train,n=400": "textures:test,n=300"}, range(2)
    base = replace(
        base, num_seeds=1, num_attacked=0, num_examples=0, more_per_class=(), shrink=0, tune_eps=(), probe_steps=1
    )

    def settings(eps: float, data: str, seed: int) -> Settings:
        test = (targets[data],) if targets[data] else ()
        return replace(base, eps_train=(eps or sizes[1],), target=(data,), target_test=test, seed=seed)

    def read(mode: str, eps: float, data: str) -> Read:
        (target,) = settings(eps, data, 0).targets
        source = settings(eps, data, 0).robust[0].name if eps else STANDARD
        return Read(table="transfer", column="accuracy", row={"mode": mode, "target": target.name, "source": source})

    return Grid(
        question="What is a source that was trained at a size worth on other tasks?",
        paper="arXiv:2007.08489",
        study="transfer",
        formats={"eps_train": "eps"},
        outcomes=[
            Outcome(name="fixed_accuracy", words="accuracy on the target, fixed features", unit="percent"),
            Outcome(name="tuned_accuracy", words="accuracy on the target, fine-tuned", unit="percent"),
        ],
        cells=[
            Cell(
                levels={"target": data.partition(",")[0], "eps_train": eps, "seed": seed},
                settings=settings(eps, data, seed),
                reads={"fixed_accuracy": read(FIXED, eps, data), "tuned_accuracy": read(FULL, eps, data)},
            )
            for data in targets
            for eps in sizes
            for seed in seeds
        ],
    )
