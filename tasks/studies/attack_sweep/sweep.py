"""Which cells a sweep has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from robustray.tasks.studies.attack_sweep.settings import Settings
from robustray.tasks.sweeps.cells import Opened, sweep_cells
from robustray.tasks.sweeps.records import Cell, survivors_of_clean

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.lab import Lab


def sweep(
    settings: Settings, lab: Lab, models: Opened, data: Opened, clean: Mapping[tuple[str, str], pd.DataFrame]
) -> dict[Cell, list[tuple[float, pd.DataFrame]]]:
    """Every cell's rows by size. clean: rows of `predict_block` by data and model.

    Raises: InputError if the attack transfer has no source for one of the models. WorkFailed.
    """
    seeds = range(settings.seed, settings.seed + settings.num_seeds)
    cells = [
        Cell(d, m, norm, attack, seed)
        for d in settings.data
        for m in settings.models
        for norm in settings.norms
        for attack in settings.attacks
        for seed in seeds
    ]
    sizes = {cell: settings.eps(cell.norm) for cell in cells}
    alive = {cell: survivors_of_clean(clean[cell.data, cell.model]) for cell in cells}
    return sweep_cells(settings.options, lab, models, data, sizes, alive)
