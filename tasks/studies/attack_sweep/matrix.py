"""The transfer matrix: every model's adversarial examples, shown to all models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.attacks.transfer import Exchange, crafting, transfer_block
from robustray.tasks.kit.images import NEEDS
from robustray.tasks.statistics.intervals import wilson
from robustray.tasks.studies.attack_sweep.settings import Settings
from robustray.tasks.sweeps.cells import Opened
from robustray.tasks.sweeps.options import block_size
from robustray.tasks.sweeps.records import survivors_of_clean

if TYPE_CHECKING:
    from robustray.tasks.lab import Handle, Lab


def ask(
    settings: Settings,
    lab: Lab,
    models: Opened,
    data: Opened,
    clean: Mapping[tuple[str, str], pd.DataFrame],
    reference: Mapping[Norm, float],
) -> dict[tuple[str, Norm, str], Handle[pd.DataFrame]]:
    """Craft once per data set, norm and source, at the norm's reference size, and score all models in the same block.

    The images are one fixed list per data set: the first `num_transfer` that all models classify correctly. (The door
    has seen that all models have the data's classes.) Nothing with a single model.
    """
    if not settings.num_transfer or len(settings.models) < 2:
        return {}
    targets = {f"target {i}": models[name] for i, name in enumerate(settings.models)}
    handles = {}
    for d in settings.data:
        images = common_correct([clean[d, m] for m in settings.models], settings.num_transfer)
        for norm in settings.norms if images else ():
            attack = crafting(
                norm=norm,
                eps=reference[norm],
                num_steps=settings.num_steps,
                num_restarts=settings.num_restarts,
                random_start=settings.random_start,
                precision=settings.precision,
            )
            for source in settings.models:
                handles[d, norm, source] = lab.map(
                    "transfer",
                    transfer_block,
                    images,
                    block=block_size("pgd", settings),
                    seed=settings.seed,
                    settings=Exchange(attack=attack, models=tuple(targets)),
                    refs={"source": models[source], "data": data[d], **targets},
                    needs=NEEDS,
                )
    return handles


def common_correct(clean: Sequence[pd.DataFrame], count: int) -> list[int]:
    """Indices of the first `count` images that every one of the models classifies correctly."""
    common = set.intersection(*(set(survivors_of_clean(rows)) for rows in clean))
    return sorted(common)[:count]


def transfer_rates(found: Mapping[tuple[str, Norm, str], pd.DataFrame], targets: Sequence[str]) -> pd.DataFrame:
    """One row per (data, norm, source) of `found`, rows of `transfer_block`, and target.

    Of images that all models classify correctly: `rate` = share on which the target errs, with its Wilson interval;
    `white_box` = share on which the source itself does, the rate of the diagonal.
    """
    rows = []
    for (data, norm, source), block in found.items():
        fooled = np.stack(list(block.predictions)) != block.label.to_numpy()[:, None]
        for position, target in enumerate(targets):
            share = {"fooled": int(fooled[:, position].sum()), "n": len(block), "white_box": block.white_box.mean()}
            rows.append({"data": data, "norm": norm, "source": source, "target": target, **share})
    table = pd.DataFrame(rows)
    lo, hi = wilson(table.fooled.to_numpy(), table.n.to_numpy())
    return table.assign(rate=table.fooled / table.n, lo=lo, hi=hi)
