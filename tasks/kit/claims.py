"""What is said of an estimate: a claim, with a rule, by itself or over repetitions (other seeds, chains, agents); or a
description, without one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from robustray.tasks.kit.rules import Rule
from robustray.tasks.kit.words import plural
from robustray.tasks.statistics import Estimate
from robustray.tasks.study import Claim, ClaimKind, Description, PaperFigure, Unit


def claim(
    words: str,
    estimate: Estimate,
    rule: Rule,
    *,
    measured: str,
    over: str = "",
    unit: Unit = "percent",
    count: int | None = None,
    kind: ClaimKind = "paper",
    paper: PaperFigure | None = None,
) -> Claim:
    """A direction or an inequality, judged by a rule that was fixed before the run.

    words: the claim as a sentence, as the paper would have it; or, of the kind "check", what must hold of the
    experiment itself. estimate: a number with its 95 % interval, in shares for the units "percent" and "points".
    measured: what the number is ("difference of the shares of broken images, paired by image"). over: what the interval
    covers ("images", "seeds and images"). count: how many of the rule's units there are, where they are not
    `estimate.n`.

    Nothing to estimate (n = 0 or NaN) is shown as such, and undecided. The paper's own number, where it has one, is
    judged by the same rule.
    """
    known = estimate.n > 0 and not math.isnan(estimate.value)
    published = None if paper is None else paper.value
    return Claim(
        words=words,
        estimate=estimate.value if known else None,
        interval=estimate.interval if known else None,
        n=estimate.n,
        test=f"{measured}: {rule.words(unit, over)}",
        verdict=rule.verdict(estimate, count),
        unit=unit,
        kind=kind,
        paper=paper,
        paper_verdict=None if published is None else "supported" if rule.holds(published) else "contradicted",
    )


def describe(
    words: str,
    estimate: Estimate,
    *,
    measured: str,
    over: str,
    unit: Unit = "percent",
    paper: PaperFigure | None = None,
) -> Description:
    """A property of a user's model or data. words: what the number is, as a phrase; the others as those of `claim`."""
    known = estimate.n > 0 and not math.isnan(estimate.value)
    return Description(
        words=words,
        estimate=estimate.value if known else None,
        interval=estimate.interval if known else None,
        n=estimate.n,
        measured=f"{measured}; 95 % interval over {over}",
        unit=unit,
        paper=paper,
    )


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """The repetitions (trainings with other seeds, whole chains, agents) that claims of a study rest on.

        repeats = Repeats(count=settings.num_seeds)
        repeats.claim("Longer training helps.", gain, above(0), measured="difference of accuracies, paired by seed")

    With fewer than `least` of them such claims are undecided, whatever the interval says, because one training says
    nothing about others.
    """

    count: int
    """How many there are of each kind."""
    least: int = 2
    """How many it takes to decide anything."""
    units: str = "seeds"
    """What is counted, in the plural, as the rule says it."""
    over: str = "seeds and images"
    """What the intervals cover."""
    unit: Unit = "points"
    """The unit of the claims' estimates; most are differences between two kinds of training."""

    @property
    def too_few(self) -> bool:
        """Whether every claim of these repetitions is undecided."""
        return self.count < self.least

    def claim(
        self,
        words: str,
        estimate: Estimate,
        rule: Rule,
        *,
        measured: str,
        over: str = "",
        unit: Unit | None = None,
        kind: ClaimKind = "paper",
        paper: PaperFigure | None = None,
    ) -> Claim:
        """Like the function `claim`. over, unit: given where they differ from those of the other claims."""
        return claim(
            words,
            estimate,
            rule.given(self.least, self.units),
            measured=measured,
            over=over or self.over,
            unit=unit or self.unit,
            count=self.count,
            kind=kind,
            paper=paper,
        )

    def warnings(self, one: str, *, within: str = "images") -> Iterator[str]:
        """Says that claims are undecided for want of repetitions; nothing where there are enough of them.

        one: a single repetition (`"seed"`). within: what the intervals of one repetition are over.
        """
        if self.too_few:
            count = f"one {one}" if self.count == 1 else plural(self.count, one)
            yield (
                f"{count}: intervals cover other {within} but not other trainings, and claims about training stay "
                "undecided"
            )
