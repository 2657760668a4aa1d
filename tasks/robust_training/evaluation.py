"""The networks under attack: PGD at growing sizes, AutoAttack where they were trained, through the sweep's stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from robustray.tasks.attack_sweep import reduce as sweep_reduce
from robustray.tasks.attack_sweep.reduce import Cell
from robustray.tasks.attack_sweep.settings import Settings as SweepSettings
from robustray.tasks.attack_sweep.sweep import sweep_cells
from robustray.tasks.robust_training.results import label, tested_in

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.lab import Lab, Reference
    from robustray.tasks.robust_training.settings import Network, Settings


def attack_networks(
    settings: Settings,
    lab: Lab,
    models: Mapping[Network, Reference],
    test: Reference,
    clean: Mapping[Network, pd.DataFrame],
) -> dict[str, pd.DataFrame]:
    """Records (`attack_sweep.reduce.records`) by attack: "pgd", and "autoattack" unless that is off.

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
        as_sweep(settings, models),
        lab,
        {label(network): model for network, model in models.items()},
        {test.name: test},
        sizes,
        {cell: sweep_reduce.survivors_of_clean(rows) for cell, rows in start.items()},
    )
    return {
        attack: sweep_reduce.records(
            {(cell.data, cell.model): start[cell] for cell in found if cell.attack == attack},
            {cell: rows for cell, rows in found.items() if cell.attack == attack},
        )
        for attack in dict.fromkeys(cell.attack for cell in found)
    }


def as_sweep(settings: Settings, models: Mapping[Network, Reference]) -> SweepSettings:
    """The same attacks and blocks as an attack sweep of these networks: it would find the same pieces in the store."""
    return SweepSettings(
        models=tuple(map(label, models)),
        data=(settings.test_data,),
        num_images=settings.num_images,
        attacks=("pgd", "autoattack"),
        norms=settings.norms,
        eps_linf=settings.eps_test_linf,
        eps_l2=settings.eps_test_l2,
        num_steps=settings.test_steps,
        precision=settings.precision,
        seed=settings.seed,
        block=settings.block,
    )
