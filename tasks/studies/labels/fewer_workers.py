"""What fewer workers would have said about the user's own images: a table, and the headlines against the number of
workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.crowds.classify import Votes
from robustray.tasks.crowds.fewer import HEADLINES, affordable, most_frequent, thin
from robustray.tasks.kit.frames import at, columns, shown
from robustray.tasks.study import Figure, Table

EXTRAPOLATED = "extrapolated"
HELD = (
    " (with nine workers and 10,000 images such an interval held the truth in 14 of 16 studies for the share with "
    "several objects, where a second object that most workers overlook stays overlooked, in 46 of 48 for the others)"
)
"""What is known of the extrapolation (docs/studies/labels.md), from studies such as its laws were chosen by."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fewer:
    """The headlines of images that all have the same number of answers."""

    frame: pd.DataFrame
    """One row per number of workers and headline: value, and change from all answers, with their intervals."""
    sizes: tuple[int, ...]
    num_images: int
    num_left_out: int
    """Images with another number of answers."""
    skipped: tuple[int, ...]
    """Numbers of workers with too many subsets."""

    @staticmethod
    def of(votes: Votes, *, num_resamples: int) -> Fewer | None:
        """None where most images have a single answer."""
        all_answers = most_frequent(votes)
        if all_answers == 1:
            return None
        left_out = int((votes.num_workers != all_answers).sum())
        sizes = affordable(len(votes.num_workers) - left_out, all_answers)
        found = thin(votes, sizes)
        values, changes = found.changes(num_resamples=num_resamples)
        places = [(size, name) for size in found.sizes for name in HEADLINES]
        rows: list[dict[str, object]] = [
            {
                "workers": str(size),
                "share": name,
                **columns("value", value),
                **columns("change", change, "change_lo", "change_hi"),
            }
            for (size, name), value, change in zip(places, values, changes, strict=True)
        ]
        if len(found.sizes) > 1:
            estimates = zip(HEADLINES, found.extrapolated(num_resamples=num_resamples), strict=True)
            rows += [{"workers": EXTRAPOLATED, "share": name, **columns("value", each)} for name, each in estimates]
        return Fewer(
            frame=pd.DataFrame(rows),
            sizes=found.sizes,
            num_images=len(found.n),
            num_left_out=left_out,
            skipped=tuple(sorted({*range(1, all_answers, 2)} - {*sizes})),
        )


def table(fewer: Fewer) -> Table:
    too_many = (
        f" Too many subsets for {', '.join(map(str, fewer.skipped))} workers: not shown." if fewer.skipped else ""
    )
    return Table(
        name="annotators",
        title="What fewer workers would have said",
        caption=f"The {fewer.num_images:,} images with {fewer.sizes[-1]} answers ({fewer.num_left_out:,} with other "
        "numbers are left out): the mean over all subsets of an image's answers, none drawn at random. Change: from "
        "all answers, paired by image. Extrapolated: to ever more workers, as if the share with several objects were "
        f"a + b / workers and the others a + b / workers², roughly as in simulated crowds{HELD}. 95 % bootstrap "
        f"intervals (basic) over images.{too_many}",
        frame=fewer.frame,
        formats=shown("value", "percent") | shown("change", "points", "change_lo", "change_hi"),
    )


def drawing(fewer: Fewer) -> Figure | None:
    """The headlines against the number of workers; None with a single number, or where none is known."""
    series = []
    for headline in HEADLINES:
        rows = at(fewer.frame[fewer.frame.workers != EXTRAPOLATED], share=headline)
        rows = rows[np.isfinite(rows.value)]
        if len(rows) > 1:
            series.append(
                figures.Series(
                    label=headline,
                    x=rows.workers.astype(int).tolist(),
                    y=rows.value.tolist(),
                    lo=rows.lo.tolist(),
                    hi=rows.hi.tolist(),
                    color_by=headline,
                )
            )
    if not series:
        return None
    return figures.curve(
        name="headlines-by-workers",
        title="The headlines, had fewer workers answered",
        caption=f"What the same {fewer.num_images:,} images would have shown with fewer answers: the mean over all "
        "subsets of each image's answers; bands are 95 % bootstrap intervals (basic) over images.",
        alt="; ".join(f"{line.label}: {line.y[0]:.0%} to {line.y[-1]:.0%}" for line in series),
        series=series,
        x_label="workers per image",
        y_label="share of images",
        percent=True,
    )
