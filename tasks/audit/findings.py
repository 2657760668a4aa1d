"""What one check of an audit says: a figure, the rule it is held against, and a verdict. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "no evidence", "not checked"]
VERDICTS: tuple[Verdict, ...] = ("no evidence", "ok", "not checked")
"""In the order in which they are shown. "no evidence": a robust accuracy by gradients says nothing about this model
until the attack that the finding names was tried."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When the figure of a check speaks against a robust accuracy."""

    asks: str
    """What is looked at, in words."""
    figure: str
    """What the number is."""
    limit: float
    above: bool = True
    """The figure speaks against it above the limit; False: below it."""
    fmt: str = "percent"
    """As in `report.numbers.format_value`."""

    def is_broken(self, figure: float) -> bool:
        """NaN breaks no rule."""
        return figure > self.limit if self.above else figure < self.limit


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of an audit."""

    check: str
    """A key of `rules.RULES`."""
    verdict: Verdict
    figure: float = math.nan
    """NaN where nothing was measured."""
    because: str = ""
    """Ends the sentence "this number is no evidence because ...", or says why nothing was checked."""
    layer: str = ""
    """Name of the module where it happens, as in `model.named_modules()`; empty where that is not known."""
    remedy: str = ""
    """The attack that helps."""


def judged(
    rules: Mapping[str, Rule], check: str, figure: float, because: str, *, layer: str = "", remedy: str = ""
) -> Finding:
    """The finding by the check's rule; `because`, `layer` and `remedy` are said where the rule is broken."""
    if not rules[check].is_broken(figure):
        return Finding(check=check, verdict="ok" if not math.isnan(figure) else "not checked", figure=figure)
    return Finding(check=check, verdict="no evidence", figure=figure, because=because, layer=layer, remedy=remedy)
