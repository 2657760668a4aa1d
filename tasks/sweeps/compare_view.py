"""What the comparison of two runs that attacked images says and shows: answer, tables, figures."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit import compose as kit
from robustray.tasks.kit.sizes import reference_size
from robustray.tasks.kit.words import slug
from robustray.tasks.report.numbers import NORM_WORDS, format_estimate, format_value, size_words
from robustray.tasks.statistics import wilson
from robustray.tasks.study import Figure, Findings, Table
from robustray.tasks.sweeps.records import WORST

CLEAN = "none"
"""Value of the `attack` column for accuracy on the images as they are, at size 0 and of no norm."""


def compose(cells: pd.DataFrame, outcomes: pd.DataFrame, attacks: Mapping[str, str], notes: Sequence[str]) -> Findings:
    """Everything the page shows.

    cells: one row per comparison. outcomes: one per comparison and image. attacks: names of A's and of B's, in words.
    """
    whole = cells[cells.attack.isin([CLEAN, WORST])]
    shown = _tables(cells, whole, outcomes, attacks), _figures(whole, cells, attacks)
    return kit.compose(_answer(whole, len(cells)), *shown, notes)


def _reference(cells: pd.DataFrame) -> dict[str, float]:
    """Norm -> the size at which the answer is given: where the field reports, else the middle one."""
    rows = cells[cells.attack == WORST]
    return {norm: reference_size(norm, sorted(rows.eps[rows.norm == norm].unique())) for norm in rows.norm.unique()}


def _answer(whole: pd.DataFrame, num_cells: int) -> str:
    norm, eps = next(iter(_reference(whole).items()))
    rows = whole[(whole.attack == WORST) & (whole.norm == norm) & (whole.eps == eps)]
    rows = rows[rows.data == rows.data.iloc[0]]
    parts = [
        f"{row.model} {format_value(row.accuracy_A, 'percent')} in A and {format_value(row.accuracy_B, 'percent')} "
        f"in B: {format_estimate(row.difference, (row.lo, row.hi), 'points')}, p = {format_value(row.p_holm, '.2g')}"
        for row in rows.itertuples()
    ]
    return (
        f"Worst case over attacks at {size_words(norm, eps)}: {'; '.join(parts)} "
        f"(n = {int(rows.n.max()):,} paired images; p-values adjusted for {num_cells} comparisons)."
    )


def _tables(
    cells: pd.DataFrame, whole: pd.DataFrame, outcomes: pd.DataFrame, attacks: Mapping[str, str]
) -> Iterable[Table]:
    formats = {
        **dict.fromkeys(("accuracy_A", "accuracy_B"), "percent"),
        **{"eps": "eps", "difference": "points", "interval:difference": "lo,hi", "p": ".2g", "p_holm": ".2g"},
    }
    caption = (
        "Difference = B minus A, with its 95 % interval for paired shares (Tango) for each row alone; only A, only B = "
        "images that stand in one of the runs only. p is McNemar's exact test of no difference; p holm is adjusted "
        f"for all {len(cells)} comparisons of this page (Holm), and is the one to go by. With few images "
        "that differ the test is stricter than the interval."
    )
    hidden = ["attack"] + (["data"] if cells.data.nunique() == 1 else [])
    yield Table(
        name="differences",
        title="Paired differences, worst case over attacks",
        caption=f"Each run's own worst case: A over {attacks['A']}, B over {attacks['B']}. Size 0 is accuracy on clean "
        f"images. {caption}",
        frame=whole.drop(columns=hidden).reset_index(drop=True),
        formats=formats,
    )
    alone = cells[~cells.attack.isin([CLEAN, WORST])]
    if len(alone):
        yield Table(
            name="differences-by-attack",
            title="Paired differences by attack",
            caption=f"Each attack alone, as it was set in its run; it has broken an image if it did with any seed, at "
            f"this size or a smaller one. {caption}",
            frame=alone.drop(columns=hidden[1:]).reset_index(drop=True),
            formats=formats,
        )
    differ = outcomes[outcomes.stands_a != outcomes.stands_b]
    yield Table(
        name="images-that-differ",
        title="Images that stand in one run only",
        caption="One row per cell and image.",
        frame=differ.reset_index(drop=True),
        on_page=False,
    )


def _figures(whole: pd.DataFrame, cells: pd.DataFrame, attacks: Mapping[str, str]) -> Iterable[Figure]:
    reference = _reference(cells)
    for data, norm in itertools.product(whole.data.unique(), reference):
        rows = whole[(whole.data == data) & whole.norm.isin(["", norm])]
        if (rows.norm == norm).any():
            yield _curves(rows, data, norm, attacks)
    for data, norm in itertools.product(whole.data.unique(), reference):
        rows = cells[(cells.data == data) & (cells.norm == norm) & (cells.eps == reference[norm])]
        if len(rows):
            yield _difference_rows(rows, data, norm, reference[norm])


def _curves(rows: pd.DataFrame, data: str, norm: str, attacks: Mapping[str, str]) -> Figure:
    models = list(rows.model.unique())
    series = []
    for model, label in itertools.product(models, ("A", "B")):
        line = rows[rows.model == model].sort_values("eps")
        accuracy, n = line[f"accuracy_{label}"].to_numpy(), line.n.to_numpy()
        lo, hi = wilson(np.rint(accuracy * n), n)
        series.append(
            figures.Series(
                label=label if len(models) == 1 else f"{model} · {label}",
                x=line.eps.tolist(),
                y=accuracy.tolist(),
                lo=lo.tolist(),
                hi=hi.tolist(),
                color_by=label if len(models) == 1 else model,
                dash_by=label,
            )
        )
    return figures.curve(
        name=f"accuracy-{norm}-{slug(data)}",
        title=f"Accuracy of A and B against the size of the perturbation ({NORM_WORDS[norm]}, {data})",
        caption=f"Where the lines of one model part, the runs disagree. Worst case over {attacks['A']} (A) and "
        f"{attacks['B']} (B), n = {int(rows.n.max()):,} images of both; bands are 95 % Wilson intervals of each run "
        "alone: overlapping bands do not say that there is no paired difference.",
        series=series,
        x_label=f"{NORM_WORDS[norm]} ε (pixels in [0, 1])",
        y_label="accuracy",
        percent=True,
        x_ticks=figures.eps_ticks(rows.eps),
        x_log=True,
    )


def _difference_rows(rows: pd.DataFrame, data: str, norm: str, eps: float) -> Figure:
    several = rows.model.nunique() > 1
    drawn = [
        figures.Row(
            label=f"{row.model} · {row.attack}" if several else row.attack,
            value=row.difference,
            lo=row.lo,
            hi=row.hi,
            color_by=row.model,
        )
        for row in rows.itertuples()
    ]
    size = f"{size_words(norm, eps)}"
    return figures.dot_rows(
        name=f"differences-{norm}-{slug(data)}",
        title=f"What B adds to A at {size} ({data})",
        caption="Right of the dashed line, more images stand in B. Difference of the accuracies in percentage points, "
        f"n = {int(rows.n.max()):,} images; bars are 95 % intervals for paired shares, each for itself.",
        alt="; ".join(
            f"{label.label}: {format_estimate(row.difference, (row.lo, row.hi), 'points')}"
            for label, row in zip(drawn, rows.itertuples(), strict=True)
        ),
        rows=drawn,
        x_label="accuracy of B minus accuracy of A",
        points=True,
        levels=[figures.Level(value=0, words="no difference")],
    )
