"""Grids of replicated test sets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from robustray.tasks.grids.settings import Cell, Grid, Level, Outcome, Read
from robustray.tasks.studies.replication.settings import SIZES
from robustray.tasks.study import Size

SCENARIO = "residual"
"""A world in which 3.6 points of the gap are no artefact of the choice: both sides of an error show."""
ESTIMATORS = ("raw", "naive", "jackknife", "factorial moments")
ONLY: dict[str, Any] = {
    "num_departed": 0,
    "num_compared": 0,
    "num_mixtures": 0,
    "num_mixture_intervals": 0,
    "num_causes": 0,
    "num_by_class": 0,
}
"""Without what this grid does not read."""


def replication_answers(size: Size) -> Grid:
    """How many answers per image each correction of a replicated test set's gap needs.

    robustray tune replication-answers --size quick    3 runs for 36 cells, CPU, half a minute
    robustray tune replication-answers --size small    5 runs for 60 cells, two CPU cores, hours
    A run has all numbers of answers and all estimators: cells that differ in nothing else are the same run.
    expected, quick: errors from 0.9 to 12.5 points of accuracy over the cells (three seeds); which estimator is best,
    10 studies of 1,000 images leave to luck. The larger sizes have not been run as a grid
    """
    base = replace(SIZES[size], scenarios=(SCENARIO,), num_answers=(10, 20, 40), **ONLY)
    seeds = range(3 if size == "quick" else 5)
    if size == "quick":
        base = replace(base, num_studies=10, num_images=1_000, num_candidates=6_000, num_resamples=200)

    def read(column: str, n: int, estimator: str) -> Read:
        row: dict[str, Level] = {"scenario": SCENARIO, "n_answers": n, "estimator": estimator}
        return Read(table="by-answers", column=column, row=row)

    return Grid(
        question="How many answers per image does each estimator of the corrected gap need?",
        paper="arXiv:2005.09619",
        study="replication",
        outcomes=[
            Outcome(name="rmse", words="root mean square error of the gap", unit="percent", better="lower"),
            Outcome(name="bias", words="bias of the gap", unit="points"),
        ],
        choose=("estimator",),
        cells=[
            Cell(
                levels={"num_answers": n, "estimator": estimator, "seed": seed},
                settings=replace(base, seed=seed),
                reads={column: read(column, n, estimator) for column in ("rmse", "bias")},
            )
            for n in base.num_answers
            for estimator in ESTIMATORS
            for seed in seeds
        ],
    )
