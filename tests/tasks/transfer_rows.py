"""Rows of a run of transfer, made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from robustray.tasks.studies.transfer import reduce
from robustray.tasks.studies.transfer.kinds import FIXED, FULL
from robustray.tasks.studies.transfer.metric import ACCURACY, Metric
from robustray.tasks.studies.transfer.settings import SIZES

QUICK = SIZES["quick"]
DIGITS = replace(
    QUICK, train_data="digits:train", test_data="digits:test", arch="digits:mlp", per_class=10, tune_batch=4
)


def transfers(
    accuracy: dict[str, list[int]],
    validation: dict[str, list[float]] | None = None,
    n: int = 10,
    *,
    metric: Metric = ACCURACY,
    shared: bool = True,
    target: str = "t",
    draw: int = 0,
    side: int = 0,
) -> pd.DataFrame:
    """Source -> right answers in each chain (the first images are right), and validation accuracies."""
    rows = [
        {
            "mode": mode,
            "target": target,
            "side": side,
            "judged by": "accuracy",
            "source": source,
            "seed": seed,
            "draw": draw,
            "choice": 1.0,
            "validation": validation[source][seed] if validation else 0.5,
            "correct": np.arange(n) < right,
            "robust": None,
            "metric": metric,
            "shared": shared,
        }
        for mode in (FIXED, FULL)
        for source, counts in accuracy.items()
        for seed, right in enumerate(counts)
    ]
    return pd.DataFrame(rows)


def fixed(frame: pd.DataFrame) -> pd.DataFrame:
    """The part of fixed features."""
    return reduce.part_of(frame, FIXED, "t")
