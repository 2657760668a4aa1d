"""Two finished runs: how much closer the inversions of one come to their targets than those of the other."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.kit.words import listed
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import mean_interval
from robustray.tasks.study import Findings, RunTables, Table
from robustray.tasks.training.twins import KINDS

CELL = ["what", "start"]
COLUMNS = [*CELL, "seed", "index", "closer_pixels", "closer_judge"]
unpaired = comparison(Compared(table="ranks", keys=("what", "start"), value="pixels", lo="pixels_lo", hi="pixels_hi"))
"""Differences of runs with different targets, computed as for independent runs."""


def compare(a: RunTables, b: RunTables) -> Findings:
    """B minus A over the targets that both inverted, from the same kind of start.

    A target's seeds are averaged in each run first: the interval is over targets, and the trainings are those of the
    runs. Runs that share no target (other images, another seed) are compared as independent ones.
    """
    data = f"data {a.settings['test_data']}"
    same_images = a.hashes.get(data) is not None and a.hashes[data] in b.hashes.values()
    first, second = (_by_target(run) for run in (a, b))
    both = first.merge(second, on=[*CELL, "index"], suffixes=("_a", "_b"))
    if not same_images or not len(both[both.what.isin(KINDS)]):
        why = "no target" if same_images else "no test images"
        found = unpaired(a, b)
        return replace(found, warnings=(f"the runs share {why}: compared as independent ones", *found.warnings))
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
    targets = [set(each["index"]) for each in (first, second)]
    notes = []
    if targets[0] != targets[1]:
        notes.append(f"compared over the {len(targets[0] & targets[1]):,} targets of both runs")
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
