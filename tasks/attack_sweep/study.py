"""How does accuracy fall with the size of an adversarial perturbation?  (robustness library's table; arXiv:1706.06083)

For every model, data set, norm, attack and seed: attack the images that the model classifies correctly, at the smallest
size first; what survives goes on to the next size. An image counts as broken at a size when some attack of that size or
smaller broke it (a smaller ball lies within a larger one), so accuracy never rises with the size.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from robustray.tasks.attack_sweep import findings, reduce
from robustray.tasks.attack_sweep.named import named_attack
from robustray.tasks.attack_sweep.reduce import Cell
from robustray.tasks.attack_sweep.settings import OUTLINE, Norm, Settings
from robustray.tasks.attacks.blocks import attack_block, example_block, predict_block
from robustray.tasks.attacks.catalogue import ATTACKS
from robustray.tasks.attacks.precision import resolve_precision
from robustray.tasks.errors import InputError
from robustray.tasks.lab import Needs
from robustray.tasks.lab.seeds import stream
from robustray.tasks.models.doors import check_model
from robustray.tasks.study import Opened, Study
from robustray.tasks.training.recipes import RECIPES

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from robustray.tasks.lab import Lab
    from robustray.tasks.study import Findings

NEEDS = Needs(threads=1, gpus=0.25)
CHECKED_IMAGES = 32
"""Images on which the door tries each model."""


def door(settings: Settings, lab: Lab) -> Opened:
    """Open every attack, model and data set, and try each model on a few images. Raises: InputError."""
    attacks = [
        named_attack(name, norm, eps, settings)
        for name, norm in itertools.product(settings.attacks, settings.norms)
        for eps in settings.eps(norm)
    ]
    data = {name: lab.data(name) for name in settings.data}
    models = {name: lab.model(name) for name in settings.models if name not in RECIPES}
    tried = {name: lab.load(ref) for name, ref in models.items()} | {
        name: untrained(name) for name in settings.models if name in RECIPES
    }
    for images in map(lab.load, data.values()):
        if settings.num_images > len(images):
            raise InputError(f"num_images {settings.num_images}: {images.name} has {len(images)}; 0 means all")
        few, _ = images.batch(range(min(CHECKED_IMAGES, len(images))))
        for name, model in tried.items():
            try:
                warnings = check_model(model, few, images.num_classes)
            except InputError as error:
                raise InputError(f"--model {name} with --data {images.name}: {error}") from error
            if warnings:
                raise InputError(f"--model {name}: {'; '.join(warnings)}")
    return Opened(
        refs={
            **{f"data {name}": ref for name, ref in data.items()},
            **{f"model {name}": ref for name, ref in models.items()},
        },
        decided={"precision": settled(settings, lab).precision},
        modules=tuple(sorted({type(attack).__module__ for attack in attacks if type(attack) not in ATTACKS.values()})),
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
    recipes = [RECIPES[name] for name in settings.models if name in RECIPES]
    trained = dict(zip((spec.model for spec in recipes), lab.train(recipes).result() if recipes else [], strict=True))
    models = {name: trained.get(name) or lab.model(name) for name in settings.models}
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
        for d, m in itertools.product(data, models)
    }
    clean = {key: handle.result() for key, handle in clean_handles.items()}

    # 3. Sizes outermost: open all cells of one size, read them all, carry their survivors to the next size.
    seeds = range(settings.seed, settings.seed + settings.num_seeds)
    cells = [Cell(*key) for key in itertools.product(data, models, settings.norms, settings.attacks, seeds)]
    alive = {cell: reduce.survivors_of_clean(clean[cell.data, cell.model]) for cell in cells}
    stages: dict[Cell, list[tuple[float, pd.DataFrame]]] = {cell: [] for cell in cells}
    for stage in range(max(len(settings.eps(norm)) for norm in settings.norms)):
        open_cells = [cell for cell in cells if stage < len(settings.eps(cell.norm))]
        handles = {
            cell: lab.map(
                "attack",
                attack_block,
                alive[cell],
                block=settings.block,
                seed=cell.seed,
                settings=named_attack(cell.attack, cell.norm, settings.eps(cell.norm)[stage], settings),
                refs={"model": models[cell.model], "data": data[cell.data]},
                needs=NEEDS,
            )
            for cell in open_cells
        }
        for cell, handle in handles.items():
            rows = handle.result()
            stages[cell].append((settings.eps(cell.norm)[stage], rows))
            alive[cell] = reduce.survivors(rows)
    records = reduce.records(clean, stages)

    # 4. A few random images with their perturbations, at the reference size of each norm.
    pictures = {}
    for d, m, norm in itertools.product(data, models, settings.norms):
        right = reduce.survivors_of_clean(clean[d, m])
        chosen = sorted(stream(settings.seed, "examples").permutation(len(right))[: settings.num_examples].tolist())
        if chosen:
            pictures[d, m, norm] = lab.map(
                "examples",
                example_block,
                [right[i] for i in chosen],
                block=settings.num_examples,
                seed=settings.seed,
                settings=named_attack(settings.attacks[0], norm, reference_eps(settings, norm), settings),
                refs={"model": models[m], "data": data[d]},
                needs=NEEDS,
            )
    examples = {key: handle.result() for key, handle in pictures.items()}

    # 5. What it says.
    sizes: dict[Norm, float] = {norm: reference_eps(settings, norm) for norm in settings.norms}
    clean_rows = reduce.clean_accuracy(clean, settings.norms)
    return findings.compose(settings, images, clean_rows, records, examples, sizes)


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
    steps=("train", "clean", "attack", "examples"),
    functions=tuple(
        f"robustray.tasks.attacks.blocks:{name}" for name in ("predict_block", "attack_block", "example_block")
    ),
)
