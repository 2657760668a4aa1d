"""The named grids of studies: their cells differ, and what they read is in the tables that the studies write."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from robustray.tasks.data.own import load_function
from robustray.tasks.grids import cells
from robustray.tasks.grids.settings import Grid
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.study import Size
from robustray.tune_configs.names import GRIDS
from tests.tasks.grid_settings import ONE_RUN, TINY


def grid_of(name: str, size: Size) -> Grid:
    grid = load_function(GRIDS[name][0])(size)
    assert isinstance(grid, Grid)
    return grid


@pytest.mark.parametrize("size", ["quick", "small", "paper"])
@pytest.mark.parametrize("name", sorted(GRIDS))
def test_no_two_cells_are_the_same_number(name: str, size: Size) -> None:
    grid = grid_of(name, size)
    assert len({repr((cell.settings, cell.reads)) for cell in grid.cells}) == len(grid.cells)


@pytest.mark.parametrize("name", ONE_RUN)
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
