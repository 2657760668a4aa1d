"""What simulated studies say: the answer, claims, tables and drawings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from robustray.tasks import figures
from robustray.tasks.crowds.replicas.estimators import (
    HELD_OUT,
    JACKKNIFE,
    JACKKNIFE_HALF,
    MOMENTS,
    NAIVE,
    RAW,
)
from robustray.tasks.crowds.replicas.scenarios import NUM_MODELS, SCENARIOS
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import at, estimate_of, one, shown
from robustray.tasks.kit.rules import above, below, equivalent, within
from robustray.tasks.kit.words import slug
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.replication import reduce
from robustray.tasks.studies.replication.causing import Caused, caused_parts
from robustray.tasks.studies.replication.classing import Classed, classed_parts
from robustray.tasks.studies.replication.departing import Departed, departed_parts, tipping_table
from robustray.tasks.studies.replication.mixing import Mixed, mixed_parts
from robustray.tasks.studies.replication.repeats import simulated
from robustray.tasks.studies.replication.sampling import Sampled, sampled_parts
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.studies.replication.words import points
from robustray.tasks.study import Claim, Figure, Findings, PaperFigure, Table

SHOWN = (RAW, HELD_OUT, NAIVE, JACKKNIFE, JACKKNIFE_HALF, MOMENTS)
"""Estimators in figures, in this order; the others are in the table."""
LEAST_OF_SCENARIO = 1_000
"""Number of studies of a scenario below which no claims are made about it: fewer can't distinguish a coverage of 95 %
from one of 92 %."""
WIDEST = 0.035
"""A 95 % interval wider than this, in accuracy, can't distinguish the published corrected gap (3.6 points) from
none."""
PAPER_RAW = PaperFigure(
    figure="11.7 ± 1.0 points before, 3.6 ± 1.5 points after correction",
    scale="ImageNet and ImageNet-v2 MatchedFrequency, mean over models; the truth is not known there",
    source="arXiv:2005.09619, abstract",
)


@dataclass(frozen=True, kw_only=True)
class Results:
    """Frames, each built once."""

    settings: Settings
    rows: Mapping[str, pd.DataFrame]
    """Scenario -> rows of `simulated_block`."""
    studies: pd.DataFrame
    """Frame of `reduce.study_frame`."""
    performance: pd.DataFrame
    """Frame of `reduce.performance`."""
    readings: pd.DataFrame
    """Frame of `reduce.readings`."""
    departed: Departed | None = None
    sampled: Sampled | None = None
    mixed: Mixed | None = None
    caused: Caused | None = None
    classed: Classed | None = None

    @property
    def shown_scenario(self) -> str:
        """The one that answer and claims are about: the first whose true gap is 0 while the raw one is not."""
        names = self.settings.scenarios
        return next((name for name in names if name != "same" and SCENARIOS[name].residual == 0), names[0])

    def gap(self, estimator: str, n: int | None = None, scenario: str | None = None) -> Estimate:
        """Mean gap over studies at the claimed number of answers (or at n)."""
        where = {"scenario": scenario or self.shown_scenario, "estimator": estimator}
        return estimate_of(one(self.performance, **where, n_answers=n or self.settings.claimed_answers), *GAP)


GAP = ("gap", "gap_lo", "gap_hi")
ERRORS = ("bias", "bias_lo", "bias_hi", "sd", "sd_se", "rmse", "rmse_se")
"""Columns of the long table alone."""


def findings(results: Results) -> Findings:
    return compose(
        answer(results),
        claims(results),
        tables(results),
        tipping_table(results.settings, results.performance),
        drawings(results),
        None if results.mixed is None else mixed_parts(results.mixed),
        None if results.sampled is None else sampled_parts(results.sampled),
        None if results.departed is None else departed_parts(results.departed),
        None if results.caused is None else caused_parts(results.caused),
        None if results.classed is None else classed_parts(results.classed),
        warnings(results),
    )


def answer(results: Results) -> str:
    settings, n = results.settings, results.settings.claimed_answers
    truth = SCENARIOS[results.shown_scenario].true_gap()
    raw, moments = (points(results.gap(name)) for name in (RAW, MOMENTS))
    held = reduce.coverage(results.studies, MOMENTS, n)
    truly = "nothing" if truth == 0 else f"{100 * truth:.1f} points"
    return (
        f"A replica whose images were matched by {settings.num_matching} answers each costs {raw} of accuracy where "
        f"models truly lose {truly} (n = {settings.num_studies:,} simulated studies); corrected by factorial moments "
        f"of {n} new answers per image it is {moments}, and the corrected 95 % interval holds the true gap in "
        f"{format_estimate(held.value, held.interval, 'percent')} of n = {held.n:,} studies."
    )


def claims(results: Results) -> Iterator[Claim]:
    settings, n, scenario = results.settings, results.settings.claimed_answers, results.shown_scenario
    where = f"scenario {scenario}, mean over {NUM_MODELS} models"
    studies = simulated(settings.num_studies)
    if SCENARIOS[scenario].true_gap() == 0 and scenario != "same":
        yield studies.claim(
            "Matching on noisy selection frequencies leaves a gap in accuracy where there is none.",
            results.gap(RAW),
            above(0),
            measured=f"accuracy on the original minus accuracy on the matched replica, true gap 0 ({where})",
            paper=PAPER_RAW,
        )
        yield studies.claim(
            "Re-weighting by new readings with the same noise does not remove it.",
            results.gap(NAIVE),
            above(0),
            measured=f"gap after naive re-weighting with {n} new answers per image, true gap 0 ({where})",
        )
        yield studies.claim(
            "Images are chosen partly by luck: read by answers that did not choose them, they are selected less often "
            "than the original's.",
            reduce.held_out_drop(results.rows, scenario),
            below(0),
            measured="mean held-out frequency of the replica minus that of the original, matched on the other half of "
            f"the {settings.num_matching} answers ({where})",
        )
    yield studies.claim(
        "Factorial moments are right on average.",
        reduce.errors(results.studies, MOMENTS, n),
        equivalent(0.01),
        measured=f"corrected minus true gap, {n} new answers per image, all scenarios of the run",
        kind="check",
    )
    yield studies.claim(
        "Factorial moments cover the truth.",
        reduce.coverage(results.studies, MOMENTS, n),
        above(0.9),
        measured="share of studies whose 95 % interval (basic bootstrap over images) holds the true gap, "
        f"{n} new answers per image, all scenarios of the run",
        over="simulated studies (Wilson)",
        unit="percent",
        kind="check",
    )

    yield from _claims_of_scenarios(results)


def _claims_of_scenarios(results: Results) -> Iterator[Claim]:
    settings, n, shown = results.settings, results.settings.claimed_answers, results.shown_scenario
    if settings.num_studies < LEAST_OF_SCENARIO:
        return
    studies = simulated(settings.num_studies)
    measured = f"share of studies whose 95 % interval holds the true gap, {n} new answers per image"
    for scenario in settings.scenarios:
        yield studies.claim(
            f"Factorial moments cover as promised in scenario {scenario}.",
            reduce.coverage(results.studies, MOMENTS, n, scenario),
            within(0.92, 0.98),
            measured=measured,
            over="simulated studies (Wilson)",
            unit="percent",
            kind="check",
        )
    for name in (NAIVE, JACKKNIFE):
        yield studies.claim(
            f"The interval of the {name} estimate is confidently wrong in scenario {shown}.",
            reduce.coverage(results.studies, name, n, shown),
            below(0.05),
            measured=measured,
            over="simulated studies (Wilson)",
            unit="percent",
        )
    moments = at(results.performance, estimator=MOMENTS, n_answers=n)
    widest = moments.loc[moments.width.idxmax()]
    yield studies.claim(
        f"Intervals of factorial moments are narrow enough in every scenario (the widest: {widest.scenario}).",
        estimate_of(widest, "width", "width_lo", "width_hi"),
        below(WIDEST),
        measured=f"largest median width over the scenarios, {n} new answers per image",
        over="simulated studies (order statistics)",
        kind="check",
    )


def tables(results: Results) -> Iterator[Table]:
    settings = results.settings
    points = {name: "points" for name in ("true_gap", "expected")} | shown("gap", "points", "gap_lo", "gap_hi")
    held = shown("coverage", "percent", "coverage_lo", "coverage_hi") | shown("width", ".4f", "width_lo", "width_hi")
    errors = shown("bias", "points", "bias_lo", "bias_hi") | dict.fromkeys(("sd", "sd_se", "rmse", "rmse_se"), ".4f")
    how = (
        f"Gap: mean over {settings.num_studies:,} simulated studies of each scenario, with its 95 % interval "
        "(t over studies). Expected: the same for infinitely many images, by integration. Coverage: studies whose own "
        f"95 % interval (basic bootstrap over images, {settings.num_resamples:,} resamples) holds the true gap, with "
        "Wilson's interval; width: their median, with the interval between order statistics."
    )
    claimed = results.performance.n_answers == settings.claimed_answers
    few = results.performance[claimed | (results.performance.estimator == HELD_OUT)]
    yield Table(
        name="estimators",
        title=f"How far off each estimator is, {settings.claimed_answers} new answers per image",
        caption=f"{how} Held-out uses half of the choosing answers instead of new ones.",
        frame=few.drop(columns=["n_answers", *ERRORS]).reset_index(drop=True),
        formats=points | held,
    )
    yield Table(
        name="by-answers",
        title="The same by the number of new answers per image",
        caption=f"{how} Bias: gap minus true gap. sd, rmse: of a single study, in shares, with standard errors (se).",
        frame=results.performance,
        formats=points | held | errors,
    )
    yield Table(
        name="readings",
        title="What the answers said of the images",
        caption="Means over simulated studies with 95 % intervals (Student's t). The replica's choosing answers agree "
        "with the original's, since it was matched on them; new answers, and a half that was held out, read lower.",
        frame=results.readings[results.readings.fact.str.contains("reading|accuracy")].reset_index(drop=True),
        formats=shown("value", ".4f"),
    )
    yield Table(
        name="studies",
        title="Every simulated study",
        caption="One row per scenario, study, number of answers and estimator: corrected gap with its interval.",
        frame=results.studies,
        on_page=False,
    )


def drawings(results: Results) -> Iterator[Figure]:
    palette = figures.Palette(SHOWN)
    for scenario in results.settings.scenarios:
        yield _against_answers(results, scenario, palette)
    yield _single_study(results, palette)


def _against_answers(results: Results, scenario: str, palette: figures.Palette) -> Figure:
    settings = results.settings
    series = []
    for estimator in SHOWN:
        rows = at(results.performance, scenario=scenario, estimator=estimator).sort_values("n_answers")
        studies = at(results.studies, scenario=scenario, estimator=estimator).groupby("n").value
        if len(rows):
            series.append(
                figures.Series(
                    label=estimator,
                    x=rows.n_answers.tolist(),
                    y=rows.gap.tolist(),
                    lo=studies.quantile(0.025).tolist(),
                    hi=studies.quantile(0.975).tolist(),
                )
            )
    truth = SCENARIOS[scenario].true_gap()
    return figures.curve(
        name=f"gap-{slug(scenario)}",
        title=f"The gap against the number of new answers per image (scenario {scenario})",
        caption=f"The nearer to the dashed line, the better the correction. Mean over {settings.num_studies:,} "
        f"simulated studies of {settings.num_images:,} + {settings.num_images:,} images; bands hold 95 % of "
        f"the studies. {SCENARIOS[scenario].words[0].upper()}{SCENARIOS[scenario].words[1:]}.",
        series=series,
        x_label="new answers per image",
        y_label="accuracy on the original minus corrected accuracy of the replica",
        points=True,
        palette=palette,
        levels=[figures.Level(value=truth, words="true gap")],
        x_ticks={float(n): str(n) for n in settings.num_answers},
        x_log=True,
    )


def _single_study(results: Results, palette: figures.Palette) -> Figure:
    settings, scenario, n = results.settings, results.shown_scenario, results.settings.claimed_answers
    rows = at(results.studies, scenario=scenario, study=0)
    rows = rows[(rows.n == n) | (rows.estimator == HELD_OUT)].set_index("estimator")
    drawn = [
        figures.Row(
            label=name,
            value=rows.value[name],
            lo=rows.lo[name],
            hi=rows.hi[name],
            color_by=name,
        )
        for name in SHOWN
        if name in rows.index
    ]
    truth = SCENARIOS[scenario].true_gap()
    return figures.dot_rows(
        name="one-study",
        title=f"One simulated study as its authors would see it (scenario {scenario})",
        caption="An interval beside the dashed line is confidently wrong. The first study of the run, not chosen: "
        f"{settings.num_images:,} + {settings.num_images:,} images, {n} new answers per image, mean over "
        f"{NUM_MODELS} models; bars are 95 % bootstrap intervals over images.",
        rows=drawn,
        x_label="gap",
        points=True,
        palette=palette,
        levels=[figures.Level(value=truth, words="true gap")],
    )


def warnings(results: Results) -> Iterator[str]:
    settings = results.settings
    for row in at(results.readings, fact="size_replica").itertuples():
        if row.value < settings.num_images:
            yield (
                f"scenario {row.scenario}: the highest bins ran dry, the replica has {row.value:,.0f} of "
                f"{settings.num_images:,} images on average; give more candidates with --num-candidates"
            )
