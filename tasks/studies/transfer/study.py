"""Do adversarially robust networks transfer better?  (arXiv:2007.08489)

Standard and robust networks are trained on some classes of a data set, and used for others: as fixed features under a
logistic regression, and as the start of fine-tuning. All choices (C, learning rate, size of robust training) are made
on held-out training images of the target. A robust source must not win by being the best of several: its size is chosen
by the other chains, and as the null the same choice is made among as many standard sources that differ by their seed.
A chain repeats everything with another seed: which classes the sources learn, the sources, few-shot images, heads and
fine-tuning. Draws of few-shot images are repeated within it.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from robustray.tasks.attacks.blocks import attack_block, predict_block
from robustray.tasks.audit.blocks import AUDIT, audit_block
from robustray.tasks.data.views import subset
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import own_modules, settled, trained_modules, try_attacks, untrained
from robustray.tasks.latents.cache import latent_block, look, quick_latent_block, quick_look
from robustray.tasks.studies.transfer.blocks import attack_head_block, head_block
from robustray.tasks.studies.transfer.findings import findings
from robustray.tasks.studies.transfer.given import architecture_of, try_sources
from robustray.tasks.studies.transfer.kinds import OTHERS, Target
from robustray.tasks.studies.transfer.results import Results
from robustray.tasks.studies.transfer.settings import OUTLINE, Settings
from robustray.tasks.studies.transfer.transferring import Part, fixed_features, probe, tuned_on_target
from robustray.tasks.studies.transfer.worlds import (
    Images,
    World,
    check_target,
    fit_and_held,
    open_worlds,
    pool,
    shots,
    view_of,
)
from robustray.tasks.study import TRAIN, Findings, Opened, RunTables, Study
from robustray.tasks.training.doors import check_training

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Lab, Reference

TRIED_IMAGES = 8
"""Images of the source that its architecture is tried on."""


def door(settings: Settings, lab: Lab) -> Opened:
    """Open source and targets, try the networks on them. Raises: InputError."""
    (world,) = open_worlds(settings, lab, [0])
    targets, warnings = present(settings, lab, world)
    refs: dict[str, Reference] = {}
    if settings.sources:
        seen = {name: lab.load(images.train) for name, images in world.targets.items()}
        opened, remarks = try_sources(settings, lab, seen)
        if settings.on_target:
            attacks = {name: (settings.attack(),) for name in settings.sources}
            remarks += try_attacks(lab, attacks, seen.values(), opened)
        refs, warnings = {f"source {name}": ref for name, ref in opened.items()}, remarks + warnings
    for name, images in world.targets.items():
        refs |= {f"target {name}": images.train, f"test of target {name}": images.test}
        main = next(each for each in targets if each.data == name and each.main)
        warnings += try_target(settings, lab, main, images)
    for each in targets:
        if each.side:
            *_, words = view_of(settings, lab, each, world.targets[each.data])
            warnings += (f"{each.name}: {words}",)
    if settings.sources:
        return Opened(
            refs=refs, decided=decided(settings, lab), modules=trained_modules(settings.sources), warnings=warnings
        )
    assert world.source is not None and world.source_test is not None, "sources that are trained have images"
    refs |= {"source data": world.source, "source_test data": world.source_test}
    source = lab.load(world.source)
    for each_source in (settings.all_sources()[0], settings.robust[-1]):
        check_training(settings.source_spec(each_source, 0, world.source), source)
    see = look if settings.feature_precision == "fp32" else quick_look
    see(untrained(settings.arch).eval(), source.batch(range(min(TRIED_IMAGES, len(source))))[0])  # needs latents
    return Opened(
        refs=refs,
        decided=decided(settings, lab),
        modules=own_modules(settings.arch),
        warnings=try_attacks(lab, {settings.arch: [settings.attack()]}, [source], {}) + warnings,
    )


def try_target(settings: Settings, lab: Lab, target: Target, images: Images) -> tuple[str, ...]:
    """Look at a target's images, and try to fine-tune on the few of them that the first chain draws.

    Returns: warnings for the page. Raises: InputError.
    """
    words = target_words(target.data)
    train: ImageData = lab.load(images.train)
    check_target(train, lab.load(images.test))
    warnings = (f"{words}: {images.prepared}",) * bool(images.prepared)
    few = few_images(settings, 0, target, train.labels)
    if target.per_class and len(few) < target.per_class * train.num_classes:
        warnings += (
            f"{words} has fewer than --per-class {target.per_class} training images of some class: {len(few)} in all",
        )
    if target.metric == "per-class" and len(set(np.bincount(train.labels[few]).tolist())) > 1:
        warnings += (
            f"the classes of {words} differ in how many training images they have: C, the learning rate and the size "
            "of robust training are chosen by accuracy, in which larger classes count more",
        )
    fit, _ = fit_and_held(train.labels, few, settings.held_out, seed=settings.seed, where=words)
    archs = [architecture_of(lab, each) for each in settings.sources] or [settings.arch]
    for mode, arch in itertools.product(settings.tuned_modes, dict.fromkeys(archs)):
        try_tuning(settings, lab, mode, arch, subset(images.train, fit), len(fit))
    return warnings


def decided(settings: Settings, lab: Lab) -> dict[str, str]:
    """The arithmetic of attacks and of trainings in this lab, where there are any."""
    chosen = settled(settings, lab, "precision", "train_precision")
    found: dict[str, str] = {}
    if settings.on_target or not settings.sources:
        found["precision"] = chosen.precision
    if settings.tuned_modes or not settings.sources:
        found["precision in training"] = chosen.train_precision
    return found


def try_tuning(settings: Settings, lab: Lab, mode: str, arch: str, images: Reference, count: int) -> None:
    """A few of the images to fit on through an untrained network before its first step. Raises: InputError."""
    tune = settings.tune_spec(mode, "source", 0, images, settings.tune_lrs[0], arch, count)
    check_training(dataclasses.replace(tune, initial=None, new_head=False), lab.load(images))


def present(settings: Settings, lab: Lab, world: World) -> tuple[list[Target], tuple[str, ...]]:
    """The targets of `settings`, without those that ask for more images of a class than there are, which a smaller
    number stands for already; and what was left out, in words."""
    kept: list[Target] = []
    words: tuple[str, ...] = ()
    for target in settings.targets:
        counts = np.bincount(lab.load(world.targets[target.data].train).labels)
        if target.main or target.side or target.per_class <= counts.max():
            kept.append(target)
        else:
            words += (f"{target.name}: left out, no class has more than {counts.max():,} training images",)
    return kept, words


def few_images(settings: Settings, chain: int, target: Target, labels: np.ndarray) -> list[int]:
    """The training images of a target that a chain fits and chooses on in its first draw. labels: (n,) of all."""
    places = np.array(pool(settings, chain, target.data, labels))
    few = shots(labels[places], target.per_class, seed=settings.seed + chain, draw=0)
    return sorted(places[few].tolist())


def target_words(name: str) -> str:
    return "the target" if name == OTHERS else f"--target {name}"


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab, "precision", "train_precision")
    worlds = open_worlds(settings, lab, range(settings.num_seeds))
    targets, _ = present(settings, lab, worlds[0])

    # 1. The sources of every chain, trained side by side; or those that exist, the same in every chain.
    order = [(chain, source) for chain in range(len(worlds)) for source in settings.all_sources()]
    probes, against = None, tuple[str, ...]()
    if settings.sources:
        known = lab.models(settings.sources)
        sources = {(chain, source): known[source.model] for chain, source in order}
    else:
        specs = [settings.source_spec(source, chain, worlds[chain].source) for chain, source in order]
        sources = dict(zip(order, lab.train(specs).result(), strict=True))
        probes, against = probe(settings, lab, worlds, sources)

    # 2. Few images of the targets, to fit on and to choose on, for fixed features and for fine-tuning.
    parts = [Part.of(settings, lab, target, worlds[chain], chain) for chain in range(len(worlds)) for target in targets]
    fixed = fixed_features(settings, lab, sources, parts)
    tuned = [row for mode in settings.tuned_modes for row in tuned_on_target(settings, lab, mode, sources, parts)]

    # 3. What it says.
    first = {target.name: part for part in reversed(parts) for target in [part.target]}
    return findings(
        Results(
            settings=settings,
            targets=targets,
            transfers=pd.DataFrame(fixed + tuned),
            probes=probes,
            against=against,
            num_source_classes=0 if worlds[0].source is None else lab.load(worlds[0].source).num_classes,
            same_classes=worlds[0].same_classes,
            classes={name: lab.load(part.train).classes for name, part in first.items()},
            num_few={name: len(part.few(0)) for name, part in first.items()},
            examples={
                target.name: examples(settings, lab.load(first[target.name].train))
                for target in targets
                if target.main or target.side
            },
        )
    )


def examples(settings: Settings, target: ImageData) -> dict[str, np.ndarray]:
    """Class -> a few images of the target, as the networks see them; classes that have fewer are left out."""
    found = {}
    for label, name in enumerate(target.classes):
        members = np.flatnonzero(target.labels == label).tolist()
        if len(members) >= settings.num_examples > 0:
            found[str(name)] = target.images[chosen(members, settings.num_examples, seed=settings.seed)]
    return found


def compare(a: RunTables, b: RunTables) -> Findings:
    """Accuracy by mode, target and source, B minus A; says where the runs judge a target by different metrics."""
    keys = ["mode", "target", "source"]
    found = comparison(Compared(table="transfer", keys=tuple(keys), value="accuracy"))(a, b)
    both = a.read("transfer", [*keys, "metric"]).merge(b.read("transfer", [*keys, "metric"]), on=keys)
    differ = both[both["metric_x"] != both["metric_y"]].drop_duplicates("target")
    words = [
        f"{row.target}: A is judged by {row.metric_x}, B by {row.metric_y}, so that they may differ for that alone"
        for row in differ.itertuples()
    ]
    return dataclasses.replace(found, warnings=(*found.warnings, *words))


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "train": TRAIN,
        "clean": predict_block,
        "probe": attack_block,
        AUDIT: audit_block,
        "latents": latent_block,
        "latents-bf16": quick_latent_block,
        "head": head_block,
        "attack-head": attack_head_block,
        "held-out": predict_block,
        "test": predict_block,
        "attack-tuned": attack_block,
    },
    partial=frozenset({AUDIT}),
    compare=compare,
)
