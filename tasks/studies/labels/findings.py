"""What the simulated crowd says: the answer, claims, tables, drawings and examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.crowds.optima import NOT_MAIN
from robustray.tasks.data.images import ImageData
from robustray.tasks.kit.claims import claim
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.frames import at, estimate_of, one, shown
from robustray.tasks.kit.rules import above, below, equivalent
from robustray.tasks.kit.words import plural
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.labels import parts, reduce
from robustray.tasks.studies.labels.reduce import Bools, Collected, People
from robustray.tasks.studies.labels.settings import Settings
from robustray.tasks.study import Claim, Figure, Findings, PaperFigure, Picture, Table

PAPER_NOT_MAIN = PaperFigure(
    figure="34.3 % (740 of 2,156)",
    scale="10,000 ImageNet validation images, nine annotators each; from the published answers",
    source="arXiv:2005.11295 and its annotations",
    value=740 / 2156,
)


@dataclass(frozen=True, kw_only=True)
class Results:
    """Frames, each built once."""

    settings: Settings
    collected: Mapping[float, Collected]
    """Search precision -> the crowd's answers."""
    people: Mapping[float, People]
    """Search precision -> what people say of the kept images, at the claimed workers and threshold."""
    collection: pd.DataFrame
    """Frame of `reduce.collection`."""
    accuracy: pd.DataFrame | None
    """Frame of `evaluation.accuracies`; None without networks."""
    images: ImageData

    @property
    def claimed(self) -> People:
        return self.people[self.settings.claimed_precision]

    def kept(self, precision: float, num_workers: int | None = None) -> Bools:
        """Which scenes are kept at the claimed threshold, by the claimed number of workers or another one."""
        settings = self.settings
        return self.collected[precision].kept(num_workers or settings.claimed_workers, settings.claimed_threshold)

    def shares(self, precision: float) -> dict[str, Estimate]:
        """What people say of the given labels."""
        return reduce.shares(self.people[precision].votes, self.people[precision].found)

    def not_main(self, precision: float) -> Estimate:
        """Share of labels that are not main where there truly are several objects."""
        settings = self.settings
        row = one(
            self.collection,
            precision=precision,
            workers=settings.claimed_workers,
            threshold=settings.claimed_threshold,
        )
        return estimate_of(row, "not_main", "not_main_lo", "not_main_hi", "n_several")


def findings(results: Results) -> Findings:
    return compose(
        answer(results), claims(results), tables(results), drawings(results), examples(results), warnings(results)
    )


def answer(results: Results) -> str:
    settings = results.settings
    found = results.shares(settings.claimed_precision)[NOT_MAIN]
    last = results.not_main(settings.precisions[-1])
    start = (
        f"Where {settings.claimed_precision:.0%} of searches are about the main object and an image is kept if "
        f"{settings.claimed_threshold:.0%} of {settings.claimed_workers} workers confirm the query"
    )
    if not found.n:
        return f"{start}, no image is kept in which people see several objects: nothing can be said of their labels."
    share = format_estimate(found.value, found.interval, "percent")
    told = (
        f"{start}, {share} of the images with several objects carry a label that people would not call main "
        f"(n = {found.n:,})"
    )
    if not last.n:
        return f"{told}."
    perfect = format_estimate(last.value, last.interval, "percent")
    return (
        f"{told}; where {settings.precisions[-1]:.0%} of searches are, it is {perfect} (n = {last.n:,}, by the truth)."
    )


def claims(results: Results) -> Iterator[Claim]:
    settings = results.settings
    how = f"{settings.claimed_workers} workers, threshold {settings.claimed_threshold:g}"
    at_search = f"search precision {settings.claimed_precision:g}, {how}"
    yield claim(
        "Many images with several objects carry a label that people would not call the main one.",
        results.shares(settings.claimed_precision)[NOT_MAIN],
        above(0.05).given(50, "images"),
        measured=f"share of images in which people see several objects whose given label is not people's main label "
        f"({at_search})",
        over="images (Wilson)",
        paper=PAPER_NOT_MAIN,
    )
    first, last = settings.precisions[0], settings.precisions[-1]
    if first < last:
        change, fewest = _change(results, (first, settings.claimed_workers), (last, settings.claimed_workers))
        yield claim(
            "The search decides, not the workers: the share falls as its precision rises.",
            change,
            below(0).given(50, "images"),
            count=fewest,
            measured="share of kept images with several objects whose given label is not the main object's class, at "
            f"precision {last:g} minus at {first:g} ({how})",
            over="scenes (bootstrap)",
            unit="points",
        )
    if last == 1.0:
        yield claim(
            "With a search that always asks for the main object the labels are right, whatever the workers do.",
            results.not_main(1.0),
            below(0.01).given(50, "images"),
            measured=f"the same share at precision 1 ({how})",
            over="images (Wilson)",
            kind="check",
        )
    if len(settings.num_workers) > 1:
        few, many = settings.num_workers[0], settings.num_workers[-1]
        change, fewest = _change(results, (settings.claimed_precision, few), (settings.claimed_precision, many))
        yield claim(
            f"More workers do not mend it: from {few} to {many} workers the share hardly changes.",
            change,
            equivalent(0.05).given(50, "images"),
            count=fewest,
            measured=f"the same share with {many} minus with {few} workers (search precision "
            f"{settings.claimed_precision:g}, threshold {settings.claimed_threshold:g})",
            over="scenes (bootstrap)",
            unit="points",
        )


def _change(results: Results, first: tuple[float, int], last: tuple[float, int]) -> tuple[Estimate, int]:
    """Change of the share that is not main, between two collections: (search precision, workers). And the kept images
    with several objects of the collection that has fewer: what the share is of, where the interval is over scenes."""
    sides = [(results.collected[precision], results.kept(precision, workers)) for precision, workers in (first, last)]
    change = reduce.change(*sides[0], *sides[1], num_resamples=results.settings.num_resamples)
    return change, min(int((kept & found.multi).sum()) for found, kept in sides)


def headline_frame(results: Results) -> pd.DataFrame:
    """One row per search precision and share: what people say of the kept images, and how right they are."""
    rows: list[dict[str, object]] = []
    for precision, people_ in results.people.items():
        rows += parts.share_rows(results.shares(precision), precision=precision)
        rows += parts.share_rows(reduce.against_truth(results.collected[precision], people_), precision=precision)
    return pd.DataFrame(rows)


def tables(results: Results) -> Iterator[Table]:
    settings = results.settings
    names = ("kept", "false_accepts", "not_main", "not_main_single", "not_contains", "not_classify")
    formats: dict[str, str] = {}
    for name in names:
        formats |= shown(name, "percent", f"{name}_lo", f"{name}_hi")
    yield Table(
        name="headline",
        title="What people say of the kept images",
        caption=f"Images with several plausible labels, {settings.num_classify} workers each, kept by "
        f"{settings.claimed_workers} workers at threshold {settings.claimed_threshold:g}; the last three rows compare "
        f"people with the truth. 95 % Wilson intervals over images. {parts.tie_words(results.claimed.found)}",
        frame=headline_frame(results),
        formats=shown("value", "percent"),
    )
    yield Table(
        name="collection",
        title="What the search and the workers let through",
        caption="Kept: share of proposed scenes. False accepts: kept, but no object is of the given class. Not main: "
        "kept scenes with several objects (single: with one) whose given label is not the main object's class. Not "
        "contains, not classify: those of the scenes with several objects whose most ticked label (every candidate "
        "is asked about), whose most frequent main answer, is not. By the truth, which a real crowd's owner does not "
        "have. 95 % Wilson intervals; the same scenes and the same luck in all rows.",
        frame=results.collection,
        formats=formats,
    )
    yield Table(
        name="split",
        title="What became of the kept images",
        caption=f"At search precision {settings.claimed_precision:g}. Only the first kind is shown to people once "
        "more; the last kind has no main label and is left out of the shares above.",
        frame=reduce.split(results.collected[settings.claimed_precision], results.kept(settings.claimed_precision)),
        formats={"share": "percent"},
    )
    if results.accuracy is not None:
        yield parts.accuracy_table(results.accuracy)
    people_ = results.claimed
    index = results.collected[settings.claimed_precision].index[people_.images]
    yield parts.suspects(people_.votes, people_.found, index.astype(np.str_))


def drawings(results: Results) -> Iterator[Figure]:
    yield _against_precision(results)
    if results.accuracy is not None:
        yield parts.accuracy_figure(results.accuracy)


def _against_precision(results: Results) -> Figure:
    settings = results.settings
    series = []
    for n in settings.num_workers:
        for threshold in settings.thresholds:
            rows = at(results.collection, workers=n, threshold=threshold).sort_values("precision")
            series.append(
                figures.Series(
                    label=f"{n} workers, threshold {threshold:g}",
                    x=rows.precision.tolist(),
                    y=rows.not_main.tolist(),
                    lo=rows.not_main_lo.tolist(),
                    hi=rows.not_main_hi.tolist(),
                    color_by=f"threshold {threshold:g}",
                    dash_by=f"{n} workers",
                )
            )
    return figures.curve(
        name="not-main-by-precision",
        title="Labels that are not the main object's, against the precision of the search",
        caption="How steep the lines are is what the search does, how far apart what workers do. Kept scenes with "
        f"several objects, n = {int(results.collection.n_several.min()):,} or more; bands are 95 % Wilson intervals.",
        alt="; ".join(f"{line.label}: {line.y[0]:.0%} to {line.y[-1]:.0%}" for line in series),
        series=series,
        x_label="search precision: share of queries that are about the main object",
        y_label="given label is not the main object's class",
        percent=True,
    )


def examples(results: Results) -> Iterator[Picture]:
    """Images with several objects whose given label is not main, drawn at random."""
    people_, settings = results.claimed, results.settings
    other = (people_.found.main_label != people_.votes.given) & (people_.found.num_objects > 1)
    shown_ = chosen(np.flatnonzero(other).tolist(), settings.num_examples, seed=settings.seed)
    if not shown_:
        return
    index = results.collected[settings.claimed_precision].index[people_.images[shown_]]
    names = results.images.classes
    yield figures.image_grid(
        name="given-is-not-main",
        title="Several objects, and the label is not the main one",
        caption=f"{plural(len(shown_), 'image')} drawn at random from {int(other.sum()):,}, not chosen. Above: the "
        "given label, and what people call main.",
        alt=f"{len(shown_)} scenes with their given labels and people's main labels",
        images=results.images.images[index],
        rows=[""],
        columns=[f"{names[people_.votes.given[i]]}\n→ {names[people_.found.main_label[i]]}" for i in shown_],
        scale=3,
    )


def warnings(results: Results) -> Iterator[str]:
    for precision, people_ in results.people.items():
        if people_.votes.num_images < 50:
            yield (
                f"search precision {precision:g}: only {plural(people_.votes.num_images, 'kept image')} with several "
                "plausible labels; give more scenes (n=...)"
            )
