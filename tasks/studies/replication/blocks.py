"""Block functions of the replication study: simulated studies, and the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa

from robustray.tasks.crowds.answers import OwnStudy, Side, own_study
from robustray.tasks.crowds.replicas.causes import PARTS
from robustray.tasks.crowds.replicas.cells import Remeasured
from robustray.tasks.crowds.replicas.chosen import FACTS as PLAN_FACTS
from robustray.tasks.crowds.replicas.chosen import SAMPLERS, choose_by_all
from robustray.tasks.crowds.replicas.classes import TARGETS, ClassProtocol, class_study
from robustray.tasks.crowds.replicas.decompose import CauseProtocol, decomposed
from robustray.tasks.crowds.replicas.departures import DEPARTURES, DESIGNS, ESTIMATORS, departed
from robustray.tasks.crowds.replicas.estimators import MOMENTS, RAW, Estimator, estimators_for, gaps
from robustray.tasks.crowds.replicas.simulate import FACTS, Protocol, simulate
from robustray.tasks.crowds.replicas.stratified import BY_CLASS, StratifiedMoments
from robustray.tasks.crowds.tables import CrowdTable
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.seeds import integer
from robustray.tasks.statistics import Estimate, by_cluster, by_unit, resample

ENDS = ("value", "lo", "hi")


@block_function(
    version=1,
    columns={
        "study": pa.int64(),
        "gaps": Tensor("float64"),
        "held_out": Tensor("float64"),
        "facts": Tensor("float64"),
    },
)
def simulated_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Simulated studies by number. context.settings: a `Protocol`.

    gaps: (numbers of answers, estimators, 3) value and interval, in the order of `num_answers` and `estimators_for`;
    held_out: (3,); facts: in the order of `FACTS`.
    """
    protocol = cast(Protocol, context.settings)
    studies = [simulate(protocol, context.seed, index) for index in items]
    names = list(estimators_for(protocol.num_answers[0]))
    return {
        "study": np.asarray(items),
        "gaps": np.array(
            [[[_ends(found.gaps[n, name]) for name in names] for n in protocol.num_answers] for found in studies]
        ),
        "held_out": np.array([_ends(found.held_out) for found in studies]),
        "facts": np.array([[found.facts[name] for name in FACTS] for found in studies]),
    }


@dataclass(frozen=True, kw_only=True)
class DepartureProtocol:
    """Which simulated studies, and how many new answers per image they are corrected with."""

    study: Protocol
    num_answers: int


@block_function(version=1, columns={"study": pa.int64(), "gaps": Tensor("float64")})
def departure_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Simulated studies by number, each under all departures. context.settings: a `DepartureProtocol`.

    gaps: (departures, estimators, designs, 3) value and interval, in the order of `DEPARTURES`, `ESTIMATORS` and
    `DESIGNS`.
    """
    protocol = cast(DepartureProtocol, context.settings)
    found = [departed(protocol.study, DEPARTURES, protocol.num_answers, context.seed, item) for item in items]
    cells = [[[(name, each, by) for by in DESIGNS] for each in ESTIMATORS] for name in DEPARTURES]
    return {
        "study": np.asarray(items),
        "gaps": np.array([[[[_ends(study[key]) for key in row] for row in part] for part in cells] for study in found]),
    }


@dataclass(frozen=True, kw_only=True)
class SamplerProtocol:
    """Which simulated studies, how many images every sampler chooses, and how many new answers each gets."""

    study: Protocol
    num_chosen: int
    num_answers: int


@block_function(
    version=1,
    columns={
        "study": pa.int64(),
        "gaps": Tensor("float64"),
        "size": Tensor("int64"),
        "frequency_gap": Tensor("float64"),
        "facts": Tensor("float64"),
    },
)
def sampler_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Simulated studies by number, a replica by each of `SAMPLERS`. context.settings: a `SamplerProtocol`.

    gaps: (samplers, 2, 3) the raw gap and that corrected by factorial moments, value and interval; size: (samplers,)
    images; frequency_gap: (samplers,) mean true frequency of the original minus the replica's; facts: in the order of
    `chosen.FACTS`.
    """
    protocol = cast(SamplerProtocol, context.settings)
    found = [
        choose_by_all(protocol.study, protocol.num_chosen, protocol.num_answers, context.seed, item) for item in items
    ]
    return {
        "study": np.asarray(items),
        "gaps": np.array(
            [[[_ends(each.gaps[name, kind]) for kind in (RAW, MOMENTS)] for name in SAMPLERS] for each in found]
        ),
        "size": np.array([[each.size[name] for name in SAMPLERS] for each in found]),
        "frequency_gap": np.array(
            [[each.original_frequency - each.frequency[name] for name in SAMPLERS] for each in found]
        ),
        "facts": np.array([[each.facts[name] for name in PLAN_FACTS] for each in found]),
    }


@block_function(version=1, columns={"study": pa.int64(), "parts": Tensor("float64")})
def cause_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Simulated studies by number. context.settings: a `CauseProtocol`.

    parts: (parts, 3) value and interval, in the order of `PARTS`.
    """
    protocol = cast(CauseProtocol, context.settings)
    found = [decomposed(protocol, context.seed, item) for item in items]
    ends = [[_ends(study[name]) for name in PARTS] for study in found]
    return {"study": np.asarray(items), "parts": np.array(ends)}


@block_function(version=1, columns={"study": pa.int64(), "gaps": Tensor("float64")})
def class_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Simulated studies by number. context.settings: a `ClassProtocol`.

    gaps: (targets, 3) value and interval, in the order of `classes.TARGETS`.
    """
    protocol = cast(ClassProtocol, context.settings)
    found = [class_study(protocol, context.seed, item) for item in items]
    return {
        "study": np.asarray(items),
        "gaps": np.array([[_ends(study[name]) for name in TARGETS] for study in found]),
    }


@dataclass(frozen=True, kw_only=True)
class OwnProtocol:
    """How the user's own study is analysed."""

    num_resamples: int


MEAN = -1
"""Item of `own_block`: the mean over all models."""


@block_function(
    version=2,
    columns={"model": pa.int64(), "gaps": Tensor("float64"), "bias": Tensor("float64")},
)
def own_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Gaps of the user's own study for models by number (-1: their mean), all on the same resamples of images or HITs.

    References: "answers", "correctness". context.settings: an `OwnProtocol`.
    gaps: (estimators, 3) accuracy on the original minus the replica's as each estimator corrects it, value and
    interval, in the order of `own_estimators` (the first is the raw gap); bias: (estimators, 3) raw minus corrected
    gap, what the choice by noisy readings explains. NaN where an estimator needs more answers than an image has.
    """
    study = own_study(cast(CrowdTable, context.load("answers")), cast(CrowdTable, context.load("correctness")))
    protocol = cast(OwnProtocol, context.settings)
    found = own_estimates(study, items, protocol.num_resamples, integer(context.seed, "bootstrap of own study"))
    return {
        "model": np.asarray(items),
        "gaps": np.array([[_ends(gap) for gap, _ in each.values()] for each in found]),
        "bias": np.array([[_ends(bias) for _, bias in each.values()] for each in found]),
    }


def own_estimates(
    study: OwnStudy, models: Sequence[int], num_resamples: int, seed: int
) -> list[dict[str, tuple[Estimate, Estimate]]]:
    """For each model: estimator -> corrected gap, and raw minus corrected gap, with basic intervals.

    All use the same resamples: of images within the two sets or, where the table says which images were shown together,
    of these groups.
    """
    n = fewest_answers(study)
    estimators = own_estimators(n)
    usable: dict[str, Estimator] = {name: each for name, each in estimators.items() if each.least_answers <= n}
    sides = np.repeat([0, 1], [len(study.original), len(study.replica)])
    design = (
        by_cluster(np.concatenate([study.original.cluster, study.replica.cluster]))
        if study.clustered
        else by_unit(len(sides), strata=sides)
    )
    rows = _rows(study.original, models), _rows(study.replica, models)
    pooled = gaps(
        replace(rows[0], stratum=None),
        replace(rows[1], stratum=None),
        [usable[name] for name in usable if name != BY_CLASS],
    )
    by_class = gaps(*rows, [usable[BY_CLASS]]) if BY_CLASS in usable else None

    def both(weights: np.ndarray) -> np.ndarray:
        found = pooled(weights) if by_class is None else np.concatenate([pooled(weights), by_class(weights)], axis=1)
        found = found.reshape(len(weights), len(usable), len(models))
        return np.stack([found, found[:, :1] - found], axis=1).reshape(len(weights), -1)

    drawn = resample(both, design, num_resamples=num_resamples, seed=seed).estimates("basic")
    table = np.array(drawn, dtype=object).reshape(2, len(usable), len(models))
    nothing = Estimate(value=np.nan, lo=-np.inf, hi=np.inf, n=design.num_units)
    found = []
    for place in range(len(models)):
        known = {name: (table[0, row, place], table[1, row, place]) for row, name in enumerate(usable)}
        found.append({name: known.get(name, (nothing, nothing)) for name in estimators})
    return found


def own_estimators(n: int) -> Mapping[str, Estimator]:
    """Those of `estimators_for`, and factorial moments within classes, the last; for n answers an image."""
    return {**estimators_for(n), BY_CLASS: StratifiedMoments()}


def fewest_answers(study: OwnStudy) -> int:
    """Answers that every image has: the estimators' n."""
    return int(min(study.original.n_shown.min(), study.replica.n_shown.min()))


def rows_of(side: Side) -> Remeasured:
    """A set's images as rows for the estimators."""
    chosen = side.in_replica if side.in_replica.any() else None
    return Remeasured(
        n_shown=side.n_shown,
        n_selected=side.n_selected,
        correct=side.correct,
        chosen=chosen,
        stratum=side.stratum,
        weight=None if side.weight is None else side.weight / side.weight.mean(),
    )


def _rows(side: Side, models: Sequence[int]) -> Remeasured:
    """The rows with one column for each of the models; -1 is their mean."""
    mean = side.correct.mean(axis=1)
    columns = [mean if model == MEAN else side.correct[:, model] for model in models]
    return replace(rows_of(side), correct=np.stack(columns, axis=1))


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.lo, estimate.hi
