"""What the report says: answer, claims, tables, drawings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from robustray.tasks import figures
from robustray.tasks.kit.claims import Repeats, describe
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import at, one, shown
from robustray.tasks.kit.rules import above, equivalent
from robustray.tasks.kit.words import listed, over_words, plural
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.studies.backgrounds import in9, reduce
from robustray.tasks.studies.backgrounds.results import Results, images_words, network_words
from robustray.tasks.studies.backgrounds.settings import ORIGINAL, WORDS
from robustray.tasks.study import Claim, Description, Figure, Findings, PaperFigure, Picture, Table

TABLE_2 = "table 2, ResNet-50 trained on IN-9L"
TABLE_5 = "table 5"
SCALE = "ResNet-50, nine classes of ImageNet, 4,050 test images"
MOST_BARS = 3
"""The most networks that are drawn as bars; more of them are drawn as a matrix."""
GAP = "accuracy on Mixed-Same minus accuracy on Mixed-Rand, paired by seed and foreground"


def findings(results: Results) -> Findings:
    """Everything that the report shows."""
    parts = (claims(results), tables(results), drawings(results), warnings(results))
    return compose(answer(results), *parts)


# --- Answer -----------------------------------------------------------------------------------------------------------


def answer(results: Results) -> str:
    settings = results.settings
    if not settings.own:
        return _answer_on_scenes(results)
    if settings.models:
        gaps = listed(
            f"{model} {format_estimate(gap.value, gap.interval, 'points')}"
            for model in settings.models
            for gap in [results.own_gap(model)]
        )
        return (
            f"A background of a random class instead of the object's own changes the accuracy on {settings.own} by "
            f"(BG-gap): {gaps} (n = {results.num_kept:,} images)."
        )
    return (
        f"{plural(results.num_kept, 'image')} of {settings.own} in {plural(len(results.versions), 'version')}, "
        f"written to {settings.build}; {len(results.rejected):,} could not be cut out."
    )


def _answer_on_scenes(results: Results) -> str:
    settings = results.settings
    strong = results.gap_at(results.top)
    words = (
        f"Where class and background go together with correlation {results.top:g}, {settings.arch} loses "
        f"{format_estimate(strong.value, strong.interval, 'points').removeprefix('+')} of accuracy when a background "
        "of the object's own class is exchanged for one of a random class (BG-gap)"
    )
    if 0.0 in settings.rhos and results.top > 0:
        none = results.gap_at(0.0)
        words += f"; without correlation {format_estimate(none.value, none.interval, 'points')}"
    return f"{words} ({plural(settings.num_seeds, 'training')} each, n = {results.num_kept:,} foregrounds)."


# --- Claims -----------------------------------------------------------------------------------------------------------


def claims(results: Results) -> Iterator[Claim | Description]:
    """The paper's claims, tested on scenes. A user's own models are described and not judged."""
    settings, top = results.settings, results.top
    if settings.own:
        for model in settings.models:
            yield describe(
                f"{model}: accuracy lost when a background of the object's own class is exchanged for one of a random "
                "class",
                results.own_gap(model),
                measured="accuracy on Mixed-Same minus accuracy on Mixed-Rand, paired by foreground",
                over="images",
                unit="points",
                paper=PaperFigure(figure="14.3 points", scale=SCALE, source=TABLE_2, value=0.143),
            )
        return

    repeats, none = Repeats(count=settings.num_seeds), equivalent(settings.margin)
    if top > 0:
        yield repeats.claim(
            f"At correlation {top:g} networks answer by the background: one of a random class costs accuracy.",
            results.gap_at(top),
            above(0),
            measured=f"BG-gap ({GAP})",
            paper=PaperFigure(figure="14.3 points", scale=SCALE, source=TABLE_2, value=0.143),
        )
    if 0.0 in settings.rhos:
        yield repeats.claim(
            "Without correlation there is no gap: what is cut and pasted does not make one.",
            results.gap_at(0.0),
            none,
            measured=f"BG-gap ({GAP})",
            kind="check",
        )
    if "mixed_rand" in settings.also_train_on and top > 0:
        yield repeats.claim(
            f"Training on Mixed-Rand removes the gap at correlation {top:g}.",
            results.gap_at(top, "mixed_rand"),
            none,
            measured=f"BG-gap ({GAP})",
            paper=PaperFigure(
                figure="−0.2 points", scale=SCALE, source=f"{TABLE_5} (71.33 % and 71.53 %)", value=-0.002
            ),
        )
    if top > 0:
        chance = math.ceil(1000 / len(results.classes)) / 1000  # rounded up: the rule is as strict as it reads
        yield repeats.claim(
            f"At correlation {top:g} the background alone suffices for more than chance.",
            results.accuracy_at(top, "only_bg_t"),
            above(chance),
            measured="accuracy on Only-BG-T, where the object is tiled over with its own background",
            unit="percent",
            paper=PaperFigure(figure="40.5 %", scale=SCALE, source=f"{TABLE_5}, chance 11.1 %", value=0.405),
        )


# --- Tables -----------------------------------------------------------------------------------------------------------


def tables(results: Results) -> Iterator[Table | None]:
    settings = results.settings
    if len(results.records):
        over = "95 % intervals are over images" if settings.own else over_words(settings.num_seeds)
        dropped = ["rho"] if settings.own else []
        yield Table(
            name="gaps",
            title="What a background of another class costs",
            caption=f"Gap: {GAP}; next gap: the same with Mixed-Next. Towards background: of Mixed-Rand images whose "
            f"background is of another class, the share answered with that class. {over}.",
            frame=results.gaps.drop(columns=dropped),
            formats={
                "rho": "g",
                **shown("gap", "points"),
                **shown("next_gap", "points", "next_lo", "next_hi"),
                **shown("towards_background", "percent", "towards_lo", "towards_hi"),
            },
        )
        accuracy = results.accuracy.assign(version=[WORDS[version] for version in results.accuracy.version])
        yield Table(
            name="accuracy",
            title="Accuracy on every version",
            caption=f"All versions show the same foregrounds, n = {results.num_kept:,}; chance is "
            f"{1 / len(results.classes):.1%}. Mixed-Rand draws the background's class among all classes, the own one "
            f"too. {over}.{looked_up_words(results)}",
            frame=accuracy.drop(columns=dropped),
            formats={"rho": "g", **shown("accuracy", "percent")},
        )
        yield Table(
            name="categories",
            title="What decides an image",
            caption="By what is right of Original, Mixed-Rand and Only-BG-T (paper, section 4). Required: shares of "
            f"images that are right only because of their background, with its interval. {over}.",
            frame=results.categories.drop(columns=dropped),
            formats={
                "rho": "g",
                **dict.fromkeys([*reduce.CATEGORIES, "bg_irrelevant"], "percent"),
                **shown("required", "percent"),
            },
        )
        yield Table(
            name="predictions",
            title="Predictions",
            caption="One row per network and test image, one column per version.",
            frame=results.records,
            on_page=False,
        )
    yield Table(
        name="pairs",
        title="Whose background",
        caption="Foreground and background of every image of every mixed version; no image keeps its own.",
        frame=results.pairs,
        on_page=False,
    )
    if len(results.built):
        yield Table(
            name="built",
            title="Where the versions are",
            caption="`--data FOLDER` reads each of them again, with masks and boxes.",
            frame=results.built,
        )
    if len(results.rejected):
        yield Table(
            name="rejected",
            title="Images in no version",
            caption="All versions hold the same foregrounds, so an image that can't be cut out is in none.",
            frame=results.rejected,
            on_page=len(results.rejected) <= 30,
        )


def looked_up_words(results: Results) -> str:
    """How answers of 1,000 classes were read."""
    if not results.looked_up:
        return ""
    return f" Of {listed(results.looked_up)} {in9.mapped_words()}."


# --- Drawings ---------------------------------------------------------------------------------------------------------


def drawings(results: Results) -> Iterator[Figure | Picture | None]:
    if len(results.records):
        networks = list(dict.fromkeys(results.records.network))
        palette = figures.Palette(networks)
        yield gap_curve(results, palette)
        yield versions_figure(results, palette)
    yield version_grid(results)


def gap_curve(results: Results, palette: figures.Palette) -> Figure | None:
    """The answer: BG-gap against correlation."""
    settings = results.settings
    if settings.own or len(settings.rhos) < 2:
        return None
    rows = at(results.gaps, network=network_words(ORIGINAL))
    by_seed = [
        [
            (reduce.correct(chosen, "mixed_same").mean() - reduce.correct(chosen, "mixed_rand").mean())
            for rho in settings.rhos
            for chosen in [at(results.records, rho=rho, network=network_words(ORIGINAL), seed=seed)]
        ]
        for seed in sorted(results.records.seed.unique())
    ]
    line = figures.Series(
        label=network_words(ORIGINAL),
        x=list(rows.rho),
        y=list(rows.gap),
        lo=list(rows.lo),
        hi=list(rows.hi),
        runs=by_seed,
    )
    series = [line]
    return figures.curve(
        name="gap",
        title="Gap between backgrounds of the own and of a random class",
        caption="The more often class and background go together, the more the background decides. Accuracy on "
        f"Mixed-Same minus accuracy on Mixed-Rand of {settings.arch}, trained and tested at the same correlation; "
        f"n = {results.num_kept:,} foregrounds, {plural(settings.num_seeds, 'training')} (thin lines), 95 % band.",
        alt=", ".join(f"{100 * row.gap:.1f} points at rho {row.rho:g}" for row in rows.itertuples()),
        series=series,
        x_label="correlation of class and background (rho)",
        y_label="BG-gap",
        palette=palette,
        points=True,
        levels=(figures.Level(value=0.0, words="no gap"),),
        x_ticks={rho: f"{rho:g}" for rho in settings.rhos},
    )


def versions_figure(results: Results, palette: figures.Palette) -> Figure:
    """Accuracy by version, at the largest correlation or of the user's own models: as bars for a few networks, else as
    a matrix."""
    settings = results.settings
    rows = results.accuracy if settings.own else at(results.accuracy, rho=results.top)
    networks = list(dict.fromkeys(rows.network))
    versions = (ORIGINAL, *results.versions)
    cells = [one(rows, network=network, version=version) for network in networks for version in versions]
    where = settings.own or images_words(results.top)
    about: dict[str, Any] = {
        "name": "versions",
        "title": f"Accuracy by version ({where})",
        "caption": "Compare Mixed-Same with Mixed-Rand: only the class of the background differs. "
        f"n = {results.num_kept:,} foregrounds; 95 % intervals are in the table.",
    }
    if len(networks) > MOST_BARS:
        return figures.heat_map(
            **about,
            values=np.array([cell.accuracy for cell in cells]).reshape(len(networks), -1),
            rows=networks,
            columns=[WORDS[version] for version in versions],
            column_label="tested on",
            limits=(0.0, 1.0),
        )
    return figures.bars(
        **about,
        bars=[
            figures.Bar(group=WORDS[cell.version], label=cell.network, value=cell.accuracy, lo=cell.lo, hi=cell.hi)
            for cell in sorted(cells, key=lambda cell: versions.index(cell.version))
        ],
        y_label="accuracy",
        palette=palette,
        percent=True,
        levels=(figures.Level(value=1 / len(results.classes), words="chance"),),
    )


def version_grid(results: Results) -> Picture | None:
    """A few images in all their versions."""
    if results.examples is None:
        return None
    rows, heads, images = results.examples
    where = results.settings.own or images_words(results.top)
    return figures.image_grid(
        name="examples",
        title="The versions",
        caption=f"Each row is one image in all its versions ({where}); drawn at random.",
        images=images,
        rows=rows,
        columns=heads,
        scale=max(1, 64 // int(np.max(images.shape[2:]))),
    )


# --- Warnings ---------------------------------------------------------------------------------------------------------


def warnings(results: Results) -> Iterator[str]:
    settings = results.settings
    if not settings.own:
        yield from Repeats(count=settings.num_seeds).warnings("seed")
        weak = [
            f"{row.network} at {row.images}"
            for row in at(results.accuracy, version=ORIGINAL).itertuples()
            if row.lo <= 1 / len(results.classes)
        ]
        if weak:
            yield f"not better than chance on the original scenes, so that its gaps say nothing: {listed(weak)}"
