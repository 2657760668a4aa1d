"""How many images and answers a study like the user's own would need, its cheapest design, and that design
simulated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robustray.tasks.crowds.answers import OwnStudy
from robustray.tasks.crowds.replicas.estimators import FactorialMoments
from robustray.tasks.crowds.replicas.plan import (
    MANY,
    Half,
    World,
    predict,
    realised_half_width,
)
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.replication.blocks import fewest_answers
from robustray.tasks.studies.replication.designs import (
    NUM_SIMULATED,
    SMALL,
    WHAT,
    Design,
    Wider,
    as_it_is,
    designs,
    study_world,
    world_of,
    worth,
)
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.study import Table

TRUSTED = (0.8, 1.2)
"""A half-width over the one that it is compared with: outside, the prediction is not to be trusted."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    settings: Settings
    frame: pd.DataFrame
    """Frame of `design_frame`."""
    calibration: float
    """The study's own half-width over the predicted one."""
    fitted: World
    floor: float
    """Half-width of this study's images with infinitely many answers."""
    wider: Wider
    study: OwnStudy

    @property
    def cheapest(self) -> Design | None:
        """The design with the fewest answers whose predicted interval is within the margin."""
        fits = self.frame[self.frame.half_width <= self.settings.margin]
        return None if fits.empty else _design(fits.loc[fits.answers.idxmin()])

    def next_to_simulate(self) -> Design | None:
        """The design that would be recommended, where it is too small for that to be said without simulating it."""
        best = self.cheapest
        if best is None or self.wider.knows(best) or min(worth(best, self.study)) >= SMALL:
            return None
        return best

    def predicted(self, of: Half, design: Design) -> float:
        """The half-width of a design before the calibration."""
        found = predict(world_of(self.fitted, design), design.num_answers)
        return found.half_width(of, *worth(design, self.study)) * self.wider.factor(of, design)

    def advice(self) -> str:
        """The advice in a sentence."""
        margin = f"{100 * self.settings.margin:g} points"
        if self.floor > self.settings.margin:
            alone = f"not reachable by answers alone with this study's images (floor {100 * self.floor:.1f} points)"
        else:
            alone = f"within reach of answers alone (floor {100 * self.floor:.1f} points)"
        best = self.cheapest
        if best is None:
            return f"a half-width of {margin} is {alone}, and by no design of the grid"
        choosing = "" if best.num_matching is None else f" chosen by {best.num_matching} answers each"
        return (
            f"a half-width of {margin} is {alone}; the cheapest design that reaches it has {best.num_original:,} + "
            f"{best.num_replica:,} images{choosing} with {best.num_answers} new answers each"
        )


def plan(settings: Settings, study: OwnStudy, bias: Estimate, wider: Wider) -> Plan | None:
    """bias: of the study itself, raw minus corrected gap. None where `can_plan` says no.

    Predictions by influence functions are multiplied by one number, so that at the study's own design they equal its
    interval: what a fitted world says of high moments is rough, and its errors are common to all designs. Where the own
    design was simulated they are not: an interval from so few images is itself uncertain, and what simulated studies
    give is printed as it is.
    """
    if not can_plan(study, bias):
        return None
    fitted, own = study_world(study), as_it_is(study)
    sizes = worth(own, study)
    predicted = predict(fitted, own.num_answers).half_width("bias", *sizes) * wider.factor("bias", own)
    if not 0 < predicted < np.inf:
        return None
    calibration = (bias.hi - bias.lo) / 2 / predicted
    factor = 1.0 if wider.knows(own) else calibration
    return Plan(
        settings=settings,
        frame=design_frame(fitted, study, factor, wider),
        calibration=calibration,
        fitted=fitted,
        floor=factor * predict(fitted, MANY).half_width("bias", *sizes),
        wider=wider,
        study=study,
    )


def can_plan(study: OwnStudy, bias: Estimate) -> bool:
    """No with fewer answers than factorial moments need, and where nothing or everything is uncertain (models that are
    always right, a single HIT): no design follows from that."""
    return fewest_answers(study) >= FactorialMoments().least_answers and 1e-9 < bias.hi - bias.lo < np.inf


def design_frame(fitted: World, study: OwnStudy, factor: float, wider: Wider) -> pd.DataFrame:
    """One row per design: answers that it costs, half-width of the bias and the gap, biases that are left."""
    found = []
    for design in designs(study):
        m, n = design.num_matching, design.num_answers
        predicted = predict(world_of(fitted, design), n)
        first, second = design.num_original, design.num_replica
        choosing = 0 if m is None else m * (first + _candidates_per_image(study) * second)
        sizes = worth(design, study)
        half = {of: factor * predicted.half_width(of, *sizes) * wider.factor(of, design) for of in WHAT}
        found.append(
            {
                "original": first,
                "replica": second,
                "choosing": m,
                "new_answers": n,
                "answers": round(choosing + n * (first + second)),
                "half_width": half["bias"],
                "gap_half_width": half["gap"],
                "simulated": wider.knows(design),
                "raw_bias": predicted.raw_bias,
                "naive_bias": predicted.naive_bias,
                "moments_bias": predicted.moments_bias,
            }
        )
    return pd.DataFrame(found)


def _design(row: Any) -> Design:
    return Design(
        num_original=int(row.original),
        num_replica=int(row.replica),
        num_matching=None if pd.isna(row.choosing) else int(row.choosing),
        num_answers=int(row.new_answers),
    )


def _candidates_per_image(study: OwnStudy) -> float:
    return 0.0 if study.pool is None else len(study.pool) / max(1, int(study.replica.in_replica.sum()))


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan with its check."""

    plan: Plan
    design: Design
    """The cheapest that is good enough, or else the study's own."""
    checked: pd.DataFrame
    """The rows of `check_block`."""

    def frame(self) -> pd.DataFrame:
        """Predicted and realised half-widths of the design, before the calibration."""
        n, found = len(self.checked), []
        for name, words in WHAT.items():
            half, realised = self.plan.predicted(name, self.design), realised_half_width(self.checked[name].to_numpy())
            row = {"of": words, "predicted": half, "realised": realised}
            found.append(row | {"realised_se": realised * RANGE_SE / np.sqrt(n), "ratio": half / realised, "n": n})
        return pd.DataFrame(found)


RANGE_SE = 0.963
"""Relative standard error of the central 95 % range of n normal values, times the root of n."""


def _how(found: Plan) -> str:
    if found.wider.knows(as_it_is(found.study)):
        return (
            f"by influence functions, which can be off by half with less than {SMALL:,} images, and by {NUM_SIMULATED} "
            "simulated studies where a design would be recommended (simulated)"
        )
    return f"by influence functions, times {found.calibration:.2f}, so that its own design has its own interval"


def tables(planned: Planned) -> Iterator[Table]:
    found, design, checked = planned.plan, planned.design, planned.checked
    margin = 100 * found.settings.margin
    yield Table(
        name="plan",
        title="What other designs would give",
        caption=f"{found.advice()[0].upper()}{found.advice()[1:]}. Images of both sets, answers per image that choose "
        "(empty: the replica as it is) and that are given anew; answers: all that a new study of this design takes. "
        f"half_width: of the 95 % interval of what the choice explains (margin {margin:g} points); gap_half_width: of "
        "the corrected gap. Biases for infinitely many images: without correction, after naive re-weighting, after "
        f"factorial moments. Predicted from distributions fitted to this study: {_how(found)}.",
        frame=found.frame,
        formats=dict.fromkeys(("half_width", "gap_half_width", "raw_bias", "naive_bias", "moments_bias"), "points"),
    )
    n = len(checked)
    yield Table(
        name="plan-check",
        title="The predicted half-width against simulated studies",
        caption=f"{design.num_original:,} + {design.num_replica:,} images with {design.num_answers} new answers each, "
        f"drawn {n:,} times from the same fitted distributions: half of the range of the central 95 % of their "
        "estimates, with its standard error. Before any factor.",
        frame=planned.frame(),
        formats={"predicted": "points", "realised": "points", "realised_se": "points", "ratio": ".2f"},
    )


def warnings(planned: Planned) -> Iterator[str]:
    found = planned.plan
    if not TRUSTED[0] <= found.calibration <= TRUSTED[1]:
        yield (
            f"the study's own interval is {found.calibration:.2f} times as wide as its fitted distributions predict: "
            "take the plan as a rough guide"
        )
    checked = planned.frame().iloc[0]
    images = f"{planned.design.num_original:,} + {planned.design.num_replica:,} images"
    if not np.isfinite(checked.realised):
        yield (
            f"too many simulated studies of {images} could not be corrected to say how wide their intervals are: take "
            "more images than the plan recommends"
        )
    elif not TRUSTED[0] <= (times := checked.realised / checked.predicted) <= TRUSTED[1]:
        yield (
            f"simulated studies of {images} give intervals {times:.2f} times as wide as predicted: take the plan as a "
            "rough guide, and a larger design than it recommends"
        )
