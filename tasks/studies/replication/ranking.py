"""A replicated test set without answers: what models lose on it, and how that depends on their accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from robustray.tasks import figures
from robustray.tasks.crowds.replicas.ranked import Ranked, accuracies, line, probit, ranked, shares
from robustray.tasks.crowds.tables import CrowdTable
from robustray.tasks.kit.claims import claim
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import at, columns, estimate_of, one, shown
from robustray.tasks.kit.rules import above
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.seeds import integer
from robustray.tasks.report.numbers import format_interval, format_value
from robustray.tasks.statistics import Estimate, by_unit, resample
from robustray.tasks.studies.replication.determining import determined_parts
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.study import Claim, Figure, Findings, PaperFigure, Table

LINES = ("slope", "intercept", "correlation")
PAPER = PaperFigure(
    figure="11.7 ± 1.0 points; accuracy on the replica is 1.149 x - 0.232",
    scale="ImageNet and ImageNet-v2 MatchedFrequency, about 142 models",
    source="arXiv:2005.09619, abstract and published notebook",
)


@dataclass(frozen=True, kw_only=True)
class RankedProtocol:
    """How replicas without answers are analysed."""

    replicas: tuple[str, ...]
    """References of the replicas."""
    leave_out: tuple[str, ...]
    """Models that are left out."""
    num_resamples: int
    annotated: bool = False
    """Whether there is a reference "annotated", of the form `ANNOTATED`."""


@block_function(version=2, columns={"top": pa.int64(), "accuracy": Tensor("float64"), "sets": Tensor("float64")})
def ranked_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Top-1 and top-5, by item. References: "original" and the replicas; "annotated". context.settings: a
    `RankedProtocol`.

    All with value and 95 % interval (last axis): accuracy: (1 + replicas, models, 3); sets: (replicas, 8, 3) mean drop
    over models, the same against the annotated images alone (NaN where no table says which), then slope, intercept and
    correlation of accuracy on the replica on that on the original, plain and between probits.
    """
    protocol = cast(RankedProtocol, context.settings)
    of = joined(context, protocol)
    done = [_estimates(of, top, protocol.num_resamples, integer(context.seed, "ranked")) for top in items]
    return {"top": np.asarray(items)} | {
        name: np.stack([part[place] for part in done]) for place, name in enumerate(("accuracy", "sets"))
    }


def joined(context: Context, protocol: RankedProtocol) -> Ranked:
    """The tables of a block's references."""
    return ranked(
        cast(CrowdTable, context.load("original")),
        {name: cast(CrowdTable, context.load(name)) for name in protocol.replicas},
        protocol.leave_out,
        cast(CrowdTable, context.load("annotated")) if protocol.annotated else None,
    )


def _estimates(of: Ranked, top: int, num_resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Estimates from one resample of images for all models and sets: the original's images by class, and all replicas'
    images by class."""
    num = len(of.original)
    strata = of.strata()

    def statistic(weights: np.ndarray) -> np.ndarray:
        found = accuracies(of, top, weights[:, :num], weights[:, num:])
        first, others = found[:, :1], found[:, 1:]
        mean = (first - others).mean(axis=-1, keepdims=True)
        against = np.full_like(mean, np.nan)
        if of.annotated is not None:
            part = shares(of.original[of.annotated], top, weights[:, :num][:, of.annotated])
            against = (part[:, None] - others).mean(axis=-1, keepdims=True)
        sets = np.concatenate([mean, against, line(first, others), line(probit(first), probit(others))], axis=-1)
        return np.concatenate([found.reshape(len(weights), -1), sets.reshape(len(weights), -1)], axis=1)

    drawn = resample(statistic, by_unit(len(strata), strata=strata), num_resamples=num_resamples, seed=seed)
    table = np.array([(each.value, each.lo, each.hi) for each in drawn.estimates("basic")])
    shape = 1 + len(of.replicas), len(of.models)
    cut = shape[0] * shape[1]
    return table[:cut].reshape(*shape, 3), table[cut:].reshape(len(of.replicas), 8, 3)


@dataclass(frozen=True, kw_only=True)
class Results:
    settings: Settings
    of: Ranked
    rows: pd.DataFrame
    """Rows of `ranked_block`."""
    known: pd.DataFrame | None = None
    """Rows of `determining.labelled_block`; None without labels."""

    def sets(self) -> pd.DataFrame:
        """One row per top and replica: mean drop over models, its range, the two lines."""
        found = []
        for row in self.rows.itertuples():
            for place, name in enumerate(self.of.replicas):
                drops = row.accuracy[0, :, 0] - row.accuracy[1 + place, :, 0]
                parts: dict[str, Any] = {"top": row.top, "set": name, "images": len(self.of.replicas[name])}
                estimates = [self._estimate(values) for values in row.sets[place]]
                parts |= columns("drop", estimates[0], "drop_lo", "drop_hi")
                if self.of.annotated is not None:
                    parts |= columns("drop_annotated", estimates[1], "drop_annotated_lo", "drop_annotated_hi")
                parts |= {"least": float(drops.min()), "most": float(drops.max())}
                for words, three in (("", estimates[2:5]), ("probit_", estimates[5:])):
                    for what, estimate in zip(LINES, three, strict=True):
                        label = f"{words}{what}"
                        parts |= columns(label, estimate, f"{label}_lo", f"{label}_hi")
                found.append(parts | {"n": self.num_images})
        return pd.DataFrame(found)

    def models(self) -> pd.DataFrame:
        """One row per model: top-1 accuracy on every set with its interval, best on the original first."""
        row = one(self.rows, top=1)
        frame = pd.DataFrame({"model": self.of.models})
        for place, name in enumerate(("original", *self.of.replicas)):
            frame[[name, f"{name}_lo", f"{name}_hi"]] = row.accuracy[place]
        return frame.sort_values("original", ascending=False, kind="stable").reset_index(drop=True)

    @property
    def num_images(self) -> int:
        return len(self.of.original) + len(self.of.union_class)

    def _estimate(self, values: np.ndarray) -> Estimate:
        return Estimate(value=float(values[0]), lo=float(values[1]), hi=float(values[2]), n=self.num_images)


def findings(results: Results) -> Findings:
    sets = results.sets()
    return compose(
        _answer(results, sets),
        _claims(results, sets),
        _tables(results, sets),
        determined_parts(results),
        _figure(results),
    )


def _answer(results: Results, sets: pd.DataFrame) -> str:
    parts = []
    for row in at(sets, top=1).itertuples():
        interval = format_interval(100 * row.drop_lo, 100 * row.drop_hi, ".1f")
        parts.append(f"{row.set} {format_value(100 * row.drop, '.1f')} points {interval}")
    return (
        f"Top-1 accuracy lost from the original to its replicas, mean over {len(results.of.models)} models: "
        f"{'; '.join(parts)} (n = {len(results.of.original):,} and {len(results.of.union_class):,} images; without "
        "answers nothing says how much of it is the choice of images)."
    )


def _claims(results: Results, sets: pd.DataFrame) -> Iterator[Claim]:
    for place, row in enumerate(at(sets, top=1).itertuples()):
        yield claim(
            f"Models lose accuracy on {row.set}.",
            estimate_of(row, "drop", "drop_lo", "drop_hi"),
            above(0),
            measured="top-1 accuracy on the original minus that on the replica, mean over "
            f"{len(results.of.models)} models",
            over="images",
            unit="points",
            paper=PAPER if place == 0 else None,
        )


def _tables(results: Results, sets: pd.DataFrame) -> Iterator[Table]:
    how = (
        f"95 % basic bootstrap intervals over images within classes, {results.settings.num_resamples:,} resamples, "
        f"seed {results.settings.seed}: the original's by themselves, those of all replicas together (they share "
        "images), all models on the same ones."
    )
    lines = [f"{words}{what}" for words in ("", "probit_") for what in LINES]
    formats = shown("drop", "points", "drop_lo", "drop_hi") | {"least": "points", "most": "points"}
    against = ""
    if results.of.annotated is not None:
        formats |= shown("drop_annotated", "points", "drop_annotated_lo", "drop_annotated_hi")
        against = (
            f" drop_annotated: from the {int(results.of.annotated.sum()):,} annotated images of the original alone, "
            "those that the replicas were matched to."
        )
    for name in lines:
        formats |= shown(name, ".3f", f"{name}_lo", f"{name}_hi")
    yield Table(
        name="replicas",
        title="What models lose on each replica",
        caption=f"{how} drop: accuracy on the original minus that on the replica, mean over {len(results.of.models)} "
        f"models; least, most: of a single model.{against} slope, intercept, correlation: of accuracy on the replica "
        "on accuracy on the original over models, by least squares; probit_: the same between normal quantiles.",
        frame=sets,
        formats=formats,
    )
    names = ("original", *results.of.replicas)
    frame = results.models()
    formats = {}
    for name in names:
        formats |= shown(name, "percent", f"{name}_lo", f"{name}_hi")
    yield Table(
        name="replica-models", title="Every model", caption=f"Top-1 accuracy. {how}", frame=frame, formats=formats
    )


def _figure(results: Results) -> Figure:
    frame, first = results.models(), next(iter(results.of.replicas))
    rows = [
        figures.Row(label=row.model, value=value, lo=lo, hi=hi)
        for row, value, lo, hi in zip(
            frame.itertuples(), frame[first], frame[f"{first}_lo"], frame[f"{first}_hi"], strict=True
        )
    ]
    return figures.dot_rows(
        name="replica-models",
        title=f"Accuracy on {first}, by model",
        caption="In the order of accuracy on the original, the best first. Bars are 95 % bootstrap intervals, each for "
        "its model alone.",
        alt=f"{len(rows)} models from {100 * rows[0].value:.1f} to {100 * rows[-1].value:.1f} percent",
        rows=rows,
        x_label=f"top-1 accuracy on {first}",
        percent=True,
    )
