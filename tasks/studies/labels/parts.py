"""Tables and drawings for a simulated crowd as well as for the user's own answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks import figures
from robustray.tasks.crowds.classify import Aggregate, Votes
from robustray.tasks.crowds.optima import ranges
from robustray.tasks.kit.frames import at, columns, shown
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.labels.evaluation import MEASURES, MULTI, Judge
from robustray.tasks.study import Figure, Table

MOST_ROWS_OF_MODELS = 4
"""Models with a row for each measure; more are drawn as lines."""


def share_rows(shares: dict[str, Estimate], **what: float | str) -> list[dict[str, object]]:
    return [{**what, "share": name, **columns("value", estimate), "n": estimate.n} for name, estimate in shares.items()]


def accuracy_table(frame: pd.DataFrame) -> Table:
    words = "; ".join(f"{name}: {meaning}" for name, meaning in MEASURES.items())
    return Table(
        name="accuracy",
        title="Predictions against what people see",
        caption=f"Share of predictions that are right, by what counts as right. {words}. 95 % Wilson intervals over "
        "images; images are those that people classified, divided by the number of objects that they see.",
        frame=frame,
        formats=shown("accuracy", "percent"),
    )


def accuracy_figure(frame: pd.DataFrame) -> Figure:
    """On images with several objects, by measure: a row each for up to 4 models, else a line over all models."""
    multi = at(frame, slice=MULTI)
    order = at(multi, measure="given label").sort_values("accuracy", kind="stable").model.tolist()
    draw = _rows_of_models if len(order) <= MOST_ROWS_OF_MODELS else _lines_over_models
    return draw(multi, order, int(multi.n.max()))


FIGURE = "accuracy-several-objects"
FIGURE_TITLE = "What counts as right decides how good a model looks"


def _rows_of_models(multi: pd.DataFrame, order: Sequence[str], n: int) -> Figure:
    rows = []
    for model in reversed(order):
        own = at(multi, model=model).set_index("measure")
        rows += [
            figures.Row(
                label=f"{model} · {measure}",
                value=float(own.accuracy[measure]),
                lo=float(own.lo[measure]),
                hi=float(own.hi[measure]),
                color_by=measure,
            )
            for measure in MEASURES
        ]
    return figures.dot_rows(
        name=FIGURE,
        title=FIGURE_TITLE,
        caption=f"Images in which people see several objects (n = {n:,}); bars are 95 % Wilson intervals over images.",
        alt="; ".join(f"{row.label}: {row.value:.0%}" for row in rows),
        rows=rows,
        x_label="share of predictions that are right",
        palette=figures.Palette(MEASURES),
        percent=True,
    )


def _lines_over_models(multi: pd.DataFrame, order: Sequence[str], n: int) -> Figure:
    series = []
    for measure in MEASURES:
        own = at(multi, measure=measure).set_index("model").loc[order]
        series.append(
            figures.Series(
                label=measure,
                x=list(range(1, len(order) + 1)),
                y=own.accuracy.tolist(),
                lo=own.lo.tolist(),
                hi=own.hi.tolist(),
                color_by=measure,
            )
        )
    return figures.curve(
        name=FIGURE,
        title=FIGURE_TITLE,
        caption=f"Images in which people see several objects (n = {n:,}), {len(order)} models from the least accurate "
        f"by the given label ({order[0]}) to the most ({order[-1]}); bands are 95 % Wilson intervals over images.",
        alt="; ".join(f"{line.label}: {line.y[0]:.0%} to {line.y[-1]:.0%}" for line in series),
        series=series,
        x_label="models, sorted by the given label",
        y_label="share of predictions that are right",
        percent=True,
    )


def suspects(votes: Votes, found: Aggregate, names: NDArray[np.str_]) -> Table:
    """Every image whose given label is not the main one, with the votes for both: to be looked at."""
    images, judge = np.flatnonzero(found.main_label != votes.given), Judge(votes, found)
    order = np.lexsort((found.pair_label, -found.pair_votes, found.pair_image))
    said = [f"{label}:{count}" for label, count in zip(found.pair_label[order], found.pair_votes[order], strict=True)]
    starts = np.searchsorted(found.pair_image[order], np.arange(votes.num_images + 1))

    return Table(
        name="suspect-labels",
        title="Images whose given label people would not call main",
        caption="One row per image: given and main label, how many workers selected each, objects that people see, and "
        "all selected labels with their workers (label:workers, the most selected first).",
        frame=pd.DataFrame(
            {
                "image": names[images],
                "given": votes.given[images],
                "main": found.main_label[images],
                "given_votes": judge.num_selected(votes.given)[images],
                "main_votes": judge.num_selected(found.main_label)[images],
                "workers": votes.num_workers[images],
                "objects": found.num_objects[images],
                "tied": found.main_tied[images],
                "selected": [" ".join(said[starts[i] : starts[i + 1]]) for i in images],
            }
        ),
        on_page=False,
        csv=True,
    )


def tie_table(votes: Votes, found: Aggregate) -> Table:
    """Each headline with its range over every choice of what is tied."""
    rows = [
        {"share": name, "lowest": each.lowest, "highest": each.highest, "fewest": each.fewest, "most": each.most}
        for name, each in ranges(votes, found).items()
    ]
    return Table(
        name="ties",
        title="How far ties move what people say",
        caption="Lowest and highest share, fewest and most images, over every choice of tied main labels, numbers of "
        "objects and divisions into objects: not an interval, but what a rule for ties decides.",
        frame=pd.DataFrame(rows),
        formats={"lowest": "percent", "highest": "percent"},
    )


def tie_words(found: Aggregate) -> str:
    """How much the rule for ties decides."""
    return (
        f"Ties: the main label of {int(found.main_tied.sum()):,} and the number of objects of "
        f"{int(found.objects_tied.sum()):,} of {len(found.main_label):,} images; the label that more workers selected, "
        f"then the smaller class, and the smaller number win. {int((found.num_optima > 1).sum()):,} images can be "
        "divided into objects in several equally good ways."
    )
