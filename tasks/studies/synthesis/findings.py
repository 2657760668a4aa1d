"""What the report says: the answer, the claims, and the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import one, shown
from robustray.tasks.kit.words import over_words, plural
from robustray.tasks.report.numbers import format_estimate, format_value, size_words
from robustray.tasks.studies.synthesis import edited as edits
from robustray.tasks.studies.synthesis import reduce
from robustray.tasks.studies.synthesis.claims import FROM, claims, repeats
from robustray.tasks.studies.synthesis.drawings import drawings
from robustray.tasks.studies.synthesis.kinds import EDITS, REPORTED, TITLES, Edit
from robustray.tasks.studies.synthesis.results import Results
from robustray.tasks.study import Findings, Table

ASKED = (
    "Labels: the class that was asked for: what the network itself saw in the damaged picture (predicted), the true "
    "one (true: given away, so no evidence of mending), a random other (wrong). "
)
FAR: Mapping[Edit, str] = {
    "inpaint": ASKED
    + "Damaged: the hole filled with the picture's mean. Psnr (dB) and ssim, against the original: of the "
    "whole, of the hole before and after, outside the hole before known pixels are put back, and of the whole before "
    "that.",
    "super-resolution": ASKED + "Damaged: pixels repeated. Psnr (dB) and ssim of the whole; inconsistency: how far the "
    "result, reduced again, is from what was known, relative (the network invents detail: psnr need not rise).",
    "translate": "Wanted: a random other class, the same for both networks. Ssim: with the picture as it was.",
    "sketch": "Damaged: the drawing, outlines of a test image. True: the class of that image, which the network is "
    "told. Psnr (dB) and ssim: against that image, which it never sees.",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduced:
    """The tables, made once for words, claims and drawings."""

    generations: pd.DataFrame
    scores: pd.DataFrame
    edited: pd.DataFrame
    edits: Mapping[Edit, pd.DataFrame]
    painted: pd.DataFrame
    paint: pd.DataFrame


def findings(results: Results) -> Findings:
    """Everything that the report shows."""
    edited, painted = edits.edited_table(results), edits.painted_table(results)
    reduced = Reduced(
        generations=reduce.generation_table(results),
        scores=reduce.score_table(results),
        edited=edited,
        edits={task: edits.edit_table(edited, task) for task in EDITS if task in results.settings.tasks},
        painted=painted,
        paint=edits.paint_table(painted) if len(painted) else painted,
    )
    return compose(
        answer(results, reduced),
        claims(results, edited),
        tables(results, reduced),
        drawings(results, reduced.generations, reduced.edits),
        warnings(results),
    )


def answer(results: Results, reduced: Reduced) -> str:
    """What an independent judge recognises: in generations if there are any, else in edits; and what is painted if
    there are neither."""
    settings, generations = results.settings, reduced.generations
    how = (
        f"{settings.architecture} at {size_words(settings.norm, settings.eps)}, "
        f"{plural(settings.num_seeds, 'pair')} of twins"
    )
    if len(generations):
        parts = [
            f"{_recognised(generations, 'robust', law)} of what robust networks make from {FROM[law]}, "
            f"{_recognised(generations, 'standard', law)} of what standard ones do"
            for law in reversed(settings.laws)
        ]
        real = one(generations, what=reduce.REAL)
        return (
            f"An independent judge recognises {'; '.join(parts)} (of real images "
            f"{format_value(real.standard_judge, 'percent')}; {how}, n = {real.n:,} images a network)."
        )
    if not reduced.edits:
        return _painted(reduced.paint, how)
    task, table = next(iter(reduced.edits.items()))
    wanted = task == "translate"
    name, lo, hi = ("sees_wanted", "wanted_lo", "wanted_hi") if wanted else ("sees_true", "true_lo", "true_hi")
    shares = [
        format_estimate(getattr(row, name), (getattr(row, lo), getattr(row, hi)), "percent")
        for kind in ("robust", "standard")
        for row in [one(table, what=kind, labels=REPORTED[task])]
    ]
    what = "class asked for" if wanted else "true class"
    towards = {"predicted": " towards what the network itself sees"}.get(REPORTED[task], "")
    return (
        f"{TITLES[task]}{towards}: an independent judge sees the {what} in {shares[0]} of the pictures with robust "
        f"twins and in {shares[1]} with standard ones ({how}, n = {int(table.n.min()):,} pictures of "
        f"{settings.test_data})."
    )


def _painted(paint: pd.DataFrame, how: str) -> str:
    if paint.empty:
        return f"No network has a coordinate that is ever active, so nothing was painted (n = 0; {how})."
    parts = [
        f"{format_estimate(row.activation, (row.activation_lo, row.activation_hi), '.2f')} by {row.what} twins"
        for row in paint.itertuples()
    ]
    return (
        f"Painted into a square, a random coordinate of the latent rises to {' and '.join(parts)}, where 1 is what one "
        f"test image of a hundred exceeds ({how}, n = {int(paint.n.min()):,} pictures)."
    )


def _recognised(generations: pd.DataFrame, what: str, law: str) -> str:
    row = one(generations, what=what, law=law)
    return format_estimate(row.standard_judge, (row.standard_lo, row.standard_hi), "percent")


def tables(results: Results, reduced: Reduced) -> Iterator[Table]:
    """Those of the page, then those of records."""
    settings = results.settings
    over = over_words(settings.num_seeds)
    if len(reduced.generations):
        yield Table(
            name="recognised",
            title="Who recognises what was made for a class",
            caption="Standard judge, robust judge: the share of images in which an independent network of another "
            "architecture and seed sees the class asked for. Score: exp of the mean divergence of the standard "
            f"judge's probabilities from their mean ({results.images.num_classes} at most; not comparable with "
            "Inception scores, and high for anything optimised against classifiers), jackknife. Own: the network's "
            "own opinion, which was optimised. Moved: l2 from the seed. Real: random test images, as many of each "
            f"class; {over}.",
            frame=reduced.generations,
            formats=shown("standard_judge", "percent", "standard_lo", "standard_hi")
            | shown("robust_judge", "percent", "robust_lo", "robust_hi")
            | shown("score", ".2f", "score_lo", "score_hi")
            | {"own": "percent", "moved": ".2f"},
        )
        yield Table(
            name="scores",
            title="How far from real images",
            caption="Frechet: squared Frechet distance from as many other test images, in the features of the standard "
            "and of the robust judge (no FID, comparable within this table only; it is above 0 for real images, too). "
            f"Precision: made images within real ones' distance to their neighbour number {settings.neighbours}; "
            "recall: real images within made ones'. Near: nearer to a training image than all but "
            f"{format_value(reduce.NEAR, 'percent')} of the real test images are: copies would show here. Equal n; "
            "intervals by a jackknife over groups of seed images within class, and over twins.",
            frame=reduced.scores,
            formats=shown("frechet", ".2f", "frechet_lo", "frechet_hi")
            | shown("frechet_robust", ".3g", "frechet_robust_lo", "frechet_robust_hi")
            | shown("precision", "percent", "precision_lo", "precision_hi")
            | shown("recall", "percent", "recall_lo", "recall_hi")
            | shown("near", "percent", "near_lo", "near_hi"),
        )
    for task, table in reduced.edits.items():
        yield _edit_table(task, table, over)
    if len(reduced.paint):
        yield Table(
            name="paint",
            title=f"{TITLES['paint']}: what a square of the picture can do",
            caption="A random coordinate of each network's own latent, in units of what it exceeds on one test image "
            "of a hundred: in the picture as it was, in the result, and with everything outside the square put back "
            f"(activation). Outside: root mean square change there before that; {over}.",
            frame=reduced.paint,
            formats={
                name: value
                for column in ("activation_before", "activation_free", "activation", "outside", "moved")
                for name, value in shown(
                    column, ".4f" if column == "outside" else ".2f", f"{column}_lo", f"{column}_hi"
                ).items()
            },
        )
    yield Table(
        name="networks",
        title="The networks",
        caption="Weights: the name under which any study takes them. Accuracy: on all clean test images "
        f"({len(results.images):,} of {settings.test_data}).",
        frame=reduce.network_table(results),
        formats={"accuracy": "percent"},
    )
    records = {
        "generations": ("Every generation", "One row per image.", reduce.generated_table(results)),
        "edits": ("Every edited picture and every baseline", "Seed -1: no network touched it.", reduced.edited),
        "paintings": ("Every painting", "One row per picture and network.", reduced.painted),
    }
    for name, (title, caption, frame) in records.items():
        if len(frame):
            yield Table(name=name, title=title, caption=caption, frame=frame, on_page=False)


def _edit_table(task: Edit, table: pd.DataFrame, over: str) -> Table:
    formats = shown("sees_true", "percent", "true_lo", "true_hi")
    formats |= shown("sees_wanted", "percent", "wanted_lo", "wanted_hi")
    for name in ("robust_true", "robust_wanted"):
        formats |= shown(name, "percent", f"{name}_lo", f"{name}_hi")
    for name in (*edits.MEASURES[task], "moved"):
        formats |= shown(name, ".1f" if name.startswith("psnr") else ".3f", f"{name}_lo", f"{name}_hi")
    return Table(
        name=task,
        title=f"{TITLES[task]}: what judges see, and how far from the original",
        caption=f"{FAR[task]} Sees true, sees wanted: the standard judge, in the result; robust true, robust wanted: "
        f"the robust one; {over}.",
        frame=table,
        formats=formats,
    )


def warnings(results: Results) -> Iterator[str]:
    """Networks and judges of which little can be learnt."""
    yield from repeats(results).warnings("pair of twins")
    chance = 1 / results.images.num_classes
    for (role, kind, seed), accuracy in results.accuracies.items():
        if accuracy < 2 * chance:
            who = f"{kind} judge" if role == "judge" else f"{kind} network of seed {seed}"
            yield (
                f"the {who} classifies {accuracy:.0%} of the clean test images (chance {chance:.0%}): it has "
                "hardly learnt, or has the classes in another order, and what it makes or says means nothing"
            )
    width, count = results.train_features.shape[1], len(results.real)
    if count and count < 2 * width:
        yield (
            f"{count:,} images a row for {width} features of the judge: Frechet distances are mostly sampling error; "
            "read them beside that of the real images, or raise per_class"
        )
