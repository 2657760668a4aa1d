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
from robustray.tasks.data.views import subset
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import NEEDS, own_modules, predict, settled, trained_modules, try_attacks, untrained
from robustray.tasks.latents.cache import latent_block, latents, look
from robustray.tasks.studies.transfer.blocks import head_block
from robustray.tasks.studies.transfer.findings import findings
from robustray.tasks.studies.transfer.given import architecture_of, try_sources
from robustray.tasks.studies.transfer.results import Results
from robustray.tasks.studies.transfer.settings import FIXED, FULL, OUTLINE, Settings, Source
from robustray.tasks.studies.transfer.worlds import Worlds, check_target, open_worlds, shots
from robustray.tasks.study import TRAIN, Opened, Study
from robustray.tasks.training.doors import check_training

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Lab, Reference
    from robustray.tasks.study import Findings

TRIED_IMAGES = 8


def door(settings: Settings, lab: Lab) -> Opened:
    """Open source and target, try the networks on them. Raises: InputError."""
    worlds = open_worlds(settings, lab)
    target, test = lab.load(worlds.target), lab.load(worlds.target_test)
    check_target(target, test)
    fit, held = shots(settings, 0, target)
    few = len(fit) + len(held)
    refs = {f"{name} data": ref for name, ref in vars(worlds).items() if name != "prepared" and ref is not None}
    of = f"--target {settings.target}" if settings.target else "the target"
    warnings = (f"{of}: {worlds.prepared}",) * bool(worlds.prepared) + (
        f"the target has fewer than --per-class {settings.per_class} training images of some class: {few} in all",
    ) * (few < settings.per_class * target.num_classes)
    if settings.metric == "per-class" and len(set(np.bincount(target.labels[fit + held]).tolist())) > 1:
        warnings += (
            "the target's classes differ in how many training images they have: C, the learning rate and the size of "
            "robust training are chosen by accuracy, in which larger classes count more",
        )
    if settings.sources:
        opened, remarks = try_sources(settings, lab, target)
        if settings.fine_tuning:
            for name in settings.sources:
                try_tuning(settings, lab, architecture_of(lab, name), subset(worlds.target, fit))
        return Opened(
            refs=refs | {f"source {name}": ref for name, ref in opened.items()},
            modules=trained_modules(settings.sources),
            warnings=remarks + warnings,
        )
    assert worlds.source is not None, "sources that are trained have images"
    source = lab.load(worlds.source)
    first, last = settings.all_sources()[0], settings.robust[-1]
    for each in (first, last):
        check_training(settings.source_spec(each, 0, worlds.source), source)
    if settings.fine_tuning:
        try_tuning(settings, lab, settings.arch, subset(worlds.target, fit))
    look(untrained(settings.arch), target.batch(range(min(TRIED_IMAGES, len(target))))[0])  # needs latents
    return Opened(
        refs=refs,
        decided={"precision": settled(settings, lab, "precision").precision},
        modules=own_modules(settings.arch),
        warnings=try_attacks(lab, {settings.arch: [settings.attack()]}, [source], {}) + warnings,
    )


def try_tuning(settings: Settings, lab: Lab, arch: str, images: Reference) -> None:
    """A few of the images to fit on through an untrained network before its first step. Raises: InputError."""
    tune = settings.tune_spec("source", 0, images, settings.tune_lrs[0], arch)
    check_training(dataclasses.replace(tune, initial=None, new_head=False), lab.load(images))


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab, "precision")
    worlds = open_worlds(settings, lab)
    target: ImageData = lab.load(worlds.target)
    chains = range(settings.num_seeds)

    # 1. The sources of every chain, trained side by side; or those that exist, the same in every chain.
    order = [(chain, source) for chain in chains for source in settings.all_sources()]
    probes = None
    if settings.sources:
        known = lab.models(settings.sources)
        sources = {(chain, source): known[source.model] for chain, source in order}
    else:
        specs = [settings.source_spec(source, chain, worlds.source) for chain, source in order]
        sources = dict(zip(order, lab.train(specs).result(), strict=True))
        probes = probe(settings, lab, worlds, sources)

    # 2. Few images of the target: to fit on, and to choose on. All sources of a chain share them.
    parts = {chain: shots(settings, chain, target) for chain in chains}

    # 3. Fixed features and fine-tuning.
    transfers = fixed_features(settings, lab, worlds, sources, parts)
    if settings.fine_tuning:
        transfers += fine_tuned(settings, lab, worlds, sources, parts)

    # 4. What it says.
    return findings(
        Results(
            settings=settings,
            target=target,
            target_name=worlds.target.name,
            test_name=worlds.target_test.name,
            test_labels=lab.load(worlds.target_test).labels,
            transfers=pd.DataFrame(transfers),
            probes=probes,
            num_source_classes=0 if worlds.source is None else lab.load(worlds.source).num_classes,
            num_fit=len(parts[0][0]),
            num_held=len(parts[0][1]),
            examples=examples(settings, target),
        )
    )


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
    tested = worlds.source_test
    assert tested is not None, "sources that are trained have test images"
    num_images = len(lab.load(tested))
    clean = {key: predict(lab, model, tested, num_images, block=settings.block) for key, model in sources.items()}
    attacked = {
        (chain, source): lab.map(
            "probe",
            attack_block,
            range(num_images),
            block=settings.block,
            seed=settings.seed + chain,
            settings=settings.attack(),
            refs={"model": model, "data": tested},
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
    """Rows as `reduce` describes them, of a logistic regression on the latents of each source, which stays as it is."""
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
    archs = {source: architecture_of(lab, source.model) if source.model else settings.arch for _, source in sources}
    specs = [
        settings.tune_spec(sources[chain, source], chain, views[chain][0], lr, archs[source])
        for chain, source, lr in cells
    ]
    tuned = dict(zip(cells, lab.train(specs).result(), strict=True))
    num_test = len(lab.load(worlds.target_test))
    held = {
        cell: predict(lab, model, views[cell[0]][1], len(parts[cell[0]][1]), block=settings.block, step="held-out")
        for cell, model in tuned.items()
    }
    best: dict[tuple[int, Source], tuple[float, float]] = {}
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
