"""Controls beside those that are sets: the errors of an early network, a linear probe, and a robust witness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from robustray.tasks.data.views import relabel, subset
from robustray.tasks.kit.images import predict
from robustray.tasks.studies.features.leakage import Leakage, leak_block
from robustray.tasks.studies.features.reduce import SEEN
from robustray.tasks.studies.features.results import FEWEST_ERRORS

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Handle, Lab, Reference
    from robustray.tasks.studies.features.sets import Part, Sets, Sources
    from robustray.tasks.studies.features.settings import Settings
    from robustray.tasks.studies.features.students import Taught


def mislabelled(
    settings: Settings, lab: Lab, parts: Mapping[int, Part], sources: Sources
) -> tuple[dict[int, Reference], dict[int, int]]:
    """Images of D that a network is wrong on when it has hardly begun to learn, labelled as it sees them (Wallace, "An
    adversarial example is a label", Distill 2019). Learning from errors needs no perturbations.

    Returns: one set for each chain, none where there are too few errors or all are of one class; and how many there
    are.
    """
    asked = {
        chain: predict(lab, sources[chain, "early"], each.d, len(each.used), block=settings.block, step="early")
        for chain, each in parts.items()
    }
    found: dict[int, Reference] = {}
    counts: dict[int, int] = {}
    for chain, handle in asked.items():
        rows = handle.result()
        wrong = np.flatnonzero(~rows.correct.to_numpy(dtype=bool))
        counts[chain] = len(wrong)
        if len(wrong) < FEWEST_ERRORS or rows.prediction.iloc[wrong].nunique() < 2:
            continue
        d = parts[chain].d
        name = f"{d.name}, as an early network sees it"
        seen = relabel(d, rows.prediction.to_numpy(), lab.load(d).classes, name=name)
        found[chain] = subset(seen, wrong, name=f"errors of an early network on {d.name}")
    return found, counts


def leaks(
    settings: Settings, lab: Lab, parts: Mapping[int, Part], sets: Sets, test: Reference
) -> dict[tuple[int, str], pd.Series]:
    """(chain, set) -> a row of `leak_block`, for D_rand and D_det; without sets that have a single image of a class."""
    how = Leakage(eps=settings.eps_robust, epochs=settings.epochs)
    asked = {}
    for chain, each in parts.items():
        for name in ("D_rand", "D_det"):
            made: ImageData = lab.load(sets[chain][name])
            if np.unique(made.labels, return_counts=True)[1].min() < 2:
                continue
            refs = {"data": each.d, "set": sets[chain][name], "held out": each.held_out, "test": test}
            seeds = [settings.seed + chain]
            asked[chain, name] = lab.map("leakage", leak_block, seeds, block=1, settings=how, refs=refs)
    rows = {key: handle.result().iloc[0] for key, handle in asked.items()}
    whole = {name for name in ("D_rand", "D_det") if all((chain, name) in rows for chain in parts)}
    return {key: row for key, row in rows.items() if key[1] in whole}


def answers(
    settings: Settings, lab: Lab, parts: Mapping[int, Part], sets: Sets, sources: Sources
) -> dict[tuple[int, str], pd.DataFrame]:
    """(chain, set or "D") -> what the witness, a robust network of another seed, says of the images."""
    asked: dict[tuple[int, str], Handle[pd.DataFrame]] = {}
    for chain, each in parts.items():
        shown = {"D": each.d} | {name: ref for name, ref in sets[chain].items() if name in SEEN}
        for name, ref in shown.items():
            witness = sources[chain, "witness"]
            asked[chain, name] = predict(lab, witness, ref, len(each.used), block=settings.block, step="witness")
    return {key: handle.result() for key, handle in asked.items()}


def others(
    settings: Settings, lab: Lab, parts: Mapping[int, Part], sets: Sets, taught: Taught
) -> dict[tuple[int, str], pd.DataFrame]:
    """(chain, set) -> what D's student, a standard network of another seed, says of the perturbed images: whether
    their perturbations transfer."""
    asked = {
        (chain, name): predict(
            lab, taught.best[chain, "D"], ref, len(parts[chain].used), block=settings.block, step="transfer"
        )
        for chain, found in sets.items()
        for name, ref in found.items()
        if name in SEEN
    }
    return {key: handle.result() for key, handle in asked.items()}
