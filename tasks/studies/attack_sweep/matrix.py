"""The transfer matrix: every model's adversarial examples, shown to all models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.attacks.transfer import Exchange, crafting, transfer_block
from robustray.tasks.studies.attack_sweep import reduce
from robustray.tasks.studies.attack_sweep.settings import Settings
from robustray.tasks.sweeps.cells import NEEDS, Opened
from robustray.tasks.sweeps.options import block_size

if TYPE_CHECKING:
    import pandas as pd

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
        images = reduce.common_correct([clean[d, m] for m in settings.models], settings.num_transfer)
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
                    block=block_size("pgd", settings.options),
                    seed=settings.seed,
                    settings=Exchange(attack=attack, models=tuple(targets)),
                    refs={"source": models[source], "data": data[d], **targets},
                    needs=NEEDS,
                )
    return handles
