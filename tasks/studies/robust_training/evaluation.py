"""The networks under attack: PGD at growing sizes, AutoAttack where they were trained, through the sweep's stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from robustray.tasks.studies.robust_training.results import label, tested_in
from robustray.tasks.sweeps.cells import sweep_cells
from robustray.tasks.sweeps.options import Options
from robustray.tasks.sweeps.records import Cell, records, survivors_of_clean

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.lab import Lab, Reference
    from robustray.tasks.studies.robust_training.settings import Network, Settings


def attack_networks(
    settings: Settings,
    lab: Lab,
    models: Mapping[Network, Reference],
    test: Reference,
    clean: Mapping[Network, pd.DataFrame],
) -> dict[str, pd.DataFrame]:
    """Records (`sweeps.records.records`) by attack: "pgd", and "autoattack" unless that is off.

    PGD: every size tested at, all images. AutoAttack: where `Settings.autoattack_eps` says, on the first
    `num_autoattack` images. Side by side, stage by stage on gathered survivors.
    """
    sizes: dict[Cell, tuple[float, ...]] = {}
    start: dict[Cell, pd.DataFrame] = {}
    for network in models:
        for norm in tested_in(settings, network):
            cell = Cell(test.name, label(network), norm, "pgd", settings.seed)
            sizes[cell], start[cell] = settings.eps_test(norm), clean[network]
            eps = settings.autoattack_eps(norm, network.eps)
            if eps is not None:
                cell = cell._replace(attack="autoattack")
                sizes[cell] = (eps,)
                rows = clean[network]
                start[cell] = rows[rows["index"] < settings.num_autoattack]
    found = sweep_cells(
        options(settings),
        lab,
        {label(network): model for network, model in models.items()},
        {test.name: test},
        sizes,
        {cell: survivors_of_clean(rows) for cell, rows in start.items()},
    )
    return {
        attack: records(
            {(cell.data, cell.model): start[cell] for cell in found if cell.attack == attack},
            {cell: rows for cell, rows in found.items() if cell.attack == attack},
        )
        for attack in dict.fromkeys(cell.attack for cell in found)
    }


def options(settings: Settings) -> Options:
    """As an attack sweep of these networks has them: it would find the same pieces in the store."""
    return Options(num_steps=settings.test_steps, precision=settings.precision, block=settings.block)
