"""How does accuracy fall with the size of an adversarial perturbation?  (robustness library's table; arXiv:1706.06083)

For every model, data set, norm, attack and seed: attack the images that the model classifies correctly, at the smallest
size first; what survives goes on to the next size. An image counts as broken at a size when some attack of that size or
smaller broke it (a smaller ball lies within a larger one), so accuracy never rises with the size. A cascade such as
AutoAttack runs stage by stage, each on the survivors of all blocks, with the same result as one call of it. With two
models or more: does what fools one fool the others?
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from robustray.tasks.attacks.blocks import attack_block, example_block, predict_block
from robustray.tasks.attacks.precision import resolve_precision
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.attacks.transfer import transfer_block, transferred_block
from robustray.tasks.errors import InputError
from robustray.tasks.lab.code import settings_roots
from robustray.tasks.lab.seeds import stream
from robustray.tasks.models.doors import check_model
from robustray.tasks.studies.attack_sweep import findings, matrix
from robustray.tasks.studies.attack_sweep.compare import compare
from robustray.tasks.studies.attack_sweep.results import Results
from robustray.tasks.studies.attack_sweep.settings import OUTLINE, Settings
from robustray.tasks.studies.attack_sweep.sweep import sweep
from robustray.tasks.study import TRAIN, Opened, Study
from robustray.tasks.sweeps.cells import NEEDS, foreign_sources
from robustray.tasks.sweeps.named import TRANSFER, named_stages
from robustray.tasks.sweeps.records import records as records_of
from robustray.tasks.sweeps.records import survivors_of_clean
from robustray.tasks.training.recipes import RECIPES

if TYPE_CHECKING:
    from torch import nn

    from robustray.tasks.attacks.settings import Attack
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab import Lab
    from robustray.tasks.study import Findings

CHECKED_IMAGES = 32
"""Images on which the door tries each model."""


def door(settings: Settings, lab: Lab) -> Opened:
    """Open every attack, model and data set, and try each model on a few images. Raises: InputError."""
    stages = {
        (name, norm, eps): named_stages(name, norm, eps, settings.options)
        for name, norm in itertools.product(settings.attacks, settings.norms)
        for eps in settings.eps(norm)
    }
    attacks = [attack for named in stages.values() for _, attack in named]
    data = {name: lab.data(name) for name in settings.data}
    names = model_names(settings)
    models = {name: lab.model(name) for name in names if name not in RECIPES}
    tried = {name: lab.load(ref) for name, ref in models.items()} | {
        name: untrained(name) for name in names if name in RECIPES
    }
    for name in settings.models:
        foreign_sources(name, settings.sources, models)
    for images in map(lab.load, data.values()):
        if settings.num_images > len(images):
            raise InputError(f"num_images {settings.num_images}: {images.name} has {len(images)}; 0 means all")
        few, _ = images.batch(range(min(CHECKED_IMAGES, len(images))))
        for name, model in tried.items():
            flag = "--model" if name in settings.models else "--sources"
            try:
                warnings = check_model(model, few, images.num_classes)
            except InputError as error:
                raise InputError(f"{flag} {name} with --data {images.name}: {error}") from error
            if warnings:
                raise InputError(f"{flag} {name}: {'; '.join(warnings)}")
        check_classes(attacks, images)
    return Opened(
        refs={
            **{f"data {name}": ref for name, ref in data.items()},
            **{f"model {name}": ref for name, ref in models.items()},
        },
        decided={"precision": settled(settings, lab).precision},
        modules=tuple(sorted(settings_roots(attacks))),
    )


def model_names(settings: Settings) -> tuple[str, ...]:
    """Models to attack and models to craft on, each once."""
    return tuple(dict.fromkeys((*settings.models, *settings.sources)))


def check_classes(attacks: Iterable[Attack], images: ImageData) -> None:
    """Raises: InputError for an attack that needs more classes than there are, before any work."""
    for attack in attacks:
        least = getattr(attack, "min_classes", 0)
        if images.num_classes < least:
            raise InputError(
                f"--attack {getattr(attack, 'name', attack)}, by itself or in a cascade, needs at least {least} "
                f"classes; {images.name} has {images.num_classes}: leave it out"
            )


def untrained(name: str) -> nn.Module:
    """A model that the run will train, to see whether it fits the images."""
    import torch

    from robustray.tasks.models.registry import build_model

    with torch.random.fork_rng(devices=[]):
        return build_model(name)


def settled(settings: Settings, lab: Lab) -> Settings:
    """Decide what "auto" leaves to the machine, once for all workers."""
    if settings.precision != "auto":
        return settings
    return replace(settings, precision=resolve_precision(lab.device))


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab)

    # 1. Models: those that a recipe trains in seconds are trained, the others are opened.
    names = model_names(settings)
    recipes = [RECIPES[name] for name in names if name in RECIPES]
    trained = dict(zip((spec.model for spec in recipes), lab.train(recipes).result() if recipes else [], strict=True))
    models = {name: trained.get(name) or lab.model(name) for name in names}
    data = {name: lab.data(name) for name in settings.data}
    images = {name: lab.load(ref) for name, ref in data.items()}
    count = {name: settings.num_images or len(loaded) for name, loaded in images.items()}

    # 2. Clean predictions: the sweep starts from the images that are right.
    clean_handles = {
        (d, m): lab.map(
            "clean",
            predict_block,
            range(count[d]),
            block=settings.block,
            refs={"model": models[m], "data": data[d]},
            needs=NEEDS,
        )
        for d, m in itertools.product(data, settings.models)
    }
    clean = {key: handle.result() for key, handle in clean_handles.items()}

    # 3. Sizes outermost, cascades stage by stage: survivors go on to the next stage and the next size.
    records = records_of(clean, sweep(settings, lab, models, data, clean))

    # 4. At the reference size of each norm: who is fooled by whose examples, and a few random images to look at.
    sizes: dict[Norm, float] = {norm: reference_eps(settings, norm) for norm in settings.norms}
    transfers = matrix.ask(settings, lab, models, data, clean, sizes)
    pictures = {}
    for d, m, norm in itertools.product(data, settings.models, settings.norms):
        shown = shown_attack(settings, norm, sizes[norm])
        right = survivors_of_clean(clean[d, m])
        chosen = sorted(stream(settings.seed, "examples").permutation(len(right))[: settings.num_examples].tolist())
        if chosen and shown is not None:
            pictures[d, m, norm] = lab.map(
                "examples",
                example_block,
                [right[i] for i in chosen],
                block=settings.num_examples,
                seed=settings.seed,
                settings=shown,
                refs={"model": models[m], "data": data[d]},
                needs=NEEDS,
            )

    # 5. What it says.
    return findings.compose(
        Results(
            settings=settings,
            images=images,
            clean=clean,
            records=records,
            transfers={key: handle.result() for key, handle in transfers.items()},
            examples={key: handle.result() for key, handle in pictures.items()},
            reference=sizes,
        )
    )


def shown_attack(settings: Settings, norm: Norm, eps: float) -> Attack | None:
    """Whose examples the pictures show: the first attack, of a cascade its first stage; None for transfer alone."""
    name = next((name for name in settings.attacks if name != TRANSFER), None)
    return None if name is None else named_stages(name, norm, eps, settings.options)[0][1]


def reference_eps(settings: Settings, norm: Norm) -> float:
    """The size at which claims, class table and examples are made, fixed before the run.

    8/255 (l-inf) or 0.5 (l2), where the field reports, if it is among the sizes; else the middle one.
    """
    sizes, customary = settings.eps(norm), 8 / 255 if norm == "linf" else 0.5
    return next((eps for eps in sizes if abs(eps - customary) < 1e-6), sizes[len(sizes) // 2])


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "train": TRAIN,
        "clean": predict_block,
        "attack": (attack_block, transferred_block),
        "transfer": transfer_block,
        "examples": example_block,
    },
    compare=compare,
)
