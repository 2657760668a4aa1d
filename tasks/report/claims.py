"""Claims and descriptions as the page shows them: by kind, each beside what was published."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from math import isclose, isnan, nan
from typing import Any

from robustray.tasks.report.numbers import format_value
from robustray.tasks.study import Claim, ClaimKind, Description, PaperFigure, Unit

MARKS = {"supported": "✓", "contradicted": "✗", "undecided": "○"}
"""A verdict is shown by its word and its mark; the colour only repeats it."""

KINDS: Mapping[ClaimKind, tuple[str, str, str, str]] = {
    "paper": (
        "claims",
        "Claims",
        "Claims of the paper, tested",
        "Each is tested by a rule that was fixed before the run. Supported: this run shows what the paper says. "
        "Contradicted: it shows the opposite. Undecided: it is too small to tell.",
    ),
    "check": (
        "checks",
        "Checks",
        "Checks of this experiment",
        "No claims of the paper: what must hold here before the results above mean what they say. Contradicted: this "
        "experiment has a flaw.",
    ),
}
"""Kind -> anchor, word of the navigation, title and explanation of its section."""


def claim_sections(claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """One section for each kind that there is: rules, each with its claims and what each one alone says of how it is
    tested, in the order in which they come."""
    sections = []
    for kind, (anchor, short, title, caption) in KINDS.items():
        own = [claim for claim in claims if claim.kind == kind]
        if own:
            rules = [_under(rule, list(same)) for rule, same in groupby(own, key=lambda each: _parts(each.test)[1])]
            has_paper = any(claim.paper for claim in own)
            sections.append(
                {"anchor": anchor, "short": short, "title": title, "caption": caption, "rules": rules}
                | {"has_paper": has_paper}
            )
    return sections


def description_groups(descriptions: Iterable[Description]) -> list[tuple[str, list[dict[str, Any]]]]:
    """How something was measured, with the rows that were measured like this, in their order."""
    return [(how, [_row(each) for each in same]) for how, same in groupby(descriptions, lambda each: each.measured)]


def _parts(test: str) -> tuple[str, str]:
    """What is measured, and the rule; only a rule where the words aren't those of `kit.claims.claim`."""
    measured, between, rule = test.partition(": supported if")
    return (measured, f"supported if{rule}") if between else ("", test)


def _under(rule: str, claims: Sequence[Claim]) -> tuple[str, list[tuple[dict[str, Any], str]]]:
    """Claims of one rule: what is written once for all of them, and each with what is written beside it."""
    measured = [_parts(each.test)[0] for each in claims]
    if len(set(measured)) > 1:
        return rule, [(_row(each), own) for each, own in zip(claims, measured, strict=True)]
    alone = claims[0].test if len(claims) == 1 else ""
    return claims[0].test, [(_row(each), alone) for each in claims]


def agreement(claim: Claim) -> str:
    """What the paper's own number says under the same rule; "" where nothing can be compared."""
    if claim.agrees is None:
        return ""
    return "the paper's number is on the same side" if claim.agrees else "the paper's number is on the other side"


def standing(value: float, interval: tuple[float, float] | None) -> str:
    """Where a published number lies: "inside this run's interval"; "" where there is none."""
    lo, hi = interval or (nan, nan)
    if isnan(lo) or isnan(hi):
        return ""
    place = "above" if value > hi else "below" if value < lo else "inside"
    return f"{place} this run's interval"


def _row(said: Claim | Description) -> dict[str, Any]:
    return {
        "said": said,
        "paper": None if said.paper is None else _paper(said.paper, said.interval, said.unit),
        "agreement": agreement(said) if isinstance(said, Claim) else "",
    }


def _paper(paper: PaperFigure, interval: tuple[float, float] | None, unit: Unit) -> dict[str, str]:
    """The published number first, where it is one, as it was printed if it was; then the figures behind it."""
    said = {"number": "", "where": "", "figure": paper.figure, "scale": paper.scale, "source": paper.source}
    if paper.value is None:
        return said
    said["where"] = standing(paper.value, interval)
    scale = 1 if unit == "number" else 100
    printed = [float(digits.replace("−", "-")) for digits in re.findall(r"[-−]?\d+(?:\.\d+)?", paper.figure)]
    if len(printed) == 1 and isclose(printed[0], scale * paper.value, abs_tol=1e-9):
        return said | {"number": paper.figure, "figure": ""}
    return said | {"number": format_value(paper.value, unit)}
