"""Grids of labels that people confirmed."""

from __future__ import annotations

from dataclasses import replace

from robustray.tasks.grids.settings import Cell, Grid, Outcome, Read
from robustray.tasks.studies.labels.settings import SIZES
from robustray.tasks.study import Size


def label_workers(size: Size) -> Grid:
    """What more workers or a stricter threshold mend, by how precise the search behind the images was.

    robustray tune label-workers --size quick    4 runs for 32 cells, CPU, a few seconds
    robustray tune label-workers --size small    5 runs for 180 cells, CPU, about a minute
    A run has all precisions, workers and thresholds: cells that differ in nothing else are the same run. Seeds are of
    the scenes and of the crowd: 0.6 s for 2,000 scenes, which small has 150,000 of.
    expected, quick: where the search is right in 0.4 of all cases, 42 % [40, 44] of the labels of kept scenes with
    several objects are not the main object's; where it is in 0.8, 10 % [7, 14] (four seeds). Nine workers instead of
    three mend 1.0 point [0.1, 2.0] of that, a threshold of 0.8 instead of 0.5 4.0 points [2.2, 5.8]. The larger sizes
    have not been run as a grid
    """
    precisions, workers, thresholds = ((0.4, 0.8), (3, 9), (0.5, 0.8)) if size == "quick" else (
        (0.4, 0.6, 0.8), (3, 5, 9, 21), (0.5, 0.7, 0.9)
    )  # fmt: skip
    count = 1_000 if size == "quick" else 10_000 if size == "small" else 50_000
    base = replace(
        SIZES[size],
        precisions=precisions,
        claimed_precision=precisions[-1],
        num_workers=workers,
        claimed_workers=workers[-1],
        thresholds=thresholds,
        claimed_threshold=thresholds[0],
        epochs=0,
        num_examples=1,
    )

    def read(column: str, precision: float, number: int, threshold: float) -> Read:
        row = {"precision": precision, "workers": number, "threshold": threshold}
        return Read(table="collection", column=column, row=row)

    return Grid(
        question="Do more workers or a stricter threshold mend labels that were only confirmed?",
        paper="arXiv:2005.11295",
        study="labels",
        outcomes=[
            Outcome(
                name="not_main",
                words="labels that are not the main object's, of kept scenes with several objects",
                unit="percent",
                better="lower",
            ),
            Outcome(
                name="false_accepts",
                words="kept scenes without any object of their label",
                unit="percent",
                better="lower",
            ),
            Outcome(name="kept", words="share of proposed scenes that is kept", unit="percent"),
        ],
        cells=[
            Cell(
                levels={"precision": precision, "workers": number, "threshold": threshold, "seed": seed},
                settings=replace(base, test_data=f"scenes:test,n={count},classes=18,multi=0.3,seed={seed}", seed=seed),
                reads={
                    column: read(column, precision, number, threshold)
                    for column in ("not_main", "false_accepts", "kept")
                },
            )
            for precision in precisions
            for number in workers
            for threshold in thresholds
            for seed in range(4 if size == "quick" else 5)
        ],
    )
