"""A claim from an estimate and a rule."""

from __future__ import annotations

import math

from robustray.tasks.kit.rules import Rule
from robustray.tasks.statistics import Estimate
from robustray.tasks.study import Claim, PaperFigure, Unit


def claim(
    words: str,
    estimate: Estimate,
    rule: Rule,
    *,
    measured: str,
    over: str = "",
    unit: Unit = "percent",
    count: int | None = None,
    paper: PaperFigure | None = None,
) -> Claim:
    """A direction or an inequality of the paper, judged by a rule that was fixed before the run.

    words: the claim as a sentence, as the paper would have it. estimate: a number with its 95 % interval, in shares for
    the units "percent" and "points". measured: what the number is ("difference of the shares of broken images, paired
    by image"). over: what the interval covers ("images", "seeds and images"). count: how many of the rule's units
    there are, where they are not `estimate.n`.

    Nothing to estimate (n = 0 or NaN) is shown as such, and undecided.
    """
    known = estimate.n > 0 and not math.isnan(estimate.value)
    return Claim(
        words=words,
        estimate=estimate.value if known else None,
        interval=estimate.interval if known else None,
        n=estimate.n,
        test=f"{measured}: {rule.words(unit, over)}",
        verdict=rule.verdict(estimate, count),
        unit=unit,
        paper=paper,
    )
