"""Grids of standard and robust twins: what their representations keep of an image, and what they make."""

from __future__ import annotations

from dataclasses import replace

from robustray.tasks.grids.settings import Cell, Grid, Outcome, Read
from robustray.tasks.studies.representations import settings as representations
from robustray.tasks.studies.representations.kinds import STARTS
from robustray.tasks.studies.synthesis import settings as synthesis
from robustray.tasks.studies.synthesis.kinds import LAWS
from robustray.tasks.study import Size


def inversion_eps(size: Size) -> Grid:
    """How far an image can be read off its representation, by the size trained at and by where the inversion starts.

    robustray tune inversion-eps --size quick                    4 runs for 12 cells, CPU, half a minute
    robustray tune inversion-eps --size small --data-root DIR    CIFAR-10, 9 runs for 24 cells, two CPU cores, 5 hours
    Size 0 is the standard twin. A run has both twins and both starts: cells that differ in nothing else are the same
    run, and networks are trained once. Small: 33 million passes of network S, 23 of them in six trainings of twins and
    three of judges.
    expected, quick: of the images of a class, 8 % [0, 35] are closer to an inversion than its target is, by pixels,
    for the standard twin, 5 % [0, 11] for one trained at 0.4 and 2 % [0, 14] at 0.8; by a judge's latents 10, 7 and 4 %
    (two seeds, chance 50 %). The larger sizes have not been run as a grid
    """
    base = representations.SIZES[size]
    sizes, seeds = ((0.4, 0.8), range(2)) if size == "quick" else (
        (0.25, 0.5, 1.0), range(base.seed, base.seed + base.num_seeds)
    )  # fmt: skip
    base = replace(
        base, num_seeds=1, num_units=2, unit_starts=2, unit_steps=1, num_pairs=1, match_steps=1, num_interpolated=1,
        path_points=2, interpolation_steps=1, add_starts=1, add_steps=1, num_strange=2, num_maps=1, num_sensed=1,
        sense_steps=1, direction_starts=1, direction_steps=1, num_examples=1, num_resamples=200,
    )  # fmt: skip
    if size == "quick":
        base = replace(
            base, architecture="digits:mlp", judge_architecture="digits:cnn", epochs=6, num_targets=40,
            inversion_steps=60,
        )  # fmt: skip

    def read(column: str, eps: float, start: str) -> Read:
        return Read(table="ranks", column=column, row={"what": "robust" if eps else "standard", "start": start})

    return Grid(
        question="How much of an image does a representation keep, by the size its network was trained at?",
        paper="arXiv:1906.00945",
        study="representations",
        formats={"eps_train": "eps"},
        outcomes=[
            Outcome(
                name="pixels",
                words="images of its class closer to the inversion than the target, by pixels",
                unit="percent",
                better="lower",
            ),
            Outcome(
                name="judge",
                words="images of its class closer to the inversion than the target, by a judge's latents",
                unit="percent",
                better="lower",
            ),
        ],
        cells=[
            Cell(
                levels={"eps_train": eps, "start": start, "seed": seed},
                settings=replace(base, eps=eps or base.eps, seed=seed),
                reads={column: read(column, eps, start) for column in ("pixels", "judge")},
            )
            for eps in (0.0, *sizes)
            for start in STARTS
            for seed in seeds
        ],
    )


def generation_eps(size: Size) -> Grid:
    """How far a generation should move from its seed, by classifier and by what seeds are: class Gaussians or noise.

    robustray tune generation-eps --size quick                    6 runs for 24 cells, CPU, half a minute
    robustray tune generation-eps --size small --data-root DIR    CIFAR-10, 12 runs for 48 cells, two CPU cores, 5 hours
    A run has both networks and both kinds of seeds: cells that differ in nothing else are the same run, and networks
    are trained once. Steps are a twentieth of the size, 60 of them. Small: 37 million passes of network S, of which two
    cores take 2,000 a second; 30 of them in six trainings of judges.
    expected, quick: 1.6 is better than 0.4 for both networks and both laws. At 1.6 the Fréchet distance is 12.5 [4.4,
    20.7] from class Gaussians and 24.1 [22.0, 26.2] from noise for the standard network, 13.1 [8.9, 17.3] and 19.7
    [11.8, 27.7] for the robust one (two seeds that did not choose it), and judges recognise every generation; at 0.4,
    from noise, 67 % of them (three seeds). The larger sizes have not been run as a grid
    """
    base = synthesis.SIZES[size]
    sizes = (0.4, 1.6) if size == "quick" else (1.5, 3.0, 6.0, 12.0)
    seeds = range(base.seed, base.seed + base.num_seeds)
    base = replace(base, task="generate", num_seeds=1, num_examples=1)
    if size == "quick":
        base = replace(base, architecture="digits:mlp", judge_architecture="digits:cnn", epochs=6, per_class=8)

    def read(table: str, column: str, network: str, law: str) -> Read:
        return Read(table=table, column=column, row={"what": network, "law": law})

    return Grid(
        question="How far should a generation move from its seed?",
        paper="arXiv:1906.09453",
        study="synthesis",
        formats={"generate_eps": "eps"},
        outcomes=[
            Outcome(name="frechet", words="Fréchet distance from test images", better="lower"),
            Outcome(name="recognised", words="generations that a judge recognises", unit="percent"),
        ],
        choose=("generate_eps",),
        cells=[
            Cell(
                levels={"network": network, "law": law, "generate_eps": eps, "seed": seed},
                settings=replace(base, generate_eps=eps, generate_step=eps / 20, seed=seed),
                reads={
                    "frechet": read("scores", "frechet", network, law),
                    "recognised": read("recognised", "standard_judge", network, law),
                },
            )
            for network in ("standard", "robust")
            for law in LAWS
            for eps in sizes
            for seed in seeds
        ],
    )
