"""What the report says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import at, one
from robustray.tasks.kit.words import plural
from robustray.tasks.report.numbers import format_estimate, format_value
from robustray.tasks.studies.features import drawings, reduce, tables
from robustray.tasks.studies.features.claims import claims, repeats_of
from robustray.tasks.studies.features.results import FEWEST_ERRORS, WORDS, Results
from robustray.tasks.study import Findings

LONGEST_GAP = 0.3
"""Relative distance of latents above which a matched set has lost too much of what it should preserve."""
COMPARE = comparison(Compared(table="accuracy", keys=("set", "labels", "attack", "eps"), value="accuracy"))


def built(results: Results, folder: Path) -> Findings:
    """After `--build`: how the sets came out, and where they are."""
    table = reduce.making_table(results)
    det = one(table, chain=0, set="D_det", used=True)
    answer = (
        f"Written to {folder}: D_R, D_NR, D_rand and D_det of {det.n:,} images (`--data {folder / 'D_det'}` is one), "
        f"and a record of each image. The source sees "
        f"{format_estimate(det.seen_as_label, (det.lo, det.hi), 'percent')} of D_det as their new label, at "
        f"ℓ2 {results.eps:g}. Each set is under the licence of the data that it was made from."
    )
    return compose(answer, tables.making_of(results, table), drawings.pictures(results), _of_sets(results, table))


def found(results: Results, units: pd.DataFrame, transfers: pd.DataFrame) -> Findings:
    """Everything that the report shows."""
    making, accuracy = reduce.making_table(results), reduce.accuracy_table(results)
    return compose(
        answer(results, accuracy),
        claims(results, units, transfers),
        drawings.students(results, accuracy),
        drawings.robust(results, accuracy),
        drawings.useful(results, units),
        drawings.transferred(results, transfers),
        tables.tables(results, making, accuracy, units, transfers),
        drawings.pictures(results),
        results.against,
        repeats_of(results).warnings("chain"),
        _of_sets(results, making),
        _of_controls(results),
    )


def answer(results: Results, accuracy: pd.DataFrame) -> str:
    """What D_det teaches beside the better control of each chain, and what D_R and D_NR keep."""
    eps = results.settings.eps_reference

    def words(name: str, size: float = 0.0) -> str:
        row = one(accuracy, set=name, labels="y", attack="pgd" if size else "none", eps=size)
        return format_estimate(row.accuracy, (row.lo, row.hi), "percent")

    better = results.control_accuracy()
    control = format_estimate(better.value, better.interval, "percent")
    n = one(accuracy, set="D", labels="y", attack="none").n
    if results.not_non_robust("D_det"):
        teaches = "which shows no non-robust features here: a robust network sees the new labels, too"
    else:
        teaches = "whose labels are wrong to a human eye"
    return (
        f"Students of D_det, {teaches}, classify {words('D_det')} of the original test "
        f"images correctly (control: {control}); under PGD at ℓ2 {eps:g} students of D_R are right on "
        f"{words('D_R', eps)}, those of D_NR on {words('D_NR', eps)} (n = {n:,} images of "
        f"{results.settings.test_data}, {plural(len(results.chains), 'chain')})."
    )


# --- Warnings ---------------------------------------------------------------------------------------------------------


def _of_sets(results: Results, making: pd.DataFrame) -> Iterator[str]:
    settings = results.settings
    weak = at(making, used=True)
    weak = weak[weak.set.isin(["D_rand", "D_det"])]
    if (weak.seen_as_label < settings.least_success).any():
        yield (
            f"at ℓ2 {results.eps:g}, the largest size tried, the source sees only "
            f"{format_value(weak.seen_as_label.min(), 'percent')} of a set as their new label, below "
            f"{settings.least_success:.0%}: D_rand and D_det are weaker than they should be; add a larger "
            "--eps-construct"
        )
    far = at(making, used=True).query("last_gap > @LONGEST_GAP")
    for row in far.itertuples():
        yield (
            f"{row.set} of chain {row.chain}: latents end {row.last_gap:.2f} of a target's length from it, above "
            f"{LONGEST_GAP:g}: take more --match-steps, or a source with better latents"
        )
    for row in reduce.outside(results, making).itertuples():
        yield (
            f"{row.set} of chain {row.chain} leaves its ball: {row.farthest_stored:.4f} from an image at ℓ2 {row.eps:g}"
        )


def _of_controls(results: Results) -> Iterator[str]:
    for name in ("D_rand", "D_det"):
        if results.not_non_robust(name):
            more = results.seen_more(name)
            yield (
                f"{name} is marked 'not non-robust' and makes no claim: a robust network of another seed answers its "
                f"new labels more often than on the images as they were, by "
                f"{format_estimate(more.value, more.interval, 'points')}"
            )
    if "mislabelled" not in results.names:
        fewest = min(results.num_mislabelled.values())
        if fewest < FEWEST_ERRORS:
            why = f"its early network is wrong on {plural(fewest, 'image')} only; take fewer --early-epochs"
        else:
            why = "in some chain its early network gives all that it is wrong on one label; take more --early-epochs"
        yield f"{WORDS['mislabelled']} is left out: {why}"
    for name in ("D_rand", "D_det"):
        if (0, name) not in results.leaks:
            yield f"{name} has a single image of some class: no linear probe was fitted on it"
