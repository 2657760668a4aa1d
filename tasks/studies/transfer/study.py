"""Do adversarially robust networks transfer better?  (arXiv:2007.08489)

Standard and robust networks are trained on some classes of a data set, and used for the others: as fixed features under
a logistic regression, and as the start of fine-tuning. All choices (C, learning rate, size of robust training) are made
on held-out training images of the target. A robust source must not win by being the best of several: its size is chosen
by the other chains, and as the null the same choice is made among as many standard sources that differ in their seed
only. A chain repeats everything with another seed: sources, few-shot images, heads and fine-tuning.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robustray.tasks.attacks.blocks import attack_block, predict_block
from robustray.tasks.data.views import keep_classes, resize, subset, three_channels
from robustray.tasks.errors import InputError
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import NEEDS, check_alike, check_apart, own_modules, predict, settled, untrained
from robustray.tasks.lab.seeds import stream
from robustray.tasks.latents.cache import latent_block, latents, look
from robustray.tasks.studies.transfer.blocks import head_block
from robustray.tasks.studies.transfer.findings import findings
from robustray.tasks.studies.transfer.results import Results
from robustray.tasks.studies.transfer.settings import FIXED, FULL, OUTLINE, Settings, Source
from robustray.tasks.study import TRAIN, Opened, Study
from robustray.tasks.training.doors import check_training

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Lab, Reference
    from robustray.tasks.study import Findings

FEWEST_PER_CLASS = 2
"""Training images of a target class: one to learn from, one to choose on."""
TRIED_IMAGES = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Worlds:
    """What sources learn and what they are transferred to: data sets, all of the same shape."""

    source: Reference
    source_test: Reference
    target: Reference
    target_test: Reference
    prepared: str = ""
    """What was done to the target's images; "" for none."""


def door(settings: Settings, lab: Lab) -> Opened:
    """Open source and target, try the untrained network on them. Raises: InputError."""
    worlds = open_worlds(settings, lab)
    source, target, test = (lab.load(ref) for ref in (worlds.source, worlds.target, worlds.target_test))
    check_target(target, test)
    first, last = settings.sources()[0], settings.robust[-1]
    for each in (first, last):
        check_training(settings.source_spec(each, 0, worlds.source), source)
    fit, held = shots(settings, 0, target)
    tune = settings.tune_spec("source", 0, worlds.target, settings.tune_lrs[0])
    check_training(dataclasses.replace(tune, initial=None, new_head=False), lab.load(subset(worlds.target, fit)))
    look(untrained(settings.arch), target.batch(range(min(TRIED_IMAGES, len(target))))[0])  # needs latents
    few = len(fit) + len(held)
    return Opened(
        refs={f"{field.name} data": getattr(worlds, field.name) for field in dataclasses.fields(worlds)[:4]},
        decided={"precision": settled(settings, lab, "precision").precision},
        modules=own_modules(settings.arch),
        warnings=(f"{target.name}: {worlds.prepared}",) * bool(worlds.prepared)
        + (f"the target has fewer than --per-class {settings.per_class} training images of some class: {few} in all",)
        * (few < settings.per_class * target.num_classes),
    )


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab, "precision")
    worlds = open_worlds(settings, lab)
    target: ImageData = lab.load(worlds.target)
    chains = range(settings.num_seeds)

    # 1. The sources of every chain, trained side by side.
    order = [(chain, source) for chain in chains for source in settings.sources()]
    specs = [settings.source_spec(source, chain, worlds.source) for chain, source in order]
    sources = dict(zip(order, lab.train(specs).result(), strict=True))
    probes = probe(settings, lab, worlds, sources)

    # 2. Few images of the target: to fit on, and to choose on. All sources of a chain share them.
    parts = {chain: shots(settings, chain, target) for chain in chains}

    # 3. Fixed features and fine-tuning.
    transfers = [
        *fixed_features(settings, lab, worlds, sources, parts),
        *fine_tuned(settings, lab, worlds, sources, parts),
    ]

    # 4. What it says.
    return findings(
        Results(
            settings=settings,
            source_classes=lab.load(worlds.source).classes,
            target=target,
            target_name=worlds.target.name,
            test_name=worlds.target_test.name,
            transfers=pd.DataFrame(transfers),
            probes=probes,
            num_fit=len(parts[0][0]),
            num_held=len(parts[0][1]),
            examples=examples(settings, target),
        )
    )


# --- Data -------------------------------------------------------------------------------------------------------------


def open_worlds(settings: Settings, lab: Lab) -> Worlds:
    """Source and target as views. Raises: InputError."""
    train, test = lab.data(settings.train_data), lab.data(settings.test_data)
    check_apart(train, test)
    whole: ImageData = lab.load(train)
    check_alike(whole, lab.load(test))
    count = settings.num_source_classes or whole.num_classes
    if count > whole.num_classes or (count == whole.num_classes and not settings.target):
        raise InputError(
            f"num_source_classes {count}: {whole.name} has {whole.num_classes} classes, and the target needs some"
        )
    first, others = whole.classes[:count], whole.classes[count:]
    source, source_test = ((keep_classes(ref, first) if others else ref) for ref in (train, test))
    if not settings.target:
        return Worlds(
            source=source,
            source_test=source_test,
            target=keep_classes(train, others),
            target_test=keep_classes(test, others),
        )
    return own_target(settings, lab, source, source_test)


def own_target(settings: Settings, lab: Lab, source: Reference, source_test: Reference) -> Worlds:
    """One's own images at the size of the sources' images. Raises: InputError."""
    shape = lab.load(source).shape
    own = lab.data(settings.target)
    images: ImageData = lab.load(own)
    if images.num_classes < 2:
        raise InputError(f"--target {settings.target} has one class only: there is nothing to tell apart")
    if images.shape[0] not in (1, shape[0]):
        raise InputError(
            f"--target {settings.target} has images of {images.shape[0]} channels, the sources' {settings.train_data} "
            f"of {shape[0]}: give --train-data, --test-data and --arch for images in colour"
        )
    words = []

    def fitted(ref: Reference) -> Reference:
        if images.shape[0] < shape[0]:
            ref = three_channels(ref)
        if images.shape[1:] == shape[1:]:
            return ref
        return resize(ref, shape[1] if shape[1] == shape[2] else (shape[1], shape[2]))

    if images.shape[0] < shape[0]:
        words.append("grey images are given three equal channels")
    if images.shape[1:] != shape[1:]:
        sizes = [f"{height} x {width}" for _, height, width in (images.shape, shape)]
        words.append(
            f"images of {sizes[0]} pixels are resized to {sizes[1]} (bicubic, short side first, centre cut out)"
        )
    if settings.target_test:
        test = lab.data(settings.target_test)
        tested: ImageData = lab.load(test)
        if test.content_hash == own.content_hash:
            raise InputError(f"--target-test {settings.target_test} and --target {settings.target} are the same images")
        if (tested.shape, tested.classes) != (images.shape, images.classes):
            raise InputError(
                f"--target-test {settings.target_test} and --target {settings.target} differ in the size of their "
                "images or in their classes"
            )
        learnt: Reference = own
    else:
        learnt, test = (
            subset(own, part, name=f"{settings.target}, {what}")
            for part, what in zip(split(settings, images), ("to learn from", "to test on"), strict=True)
        )
    return Worlds(
        source=source,
        source_test=source_test,
        target=fitted(learnt),
        target_test=fitted(test),
        prepared="; ".join(words),
    )


def split(settings: Settings, images: ImageData) -> tuple[list[int], list[int]]:
    """Images to learn from and to test on: `test_share` of every class, the same for all chains. Raises: InputError."""
    return aside(images.labels, settings.test_share, settings.seed, "transfer-test", f"--target {settings.target}")


def shots(settings: Settings, chain: int, target: ImageData) -> tuple[list[int], list[int]]:
    """A chain's training images of the target: those to fit on, and those to choose on. Raises: InputError."""
    seed = settings.seed + chain
    drawn: list[int] = []
    for label in range(target.num_classes):
        members = stream(seed, "transfer-shots", label).permutation(np.flatnonzero(target.labels == label))
        drawn += members[: settings.per_class or None].tolist()
    drawn.sort()
    fit, held = aside(target.labels[drawn], settings.held_out, seed, "transfer-held-out", target.name)
    return [drawn[place] for place in fit], [drawn[place] for place in held]


def aside(labels: np.ndarray, share: float, seed: int, what: str, where: str) -> tuple[list[int], list[int]]:
    """(the others, `share` of every class): at least one image of each class in both. Raises: InputError."""
    kept: list[int] = []
    for label in np.unique(labels).tolist():
        members = stream(seed, what, label).permutation(np.flatnonzero(labels == label))
        if len(members) < FEWEST_PER_CLASS:
            raise InputError(f"{where}: class {label} has {len(members)} image, at least {FEWEST_PER_CLASS} are needed")
        kept += members[: min(len(members) - 1, max(1, round(share * len(members))))].tolist()
    return sorted(set(range(len(labels))) - set(kept)), sorted(kept)


def check_target(target: ImageData, test: ImageData) -> None:
    """Raises: InputError unless there are two classes, and training and test images of each."""
    if target.num_classes < 2:
        raise InputError(f"{target.name} has one class only: leave the target at least two, by --num-source-classes")
    for images in (target, test):
        counts = np.bincount(images.labels, minlength=images.num_classes)
        if not counts.all():
            raise InputError(f"{images.name} has no image of {images.classes[int(counts.argmin())]!r}")


def examples(settings: Settings, target: ImageData) -> list[np.ndarray]:
    """A few images of each class of the target, as the networks see them."""
    found = []
    for label in range(target.num_classes):
        members = np.flatnonzero(target.labels == label).tolist()
        if len(members) >= settings.num_examples > 0:
            found.append(target.images[chosen(members, settings.num_examples, seed=settings.seed)])
    return found


# --- Sources ----------------------------------------------------------------------------------------------------------

Sources = dict[tuple[int, Source], "Reference"]
Parts = dict[int, tuple[list[int], list[int]]]


def probe(settings: Settings, lab: Lab, worlds: Worlds, sources: Sources) -> pd.DataFrame:
    """Rows of `reduce.source_table`: every source on its own test images, clean and attacked."""
    num_images = len(lab.load(worlds.source_test))
    clean = {
        key: predict(lab, model, worlds.source_test, num_images, block=settings.block) for key, model in sources.items()
    }
    attacked = {
        (chain, source): lab.map(
            "probe",
            attack_block,
            range(num_images),
            block=settings.block,
            seed=settings.seed + chain,
            settings=settings.attack(),
            refs={"model": model, "data": worlds.source_test},
            needs=NEEDS,
        )
        for (chain, source), model in sources.items()
    }
    rows = []
    for (chain, source), handle in attacked.items():
        right, hit = clean[chain, source].result(), handle.result()
        robust = (hit["prediction"] == hit["label"]).to_numpy() & right["correct"].to_numpy()
        flags = {"clean": right["correct"].to_numpy(dtype=bool), "robust": robust}
        rows.append({"source": source.name, "seed": settings.seed + chain, **flags})
    return pd.DataFrame(rows)


# --- Transfer ---------------------------------------------------------------------------------------------------------


def fixed_features(
    settings: Settings, lab: Lab, worlds: Worlds, sources: Sources, parts: Parts
) -> list[dict[str, Any]]:
    """Rows of `reduce`: a logistic regression on the latents of each source, which is not changed at all."""
    test: ImageData = lab.load(worlds.target_test)
    asked = {}
    for (chain, source), model in sources.items():
        few = subset(worlds.target, sorted(parts[chain][0] + parts[chain][1]))
        num_few = len(parts[chain][0]) + len(parts[chain][1])
        asked[chain, source] = (
            latents(lab, model, few, range(num_few)),
            latents(lab, model, worlds.target_test, range(len(test))),
        )
    heads = {}
    for (chain, source), (train, tested) in asked.items():
        refs = {
            "train": lab.rows(f"latents of {source.name}", train, ["latent", "label"]),
            "test": lab.rows(f"test latents of {source.name}", tested, ["latent"]),
        }
        seeds = [settings.seed + chain]
        heads[chain, source] = lab.map("head", head_block, seeds, block=1, settings=settings.held_out, refs=refs)
    rows = []
    for (chain, source), handle in heads.items():
        head = handle.result().iloc[0]
        rows.append(
            {
                "mode": FIXED,
                "source": source.name,
                "seed": settings.seed + chain,
                "choice": float(head["strength"]),
                "validation": float(head["validation"]),
                "correct": np.asarray(head["prediction"]) == test.labels,
            }
        )
    return rows


def fine_tuned(settings: Settings, lab: Lab, worlds: Worlds, sources: Sources, parts: Parts) -> list[dict[str, Any]]:
    """Rows of `reduce`: each source fine-tuned at every learning rate, and the one that held-out images choose."""
    cells = [(chain, source, lr) for chain, source in sources for lr in settings.tune_lrs]
    views = {
        chain: (
            subset(worlds.target, fit, name=f"{worlds.target.name}, to fit on, chain {chain}"),
            subset(worlds.target, held, name=f"{worlds.target.name}, to choose on, chain {chain}"),
        )
        for chain, (fit, held) in parts.items()
    }
    specs = [settings.tune_spec(sources[chain, source], chain, views[chain][0], lr) for chain, source, lr in cells]
    tuned = dict(zip(cells, lab.train(specs).result(), strict=True))
    num_test = len(lab.load(worlds.target_test))
    held = {
        cell: predict(lab, model, views[cell[0]][1], len(parts[cell[0]][1]), block=settings.block, step="held-out")
        for cell, model in tuned.items()
    }
    best = {}
    for (chain, source, lr), handle in held.items():
        score = float(handle.result()["correct"].mean())
        if score > best.get((chain, source), (-1.0, 0.0))[0]:  # of equal ones the first
            best[chain, source] = (score, lr)
    tested = {
        (chain, source): predict(
            lab, tuned[chain, source, lr], worlds.target_test, num_test, block=settings.block, step="test"
        )
        for (chain, source), (_, lr) in best.items()
    }
    return [
        {
            "mode": FULL,
            "source": source.name,
            "seed": settings.seed + chain,
            "choice": best[chain, source][1],
            "validation": best[chain, source][0],
            "correct": handle.result()["correct"].to_numpy(dtype=bool),
        }
        for (chain, source), handle in tested.items()
    ]


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "train": TRAIN,
        "clean": predict_block,
        "probe": attack_block,
        "latents": latent_block,
        "head": head_block,
        "held-out": predict_block,
        "test": predict_block,
    },
    compare=comparison(Compared(table="transfer", keys=("mode", "source"), value="accuracy")),
)
