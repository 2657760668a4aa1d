"""Are adversarial perturbations flaws of networks, or features of the data?  (arXiv:1905.02175, section 3)

From the images of D, two sources (a standard and a robust network) make four training sets: D_R and D_NR keep what the
robust or the standard source represents of an image, on top of an unrelated one; D_rand and D_det are images that were
perturbed until the standard source sees a random label, or the next one, and are labelled so. Students that share no
seed with a source are trained on each, and tested on the original test images. Controls: the images themselves, and
images with random perturbations of the same length, both with D_det's labels. A chain repeats all with another seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from robustray.tasks.attacks.blocks import attack_block, predict_block
from robustray.tasks.errors import InputError
from robustray.tasks.kit.images import (
    NEEDS,
    open_pair,
    own_modules,
    predict,
    settled,
    try_attacks,
    untrained,
)
from robustray.tasks.lab.seeds import stream
from robustray.tasks.latents.cache import look
from robustray.tasks.studies.features import findings
from robustray.tasks.studies.features.blocks import match_block, noise_block, perturb_block
from robustray.tasks.studies.features.reduce import BUILT, Chain, Results, Student, best, reached
from robustray.tasks.studies.features.settings import OUTLINE, Settings, Source
from robustray.tasks.study import TRAIN, Opened, Study
from robustray.tasks.training.doors import check_training
from robustray.tasks.training.settings import Augmentation

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Handle, Lab, Reference
    from robustray.tasks.study import Findings

FEWEST_CLASSES = 3
"""With two, "the next label" is "the other label"."""
FEWEST_IMAGES = 16
"""Held out, at least."""


def door(settings: Settings, lab: Lab) -> Opened:
    """Open both data sets; try the untrained networks on them. Raises: InputError."""
    refs, train, _ = open_pair(lab, settings.train_data, settings.test_data)
    if train.num_classes < FEWEST_CLASSES:
        raise InputError(f"{train.name} has {train.num_classes} classes: D_det needs at least {FEWEST_CLASSES}")
    if min(len(_split(settings, 0, len(train))[1]), len(train) // 2) < FEWEST_IMAGES:
        raise InputError(f"{train.name} has {len(train)} images: too few to hold {settings.held_out:.0%} of them out")
    check_training(settings.source("robust", 0), train)
    check_training(settings.pupil(settings.train_data, settings.student_lrs[0], "none", 0), train)
    look(untrained(settings.model), train.batch(range(FEWEST_IMAGES))[0])  # D_R needs latents
    follow = {
        name: (settings.matching(), settings.attack(settings.eps_robust)) for name in (settings.model, settings.student)
    }
    return Opened(
        refs=refs,
        decided={"precision": settled(settings, lab, "precision").precision},
        modules=own_modules(settings.model, settings.student),
        warnings=try_attacks(lab, follow, [train], {}),
        incomplete=any(not any(folder.glob("train-*.parquet")) for folder in folders(settings).values()),
    )


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab, "precision")
    from robustray.tasks.data.views import subset

    train, test = lab.data(settings.train_data), lab.data(settings.test_data)
    names, num_images = lab.load(train).classes, len(lab.load(train))

    # 1. Each chain: which images are held out, and the two sources, trained on the others.
    parts = {}
    for chain in range(settings.num_chains):
        used, kept = _split(settings, chain, num_images)
        parts[chain] = (
            subset(train, used, name=f"D of chain {chain}"),
            subset(train, kept, name=f"held out of chain {chain}"),
        )
    kinds: tuple[Source, ...] = ("standard", "robust")
    order: list[tuple[int, Source]] = [(chain, kind) for chain in parts for kind in kinds]
    trained = lab.train([settings.source(kind, chain, parts[chain][0]) for chain, kind in order]).result()
    sources = dict(zip(order, trained, strict=True))

    # 2. The sets. The size of D_rand and D_det is fixed before any student is trained.
    made = {chain: match(settings, lab, chain, d, sources) for chain, (d, _) in parts.items()}
    tried: dict[float, dict[int, dict[str, pd.DataFrame]]] = {}
    asked: dict[int, dict[str, Handle[pd.DataFrame]]] = {}
    for eps in settings.eps_construct:
        asked = {chain: perturb(settings, lab, chain, d, sources, eps) for chain, (d, _) in parts.items()}
        tried[eps] = {chain: {name: one.result() for name, one in pair.items()} for chain, pair in asked.items()}
        if reached(tried[eps].values()) >= settings.least_success:
            break
    eps = max(tried)
    for chain, (d, _) in parts.items():
        made[chain] |= asked[chain] | {"noise": noise(settings, lab, chain, d, sources, tried[eps][chain]["D_det"])}
    sets: dict[int, dict[str, Reference]] = {
        chain: {name: lab.dataset(f"{name} of chain {chain}", one, classes=names) for name, one in rows.items()}
        for chain, rows in made.items()
    }
    chains = {
        chain: Chain(
            d=lab.load(d), sets={name: one.result() for name, one in made[chain].items()}, tried=_of(tried, chain)
        )
        for chain, (d, _) in parts.items()
    }
    results = Results(settings=settings, eps=eps, chains=chains)
    if settings.build:
        return findings.built(results, export(settings, lab, sets[0]))

    # 3. Students of every set and of every setting that may be chosen; the choice is made on held-out images.
    for chain, (d, _) in parts.items():
        sets[chain] |= {"D": d, "unperturbed": relabelled(lab, d)}
    cells: list[tuple[int, str, float, Augmentation]] = [
        (chain, name, lr, augmentation)
        for chain, found in sets.items()
        for name in found
        for lr in settings.student_lrs
        for augmentation in settings.student_augmentations
    ]
    specs = [settings.pupil(sets[chain][name], lr, augmentation, chain) for chain, name, lr, augmentation in cells]
    pupils = dict(zip(cells, lab.train(specs).result(), strict=True))
    num_test, held_out = len(lab.load(test)), {chain: len(lab.load(held)) for chain, (_, held) in parts.items()}
    seen = {
        cell: (
            predict(lab, model, parts[cell[0]][1], held_out[cell[0]], block=settings.block, step="held-out"),
            predict(lab, model, test, num_test, block=settings.block, step="test"),
        )
        for cell, model in pupils.items()
    }
    students = [
        Student(chain=chain, name=name, lr=lr, augmentation=augmentation, held_out=held.result(), test=tested.result())
        for (chain, name, lr, augmentation), (held, tested) in seen.items()
    ]
    chosen = best(students)

    # 4. The chosen students and the sources under attack, on the original test images.
    attacked = {(s.chain, s.name): (pupils[s.chain, s.name, s.lr, s.augmentation], s.test) for s in chosen}
    for (chain, kind), source in sources.items():
        clean = predict(lab, source, test, num_test, block=settings.block, step="test")
        attacked[chain, f"{kind} source"] = (source, clean.result())
    robust = {key: attack(settings, lab, key[0], model, test, rows) for key, (model, rows) in attacked.items()}

    # 5. What it says.
    return findings.found(
        results.judged(
            students=students,
            chosen=chosen,
            tested={key: rows for key, (_, rows) in attacked.items()},
            attacked={key: {eps: one.result() for eps, one in found.items()} for key, found in robust.items()},
            held_out=held_out,
        )
    )


# --- The parts of D ---------------------------------------------------------------------------------------------------


def _split(settings: Settings, chain: int, num_images: int) -> tuple[list[int], list[int]]:
    """Images that sets are made from, and those held out for choices."""
    order = stream(settings.seed + chain, "features-held-out").permutation(num_images)
    cut = round(settings.held_out * num_images)
    return sorted(order[cut:].tolist()), sorted(order[:cut].tolist())


def relabelled(lab: Lab, d: Reference) -> Reference:
    """The first control: D itself, labelled as D_det is."""
    from robustray.tasks.data.views import relabel

    data: ImageData = lab.load(d)
    return relabel(d, next_labels(data), data.classes, name=f"{d.name}, labelled y+1")


def next_labels(data: ImageData) -> list[int]:
    """(y + 1) mod the number of classes."""
    return ((np.asarray(data.labels) + 1) % data.num_classes).tolist()


# --- The sets ---------------------------------------------------------------------------------------------------------

Sources: TypeAlias = "dict[tuple[int, Source], Reference]"


def pairs(num_images: int, seed: int) -> list[list[int]]:
    """[target, start] for each image: a random cycle through all of them, which knows no labels and pairs none with
    itself."""
    order = stream(seed, "features-pairs").permutation(num_images)
    start = np.empty(num_images, dtype=np.int64)
    start[order] = np.roll(order, 1)
    return [[target, int(start[target])] for target in range(num_images)]


def match(settings: Settings, lab: Lab, chain: int, d: Reference, sources: Sources) -> dict[str, Handle[pd.DataFrame]]:
    """D_R from the robust source, D_NR from the standard one; both with the same pairs."""
    items = pairs(len(lab.load(d)), settings.seed + chain)
    made_by: tuple[tuple[str, Source], ...] = (("D_R", "robust"), ("D_NR", "standard"))
    return {
        name: lab.map(
            "match",
            match_block,
            items,
            block=settings.block,
            settings=settings.matching(),
            refs={"model": sources[chain, kind], "data": d},
            needs=NEEDS,
        )
        for name, kind in made_by
    }


def perturb(
    settings: Settings, lab: Lab, chain: int, d: Reference, sources: Sources, eps: float
) -> dict[str, Handle[pd.DataFrame]]:
    """D_rand (labels drawn from all classes, the true one included) and D_det (the next label)."""
    data: ImageData = lab.load(d)
    random = stream(settings.seed + chain, "features-labels").integers(data.num_classes, size=len(data)).tolist()
    return {
        name: lab.map(
            "perturb",
            perturb_block,
            [[index, label] for index, label in enumerate(labels)],
            block=settings.block,
            settings=settings.perturbing(eps),
            refs={"model": sources[chain, "standard"], "data": d},
            needs=NEEDS,
        )
        for name, labels in (("D_rand", random), ("D_det", next_labels(data)))
    }


def noise(
    settings: Settings,
    lab: Lab,
    chain: int,
    d: Reference,
    sources: Sources,
    made: pd.DataFrame,
) -> Handle[pd.DataFrame]:
    """The second control: each image with D_det's label and a random perturbation as long as D_det's."""
    return lab.map(
        "noise",
        noise_block,
        list(map(list, zip(made["index"].tolist(), made.label.tolist(), made.distance.tolist(), strict=True))),
        block=settings.block,
        seed=settings.seed + chain,
        refs={"model": sources[chain, "standard"], "data": d},
        needs=NEEDS,
    )


def _of(tried: dict[float, dict[int, Any]], chain: int) -> dict[float, dict[str, pd.DataFrame]]:
    return {eps: found[chain] for eps, found in tried.items()}


def export(settings: Settings, lab: Lab, sets: dict[str, Reference]) -> Path:
    """Write the four sets of the first chain as Parquet. Returns: their folder. Raises: InputError."""
    from robustray.tasks.data.export import ensure_exported

    for name, folder in folders(settings).items():
        ensure_exported(lab.load(sets[name]), folder)
    return Path(settings.build)


def folders(settings: Settings) -> dict[str, Path]:
    """Where each set goes; none without `--build`."""
    return {name: Path(settings.build) / name for name in BUILT if settings.build}


# --- Tests ------------------------------------------------------------------------------------------------------------


def attack(
    settings: Settings, lab: Lab, chain: int, model: Reference, test: Reference, clean: pd.DataFrame
) -> dict[float, Handle[pd.DataFrame]]:
    """PGD at every size, on the test images that are right without it."""
    right = clean[clean.correct]["index"].tolist()
    return {
        eps: lab.map(
            "attack",
            attack_block,
            right,
            block=settings.block,
            seed=settings.seed + chain,
            settings=settings.attack(eps),
            refs={"model": model, "data": test},
            needs=NEEDS,
        )
        for eps in settings.eps_test
    }


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "train": TRAIN,
        "match": match_block,
        "perturb": perturb_block,
        "noise": noise_block,
        "held-out": predict_block,
        "test": predict_block,
        "attack": attack_block,
    },
    compare=findings.COMPARE,
)
