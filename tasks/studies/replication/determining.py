"""What published predictions and labels say of the rival explanation, and what they do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from robustray.tasks.crowds.replicas.labelled import KNOWN, known_parts, labelled
from robustray.tasks.crowds.sets import AcceptedLabels
from robustray.tasks.crowds.tables import CrowdTable
from robustray.tasks.kit.frames import at, columns, shown
from robustray.tasks.kit.words import listed
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.seeds import integer
from robustray.tasks.report.numbers import format_interval, format_value
from robustray.tasks.statistics import Estimate, by_unit, resample
from robustray.tasks.study import Table

if TYPE_CHECKING:
    from robustray.tasks.studies.replication.ranking import RankedProtocol, Results

NO, YES = "no", "yes"


@block_function(version=1, columns={"top": pa.int64(), "known": Tensor("float64")})
def labelled_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Top-1 and top-5, by item. References: those of `ranking.ranked_block`, and "accepted". context.settings: a
    `ranking.RankedProtocol`.

    known: (replicas, quantities, 3) value and 95 % interval over images, in the order of `labelled.KNOWN`.
    """
    from robustray.tasks.studies.replication.ranking import joined

    protocol = cast("RankedProtocol", context.settings)
    of = joined(context, protocol)
    kinds = labelled(of, AcceptedLabels.of(cast(CrowdTable, context.load("accepted"))))
    num, strata = len(of.original), of.strata()
    found = []
    for top in items:

        def statistic(weights: np.ndarray, top: int = top) -> np.ndarray:
            return known_parts(of, kinds, top, weights[:, :num], weights[:, num:]).reshape(len(weights), -1)

        drawn = resample(
            statistic,
            by_unit(len(strata), strata=strata),
            num_resamples=protocol.num_resamples,
            seed=integer(context.seed, "ranked"),
        )
        ends = np.array([(each.value, each.lo, each.hi) for each in drawn.estimates("basic")])
        found.append(ends.reshape(len(of.replicas), len(KNOWN), 3))
    return {"top": np.asarray(items), "known": np.stack(found)}


def known_frame(results: Results) -> pd.DataFrame:
    """One row per top and replica, columns as `KNOWN`."""
    assert results.known is not None
    found = []
    for row in results.known.itertuples():
        for place, name in enumerate(results.of.replicas):
            parts: dict[str, Any] = {"top": row.top, "set": name}
            for what, (value, lo, hi) in zip(KNOWN, row.known[place], strict=True):
                if np.isfinite(value) or what not in ("share_replica", "explained", "rest"):
                    parts |= columns(what, Estimate(value=value, lo=lo, hi=hi, n=0), f"{what}_lo", f"{what}_hi")
            found.append(parts | {"n": results.num_images})
    return pd.DataFrame(found)


def determined_parts(results: Results) -> Iterator[Table | str]:
    """Parts of the report about the rival explanation; none without labels."""
    if results.known is None:
        return
    frame = known_frame(results)
    explained = frame["explained"].notna() if "explained" in frame else pd.Series(False, index=frame.index)
    determined = listed(at(frame[explained], top=1)["set"])
    told = NO if not explained.any() else YES if explained.all() else f"of {determined} only"
    formats: dict[str, str] = {}
    for name in KNOWN:
        if name in frame:
            share = name in ("share", "needed", "share_replica", "one", "several")
            formats |= shown(name, "percent" if share else "points", f"{name}_lo", f"{name}_hi")
    own = (
        " With the replica's own labels: share_replica of such images, the part of the drop explained by it (after "
        "Kitagawa), and the rest, selection and residual together."
        if explained.any()
        else ""
    )
    yield Table(
        name="several-labels",
        title="What images that several labels fit would explain",
        caption="share: of the original's images with a label that fits, those that several fit; one, several: "
        "accuracy on either kind, mean over models. If models did as well on the replica's images of each kind: "
        "needed, the share that it would have to have to lose all of the drop (above 100 %: not even that is enough); "
        f"least, most: the drop if it had no such image, or no other.{own} 95 % basic bootstrap intervals over images "
        f"within classes, {results.settings.num_resamples:,} resamples.",
        frame=frame,
        formats=formats,
    )
    yield Table(
        name="determined",
        title="What these tables determine of the gap",
        caption="The gap is the sum of the parts below it. A part that is not determined can be anything: only the sum "
        "of those parts is known.",
        frame=pd.DataFrame(
            [
                ("raw gap", "predictions on both sets", YES),
                ("several objects", "labels of both sets", told),
                ("selection", "answers of workers given after the choice, on both sets", NO),
                ("residual", "all of these", NO),
            ],
            columns=["part", "takes", "determined"],
        ),
    )
    yield from _not_identifiable(frame[~explained])


def _not_identifiable(frame: pd.DataFrame) -> Iterator[str]:
    """frame: rows of replicas whose labels do not say what several labels explain."""
    for row in at(frame, top=1).itertuples():
        needed, lo, hi = (100 * each for each in (row.needed, row.needed_lo, row.needed_hi))
        known = np.isfinite(getattr(row, "share_replica", np.nan))
        why = "its labelled images are all of one kind" if known else "it has no labels"
        start = f"{row.set}: not identifiable how much of the drop images with several labels explain ({why})"
        if 0 <= row.needed <= 1:
            yield (
                f"{start}; they would explain all of it if several labels fitted {format_value(needed, '.1f')} % "
                f"{format_interval(lo, hi, '.1f')} of its images; of the original's it is "
                f"{format_value(100 * row.share, '.1f')} %"
            )
        else:
            yield f"{start}; no share of such images would explain all of it"
