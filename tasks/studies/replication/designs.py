"""Designs of a study like one's own, and studies of them drawn from what one's own says of images and models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from robustray.tasks.crowds.answers import OwnStudy, Side, own_study
from robustray.tasks.crowds.replicas.plan import Half, World, predict, realised_half_width, simulated_gaps, world
from robustray.tasks.crowds.tables import CrowdTable
from robustray.tasks.lab.protocol import Context, block_function
from robustray.tasks.lab.seeds import stream
from robustray.tasks.studies.replication.blocks import fewest_answers, rows_of

SCALES = (1, 2, 4, 8, 16)
"""Images, in multiples of the study's."""
NEW_ANSWERS = (9, 12, 20, 40)
CHOOSING = (5, 10, 20)
"""Answers per image that choose; only where the study has all its candidates."""
NUM_SIMULATED = 200
"""Simulated studies of a design that would be recommended, and as many others to check the prediction."""
SMALL = 5_000
"""Images of the smaller set below which half-widths from influence functions can be off by half, either way: a design
of that size is recommended by simulated studies only."""
WHAT: Mapping[Half, str] = {"bias": "what the choice explains", "gap": "corrected gap"}


@dataclass(frozen=True, kw_only=True)
class Design:
    """A study that could be run."""

    num_original: int
    num_replica: int
    num_matching: int | None
    """Answers per image that choose; None: the replica as it is."""
    num_answers: int


def study_world(study: OwnStudy) -> World:
    return world(rows_of(study.original), rows_of(study.replica), None if study.pool is None else rows_of(study.pool))


def designs(study: OwnStudy) -> Iterator[Design]:
    for scale in SCALES:
        for choosing in CHOOSING if study.pool is not None else (None,):
            for n in NEW_ANSWERS:
                yield Design(
                    num_original=scale * len(study.original),
                    num_replica=scale * len(study.replica),
                    num_matching=choosing,
                    num_answers=n,
                )


def as_it_is(study: OwnStudy) -> Design:
    return Design(
        num_original=len(study.original),
        num_replica=len(study.replica),
        num_matching=None,
        num_answers=fewest_answers(study),
    )


def effective(side: Side) -> float:
    """Images of equal weight that say as much as the weighted ones: (sum of w)^2 / sum of w^2 (Kish)."""
    return float(len(side)) if side.weight is None else float(side.weight.sum() ** 2 / (side.weight**2).sum())


@dataclass(frozen=True, kw_only=True)
class Wider:
    """How much wider simulated studies of a design are than influence functions predict."""

    ratio: Mapping[tuple[Design, Half], float]
    """Of the designs that were simulated."""

    def factor(self, of: Half, design: Design) -> float:
        """1 for a design that was not simulated."""
        return self.ratio.get((design, of), 1.0)

    def knows(self, design: Design) -> bool:
        return any(known == design for known, _ in self.ratio)

    def having(self, design: Design, fitted: World, study: OwnStudy, rows: pd.DataFrame) -> Wider:
        """With a design of which `check_block` gave these rows."""
        predicted = predict(world_of(fitted, design), design.num_answers)
        sizes = worth(design, study)
        ratio: dict[tuple[Design, Half], float] = {
            (design, of): realised_half_width(rows[of].to_numpy()) / predicted.half_width(of, *sizes) for of in WHAT
        }
        return Wider(ratio={**self.ratio, **ratio})


def worth(design: Design, study: OwnStudy) -> tuple[float, float]:
    """Images of equal weight that say as much as the design's, whose weights are taken to be those of the study."""
    return (
        design.num_original * effective(study.original) / len(study.original),
        design.num_replica * effective(study.replica) / len(study.replica),
    )


# -- simulated ---------------------------------------------------------------------------------------------------------


@block_function(version=2, columns={"check": pa.int64(), "gap": pa.float64(), "bias": pa.float64()})
def check_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Simulated studies of a design by number: corrected gap, and raw minus corrected gap.

    References: "answers", "correctness", of the study whose world is drawn from. context.settings: a `Design`.
    """
    design = cast(Design, context.settings)
    study = own_study(cast(CrowdTable, context.load("answers")), cast(CrowdTable, context.load("correctness")))
    drawn_from = world_of(study_world(study), design)
    first, second = (max(2, round(size)) for size in worth(design, study))
    values = np.array(
        [
            simulated_gaps(drawn_from, first, second, design.num_answers, stream(context.seed, "plan", item))
            for item in items
        ]
    )
    return {"check": np.asarray(items), "gap": values[:, 0], "bias": values[:, 1]}


def world_of(fitted: World, design: Design) -> World:
    return fitted if design.num_matching is None else fitted.with_replica(design.num_matching)
