"""Two finished runs: how much closer the inversions of one come to their targets than those of the other."""

from __future__ import annotations

import pandas as pd

from robustray.tasks.errors import InputError
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.kit.words import listed
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import mean_interval
from robustray.tasks.study import Findings, RunTables, Table

CELL = ["what", "start"]
COLUMNS = [*CELL, "seed", "index", "closer_pixels", "closer_judge"]


def compare(a: RunTables, b: RunTables) -> Findings:
    """B minus A over the targets that both inverted, with the same data and from the same kind of start.

    A target's seeds are averaged in each run first: the interval is over targets, and the trainings are those of the
    runs. Raises: InputError for other images, or no target in common.
    """
    data = f"data {a.settings['test_data']}"
    if a.hashes.get(data) is None or a.hashes[data] not in b.hashes.values():
        raise InputError(f"the runs look at other images ({data} in A): targets can only be paired on the same ones")
    first, second = (_by_target(run) for run in (a, b))
    both = first.merge(second, on=[*CELL, "index"], suffixes=("_a", "_b"))
    if both.empty:
        raise InputError("the runs share no target: the same seed draws the same ones")
    rows = []
    for (what, start), these in both.groupby(CELL, sort=False):
        row: dict[str, object] = {"what": what, "start": start}
        for measure in ("pixels", "judge"):
            difference = mean_interval(these[f"closer_{measure}_b"] - these[f"closer_{measure}_a"])
            row |= {
                f"{measure}_A": these[f"closer_{measure}_a"].mean(),
                f"{measure}_B": these[f"closer_{measure}_b"].mean(),
            }
            row |= columns(measure, difference, f"{measure}_lo", f"{measure}_hi")
        rows.append(row | {"n": len(these)})
    frame = pd.DataFrame(rows)
    robust = frame[frame.what == "robust"]
    words = [
        f"from {row.start} {format_estimate(row.pixels, (row.pixels_lo, row.pixels_hi), 'points')}"
        for row in robust.itertuples()
    ]
    notes = []
    if len(first) != len(second):
        notes.append(f"compared over the {both['index'].nunique():,} targets of both runs")
    return compose(
        "The share of the class's other images that look more like a robust inversion than its target does changes "
        f"from A to B by {listed(words)} (n = {both['index'].nunique():,} targets).",
        Table(
            name="differences",
            title="Share of more similar images of the class, B minus A",
            caption="By pixels and by each run's own judge; paired by target after averaging over a run's seeds. 95 % "
            "intervals over targets: nothing is said of other trainings.",
            frame=frame,
            formats={f"{measure}_{side}": "percent" for measure in ("pixels", "judge") for side in "AB"}
            | shown("pixels", "points", "pixels_lo", "pixels_hi")
            | shown("judge", "points", "judge_lo", "judge_hi"),
        ),
        notes,
    )


def _by_target(run: RunTables) -> pd.DataFrame:
    rows = run.read("images", COLUMNS)
    return rows.groupby([*CELL, "index"], sort=False)[["closer_pixels", "closer_judge"]].mean().reset_index()
