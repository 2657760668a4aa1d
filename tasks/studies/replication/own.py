"""What the user's own study says: whether there is a bias from the choice of its images, how large it is, and what gap
is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.crowds.answers import OwnStudy
from robustray.tasks.crowds.replicas.estimators import (
    MOMENTS,
    NAIVE,
    RAW,
    FactorialMoments,
    missing_mass,
)
from robustray.tasks.kit.claims import claim, describe
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import at, columns, estimate_of, one, shown
from robustray.tasks.kit.rules import above, equivalent
from robustray.tasks.kit.words import plural
from robustray.tasks.report.numbers import format_value
from robustray.tasks.statistics import Estimate, within_margin
from robustray.tasks.studies.replication import planning
from robustray.tasks.studies.replication.blocks import MEAN, fewest_answers, own_estimators, rows_of
from robustray.tasks.studies.replication.designs import effective
from robustray.tasks.studies.replication.planning import Planned
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.studies.replication.words import points
from robustray.tasks.study import Claim, Description, Figure, Findings, Table

VERDICTS = {"equivalent": "equivalent to none", "different": "biased", "undecided": "undecided"}
ALL = "mean of all models"
FEW_HITS = 10
"""Fewer are warned of."""
MOST_LOGITS = 2
"""Tipping points beyond this are not put into words, because the effect of leniency is known to first order only."""


@dataclass(frozen=True, kw_only=True)
class Results:
    settings: Settings
    study: OwnStudy
    frame: pd.DataFrame
    """Frame of `gap_frame`."""

    def estimate(self, name: str, estimator: str) -> Estimate:
        """Estimate of the mean over models: "gap" or "bias"."""
        return estimate_of(one(self.frame, model=ALL, estimator=estimator), name, f"{name}_lo", f"{name}_hi")


def gap_frame(rows: pd.DataFrame, study: OwnStudy) -> pd.DataFrame:
    """One row per model (and their mean) and estimator. rows: those of `own_block`."""
    names = list(own_estimators(fewest_answers(study)))
    n = len(study.original) + len(study.replica)
    found = []
    for row in rows.itertuples():
        for place, estimator in enumerate(names):
            parts = {"model": ALL if row.model == MEAN else study.models[row.model], "estimator": estimator}
            for name, values in (("gap", row.gaps[place]), ("bias", row.bias[place])):
                estimate = Estimate(value=values[0], lo=values[1], hi=values[2], n=n)
                parts |= columns(name, estimate, f"{name}_lo", f"{name}_hi")
            found.append(parts | {"n": n})
    return pd.DataFrame(found)


def findings(results: Results, planned: Planned | None = None) -> Findings:
    """planned: None where there are too few answers to plan from."""
    return compose(
        answer(results, planned),
        claims(results),
        tables(results),
        None if planned is None else planning.tables(planned),
        drawings(results),
        warnings(results),
        None if planned is None else planning.warnings(planned),
    )


def answer(results: Results, planned: Planned | None = None) -> str:
    study, margin = results.study, results.settings.margin
    raw, gap, bias = (results.estimate(*what) for what in (("gap", RAW), ("gap", MOMENTS), ("bias", MOMENTS)))
    start = f"{results.settings.data}: the replica costs {points(raw)} of accuracy"
    images = f"n = {len(study.original):,} + {len(study.replica):,} images, {plural(len(study.models), 'model')}"
    if not np.isfinite(bias.value):
        n = fewest_answers(study)
        few = f"with {n} answers per image, factorial moments need 9" if n < 9 else "by answers that differ so little"
        return f"{start}; how much of that is the choice of its images can't be said {few} ({images})."
    verdict = within_margin(bias, margin)
    told = (
        f"{start}, of which {points(bias)} are the choice of its images by noisy readings ({VERDICTS[verdict]}, "
        f"margin {100 * margin:g} points); {points(gap)} are left{_tipping(results)} ({images})."
    )
    if verdict == "undecided" and planned is not None:
        advice = planned.plan.advice()
        return f"{told} {advice[0].upper()}{advice[1:]}."
    return told


def _tipping(results: Results) -> str:
    found = tipping_points(results)
    assert found is not None, "asked for only where factorial moments run"
    left, logits = found.set_index("model").loc[ALL, ["gap", "logits"]]
    if abs(left) < 5e-4:
        return ""
    if not abs(logits) <= MOST_LOGITS:
        return f", more than any leniency of up to {MOST_LOGITS} logits would make"
    return f", as much as a leniency of {format_value(logits, '.2f')} logit towards the replica would make"


def claims(results: Results) -> Iterator[Claim | Description]:
    bias = results.estimate("bias", MOMENTS)
    over = "HITs" if results.study.clustered else "images"
    measured = "raw gap minus the gap corrected by factorial moments, mean over models"
    yield claim(
        "The choice of images by noisy readings makes the replica harder.",
        bias,
        above(0),
        measured=measured,
        over=over,
        unit="points",
    )
    yield claim(
        "That bias is as good as none.",
        bias,
        equivalent(results.settings.margin),
        measured=measured,
        over=over,
        unit="points",
    )
    yield describe(
        "Accuracy that is lost beyond what the choice of images explains",
        results.estimate("gap", MOMENTS),
        measured="gap corrected by factorial moments, mean over models",
        over=over,
        unit="points",
    )


def tables(results: Results) -> Iterator[Table]:
    yield Table(
        name="gaps",
        title="Raw and corrected gaps",
        caption="Gap: accuracy on the original minus that on the replica, as each estimator corrects it; bias: raw "
        "minus corrected. By class: the gap at equal true frequencies within classes (an intercept for each); what it "
        "differs by from the pooled one is class composition. 95 % basic bootstrap intervals over "
        f"{'HITs' if results.study.clustered else 'images'}, all models on the same "
        f"{results.settings.num_resamples:,} resamples, seed {results.settings.seed}.",
        frame=results.frame,
        formats=shown("gap", "points", "gap_lo", "gap_hi") | shown("bias", "points", "bias_lo", "bias_hi"),
    )
    yield Table(
        name="answers",
        title="The answers behind it",
        caption="Images, answers and mean selection frequency of the two sets that the estimators saw "
        f"({results.study.source}). effective_images: images of equal weight that say as much as these.",
        frame=pd.DataFrame(
            {
                "set": name,
                "images": len(side),
                "effective_images": effective(side),
                "answers": int(side.n_shown.sum()),
                "fewest_per_image": int(side.n_shown.min()),
                "most_per_image": int(side.n_shown.max()),
                "frequency": float(np.average(side.n_selected / side.n_shown, weights=side.weight)),
                "accuracy": float(np.average(side.correct.mean(axis=1), weights=side.weight)),
            }
            for name, side in (("original", results.study.original), ("replica", results.study.replica))
        ),
        formats={"frequency": ".4f", "accuracy": "percent", "effective_images": ",.0f"},
    )

    tipping = tipping_points(results)
    if tipping is not None:
        yield Table(
            name="tipping-points",
            title="What would explain the rest",
            caption="No estimator sees workers who were more lenient with one set than with the other. If the replica "
            "had been read this much more leniently than the original (difference in logits of the selection "
            "frequency), the whole gap left by factorial moments would be explained; below 0: more strictly. To first "
            "order; the interval is that of the gap.",
            frame=tipping,
            formats=shown("gap", "points", "gap_lo", "gap_hi") | shown("logits", ".2f", "logits_lo", "logits_hi"),
        )


def tipping_points(results: Results) -> pd.DataFrame | None:
    """One row per model and their mean: corrected gap, and the leniency that would make it 0. None without one."""
    study = results.study
    if fewest_answers(study) < FactorialMoments().least_answers:
        return None
    slopes = FactorialMoments().slope(rows_of(study.original), rows_of(study.replica))
    if not np.isfinite(slopes).all():
        return None
    per_logit = pd.Series([slopes.mean(), *slopes], index=[ALL, *study.models])
    found = at(results.frame, estimator=MOMENTS).set_index("model").loc[per_logit.index, ["gap", "gap_lo", "gap_hi"]]
    logits = found.div(per_logit, axis=0).rename(columns=lambda name: name.replace("gap", "logits"))
    return pd.concat([found, logits], axis=1).rename_axis("model").reset_index()


def drawings(results: Results) -> Iterator[Figure]:
    rows = at(results.frame, model=ALL)
    rows = rows[rows.gap.notna()]
    yield _rows(
        "gaps",
        "The gap, raw and corrected (mean of all models)",
        "What is left depends on the correction; factorial moments need no assumption on how the bias falls with n.",
        [(row.estimator, row) for row in rows.itertuples()],
    )
    best = MOMENTS if np.isfinite(results.estimate("gap", MOMENTS).value) else NAIVE
    models = at(results.frame, estimator=best)
    models = models[models.model != ALL].sort_values("gap", kind="stable")
    if 1 < len(models) <= 80:
        yield _rows(
            "models",
            f"What is left for each model, corrected by {best}",
            "Models on the same resamples; intervals are for each alone.",
            [(row.model, row) for row in models.itertuples()],
        )


def _rows(name: str, title: str, caption: str, rows: Sequence[tuple[str, object]]) -> Figure:
    drawn = [
        figures.Row(label=label, value=row.gap, lo=row.gap_lo, hi=row.gap_hi)  # type: ignore[attr-defined]
        for label, row in rows
    ]
    return figures.dot_rows(
        name=name,
        title=title,
        caption=f"{caption} Bars are 95 % bootstrap intervals.",
        rows=drawn,
        x_label="accuracy on the original minus that on the replica",
        points=True,
        levels=[figures.Level(value=0, words="no gap")],
    )


def warnings(results: Results) -> Iterator[str]:
    study, n = results.study, fewest_answers(results.study)
    yield from study.warnings
    if n < 9:
        yield (
            f"an image has only {n} answers: factorial moments need 9 of every image, and the other estimators are "
            "biased at so few; no verdict is given"
        )
    missing = missing_mass(rows_of(study.original), rows_of(study.replica), n)
    if missing > 0.001:
        yield (
            f"{100 * missing:.1f} % of the original's images have counts of answers that no image of the replica has: "
            "naive and jackknife estimates leave them out"
        )
    if study.clustered:
        hits = len(set(study.original.cluster) | set(study.replica.cluster))
        if hits == 1:
            yield (
                "all images were shown in one HIT, which says nothing of how HITs differ: there are no intervals (-inf "
                "to inf), no verdict and no plan; show images in several HITs, or leave the column out and say so"
            )
        elif hits < FEW_HITS:
            yield f"{hits} HITs: so few say little of how HITs differ, and intervals over them are too short"
    else:
        yield (
            "no column hit: images are resampled as if shown one by one. Workers who see many images in one task make "
            "such intervals too short"
        )
