"""How many images and answers a study like the user's own would need, its cheapest design, and that design
simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from robustray.tasks.crowds.answers import OwnStudy, own_study
from robustray.tasks.crowds.replicas.cells import Remeasured
from robustray.tasks.crowds.replicas.estimators import FactorialMoments, Raw, gaps
from robustray.tasks.crowds.replicas.plan import MANY, Half, Prediction, World, draw, predict, world
from robustray.tasks.crowds.tables import CrowdTable
from robustray.tasks.lab.protocol import Context, block_function
from robustray.tasks.lab.seeds import stream
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.replication.blocks import fewest_answers, rows_of
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.study import Table

SCALES = (1, 2, 4, 8, 16)
"""Images, in multiples of the study's."""
NEW_ANSWERS = (9, 12, 20, 40)
CHOOSING = (5, 10, 20)
"""Answers per image that choose; only where the study has all its candidates."""
NUM_CHECKS = 100
"""Simulated studies of the design that is recommended."""
WHAT: Mapping[Half, str] = {"bias": "what the choice explains", "gap": "corrected gap"}
TRUSTED = (0.8, 1.25)
"""The study's own half-width over the predicted one: outside, the fitted world is not to be trusted."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """A study that could be run."""

    num_original: int
    num_replica: int
    num_matching: int | None
    """Answers per image that choose; None: the replica as it is."""
    num_answers: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    settings: Settings
    frame: pd.DataFrame
    """Frame of `design_frame`."""
    calibration: float
    fitted: World
    floor: float
    """Half-width of this study's images with infinitely many answers."""

    @property
    def cheapest(self) -> Design | None:
        """The design with the fewest answers whose predicted interval is within the margin."""
        fits = self.frame[self.frame.half_width <= self.settings.margin]
        return None if fits.empty else _design(fits.loc[fits.answers.idxmin()])

    def predicted(self, design: Design) -> Prediction:
        """Prediction before the calibration."""
        m = design.num_matching
        return predict(self.fitted if m is None else self.fitted.with_replica(m), design.num_answers)

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


def plan(settings: Settings, study: OwnStudy, bias: Estimate) -> Plan | None:
    """bias: of the study itself, raw minus corrected gap. None with fewer answers than factorial moments need, and
    where nothing or everything is uncertain (models that are always right, a single HIT): no design follows from that.

    Predicted half-widths are multiplied by one number, so that at the study's own design they equal its interval: what
    a fitted world says of high moments is rough, and its errors are common to all designs.
    """
    n = fewest_answers(study)
    if n < FactorialMoments().least_answers or not 1e-9 < bias.hi - bias.lo < np.inf:
        return None
    fitted = study_world(study)
    sizes = len(study.original), len(study.replica)
    predicted = predict(fitted, n).half_width("bias", *sizes)
    if predicted <= 0:
        return None
    calibration = (bias.hi - bias.lo) / 2 / predicted
    return Plan(
        settings=settings,
        frame=design_frame(fitted, designs(study), _candidates_per_image(study), calibration),
        calibration=calibration,
        fitted=fitted,
        floor=calibration * predict(fitted, MANY).half_width("bias", *sizes),
    )


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


def design_frame(
    fitted: World, several: Iterator[Design], candidates_per_image: float, calibration: float
) -> pd.DataFrame:
    """One row per design: answers that it costs, half-width of the bias and the gap, biases that are left."""
    found = []
    for design in several:
        m, n = design.num_matching, design.num_answers
        predicted = predict(fitted if m is None else fitted.with_replica(m), n)
        first, second = design.num_original, design.num_replica
        choosing = 0 if m is None else m * (first + candidates_per_image * second)
        found.append(
            {
                "original": first,
                "replica": second,
                "choosing": m,
                "new_answers": n,
                "answers": round(choosing + n * (first + second)),
                "half_width": calibration * predicted.half_width("bias", first, second),
                "gap_half_width": calibration * predicted.half_width("gap", first, second),
                "raw_bias": predicted.raw_bias,
                "naive_bias": predicted.naive_bias,
                "moments_bias": predicted.moments_bias,
            }
        )
    return pd.DataFrame(found)


def as_it_is(study: OwnStudy) -> Design:
    return Design(
        num_original=len(study.original),
        num_replica=len(study.replica),
        num_matching=None,
        num_answers=fewest_answers(study),
    )


def _design(row: Any) -> Design:
    return Design(
        num_original=int(row.original),
        num_replica=int(row.replica),
        num_matching=None if pd.isna(row.choosing) else int(row.choosing),
        num_answers=int(row.new_answers),
    )


def _candidates_per_image(study: OwnStudy) -> float:
    return 0.0 if study.pool is None else len(study.pool) / max(1, int(study.replica.in_replica.sum()))


# -- the recommended design, simulated ---------------------------------------------------------------------------------


@block_function(version=1, columns={"check": pa.int64(), "gap": pa.float64(), "bias": pa.float64()})
def check_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Simulated studies of a design by number: corrected gap, and raw minus corrected gap.

    References: "answers", "correctness", of the study whose world is drawn from. context.settings: a `Design`.
    """
    design = cast(Design, context.settings)
    study = own_study(cast(CrowdTable, context.load("answers")), cast(CrowdTable, context.load("correctness")))
    drawn_from = study_world(study)
    if design.num_matching is not None:
        drawn_from = drawn_from.with_replica(design.num_matching)
    values = np.array([_one_check(drawn_from, design, stream(context.seed, "plan", item)) for item in items])
    return {"check": np.asarray(items), "gap": values[:, 1], "bias": values[:, 0] - values[:, 1]}


def _one_check(drawn_from: World, design: Design, rng: np.random.Generator) -> np.ndarray:
    sets: list[Remeasured] = [
        draw(images, num, design.num_answers, rng)
        for images, num in ((drawn_from.original, design.num_original), (drawn_from.replica, design.num_replica))
    ]
    rows = design.num_original + design.num_replica
    return np.asarray(gaps(sets[0], sets[1], [Raw(), FactorialMoments()])(np.ones((1, rows)))[0])


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
        predicted, n = self.plan.predicted(self.design), len(self.checked)
        sizes = self.design.num_original, self.design.num_replica
        found = []
        for name, words in WHAT.items():
            half, realised = predicted.half_width(name, *sizes), 1.96 * float(self.checked[name].std(ddof=1))
            row = {"of": words, "predicted": half, "realised": realised}
            found.append(row | {"realised_se": realised / np.sqrt(2 * (n - 1)), "ratio": half / realised, "n": n})
        return pd.DataFrame(found)


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
        "factorial moments. Predicted from distributions fitted to this study, times "
        f"{found.calibration:.2f}, so that its own design has its own interval.",
        frame=found.frame,
        formats=dict.fromkeys(("half_width", "gap_half_width", "raw_bias", "naive_bias", "moments_bias"), "points"),
    )
    n = len(checked)
    yield Table(
        name="plan-check",
        title="The predicted half-width against simulated studies",
        caption=f"{design.num_original:,} + {design.num_replica:,} images with {design.num_answers} new answers each, "
        f"drawn {n:,} times from the same fitted distributions: 1.96 standard deviations of the estimates, with their "
        "standard error. Before the factor.",
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
    ratio = float(planned.frame().ratio.iloc[0])
    if not TRUSTED[0] <= ratio <= TRUSTED[1]:
        yield (
            f"simulated studies of {planned.design.num_original:,} + {planned.design.num_replica:,} images give "
            f"intervals {1 / ratio:.2f} times as wide as predicted: with so few images or answers the plan is too "
            "hopeful"
        )
