"""Figures and pictures of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit.words import plural, slug
from robustray.tasks.latents.cache import matrix
from robustray.tasks.studies.synthesis import reduce
from robustray.tasks.studies.synthesis.edited import BASELINES
from robustray.tasks.studies.synthesis.kinds import ASKED, REPORTED, TITLES, Edit, Law
from robustray.tasks.studies.synthesis.results import Results
from robustray.tasks.study import Figure, Picture
from robustray.tasks.training.twins import KINDS

SIDE = 80
"""CSS pixels of an image in a picture, about."""
COLORS = (*reversed(KINDS), reduce.SEEDS, reduce.REAL, "damaged", "bicubic", "original")


def drawings(
    results: Results, generations: pd.DataFrame, edits: Mapping[Edit, pd.DataFrame]
) -> Iterator[Figure | Picture]:
    """Who recognises generations, who sees the true class in mended pictures, and all of these to be looked at."""
    palette = figures.Palette(COLORS)
    if len(generations):
        yield _recognised(results, generations, palette)
    for task, table in edits.items():
        yield _seen(results, task, table, palette)
    if results.settings.num_examples:
        for law in results.seeds:
            yield _generations(results, law)
        for task in edits:
            yield _edits(results, task)
        if any(seed == results.settings.seed for _, seed in results.paintings):
            yield _paintings(results)


def _recognised(results: Results, generations: pd.DataFrame, palette: figures.Palette) -> Figure:
    rows = [
        figures.Row(
            label=f"{row.what}, {row.law}" if row.law else str(row.what),
            value=row.standard_judge,
            lo=row.standard_lo,
            hi=row.standard_hi,
            color_by=str(row.what),
        )
        for row in generations.itertuples()
    ]
    settings = results.settings
    return figures.dot_rows(
        name="recognised",
        title="Images made for a class: what an independent judge recognises",
        caption="Right is better: the judge sees the class that was asked for. Below each pair of networks the seeds "
        f"they started from; last, real images. n = {int(generations.n.min()):,} images a row, "
        f"{plural(settings.num_seeds, 'pair')} of twins; 95 % intervals over twins and images.",
        rows=rows,
        x_label="recognised by the standard judge",
        palette=palette,
        percent=True,
        levels=[figures.Level(value=1 / results.images.num_classes, words="chance")],
    )


def _seen(results: Results, task: Edit, table: pd.DataFrame, palette: figures.Palette) -> Figure:
    asked = {"predicted": "asked for what it saw", "true": "told the class", "wrong": "asked for a wrong class"}
    wanted = task == "translate"
    name, lo, hi = ("sees_wanted", "wanted_lo", "wanted_hi") if wanted else ("sees_true", "true_lo", "true_hi")
    several = len(ASKED[task]) > 1
    rows = [
        figures.Row(
            label=f"{row.what}, {asked[row.labels]}" if several and row.labels else str(row.what),
            value=getattr(row, name),
            lo=getattr(row, lo),
            hi=getattr(row, hi),
            color_by=str(row.what),
        )
        for row in table.itertuples()
        if row.labels or not wanted  # a baseline was asked for nothing
    ]
    only = "Only the first two rows are evidence: below, the network was told the class, or asked for a wrong one. "
    what = "class asked for" if wanted else "true class"
    return figures.dot_rows(
        name=slug("seen", task),
        title=f"{TITLES[task]}: what an independent judge sees",
        caption=f"{only if several else 'Right is better. '}Share of pictures in which the judge sees the {what}, "
        f"n = {int(table.n.min()):,}, {plural(results.settings.num_seeds, 'pair')} of twins; 95 % intervals over twins "
        "and pictures.",
        rows=rows,
        x_label=f"{what} seen by the standard judge",
        palette=palette,
        percent=True,
    )


def _generations(results: Results, law: Law) -> Picture:
    """The first seed of the first classes, with the networks of the first seed."""
    settings = results.settings
    by_kind = {kind: results.generations[law, kind, settings.seed].rows for kind in KINDS}
    places = np.flatnonzero(by_kind["robust"].number == 0)[: max(settings.num_examples, 1)]
    rows = by_kind["robust"].iloc[places]
    shown = {"seed": matrix(rows, "start")}
    shown |= {kind: matrix(by_kind[kind].iloc[places], "image") for kind in reversed(KINDS)}
    return figures.image_rows(
        name=f"generations-{law}",
        title={"class": "Images made from seeds of the class", "noise": "Images made from grey noise"}[law],
        caption=f"The first seed of {len(rows)} classes, not chosen; networks of the first seed, "
        f"{settings.generate_steps} steps of {settings.generate_step:g} within l2 {settings.generate_eps:g}.",
        rows=shown,
        columns=[results.images.classes[label] for label in rows.label],
        side=SIDE,
    )


def _edits(results: Results, task: Edit) -> Picture:
    """The first pictures that were drawn, with the networks of the first seed."""
    settings, count = results.settings, results.settings.num_examples
    shown = {str(what): results.baselines[task, what].images[:count] for what in BASELINES[task]}
    asked = REPORTED[task]
    mended = {kind: results.edits[task, kind, settings.seed, asked].rows.iloc[:count] for kind in reversed(KINDS)}
    shown |= {kind: matrix(rows, "mended") for kind, rows in mended.items()}
    rows = wanted = mended["robust"]
    words = {
        "translate": "Asked for a random other class (its name behind the true one).",
        "sketch": "Told the class that the drawing is meant to show.",
    }.get(task, "")
    if "wrong" in ASKED[task][1:]:
        wanted = results.edits[task, "robust", settings.seed, "wrong"].rows.iloc[:count]
        shown["robust,\nwrong\nclass"] = matrix(wanted, "mended")
        words = (
            "Asked for what the network itself sees in the damaged picture; last row: for a wrong class (its name "
            "behind the true one)."
        )
    classes = results.images.classes
    names = [
        classes[true] if true == other else f"{classes[true]} / {classes[other]}"
        for true, other in zip(rows.label, wanted.wanted, strict=True)
    ]
    titles = {
        "inpaint": "Pictures with a square lost",
        "super-resolution": "Pictures enlarged",
        "translate": "Pictures turned into another class",
        "sketch": "Drawings turned into pictures",
    }
    return figures.image_rows(
        name=task,
        title=titles[task],
        caption=f"{words} The first {len(rows)} of {settings.num_images:,} random test images, networks of the first "
        "seed" + ("; known pixels put back." if task == "inpaint" else "."),
        rows=shown,
        columns=names,
        side=SIDE,
    )


def _paintings(results: Results) -> Picture:
    """The first pictures that were drawn, painted by the networks of the first seed, each with its own coordinates."""
    settings = results.settings
    parts = {
        kind: results.paintings[kind, settings.seed].rows.iloc[: settings.num_examples]
        for kind in reversed(KINDS)
        if (kind, settings.seed) in results.paintings
    }
    first = next(iter(parts.values()))
    shown = {"original": matrix(first, "damaged")} | {kind: matrix(rows, "mended") for kind, rows in parts.items()}
    return figures.image_rows(
        name="paint",
        title="Squares painted with a random coordinate of the latent",
        caption="Each network excites a coordinate of its own, drawn at random; everything outside the square is put "
        f"back. The first {len(first)} of {settings.num_images:,} random test images, networks of the first seed.",
        rows=shown,
        columns=[results.images.classes[label] for label in first.label],
        side=SIDE,
    )
