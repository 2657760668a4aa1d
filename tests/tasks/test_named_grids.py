"""The named grids of studies: their cells differ, and what they read is in the tables that the studies write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from robustray.tasks.data.own import load_function
from robustray.tasks.grids import cells
from robustray.tasks.grids.settings import Grid
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.study import Size
from robustray.tune_configs.names import GRIDS

TINY: Mapping[str, Mapping[str, Any]] = {
    "feature-students": {"num_images": 100, "epochs": 1, "student_epochs": 1, "match_steps": 2, "perturb_steps": 2},
    "gaussian-steps": {"num_steps": 5, "batch_size": 32},
    "label-workers": {"test_data": "scenes:test,n=100,classes=18,multi=0.5", "num_resamples": 200},
    "inversion-eps": {"epochs": 1, "num_targets": 10, "inversion_steps": 3, "head_images": 40},
    "generation-eps": {"epochs": 1, "per_class": 2, "generate_steps": 3},
    "gradient-samples": {"num_repeats": 3, "truth_blocks": 2, "landscape_steps": 32},
    "replication-answers": {"num_studies": 3, "num_images": 200, "num_candidates": 1_200},
}
"""Grid -> settings that make a run of it take a second or two. What its cells read must not depend on them."""


def grid_of(name: str, size: Size) -> Grid:
    grid = load_function(GRIDS[name][0])(size)
    assert isinstance(grid, Grid)
    return grid


@pytest.mark.parametrize("size", ["quick", "small", "paper"])
@pytest.mark.parametrize("name", sorted(GRIDS))
def test_no_two_cells_are_the_same_number(name: str, size: Size) -> None:
    grid = grid_of(name, size)
    assert len({repr((cell.settings, cell.reads)) for cell in grid.cells}) == len(grid.cells)


@pytest.mark.parametrize("name", sorted(TINY))
def test_outcomes_are_in_the_tables_of_the_study(name: str, tmp_path: Path) -> None:
    """One run, from which everything is read that any cell reads: other runs have the same tables and rows."""
    grid = grid_of(name, "quick")
    of_one_run = [cell for cell in grid.cells if cell.settings == grid.cells[0].settings]
    assert {repr(cell.reads) for cell in of_one_run} == {repr(cell.reads) for cell in grid.cells}
    store = Store(str(tmp_path / "store"))
    store.create()
    small = replace(grid.cells[0].settings, **TINY[name])
    for cell in of_one_run:
        tiny = replace(cell, settings=small)
        outcomes = cells.run(grid, tiny, store=store, make_lab=lambda opened: SerialLab(store=opened), command="c")
        assert set(outcomes) == {outcome.name for outcome in grid.outcomes}


def test_seeds_of_the_grid_of_gaussians_share_no_training() -> None:
    """A run of it has several trainings, with seeds that follow each other."""
    for size in ("quick", "small", "paper"):
        grid = grid_of("gaussian-steps", size)
        firsts = sorted({cell.settings.seed for cell in grid.cells})
        assert all(after - before >= grid.cells[0].settings.num_seeds for before, after in pairwise(firsts))
