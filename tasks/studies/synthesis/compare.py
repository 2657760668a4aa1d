"""Two finished runs: what a judge recognises of the generations of one and of the other, from the same seeds."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from robustray.tasks.errors import InputError
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.kit.words import listed
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import mean_interval
from robustray.tasks.study import Findings, RunTables, Table

ITEM = ["law", "label", "number"]
COLUMNS = [*ITEM, "what", "seed", "standard_judge"]
unpaired = comparison(
    Compared(table="recognised", keys=("what", "law"), value="standard_judge", lo="standard_lo", hi="standard_hi")
)
"""Differences of runs with different seed images, computed as for independent runs."""


def compare(a: RunTables, b: RunTables) -> Findings:
    """B minus A over the seed images that both started from, drawn from the same training images.

    The twins of a run are averaged for each seed image first: the interval is over seed images, and the trainings are
    those of the runs. Runs with other seed images are compared as independent ones.

    Raises: InputError for runs without generations (of one picture, or of edits alone).
    """
    data = f"data {a.settings['train_data']}"
    same_images = a.hashes.get(data) is not None and a.hashes[data] in b.hashes.values()
    if not same_images or any(a.settings[name] != b.settings[name] for name in ("seed", "seed_factor")):
        found = unpaired(a, b)
        return replace(found, warnings=("the runs share no seed image: compared as independent ones", *found.warnings))
    first, second = (_by_item(run) for run in (a, b))
    both = first.merge(second, on=["what", *ITEM], suffixes=("_a", "_b"))
    if both.empty:
        raise InputError("the runs share no seed image: neither law nor network of one is in the other")
    rows = []
    for (what, law), these in both.groupby(["what", "law"], sort=False):
        in_a, in_b = these.standard_judge_a, these.standard_judge_b
        row: dict[str, object] = {"what": what, "law": law, "recognised_A": in_a.mean(), "recognised_B": in_b.mean()}
        rows.append(row | columns("difference", mean_interval(in_b - in_a)) | {"n": len(these)})
    frame = pd.DataFrame(rows)
    words = [
        f"from {row.law} seeds {format_estimate(row.difference, (row.lo, row.hi), 'points')}"
        for row in frame[frame.what == "robust"].itertuples()
    ]
    return compose(
        f"The share of robust networks' generations that each run's judge recognises changes from A to B by "
        f"{listed(words)} (n = {int(frame.n.max()):,} seed images).",
        Table(
            name="differences",
            title="Share recognised by each run's standard judge, B minus A",
            caption="Paired by seed image after averaging over a run's twins. 95 % intervals over seed images: nothing "
            "is said of other trainings.",
            frame=frame,
            formats=dict.fromkeys(("recognised_A", "recognised_B"), "percent") | shown("difference", "points"),
        ),
    )


def _by_item(run: RunTables) -> pd.DataFrame:
    rows = run.read("generations", COLUMNS)
    return rows.groupby(["what", *ITEM], sort=False).standard_judge.mean().reset_index()
