"""Every named grid on a real Ray, with few and small cells."""

from __future__ import annotations

import pandas as pd
import pytest

from robustray.distributed import tuning
from tests.distributed.desk import Desk

PART = """\
from dataclasses import replace

from robustray.distributed.tuning import load_grid
from tests.tasks.grid_settings import TINY


def grid(size):
    \"""Cells with all factors at their first level, and with the last level of one: one that is chosen, else any.\"""
    whole = load_grid(NAME, size)
    levels = {factor: list(dict.fromkeys(cell.levels[factor] for cell in whole.cells)) for factor in whole.factors}
    seeds = levels.pop("seed")[: 3 if whole.choose else 2]
    first = {factor: those[0] for factor, those in levels.items()}
    varied = [factor for factor in whole.choose or levels if len(levels[factor]) > 1][-1]
    other = first | {varied: levels[varied][-1]}
    kept = [{**ends, "seed": seed} for ends in (first, other) for seed in seeds]
    cells = [cell for cell in whole.cells if cell.levels in kept]
    return replace(whole, cells=[replace(c, settings=replace(c.settings, **TINY.get(NAME, {}))) for c in cells])
"""


@pytest.mark.acceptance
@pytest.mark.parametrize("name", sorted(tuning.grid_names()))
def test_a_part_of_every_grid_finishes(two_cpus: None, desk: Desk, name: str) -> None:
    """Of 4 to 48 cells these are 4 or 6; a grid that has no more is typed by its own name."""
    small = len(tuning.load_grid(name, "quick").cells) == 4
    (desk.folder / "my_grids.py").write_text(f"{PART}\n\nNAME = {name!r}\n")
    ended, document, said = desk.tune(grid=name if small else "my_grids:grid")
    assert ended == 0 and document["counts"]["failed"] == 0, said[-2000:]
    assert document["counts"]["cells"] in (4, 6)
    for table, path in document["tables"].items():
        frame = pd.read_parquet(path)
        assert len(frame)
        if table not in ("cells", "best"):  # a level that was not chosen has no seed
            assert set(frame.seeds) <= {0, 2, 3} and frame.seeds.max() >= 2
