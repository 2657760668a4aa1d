"""Is a difference as good as none? Two one-sided tests, as the inclusion of an interval in a margin."""

from __future__ import annotations

import math
from typing import Literal

from robustray.tasks.errors import InputError
from robustray.tasks.statistics.intervals import Estimate

Difference = Literal["equivalent", "different", "undecided"]


def within_margin(estimate: Estimate, margin: float) -> Difference:
    """ "equivalent" where the whole interval lies within ±margin, "different" where all of it lies outside.

    An interval of level 1 - 2a gives the two one-sided tests (TOST) of level a: Schuirmann, Journal of Pharmacokinetics
    and Biopharmaceutics 15 (1987) 657-680; Berger and Hsu, Statistical Science 11 (1996) 283-319. So the usual test at
    5 % needs a 90 % interval; a 95 % interval makes it one at 2.5 %. The margin has to be fixed before the data are
    seen. "undecided" where the interval crosses an end of the margin, and for an estimate without a value. The
    regions are those of `kit.rules.equivalent`.

    Raises: InputError unless the margin is positive and finite.
    """
    if not (math.isfinite(margin) and margin > 0):
        raise InputError(f"a margin of equivalence must be a positive number, got {margin}")
    if not math.isfinite(estimate.value):
        return "undecided"
    if -margin <= estimate.lo and estimate.hi <= margin:
        return "equivalent"
    return "different" if estimate.lo > margin or estimate.hi < -margin else "undecided"
