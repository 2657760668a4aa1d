"""Verdicts that are votes: of each image, in how many draws a random model is right, and whether that decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from robustray.tasks.statistics.intervals import clopper_pearson

if TYPE_CHECKING:
    import pandas as pd

ROBUST, BROKEN, UNDECIDED = "robust", "broken", "undecided"


@dataclass(frozen=True, kw_only=True)
class Decided:
    """How many images their draws decide: the 95 % Clopper-Pearson interval of the share of right draws lies on one
    side of a half."""

    robust: int
    broken: int
    undecided: int
    num_draws: int

    def words(self) -> str:
        n = self.robust + self.broken + self.undecided
        return (
            f"the majority of {self.num_draws} draws decides: {self.robust:,} of {n:,} images surely stand, "
            f"{self.broken:,} surely fall, and {self.undecided:,} are undecided (the 95 % Clopper-Pearson interval of "
            "the share of right draws holds a half)"
        )


def by_image(loss: ArrayLike, num_draws: int) -> pd.DataFrame:
    """One row per image: right (draws), lo, hi (of their share), verdict.

    loss: (n,) the share of wrong draws minus that of right ones (`attacks.search.voting.VotedResult`).
    """
    import pandas as pd

    right = np.rint(num_draws * (1 - np.asarray(loss, dtype=np.float64)) / 2).astype(np.int64)
    lo, hi = clopper_pearson(right, num_draws)
    verdict = np.select([lo > 0.5, hi < 0.5], [ROBUST, BROKEN], UNDECIDED)
    return pd.DataFrame({"right": right, "draws": num_draws, "lo": lo, "hi": hi, "verdict": verdict})


def counted(votes: pd.DataFrame) -> Decided:
    """votes: rows of `by_image`, one or more."""
    counts: Mapping[str, int] = votes.verdict.value_counts().to_dict()
    found = {name: int(counts.get(name, 0)) for name in (ROBUST, BROKEN, UNDECIDED)}
    return Decided(**found, num_draws=int(votes.draws.iloc[0]))
