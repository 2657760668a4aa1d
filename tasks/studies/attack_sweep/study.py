"""How does accuracy fall with the size of an adversarial perturbation?  (robustness library's table; arXiv:1706.06083)

For every model, data set, norm, attack and seed: attack the images that the model classifies correctly, at the smallest
size first; what survives goes on to the next size. An image counts as broken at a size when some attack of that size or
smaller broke it (a smaller ball lies within a larger one), so accuracy never rises with the size. A cascade such as
AutoAttack runs stage by stage, each on the survivors of all blocks, with the same result as one call of it. With two
models or more: does what fools one fool the others?
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from robustray.tasks.attacks.autoattack_rand import Votes
from robustray.tasks.attacks.blocks import attack_block, example_block, predict_block, vote_block
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.attacks.transfer import crafting, transfer_block, transferred_block
from robustray.tasks.corruptions.accuracy import from_rows
from robustray.tasks.corruptions.blocks import corrupted_block, look
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import (
    NEEDS,
    check_classes,
    load_all,
    no_evidence_lines,
    predict,
    settled,
    trained_modules,
    try_attacks,
    try_models,
)
from robustray.tasks.kit.sizes import reference_size
from robustray.tasks.lab.code import settings_roots
from robustray.tasks.studies.attack_sweep import findings, matrix
from robustray.tasks.studies.attack_sweep.results import Results
from robustray.tasks.studies.attack_sweep.settings import OUTLINE, Settings
from robustray.tasks.study import TRAIN, Opened, Study
from robustray.tasks.sweeps.cells import Opened as Refs
from robustray.tasks.sweeps.cells import attack_cells, foreign_sources
from robustray.tasks.sweeps.compare import compare
from robustray.tasks.sweeps.named import TRANSFER, named_stages
from robustray.tasks.sweeps.records import Cell, survivors_of_clean

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.attacks.settings import Attack
    from robustray.tasks.lab import Handle, Lab, Reference
    from robustray.tasks.study import Findings


def door(settings: Settings, lab: Lab) -> Opened:
    """Open every attack, model and data set, and try each model on a few images. Raises: InputError."""
    stages: dict[tuple[str, Norm, float], tuple[tuple[str, Attack], ...]] = {
        (name, norm, eps): named_stages(name, norm, eps, settings)
        for name, norm in itertools.product(settings.attacks, settings.norms)
        for eps in settings.eps(norm)
    }
    attacks = [attack for named in stages.values() for _, attack in named]
    data = {name: lab.data(name) for name in settings.data}
    loaded = list(load_all(lab, data, num_images=settings.num_images).values())
    models = try_models(lab, settings.models, loaded, random=settings.by_votes)
    models |= try_models(lab, [name for name in settings.sources if name not in models], loaded, flag="--sources")
    for name in settings.models:
        foreign_sources(name, settings.sources, models)
    for images in loaded:
        check_classes(attacks, images)
    meets = {name: attacks_on(name, stages, settings) for name in (*settings.models, *settings.sources)}
    return Opened(
        refs={
            **{f"data {name}": ref for name, ref in data.items()},
            **{f"model {name}": ref for name, ref in models.items()},
        },
        decided={"precision": arithmetic(settings, lab).precision},
        modules=(*sorted(settings_roots(attacks)), *trained_modules((*settings.models, *settings.sources))),
        warnings=try_attacks(lab, meets, loaded, models)
        + no_evidence_lines(lab, meets, loaded, models, seed=settings.seed),
    )


def attacks_on(
    name: str, stages: Mapping[tuple[str, Norm, float], Sequence[tuple[str, Attack]]], settings: Settings
) -> list[Attack]:
    """What meets the model `name`: the attacks, and what crafts on it to be tried on others."""
    crafts = name in settings.sources or (settings.num_transfer > 0 and len(settings.models) > 1)
    found = [
        attack
        for (chosen, _, _), named in stages.items()
        for _, attack in named
        if (crafts if chosen == TRANSFER else name in settings.models)
    ]
    if crafts:
        found += [
            crafting(norm=norm, eps=settings.eps(norm)[0], precision=settings.precision) for norm in settings.norms
        ]
    return found


def run(settings: Settings, lab: Lab) -> Findings:
    settings = arithmetic(settings, lab)

    # 1. Models: those that a recipe trains in seconds are trained, the others are opened.
    models = lab.models((*settings.models, *settings.sources))
    data = {name: lab.data(name) for name in settings.data}
    images = load_all(lab, data)

    # 2. Clean predictions: the sweep starts from the images that are right.
    asked = {
        (d, m): clean_predictions(settings, lab, models[m], data[d], settings.num_images or len(images[d]))
        for d, m in itertools.product(data, settings.models)
    }
    clean = {key: handle.result() for key, handle in asked.items()}

    # 3. Predictions on corrupted images, if they are asked for.
    n = settings.num_images
    corrupted = {
        (d, m): look(
            settings, lab, models[m], data[d], images[d], n or len(images[d]), block=settings.block, seed=settings.seed
        )
        for d, m in (asked if settings.corruptions else ())
    }

    # 4. Sizes outermost, cascades stage by stage: survivors go on to the next stage and the next size.
    records = sweep(settings, lab, models, data, clean)

    # 5. At the reference size of each norm: who is fooled by whose examples, and a few random images to look at.
    sizes: dict[Norm, float] = {norm: reference_size(norm, settings.eps(norm)) for norm in settings.norms}
    transfers = matrix.ask(settings, lab, models, data, clean, sizes)
    pictures = {}
    for d, m, norm in itertools.product(data, settings.models, settings.norms):
        shown = shown_attack(settings, norm, sizes[norm])
        examples = chosen(survivors_of_clean(clean[d, m]), settings.num_examples, seed=settings.seed)
        if examples and shown is not None:
            pictures[d, m, norm] = lab.map(
                "examples",
                example_block,
                examples,
                block=settings.num_examples,
                seed=settings.seed,
                settings=shown,
                refs={"model": models[m], "data": data[d]},
                needs=NEEDS,
            )

    # 6. What it says.
    return findings.compose(
        Results(
            settings=settings,
            images=images,
            clean=clean,
            corrupted={
                key: from_rows({each: handle.result() for each, handle in cells.items()})
                for key, cells in corrupted.items()
            },
            records=records,
            transfers={key: handle.result() for key, handle in transfers.items()},
            examples={key: handle.result() for key, handle in pictures.items()},
            reference=sizes,
            hashes={
                **{f"data {name}": ref.content_hash for name, ref in data.items()},
                **{f"model {name}": ref.content_hash for name, ref in models.items()},
            },
        )
    )


def arithmetic(settings: Settings, lab: Lab) -> Settings:
    """Settings whose precision is decided: fp32 where verdicts are votes, else by the hardware."""
    return replace(settings, precision="fp32") if settings.by_votes else settled(settings, lab, "precision")


def clean_predictions(
    settings: Settings, lab: Lab, model: Reference, data: Reference, num_images: int
) -> Handle[pd.DataFrame]:
    """Rows of `predict_block`; of `vote_block` where verdicts are votes."""
    if not settings.by_votes:
        return predict(lab, model, data, num_images, block=settings.block)
    return lab.map(
        "clean",
        vote_block,
        range(num_images),
        block=min(settings.block, 128),  # a hundred passes an image
        seed=settings.seed,
        settings=Votes(),
        refs={"model": model, "data": data},
        needs=NEEDS,
    )


def shown_attack(settings: Settings, norm: Norm, eps: float) -> Attack | None:
    """Whose examples the pictures show: the first attack, of a cascade its first stage; None for transfer alone."""
    name = next((name for name in settings.attacks if name != TRANSFER), None)
    return None if name is None else named_stages(name, norm, eps, settings)[0][1]


def sweep(
    settings: Settings, lab: Lab, models: Refs, data: Refs, clean: Mapping[tuple[str, str], pd.DataFrame]
) -> pd.DataFrame:
    """Records of every data set, model, norm, attack and seed. clean: rows of `predict_block` by data and model.

    Raises: InputError if the attack transfer has no source for one of the models. WorkFailed.
    """
    seeds = range(settings.seed, settings.seed + settings.num_seeds)
    each = itertools.product(settings.data, settings.models, settings.norms, settings.attacks, seeds)
    cells = [Cell(*names) for names in each]
    starts = {cell: (settings.eps(cell.norm), clean[cell.data, cell.model]) for cell in cells}
    return attack_cells(settings, lab, models, data, starts)


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "train": TRAIN,
        "clean": (predict_block, vote_block),
        "corrupted": corrupted_block,
        "attack": (attack_block, transferred_block),
        "transfer": transfer_block,
        "examples": example_block,
    },
    partial=frozenset({"clean", "corrupted", "attack", "transfer"}),
    compare=compare,
)
