"""Can an object be designed so that a fixed network recognises it more easily?  (arXiv:2012.12235, sections 2 and 3)

Classifiers are trained as usual and frozen. For each class a square patch is moved, by signed gradient steps at random
places on training images, until the class is recognised as well as it can be. On test images, at places that are drawn
anew and are the same for all, it is compared with three that were not designed: no patch, a patch of noise, and the
training image of the class that the classifier is surest of. Then the patched images are corrupted in ways that the
design has not seen. Two more questions are whether the patch is recognised by itself, and what it does on objects of
another class.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from robustray.tasks.attacks.blocks import predict_block
from robustray.tasks.compose.place import Placement
from robustray.tasks.errors import InputError
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import NEEDS, check_alike, check_apart, own_modules, predict, settled, try_attacks
from robustray.tasks.lab.optimise import OptimiseSpec
from robustray.tasks.studies.unadversarial import findings
from robustray.tasks.studies.unadversarial.blocks import (
    NO_PATCH,
    DesignSettings,
    Ground,
    Look,
    PatchKind,
    design,
    look_block,
    picture_block,
    plain_block,
)
from robustray.tasks.studies.unadversarial.reduce import PATCHES, Cell, Results
from robustray.tasks.studies.unadversarial.settings import OUTLINE, Settings
from robustray.tasks.study import TRAIN, Opened, Study
from robustray.tasks.training.doors import check_training
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Handle, Lab, Reference
    from robustray.tasks.study import Findings

TEST_SEEDS = 1_000_000
"""Seeds of test placements and corruptions are so far from those of designs: no place was seen in design."""
CLEAN = Cell("", 0)


def door(settings: Settings, lab: Lab) -> Opened:
    """Open both data sets, find the classes, try the untrained classifier. Raises: InputError."""
    data = {"train": lab.data(settings.train_data), "test": lab.data(settings.test_data)}
    check_apart(data["train"], data["test"])
    train: ImageData = lab.load(data["train"])
    test: ImageData = lab.load(data["test"])
    check_alike(train, test)
    if settings.num_images > len(test):
        raise InputError(f"num_images {settings.num_images}: {test.name} has {len(test)}; 0 means all")
    _, height, width = train.shape
    if height != width:
        raise InputError(f"{train.name} has images of {height}x{width}: turned patches need square ones")
    if not 1 <= settings.side < height:
        raise InputError(f"side {settings.side}: a patch must be smaller than the images, {height}x{width}")
    names = classes(settings, train)
    labels = test.labels[: settings.num_images or None]
    for slot in names:
        if not (labels == slot).any():
            raise InputError(f"{test.name}: there is no image of class {train.classes[slot]!r} to test its patch on")
    designed_on = int(np.isin(train.labels, names).sum())
    if settings.design_batch > designed_on:
        raise InputError(
            f"design_batch {settings.design_batch}: {train.name} has {designed_on} images of these classes"
        )
    check_training(settings.training(0), train)
    return Opened(
        refs={f"data {ref.name}": ref for ref in data.values()},
        decided={"precision": settled(settings, lab, "precision").precision},
        modules=own_modules(settings.model),
        warnings=try_attacks(lab, {settings.model: [settings.ascent(0)]}, [train], {}),
    )


def classes(settings: Settings, data: ImageData) -> tuple[int, ...]:
    """The classes that get a patch. Raises: InputError for one that there is not."""
    for name in settings.classes:
        if name not in data.classes:
            raise InputError(f"classes: {data.name} has no class {name!r}{nearest(name, data.classes)}")
    return tuple(data.classes.index(name) for name in settings.classes) or tuple(range(data.num_classes))


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab, "precision")
    train, test = lab.data(settings.train_data), lab.data(settings.test_data)
    images: ImageData = lab.load(test)
    mine = classes(settings, images)
    placement = Placement(rotation=settings.rotation, shift=settings.shift, scale=(settings.smallest, settings.largest))
    kind = PatchKind(classes=mine, side=settings.side, placement=placement)
    chains = range(settings.num_chains)

    # 1. Classifiers, and what they say of the training images without a patch.
    models = dict(zip(chains, lab.train([settings.training(chain) for chain in chains]).result(), strict=True))
    losses = {
        chain: predict(lab, model, train, len(lab.load(train)), block=settings.block, step="training-images")
        for chain, model in models.items()
    }

    # 2. The patches of each chain: designed, noise, and the best training image of each class.
    wanted = [
        OptimiseSpec(
            function=design,
            settings=DesignSettings(kind=kind, ascent=settings.ascent(chain)),
            seed=settings.seed + chain,
            refs={"model": model, "data": train},
            needs=NEEDS,
        )
        for chain, model in models.items()
    ]
    designing = lab.optimise("design", wanted)
    plain = {
        (chain, name): lab.map(
            "plain",
            plain_block,
            [item],
            block=1,
            seed=settings.seed + chain,
            settings=kind,
            refs={"data": train},
            needs=NEEDS,
        )
        for chain in chains
        for name, item in (("random", []), ("training image", surest(losses[chain].result(), mine)))
    }
    designed = dict(zip(chains, designing.result(), strict=True))
    patches = {(chain, "designed"): found.ref for chain, found in designed.items()} | {
        (chain, name): lab.rows(f"{name} of chain {chain}", made, ["patch"]) for (chain, name), made in plain.items()
    }

    # 3. Test images with the patch of their own class, clean and corrupted; each patch alone; each on other objects.
    labels = images.labels[: settings.num_images or None]
    own = [[int(i), mine.index(labels[i])] for i in np.flatnonzero(np.isin(labels, mine))]
    cells = [CLEAN, *(Cell(name, severity) for name in settings.corruptions for severity in settings.severities)]
    show = partial(look, settings, lab, test, kind, models)
    asked: dict[tuple[int, str, Cell], Handle[pd.DataFrame]] = {
        (chain, name, cell): show(chain, patches.get((chain, name)), own, cell=cell)
        for chain in chains
        for name in PATCHES
        for cell in cells
    }
    alone = {
        (chain, name, ground): show(chain, patches[chain, name], own, ground=ground)
        for chain in chains
        for name in ("random", "training image", "designed")
        for ground in _GROUNDS
    }
    others = [[int(i), slot] for slot, label in enumerate(mine) for i in np.flatnonzero(labels != label)]
    swapped = {
        (chain, name): show(chain, ref, others)
        for chain in chains
        for name, ref in (("none", None), ("designed", patches[chain, "designed"]))
    }
    shown = chosen(own, settings.num_examples, seed=settings.seed, what="unadversarial-examples")
    pictures = {
        name: lab.map(
            "pictures",
            picture_block,
            shown if name != "none" else [[index, NO_PATCH] for index, _ in shown],
            block=settings.block,
            seed=settings.seed + TEST_SEEDS,
            settings=Look(kind=kind),
            refs={"data": test, **({} if name == "none" else {"patch": patches[0, name]})},
        )
        for name in (PATCHES if shown else ())
    }

    # 4. What it says.
    return findings.found(
        Results(
            settings=settings,
            classes=images.classes,
            kind=kind,
            seen={key: handle.result() for key, handle in asked.items()},
            alone={key: handle.result() for key, handle in alone.items()},
            swapped={key: handle.result() for key, handle in swapped.items()},
            patches={name: lab.load(patches[0, name])["patch"].reshape(-1, *images.shape) for name in PATCHES[1:]},
            curves={chain: found.curve for chain, found in designed.items()},
            pictures={name: handle.result() for name, handle in pictures.items()},
        )
    )


_GROUNDS: tuple[Ground, ...] = ("grey", "noise")


def surest(rows: pd.DataFrame, mine: tuple[int, ...]) -> list[int]:
    """Per class its training image of smallest loss."""
    return [int(rows["index"][rows[rows.label == label].loss.idxmin()]) for label in mine]


def look(
    settings: Settings,
    lab: Lab,
    test: Reference,
    kind: PatchKind,
    models: Mapping[int, Reference],
    chain: int,
    patch: Reference | None,
    items: list[list[int]],
    *,
    cell: Cell = CLEAN,
    ground: Ground = "image",
) -> Handle[pd.DataFrame]:
    """Rows of `look_block`; without a patch, the same images as they are."""
    refs: dict[str, Any] = {"model": models[chain], "data": test}
    if patch is None:
        items = [[index, NO_PATCH] for index, _ in items]
    else:
        refs["patch"] = patch
    return lab.map(
        "look",
        look_block,
        items,
        block=settings.block,
        seed=settings.seed + TEST_SEEDS + chain,
        settings=Look(
            kind=kind, ground=ground, corruption=cell.corruption, severity=cell.severity, table=settings.table
        ),
        refs=refs,
        needs=NEEDS,
    )


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "train": TRAIN,
        "training-images": predict_block,
        "design": design,
        "plain": plain_block,
        "look": look_block,
        "pictures": picture_block,
    },
    compare=findings.COMPARE,
)
