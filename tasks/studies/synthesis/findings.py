"""What the report says: the answer, the claims by rules fixed before the run, and the tables."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from robustray.tasks.kit.claims import Repeats
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import one, shown
from robustray.tasks.kit.rules import above
from robustray.tasks.kit.words import over_words, plural
from robustray.tasks.report.numbers import format_estimate, format_value, size_words
from robustray.tasks.studies.synthesis import reduce
from robustray.tasks.studies.synthesis.drawings import drawings
from robustray.tasks.studies.synthesis.results import Results
from robustray.tasks.studies.synthesis.settings import EDITS, Edit, Law
from robustray.tasks.study import Claim, Findings, Table

FROM = {"class": "seeds of the class", "noise": "grey noise"}
TITLES = {"inpaint": "Inpainting", "super-resolution": "Super-resolution"}

FAR = {
    "inpaint": "Psnr (dB) of the whole, of the hole before and after, and outside the hole before known pixels are put "
    "back.",
    "super-resolution": "Psnr (dB) of the whole; inconsistency: how far the result, reduced again, is from what was "
    "known, relative (the network invents detail: psnr need not rise).",
}


def findings(results: Results) -> Findings:
    """Everything that the report shows."""
    generations = reduce.generation_table(results)
    edited = reduce.edited_table(results)
    edits: dict[Edit, pd.DataFrame] = {
        task: reduce.edit_table(edited, task) for task in EDITS if task in results.settings.tasks
    }
    return compose(
        answer(results, generations, edits),
        claims(results, edited),
        tables(results, generations, edited, edits),
        drawings(results, generations, edits),
        warnings(results),
    )


def answer(results: Results, generations: pd.DataFrame, edits: dict[Edit, pd.DataFrame]) -> str:
    """What an independent judge recognises: of generations where there are any, else of mended pictures."""
    settings = results.settings
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
    task, table = next(iter(edits.items()))
    shares = [
        format_estimate(row.sees_true, (row.true_lo, row.true_hi), "percent")
        for kind in ("robust", "standard")
        for row in [one(table, what=kind, labels="predicted")]
    ]
    damaged = one(table, what="damaged")
    return (
        f"{TITLES[task]} towards what the network itself sees: an independent judge sees the true class in {shares[0]} "
        f"of the pictures with robust twins, in {shares[1]} with standard ones, and in "
        f"{format_estimate(damaged.sees_true, (damaged.true_lo, damaged.true_hi), 'percent')} before ({how}, "
        f"n = {damaged.n:,} pictures of {settings.test_data})."
    )


def _recognised(generations: pd.DataFrame, what: str, law: str) -> str:
    row = one(generations, what=what, law=law)
    return format_estimate(row.standard_judge, (row.standard_lo, row.standard_hi), "percent")


def claims(results: Results, edited: pd.DataFrame) -> list[Claim]:
    """One for each law of seeds, and one or two for each edit."""
    settings, found = results.settings, []
    repeats = _repeats(results)
    if "generate" in settings.tasks:
        found += [_generation_claim(results, law) for law in settings.laws]
    if "inpaint" in settings.tasks:
        for other, words in (("standard", "those mended by a standard network"), ("damaged", "the damaged pictures")):
            found.append(
                repeats.claim(
                    f"Pictures mended by a robust network are recognised more often than {words}.",
                    reduce.edit_difference(edited, "inpaint", other, settings.seeds()),
                    above(0),
                    measured="share in which the judge sees the true class, which nobody told the network, minus that "
                    f"of {words}; known pixels put back; paired by picture",
                )
            )
    if "super-resolution" in settings.tasks:
        found.append(
            repeats.claim(
                "Pictures enlarged by a robust network are recognised more often than by bicubic interpolation.",
                reduce.edit_difference(edited, "super-resolution", "bicubic", settings.seeds()),
                above(0),
                measured="share in which the judge sees the true class, which nobody told the network, minus that of "
                "bicubic interpolation; paired by picture",
            )
        )
    return found


def _generation_claim(results: Results, law: Law) -> Claim:
    """By the standard judge; not decided where the robust one disagrees about the sign."""
    primary, second = (reduce.generation_difference(results, law, judge) for judge in ("standard", "robust"))
    rule = replace(above(0), note="undecided too if the robust judge does not find a difference of that sign")
    found = _repeats(results).claim(
        f"From {FROM[law]}, a robust network's generations are recognised by an independent judge more often than a "
        "standard network's.",
        primary,
        rule,
        measured="share of images in which the standard judge sees the class asked for, robust minus standard, "
        "paired by twins and seed image",
    )
    agrees = primary.value * second.value > 0
    return found if agrees else replace(found, verdict="undecided")


def _repeats(results: Results) -> Repeats:
    return Repeats(count=results.settings.num_seeds, units="pairs of twins", over="twins and images")


def tables(
    results: Results, generations: pd.DataFrame, edited: pd.DataFrame, edits: dict[Edit, pd.DataFrame]
) -> list[Table]:
    settings, found = results.settings, []
    over = over_words(settings.num_seeds)
    if len(generations):
        found.append(
            Table(
                name="recognised",
                title="Who recognises what was made for a class",
                caption="Standard judge, robust judge: the share of images in which an independent network of another "
                "architecture and seed sees the class asked for. Score: exp of the mean divergence of the standard "
                f"judge's probabilities from their mean ({results.images.num_classes} at most; not comparable with "
                "Inception scores, and high for anything optimised against classifiers), jackknife. Own: the network's "
                "own opinion, which was optimised. Moved: l2 from the seed. Real: random test images, as many of each "
                f"class; {over}.",
                frame=generations,
                formats=shown("standard_judge", "percent", "standard_lo", "standard_hi")
                | shown("robust_judge", "percent", "robust_lo", "robust_hi")
                | shown("score", ".2f", "score_lo", "score_hi")
                | {"own": "percent", "moved": ".2f"},
            )
        )
    for task, table in edits.items():
        found.append(
            Table(
                name=task,
                title=f"{TITLES[task]}: what a judge sees, and how far from the truth",
                caption="Labels: the class that was asked for: what the network itself saw in the damaged picture "
                "(predicted), the true one (true: given away, so no evidence of mending), a random other (wrong). "
                f"{FAR[task]} Sees true, sees wanted: the standard judge, in the result; {over}.",
                frame=table,
                formats=shown("sees_true", "percent", "true_lo", "true_hi")
                | shown("sees_wanted", "percent", "wanted_lo", "wanted_hi")
                | dict.fromkeys(("psnr", "psnr_hole_before", "psnr_hole", "psnr_outside"), ".1f")
                | {"inconsistency": ".3f", "moved": ".2f"},
            )
        )
    found.append(
        Table(
            name="networks",
            title="The networks",
            caption="Weights: the name under which any study takes them. Accuracy: on all clean test images "
            f"({len(results.images):,} of {settings.test_data}).",
            frame=reduce.network_table(results),
            formats={"accuracy": "percent"},
        )
    )
    if len(generations):
        found.append(
            Table(
                name="generations",
                title="Every generation",
                caption="One row per image.",
                frame=reduce.generated_table(results),
                on_page=False,
            )
        )
    if len(edited):
        found.append(
            Table(
                name="edits",
                title="Every mended picture and every baseline",
                caption="One row per picture; seed -1: no network touched it.",
                frame=edited,
                on_page=False,
            )
        )
    return found


def warnings(results: Results) -> list[str]:
    """Networks and judges of which little can be learnt."""
    found = list(_repeats(results).warnings("pair of twins"))
    chance = 1 / results.images.num_classes
    for (role, kind, seed), accuracy in results.accuracies.items():
        if accuracy < 2 * chance:
            who = f"{kind} judge" if role == "judge" else f"{kind} network of seed {seed}"
            found.append(
                f"the {who} classifies {accuracy:.0%} of the clean test images (chance {chance:.0%}): it has "
                "hardly learnt, and what it makes or says means nothing"
            )
    return found
