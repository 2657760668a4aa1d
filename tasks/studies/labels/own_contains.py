"""The user's own answers about single labels: is the given label the one that most workers tick, and would they tick
what a model predicts?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.crowds.contains import ENOUGH, Contains
from robustray.tasks.crowds.sets import ALONE, CLASSIFIED, FEW, NEVER
from robustray.tasks.kit.claims import describe
from robustray.tasks.kit.compose import Part, compose
from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate, by_unit, proportion, resample
from robustray.tasks.studies.labels import own_ratings
from robustray.tasks.studies.labels.evaluation import means
from robustray.tasks.studies.labels.own_ratings import Rated
from robustray.tasks.studies.labels.settings import Settings
from robustray.tasks.studies.labels.vote_figures import BINS
from robustray.tasks.study import Description, Figure, Findings, PaperFigure, Table

AS_OFTEN = "another label is ticked at least as often as the given one"
MORE_OFTEN = "another label is ticked more often than the given one"
HALF = "fewer than half tick the given label"
NOBODY = "nobody ticks the given label"
PAPER_AS_OFTEN = PaperFigure(
    figure="about 40 %", scale="10,000 ImageNet validation images, 4 to 9 workers a label", source="arXiv:2005.11295"
)
LEAST_SHOWN = 10
"""Per cent of the labels that may have been shown less often than the largest number of workers in `fewer`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """Answers about single labels, and predictions judged by them."""

    settings: Settings
    contains: Contains
    rated: Rated | None
    """None without predictions."""
    notes: tuple[str, ...] = ()


def findings(asked: Asked) -> Findings:
    """Findings of a run without answers about what is in an image."""
    return compose(answer(asked), pieces(asked), list(asked.notes))


def answer(asked: Asked) -> str:
    said = shares(asked.contains)
    often, more = said[AS_OFTEN], said[MORE_OFTEN]
    return (
        f"{asked.settings.contains}: in {format_estimate(often.value, often.interval, 'percent')} of n = {often.n:,} "
        "images workers tick another label at least as often as the given one, in "
        f"{format_estimate(more.value, more.interval, 'percent')} more often."
    )


def pieces(asked: Asked) -> Iterator[Part]:
    """Everything but the answer."""
    yield _description(asked.contains)
    yield from _tables(asked)
    yield _frequencies(asked.contains)
    if asked.rated is not None:
        yield from own_ratings.tables(asked.rated, asked.settings)
        yield from own_ratings.claims(asked.rated, asked.settings)


def shares(contains: Contains) -> dict[str, Estimate]:
    """Shares of all images, with Wilson's intervals."""
    of_given, (other, _) = contains.frequency[contains.of_given], contains.other()
    return {
        AS_OFTEN: proportion(other >= of_given),
        MORE_OFTEN: proportion(other > of_given),
        HALF: proportion(2 * of_given < 1),
        NOBODY: proportion(of_given == 0),
    }


def _description(contains: Contains) -> Description:
    return describe(
        f"Share of images in which {AS_OFTEN}",
        shares(contains)[AS_OFTEN],
        measured="selection frequency of the most ticked other label against that of the given label",
        over="images (Wilson)",
        paper=PAPER_AS_OFTEN,
    )


def undetermined() -> Description:
    """The same without answers about single labels: what is published, and that nothing here determines it."""
    return Description(
        words=f"Share of images in which {AS_OFTEN}",
        estimate=None,
        interval=None,
        n=0,
        measured="not determined: it takes answers about single labels (--contains)",
        paper=PAPER_AS_OFTEN,
    )


def _tables(asked: Asked) -> Iterator[Table]:
    contains, fewer = asked.contains, _fewer(asked)
    fewest, most = int(contains.n_shown.min()), int(contains.n_shown.max())
    labels = np.bincount(contains.image)
    yield Table(
        name="contains",
        title="Is the given label the one that most workers tick?",
        caption=f"{len(contains.images):,} images, {labels.min()} to {labels.max()} labels each, every label shown to "
        f"{fewest} to {most} workers who did not see the others. 95 % Wilson intervals over images. Few workers make "
        f"ties and upsets{'' if fewer is None else ': see the next table'}.",
        frame=pd.DataFrame(
            [{"share": name, **columns("value", each), "n": each.n} for name, each in shares(contains).items()]
        ),
        formats=shown("value", "percent"),
    )
    if fewer is not None:
        yield fewer
    split = contains.split()
    kinds = (CLASSIFIED, ALONE, NEVER, FEW)
    counts = [int((split == kind).sum()) for kind in kinds]
    yield Table(
        name="contains-split",
        title="What the answers leave to be classified",
        caption=f"Classified: another label is ticked, at least half as often as the given one, and was shown to at "
        f"least {ENOUGH} workers; too-few: the given label was shown to fewer. The kinds are those of --images.",
        frame=pd.DataFrame({"split": kinds, "images": counts, "share": np.array(counts) / len(split)}),
        formats={"share": "percent"},
    )
    other, label = contains.other()
    yield Table(
        name="contains-images",
        title="Every image's given and most ticked other label",
        caption="Selection frequencies; the largest excess of another label first. other: −1 where people were asked "
        "about the given label alone.",
        frame=pd.DataFrame(
            {
                "image": contains.images,
                "given": contains.given,
                "given_selected": contains.n_selected[contains.of_given],
                "given_shown": contains.n_shown[contains.of_given],
                "given_frequency": contains.frequency[contains.of_given],
                "other": np.where(other >= 0, label, -1),
                "other_frequency": np.where(other >= 0, other, np.nan),
                "split": split,
            }
        ).sort_values(
            "image",
            key=lambda _: pd.Series(contains.frequency[contains.of_given] - other),
            kind="stable",
            ignore_index=True,
        ),
        on_page=False,
        csv=True,
    )


def _fewer(asked: Asked) -> Table | None:
    """None where labels were shown to one worker, or no given label to as many as other labels."""
    contains = asked.contains
    most = int(np.percentile(contains.n_shown, LEAST_SHOWN, method="lower"))
    sizes = sorted({*range(1, most, 2), most})
    if len(sizes) < 2 or not (contains.n_shown[contains.of_given] >= most).any():
        return None
    chance, kept = contains.fewer(sizes)
    flat = chance.reshape(len(chance), -1)
    held = np.concatenate([flat, (chance - chance[:, -1:]).reshape(len(chance), -1)], axis=1)
    found = resample(partial(means, held), by_unit(len(held)), num_resamples=asked.settings.num_resamples).estimates()
    rows = []
    places = [(size, name) for size in sizes for name in (AS_OFTEN, MORE_OFTEN)]
    for (size, name), value, change in zip(places, found[: len(places)], found[len(places) :], strict=True):
        row = {"workers": size, "share": name, **columns("value", value)}
        rows.append(row | columns("change", change, "change_lo", "change_hi") | {"n": len(held)})
    left_out = int(((contains.n_shown < most) & kept[contains.image]).sum())
    return Table(
        name="contains-annotators",
        title="What fewer workers per label would have said",
        caption=f"The {len(held):,} images whose given label was shown to {most} workers or more, as if every label "
        f"had been shown to so many: the mean over all subsets of the answers, none drawn at random. {left_out:,} "
        f"labels of these images that fewer workers saw are left out. Change: from {most} workers. 95 % bootstrap "
        "intervals (basic) over images.",
        frame=pd.DataFrame(rows),
        formats=shown("value", "percent") | shown("change", "points", "change_lo", "change_hi"),
    )


def _frequencies(contains: Contains) -> Figure:
    other, _ = contains.other()
    samples = [figures.Sample(label="given label", values=contains.frequency[contains.of_given])]
    if (other >= 0).any():
        samples.append(figures.Sample(label="most ticked other label", values=other[other >= 0]))
    return figures.histogram(
        name="contains-frequencies",
        title="How many workers tick the given label, and the best other one",
        caption="Share of the workers who saw an image and a label, and ticked it; an image each.",
        samples=samples,
        bins=BINS,
        x_label="selection frequency",
        percent=True,
    )
