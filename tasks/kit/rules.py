"""Rules by which claims are judged: a region, fixed before the run, with which an estimate's 95 % interval is compared.

Every rule says "the true number lies in this region", and is judged in one way:

- **supported**: the whole interval lies inside the region;
- **contradicted**: the whole interval lies outside it, which is the same as "the opposite is supported";
- **undecided**: the interval has a part on either side, nothing could be estimated, or there are fewer independent
  units (seeds, say) than the rule asks for.

So `above(0)` and `below(0)` are each other's opposites, and an effect that may be there or not is never "contradicted"
for want of data. The rule gives the verdict and the words that describe it: they cannot drift apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from robustray.tasks.errors import InputError
from robustray.tasks.statistics import Estimate
from robustray.tasks.study import Unit, Verdict


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Made by `above`, `below`, `within` and `equivalent`."""

    low: float = -math.inf
    high: float = math.inf
    """The region. Its ends belong to it only where both are finite."""
    symmetric: bool = False
    """Said as "within ±high"."""
    note: str = ""
    """Said behind the words."""
    least: int = 1
    """Undecided with fewer units than this."""
    units: str = "units"
    """What `least` counts, in the plural: seeds, images, networks."""

    def __post_init__(self) -> None:
        if math.isnan(self.low) or math.isnan(self.high) or self.low > self.high:
            raise InputError(f"a rule's region needs low <= high, got {self.low} and {self.high}")
        if self.least < 1:
            raise InputError(f"a rule needs at least one unit, got {self.least}")

    def given(self, least: int, units: str) -> Rule:
        """The same rule, undecided with fewer than `least` of `units`: `above(0).given(2, "seeds")`."""
        return replace(self, least=least, units=units)

    def verdict(self, estimate: Estimate, count: int | None = None) -> Verdict:
        """Judge an estimate with a 95 % interval. count: how many of the rule's units there are; else `estimate.n`."""
        lo, hi = estimate.interval
        known = estimate.n > 0 and not any(map(math.isnan, (estimate.value, lo, hi)))
        if not known or (estimate.n if count is None else count) < self.least:
            return "undecided"
        if self._closed:
            inside, outside = self.low <= lo and hi <= self.high, hi < self.low or lo > self.high
        else:
            inside = (lo > self.low or self.low == -math.inf) and (hi < self.high or self.high == math.inf)
            outside = hi < self.low or lo > self.high
        return "supported" if inside else "contradicted" if outside else "undecided"

    def holds(self, value: float) -> bool:
        """Whether an exact number lies in the region: a published one, say."""
        return self.low <= value <= self.high if self._closed else self.low < value < self.high

    def words(self, unit: Unit = "number", over: str = "") -> str:
        """`"supported if its 95 % interval over images is above 50 %, contradicted if below"`."""
        start = f"supported if its 95 % interval{f' over {over}' if over else ''}"
        if self.high == math.inf:
            region = f"is above {amount(self.low, unit)}, contradicted if below"
        elif self.low == -math.inf:
            region = f"is below {amount(self.high, unit)}, contradicted if above"
        elif self.symmetric:
            region = f"lies within ±{amount(self.high, unit)}, contradicted if it lies outside"
        else:
            region = (
                f"lies between {amount(self.low, unit)} and {amount(self.high, unit)}, contradicted if it lies outside"
            )
        few = f"; undecided with fewer than {self.least} {self.units}" if self.least > 1 else ""
        return f"{start} {region}{few}{f' ({self.note})' if self.note else ''}"

    @property
    def _closed(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


def above(threshold: float) -> Rule:
    """The number is above `threshold`."""
    return Rule(low=threshold)


def below(threshold: float) -> Rule:
    """The number is below `threshold`."""
    return Rule(high=threshold)


def within(low: float, high: float | None = None) -> Rule:
    """The number lies between `low` and `high`; `within(0.006)`: between -0.006 and 0.006, ends included."""
    if high is None:
        return Rule(low=-low, high=low, symmetric=True)
    return Rule(low=low, high=high)


def equivalent(margin: float) -> Rule:
    """A difference is smaller than `margin`, both ways: two one-sided tests at 2.5 %, read off the 95 % interval.

    Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987) 657-680: equivalence is shown by two
    one-sided tests at level a, which is the interval of level 1 - 2a within the margins. His a is 5 % (a 90 %
    interval); ours is the stricter one that all rules here share.
    """
    return replace(within(margin), note="equivalence: two one-sided tests at 2.5 %")


def amount(value: float, unit: Unit) -> str:
    """A threshold without rounding: `"50 %"`, `"0.6 points"`, `"0.25"`."""
    if not value:
        return "0"
    number = f"{value if unit == 'number' else 100 * value:.10g}".replace("-", "−")
    return number + {"percent": " %", "points": " points", "number": ""}[unit]
