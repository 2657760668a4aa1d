"""The parts of D, and the sets that are made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from robustray.tasks.data.views import relabel, subset
from robustray.tasks.kit.images import NEEDS
from robustray.tasks.lab.seeds import stream
from robustray.tasks.studies.features.blocks import Avoiding, avoid_block, match_block, noise_block, perturb_block
from robustray.tasks.studies.features.recipes import Recipes, Source
from robustray.tasks.studies.features.results import reached

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import BlockFunction, Handle, Lab, Reference

Sources: TypeAlias = "Mapping[tuple[int, Source], Reference]"
"""The sources: (chain, kind) -> network."""
Rows: TypeAlias = "dict[str, Handle[pd.DataFrame]]"
"""Set -> what makes it."""
Sets: TypeAlias = "Mapping[int, Mapping[str, Reference]]"
"""Chain -> set -> its images and labels."""


# --- The parts of D ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a chain has of the training images."""

    d: Reference
    """The images that sets are made from; sources and D's students are trained on them."""
    held_out: Reference
    """Those that students' settings are chosen on."""
    used: Sequence[int]
    """Places of D's images in the training data."""
    num_held_out: int


def split(settings: Recipes, chain: int, num_images: int) -> tuple[list[int], list[int]]:
    """Images that sets are made from, and those held out for choices; both ascending."""
    order = stream(settings.seed + chain, "features-held-out").permutation(num_images)
    order = order[: settings.num_images or num_images]
    cut = round(settings.held_out * len(order))
    return sorted(order[cut:].tolist()), sorted(order[:cut].tolist())


def part(settings: Recipes, lab: Lab, train: Reference, chain: int) -> Part:
    """The part of one chain."""
    used, kept = split(settings, chain, len(lab.load(train)))
    return Part(
        d=subset(train, used, name=f"D of chain {chain}"),
        held_out=subset(train, kept, name=f"held out of chain {chain}"),
        used=used,
        num_held_out=len(kept),
    )


def next_labels(data: ImageData) -> list[int]:
    """(y + 1) mod the number of classes."""
    return ((np.asarray(data.labels) + 1) % data.num_classes).tolist()


def relabelled(lab: Lab, d: Reference) -> Reference:
    """The first control: D itself, labelled as D_det is."""
    data: ImageData = lab.load(d)
    return relabel(d, next_labels(data), data.classes, name=f"{d.name}, labelled y+1")


# --- Made of latents --------------------------------------------------------------------------------------------------


def pairs(num_images: int, seed: int) -> list[list[int]]:
    """[target, start] for each image: a random cycle through all of them, which knows no labels and pairs none with
    itself."""
    order = stream(seed, "features-pairs").permutation(num_images)
    start = np.empty(num_images, dtype=np.int64)
    start[order] = np.roll(order, 1)
    return [[target, int(start[target])] for target in range(num_images)]


def match(settings: Recipes, lab: Lab, chain: int, d: Reference, sources: Sources) -> Rows:
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


# --- Made of perturbations --------------------------------------------------------------------------------------------


def perturb(
    settings: Recipes, lab: Lab, parts: Mapping[int, Part], sources: Sources
) -> tuple[dict[int, Rows], dict[float, dict[int, dict[str, pd.DataFrame]]]]:
    """D_rand and D_det of every chain, at the first size at which all of them are seen as their new label.

    Returns: the rows asked for at that size (or the largest), and the rows of every size that was tried.
    """
    tried: dict[float, dict[int, dict[str, pd.DataFrame]]] = {}
    asked: dict[int, Rows] = {}
    for eps in settings.eps_construct:
        asked = {chain: perturbed(settings, lab, chain, each.d, sources, eps) for chain, each in parts.items()}
        tried[eps] = {chain: {name: one.result() for name, one in rows.items()} for chain, rows in asked.items()}
        if reached(tried[eps].values()) >= settings.least_success:
            break
    return asked, tried


def perturbed(settings: Recipes, lab: Lab, chain: int, d: Reference, sources: Sources, eps: float) -> Rows:
    """D_rand (labels drawn from all classes, the true one included) and D_det (the next label) of one chain."""
    data: ImageData = lab.load(d)
    random = stream(settings.seed + chain, "features-labels").integers(data.num_classes, size=len(data)).tolist()
    refs = {"model": sources[chain, "standard"], "data": d}
    return {
        name: _perturbed(settings, lab, perturb_block, labels, settings.perturbing(eps), refs)
        for name, labels in (("D_rand", random), ("D_det", next_labels(data)))
    }


def perturb_controls(
    settings: Recipes,
    lab: Lab,
    chain: int,
    d: Reference,
    sources: Sources,
    avoided: Sequence[Reference],
    det: pd.DataFrame,
    eps: float,
) -> Rows:
    """The controls of D_det (whose rows are `det`), all with its labels: perturbations of the same lengths in random
    directions; perturbations by the robust source; and, if any networks are `avoided`, perturbations that do not fool
    these."""
    labels = next_labels(lab.load(d))
    standard = {"model": sources[chain, "standard"], "data": d}
    found = {
        "noise": lab.map(
            "noise",
            noise_block,
            list(map(list, zip(det["index"].tolist(), det.label.tolist(), det.distance.tolist(), strict=True))),
            block=settings.block,
            seed=settings.seed + chain,
            refs=standard,
            needs=NEEDS,
        ),
        "robust_det": _perturbed(
            settings,
            lab,
            perturb_block,
            labels,
            settings.perturbing(eps),
            {"model": sources[chain, "robust"], "data": d},
        ),
    }
    if avoided:
        task = Avoiding(ascent=settings.perturbing(eps), count=len(avoided))
        refs = standard | {f"avoided {number}": one for number, one in enumerate(avoided)}
        found["lonely_det"] = _perturbed(settings, lab, avoid_block, labels, task, refs)
    return found


def _perturbed(
    settings: Recipes,
    lab: Lab,
    function: BlockFunction,
    labels: Sequence[int],
    how: Any,
    refs: Mapping[str, Reference],
) -> Handle[pd.DataFrame]:
    items = [[index, label] for index, label in enumerate(labels)]
    return lab.map("perturb", function, items, block=settings.block, settings=how, refs=refs, needs=NEEDS)
