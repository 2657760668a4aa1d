"""Two Gaussians that cannot be used."""

from __future__ import annotations

from tests.cli.bad_input.case import Case

RUN = "run gaussian-features --workers 0 "

GAUSSIAN_FEATURES = [
    Case(name="gaussian: an axis without a mean", typed=RUN + "--mean 1 2 3", says=("variances and mean", "2 and 3")),
    Case(name="gaussian: equal variances", typed=RUN + "--variances 4 4", says=("variances", "equal")),
    Case(name="gaussian: no size", typed=RUN + "--eps-train 0 1", says=("eps_train",)),
    Case(name="gaussian: unbounded adversary", typed=RUN + "--penalty 1", says=("penalty", "above 1")),
]
