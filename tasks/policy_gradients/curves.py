"""What the learning curve of an agent comes to, for the studies that compare agents."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

LAST = 5
"""Updates whose mean return is an agent's final one."""


def final_return(curve: pd.DataFrame) -> float:
    """Mean of `episode_return` over the last five updates (rows, in their order), without those in which no episode
    ended; NaN where none of the five has one."""
    last = curve.episode_return.to_numpy(np.float64)[-LAST:]
    return float(np.nanmean(last)) if np.isfinite(last).any() else math.nan
