"""What the report says of landing pads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from robustray.tasks import figures
from robustray.tasks.figures.pictures import GROUND
from robustray.tasks.kit.claims import claim
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import shown
from robustray.tasks.kit.rules import above, amount, below
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate, proportion
from robustray.tasks.studies.unadversarial import landing_results
from robustray.tasks.studies.unadversarial.landing_results import IDLE_LANDS, KINDS, PLAIN_LANDS, Kind, LandingResults
from robustray.tasks.studies.unadversarial.textures import CLEAR
from robustray.tasks.study import Claim, Figure, Findings, Picture, Table

LEAST_PADS = 2
WORDS = {"plain": "the plain pad", "random": "pads of random texture"}


def found(results: LandingResults) -> Findings:
    """Everything that the report shows."""
    return compose(
        answer(results), claims(results), drawings(results), tables(results), pictures(results), warnings(results)
    )


def answer(results: LandingResults) -> str:
    """Designed against plain and random, in weather."""
    weather = {kind: _words(results.success(kind, results.weathers)) for kind in KINDS}
    clear = {kind: _words(results.success(kind, (CLEAR,))) for kind in KINDS}
    return (
        f"In weather, {weather['designed']} of flights land on a designed pad, {weather['plain']} on the plain one and "
        f"{weather['random']} on pads of random texture; in clear air {clear['designed']}, {clear['plain']} and "
        f"{clear['random']} (n = {results.settings.num_episodes:,} episodes, {results.settings.num_pads} designed "
        f"pads, five weathers of severity {results.settings.landing_severity})."
    )


def _words(estimate: Estimate) -> str:
    return format_estimate(estimate.value, estimate.interval, "percent")


def claims(results: LandingResults) -> Iterator[Claim]:
    """Against both others, in weather and in clear air; and what must hold of the flights themselves."""
    others: tuple[Kind, ...] = ("plain", "random")
    for where, words in ((results.weathers, "in weather"), ((CLEAR,), "in clear air")):
        for other in others:
            yield claim(
                f"More flights land on a designed pad than on {WORDS[other]}, {words}.",
                results.gain(other, where),
                replace(above(0).given(LEAST_PADS, "designed pads"), note="and where the pilot's regime fails"),
                measured="difference of the shares of flights that land"
                + (", mean over weathers" if len(where) > 1 else "")
                + (", paired by episode" if other == "plain" else ""),
                over="pads and episodes",
                unit="points",
                count=results.settings.num_pads if results.pilot.holds else 0,
            )
    for policy, words, rule in (
        ("nothing", "Who does nothing lands hardly ever: starts are far enough off.", below(0.1)),
        ("truth", "Who knows where the pad is lands: the flight itself can be flown.", above(0.9)),
    ):
        yield claim(
            words,
            proportion(results.anchors[policy].success.to_numpy(dtype=bool)),  # type: ignore[index]
            rule,
            measured="share of flights that land, in clear air",
            over="episodes",
            kind="check",
        )


def warnings(results: LandingResults) -> Iterator[str]:
    if not results.pilot.holds:
        idle, plain = results.pilot.idle_lands, results.pilot.plain_lands
        yield (
            f"the pilot's regime fails: {_words(idle)} of flights land when nobody steers, {_words(plain)} on the "
            f"plain pad in weather, where {amount(IDLE_LANDS.high, 'percent')} at most and "
            f"{amount(PLAIN_LANDS.low, 'percent')} to {amount(PLAIN_LANDS.high, 'percent')} are asked for. Pads can "
            "hardly be told apart, and no claim is decided: train the network longer (--regressor-steps), or take "
            "another --landing-severity"
        )
    if results.settings.num_pads < LEAST_PADS:
        yield "one designed pad: nothing is known of other designs, and the claims stay undecided"


# --- Tables -----------------------------------------------------------------------------------------------------------


def tables(results: LandingResults) -> Iterator[Table]:
    flight = results.flight
    yield Table(
        name="landing",
        title="Landed, by weather and pad",
        caption=f"All pads fly the same {results.settings.num_episodes:,} episodes of {flight.num_steps} steps; "
        f"landed: nearer than {flight.landed:g} m to the middle of the {flight.pad:g} m pad at the end. first_error: "
        "by how much the network misreads the first picture, in shares of the height (mean), error_95: its 95th "
        "percentile. 95 % intervals are over pads (Student's t) and episodes together; of the plain pad, over episodes "
        "only.",
        frame=landing_results.landing_table(results),
        formats=shown("landed", "percent")
        | shown("first_error", "percent", "error_lo", "error_hi")
        | {"error_95": "percent"},
    )
    yield Table(
        name="pilot",
        title="The pilot: are these flights hard enough, and not too hard?",
        caption="On other episodes than everything else, with the plain pad only. Outside of what is asked for, pads "
        "could hardly be told apart, and no claim is decided. mean: over the five weathers. 95 % intervals are over "
        "episodes.",
        frame=landing_results.pilot_table(results.pilot),
        formats=shown("landed", "percent"),
    )
    yield Table(
        name="flights",
        title="All flights",
        caption="One row each; offsets in metres.",
        frame=landing_results.flight_table(results),
        on_page=False,
    )
    yield Table(
        name="pad_design",
        title="Designs, step by step",
        caption="Mean squared error of the batch before each step, in shares of the height.",
        frame=landing_results.curve_table(results),
        on_page=False,
    )


# --- Drawings ---------------------------------------------------------------------------------------------------------


def drawings(results: LandingResults) -> Iterator[Figure]:
    yield figures.bars(
        name="landing",
        title="Flights that land, by weather",
        caption="The same episodes for all pads; 95 % intervals over pads and episodes, dots: pads.",
        bars=[
            figures.Bar(
                group=condition.weather,
                label=kind,
                value=(estimate := results.success(kind, (condition,))).value,
                lo=estimate.lo,
                hi=estimate.hi,
                runs=[float(results.landed(pad, (condition,)).mean()) for pad in results.numbered(kind)],
            )
            for condition in results.conditions
            for kind in KINDS
        ],
        y_label="flights that land",
        percent=True,
    )
    smooth = results.training.loss.rolling(max(1, len(results.training) // 50), min_periods=1).mean()
    yield figures.curve(
        name="regressor",
        title="The network's training",
        caption="Squared error of each step's batch, in shares of the height: half plain pads, half random ones; a "
        "running mean over a fiftieth of the training.",
        series=[figures.Series(label="training", x=results.training.step.tolist(), y=smooth.tolist())],
        x_label="step",
        y_label="squared error",
    )
    curves = landing_results.curve_table(results)
    yield figures.curve(
        name="pad_design",
        title="The designs of pads",
        caption="Squared error of each step's batch before the step, one line for each pad.",
        series=[
            figures.Series(label=f"pad {number}", x=rows.step.tolist(), y=rows.loss.tolist())
            for number, rows in curves.groupby("pad")
        ],
        x_label="step",
        y_label="squared error",
    )


def pictures(results: LandingResults) -> Iterator[Picture]:
    yield figures.image_rows(
        name="flight",
        title="One flight",
        caption="What the camera sees on the way down in fog, with one pad of each kind: the same start and ground.",
        rows={str(kind): frames for kind, frames in results.strips.items()},
        columns=[f"step {step}" for step in results.steps],
    )
    most = max(len(results.numbered(kind)) for kind in KINDS)
    nothing = np.empty_like(next(iter(results.pads.values())))
    nothing[:] = np.array(GROUND, dtype=np.float32)[:, None, None] / 255  # as the sheet behind it
    sheet = [[results.pads[pad] for pad in results.numbered(kind)] for kind in KINDS]
    yield figures.image_grid(
        name="pads",
        title="The pads",
        caption="All that fly.",
        images=np.stack([pad for row in sheet for pad in [*row, *[nothing] * (most - len(row))]]),
        rows=list(KINDS),
        columns=[""] * most,
        scale=3,
    )
