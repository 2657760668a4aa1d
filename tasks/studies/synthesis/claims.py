"""The claims, by rules fixed before the run. Each is undecided where the two judges disagree about its sign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from robustray.tasks.kit.claims import Repeats
from robustray.tasks.kit.rules import Rule, above, below
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.synthesis import edited as edits
from robustray.tasks.studies.synthesis import reduce
from robustray.tasks.studies.synthesis.kinds import EDITS, Edit, Law
from robustray.tasks.studies.synthesis.results import Results
from robustray.tasks.study import Claim
from robustray.tasks.training.twins import Kind

FROM = {"class": "seeds of the class", "noise": "grey noise"}
AGREE = "undecided too if the robust judge does not find a difference of that sign"
UNTOLD = "share in which the judge sees the true class, which nobody told the network"

EDIT_CLAIMS: dict[Edit, tuple[tuple[str, str, str], ...]] = {
    "inpaint": (
        ("standard", "Pictures mended by a robust network are recognised more often than by a standard one.", UNTOLD),
        ("damaged", "Pictures mended by a robust network are recognised more often than the damaged pictures.", UNTOLD),
    ),
    "super-resolution": (
        ("standard", "Pictures enlarged by a robust network are recognised more often than by a standard one.", UNTOLD),
        (
            "bicubic",
            "Pictures enlarged by a robust network are recognised more often than by bicubic interpolation.",
            UNTOLD,
        ),
    ),
    "translate": (
        (
            "standard",
            "Pictures that a robust network turns into another class are recognised as that class more often than a "
            "standard network's.",
            "share in which the judge sees the class asked for",
        ),
    ),
    "sketch": (
        (
            "standard",
            "What a robust network makes of a drawing is recognised more often than what a standard one does.",
            "share in which the judge sees the class that the drawing was said to show",
        ),
    ),
}
"""Task -> what robust networks are compared with, the claim, and what is measured."""


def claims(results: Results, edited: pd.DataFrame) -> list[Claim]:
    """Three for each law of seeds, and one or two for each edit."""
    settings, found = results.settings, []
    if "generate" in settings.tasks:
        for law in settings.laws:
            found += _of_generations(results, law)
    for task in EDITS:
        if task not in settings.tasks:
            continue
        for other, words, measured in EDIT_CLAIMS[task]:
            found.append(
                _agreed(
                    results,
                    words,
                    above(0),
                    lambda judge, task=task, other=other: edits.edit_difference(  # type: ignore[misc]
                        edited, task, other, settings.seeds(), judge
                    ),
                    measured=f"{measured}, robust network minus {other}, by the standard judge; paired by picture",
                )
            )
    return found


def _of_generations(results: Results, law: Law) -> list[Claim]:
    start = f"From {FROM[law]}, a robust network's generations"
    return [
        _agreed(
            results,
            f"{start} are recognised by an independent judge more often than a standard network's.",
            above(0),
            lambda judge: reduce.generation_difference(results, law, judge),
            measured="share of images in which the standard judge sees the class asked for, robust minus standard, "
            "paired by twins and seed image",
        ),
        _agreed(
            results,
            f"{start} have a higher classifier score than a standard network's.",
            above(0),
            lambda judge: reduce.score_difference(results, law, judge),
            measured="score of the standard judge, robust minus standard, from the same seed images; grouped jackknife",
            number=True,
        ),
        _agreed(
            results,
            f"{start} are closer to real images than a standard network's.",
            below(0),
            lambda judge: reduce.frechet_difference(results, law, judge),
            measured="squared Frechet distance from real images in the standard judge's features, robust minus "
            "standard, from the same seed images; grouped jackknife",
            number=True,
        ),
    ]


def _agreed(
    results: Results,
    words: str,
    rule: Rule,
    by: Callable[[Kind], Estimate],
    *,
    measured: str,
    number: bool = False,
) -> Claim:
    """The verdict by the standard judge, or undecided where the robust judge disagrees about the sign."""
    primary, second = by("standard"), by("robust")
    found = repeats(results).claim(
        words, primary, replace(rule, note=AGREE), measured=measured, unit="number" if number else None
    )
    return found if primary.value * second.value > 0 else replace(found, verdict="undecided")


def repeats(results: Results) -> Repeats:
    """The evidence behind the claims, in words."""
    return Repeats(count=results.settings.num_seeds, units="pairs of twins", over="twins and images")
