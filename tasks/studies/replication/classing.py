"""What simulated studies say of classes: two questions, the gap at equal true frequencies pooled and within classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robustray.tasks.crowds.replicas.classes import CLASS_WORLDS, COMPOSITION, TARGETS, ClassProtocol
from robustray.tasks.crowds.replicas.stratified import BY_CLASS
from robustray.tasks.kit.frames import columns, estimate_of, one, shown
from robustray.tasks.kit.rules import below, equivalent
from robustray.tasks.statistics import median_interval, proportion
from robustray.tasks.studies.replication.repeats import mean_of_known, not_estimated, simulated
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.study import Claim, Table


def protocols(settings: Settings) -> Mapping[str, ClassProtocol]:
    """World -> how its studies are drawn; empty where none are asked for."""
    if not settings.num_by_class:
        return {}
    return {
        name: ClassProtocol(
            name=name,
            world=world,
            num_images=settings.num_images,
            num_candidates=settings.num_candidates,
            num_matching=settings.num_matching,
            num_answers=settings.claimed_answers,
            num_resamples=settings.num_resamples,
        )
        for name, world in CLASS_WORLDS.items()
    }


@dataclass(frozen=True, kw_only=True)
class Classed:
    settings: Settings
    rows: Mapping[str, pd.DataFrame]
    """World -> rows of `class_block`."""

    def frame(self) -> pd.DataFrame:
        """One row per world and target: its own truth, mean error over studies, how their intervals cover it."""
        found = []
        for name, rows in self.rows.items():
            truth, ends = CLASS_WORLDS[name].truth(self.settings.num_matching), np.stack(list(rows.gaps))
            for place, target in enumerate(TARGETS):
                value, lo, hi = ends[:, place].T
                row: dict[str, Any] = {"world": name, "estimator": target, "own_truth": truth[target]}
                row |= columns("bias", mean_of_known(value - truth[target]), "bias_lo", "bias_hi")
                held = proportion((lo <= truth[target]) & (truth[target] <= hi))
                row |= columns("coverage", held, "coverage_lo", "coverage_hi")
                row |= columns("width", median_interval(hi - lo), "width_lo", "width_hi")
                found.append(row | {"n": len(value)})
        return pd.DataFrame(found)


def classed_parts(classed: Classed) -> Iterator[Claim | Table | str]:
    frame, settings = classed.frame(), classed.settings
    studies = simulated(settings.num_by_class)
    world = "easy-liked"
    yield studies.claim(
        "With an intercept for each class, factorial moments are right on average for the gap within classes.",
        estimate_of(one(frame, world=world, estimator=BY_CLASS), "bias", "bias_lo", "bias_hi"),
        equivalent(0.01),
        measured=f"estimated minus true gap within classes ({CLASS_WORLDS[world].words})",
        kind="check",
    )
    composition = np.stack(list(classed.rows[world].gaps))[:, TARGETS.index(COMPOSITION), 0]
    yield studies.claim(
        "Where easy classes are the often selected ones, pooling them makes the gap look smaller.",
        mean_of_known(composition),
        below(0),
        measured=f"gap by pooled factorial moments minus gap within classes ({CLASS_WORLDS[world].words})",
        kind="check",
    )
    words = "; ".join(f"{name}: {each.words}" for name, each in CLASS_WORLDS.items())
    yield Table(
        name="classes",
        title="Two questions: the gap pooled, and within classes",
        caption=f"{words[0].upper()}{words[1:]}. Every estimator is held against its own truth: factorial moments "
        "against the gap at equal true frequencies in the whole set, those by class against the gap at equal true "
        "frequencies within classes (an intercept for each class); class composition is the first minus the second. "
        "Truths: by integration. Bias: mean over n simulated studies, Student's t; coverage of the 95 % interval "
        f"(basic bootstrap over images within classes, {settings.num_resamples:,} resamples) with Wilson's interval; "
        f"width: their median. {settings.claimed_answers} new answers per image.",
        frame=frame,
        formats={"own_truth": "points"}
        | shown("bias", "points", "bias_lo", "bias_hi")
        | shown("coverage", "percent", "coverage_lo", "coverage_hi")
        | shown("width", ".4f", "width_lo", "width_hi"),
    )
    for name, rows in classed.rows.items():
        for place, target in enumerate(TARGETS):
            yield from not_estimated(f"world {name}, {target}", np.stack(list(rows.gaps))[:, place, 0])
