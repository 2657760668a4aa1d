"""What simulated studies say about workers who differ from what estimators assume: how large the errors are, how often
intervals cover the truth, and what helps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.crowds.replicas.departures import BY_HIT, DEPARTURES, DESIGNS, ESTIMATORS
from robustray.tasks.crowds.replicas.estimators import MOMENTS
from robustray.tasks.crowds.replicas.exact import Expectations
from robustray.tasks.crowds.replicas.scenarios import SCENARIOS
from robustray.tasks.kit.frames import at, columns, estimate_of, one, shown
from robustray.tasks.kit.rules import above, equivalent
from robustray.tasks.statistics import median_interval, proportion
from robustray.tasks.studies.replication.repeats import mean_of_known, not_estimated, simulated
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.study import Claim, Figure, Table

LENIENCIES = (0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True, kw_only=True)
class Departed:
    settings: Settings
    rows: pd.DataFrame
    """Rows of `departure_block`."""

    @property
    def scenario(self) -> str:
        return self.settings.scenarios[0]

    def frame(self) -> pd.DataFrame:
        """One row per departure, estimator and design: mean error, its spread, coverage and width of its intervals."""
        truth = SCENARIOS[self.scenario].true_gap()
        gaps = np.stack(list(self.rows.gaps))
        found = []
        for i, name in enumerate(DEPARTURES):
            for j, estimator in enumerate(ESTIMATORS):
                for k, design in enumerate(DESIGNS):
                    value, lo, hi = gaps[:, i, j, k].T
                    where = {"departure": name, "estimator": estimator, "resampled": design}
                    row = columns("bias", mean_of_known(value - truth), "bias_lo", "bias_hi")
                    known = value[np.isfinite(value)]
                    row |= {"sd": float(known.std(ddof=1)) if len(known) > 1 else float("nan")}
                    row |= columns("coverage", proportion((lo <= truth) & (truth <= hi)), "coverage_lo", "coverage_hi")
                    row |= columns("width", median_interval(hi - lo), "width_lo", "width_hi")
                    found.append(where | row | {"n": len(value)})
        return pd.DataFrame(found)


def departed_parts(departed: Departed) -> Iterator[Claim | Table | Figure | str]:
    frame = departed.frame()
    yield from _claims(departed, frame)
    yield _table(departed, frame)
    yield _drawing(departed, frame)
    gaps = np.stack(list(departed.rows.gaps))
    for i, name in enumerate(DEPARTURES):
        for j, estimator in enumerate(ESTIMATORS):
            yield from not_estimated(f"workers {name}, {estimator}", gaps[:, i, j, 0, 0])


def _claims(departed: Departed, frame: pd.DataFrame) -> Iterator[Claim]:
    studies = simulated(departed.settings.num_departed)
    for words, departure, rule in (
        ("Leniency that both measurements share does no harm.", "common", equivalent(0.01)),
        ("Leniency that differs between the two sets makes a gap that no estimator sees.", "different", above(0)),
        ("Tasks that show images of both sets remove it.", "different, mixed tasks", equivalent(0.01)),
        ("Second answers of a worker make a gap.", "twice", above(0)),
        ("Dropping them removes it.", "twice, dropped", equivalent(0.01)),
    ):
        row = one(frame, departure=departure, estimator=MOMENTS, resampled=BY_HIT)
        yield studies.claim(
            words,
            estimate_of(row, "bias", "bias_lo", "bias_hi"),
            rule,
            measured=f"gap corrected by factorial moments minus true gap; {DEPARTURES[departure].words} (scenario "
            f"{departed.scenario}, {departed.settings.claimed_answers} new answers per image)",
        )


def _table(departed: Departed, frame: pd.DataFrame) -> Table:
    settings = departed.settings
    words = "; ".join(f"{name}: {departure.words}" for name, departure in DEPARTURES.items())
    return Table(
        name="departures",
        title="Workers other than estimators assume",
        caption=f"{words[0].upper()}{words[1:]}. Bias: mean of {settings.num_departed:,} simulated studies (scenario "
        f"{departed.scenario}, {settings.claimed_answers} new answers per image) minus the true gap, Student's t; sd "
        "of a single study; coverage of its 95 % interval (basic bootstrap over images or over tasks) with Wilson's "
        "interval; width: their median. The same images in all rows.",
        frame=frame,
        formats=shown("bias", "points", "bias_lo", "bias_hi")
        | shown("coverage", "percent", "coverage_lo", "coverage_hi")
        | shown("width", ".4f", "width_lo", "width_hi")
        | {"sd": ".4f"},
    )


def _drawing(departed: Departed, frame: pd.DataFrame) -> Figure:
    rows = at(frame, estimator=MOMENTS, resampled=BY_HIT)
    drawn = [
        figures.Row(label=row.departure, value=row.bias, lo=row.bias_lo, hi=row.bias_hi) for row in rows.itertuples()
    ]
    return figures.dot_rows(
        name="departures",
        title="What workers other than assumed do to factorial moments",
        caption=f"Mean error over {departed.settings.num_departed:,} simulated studies with 95 % intervals; the table "
        "says what each row means.",
        rows=drawn,
        x_label="corrected minus true gap",
        points=True,
        levels=[figures.Level(value=0, words="no error")],
    )


def tipping_table(settings: Settings, performance: pd.DataFrame) -> Table:
    """How much leniency of one measurement would explain the whole corrected gap, in every scenario."""
    found = []
    for scenario in settings.scenarios:
        exact = Expectations(scenario=SCENARIOS[scenario], num_matching=settings.num_matching)
        row = one(performance, scenario=scenario, estimator=MOMENTS, n_answers=settings.claimed_answers)
        gap = estimate_of(row, "gap", "gap_lo", "gap_hi")
        logits = {name: exact.tipping_point(end) for name, end in zip(TIPPING, (gap.value, *gap.interval), strict=True)}
        false = {f"false_gap_{b:g}": exact.false_gap(b) for b in LENIENCIES}
        found.append({"scenario": scenario, **columns("gap", gap, "gap_lo", "gap_hi"), **logits, **false, "n": row.n})
    return Table(
        name="tipping-points",
        title="What would explain the rest",
        caption="No estimator sees workers who were more lenient with one set. Tipping point: if the replica had been "
        "read this many logits more leniently than the original, its whole gap corrected by factorial moments "
        f"({settings.claimed_answers} new answers per image, mean over n simulated studies) would be explained; below "
        "0: more strictly. false_gap_b: the gap that b logits make where there is none. By integration.",
        frame=pd.DataFrame(found),
        formats=shown("gap", "points", "gap_lo", "gap_hi")
        | shown("logits", ".2f", "logits_lo", "logits_hi")
        | {f"false_gap_{b:g}": "points" for b in LENIENCIES},
    )


TIPPING = ("logits", "logits_lo", "logits_hi")
