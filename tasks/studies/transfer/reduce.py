"""From predictions to estimates: accuracy on the target, gains over the standard source, and the choice of a source.

`transfers` has one row per mode, source and chain: `mode`, `source`, `seed`, `choice` (C or the learning rate that was
taken), `validation` (accuracy on held-out training images of the target) and `correct`, (n,) booleans on its test
images, which are the same in the same order for all. `metric` says what they are worth; "accuracy" stands for it in
the names of functions and columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from robustray.tasks.kit.frames import at, columns, one
from robustray.tasks.statistics import Estimate, mean_over_seeds, proportion
from robustray.tasks.studies.transfer.metric import ACCURACY, Metric
from robustray.tasks.studies.transfer.settings import STANDARD

UNKNOWN = Estimate(value=float("nan"), lo=-1.0, hi=1.0, n=0)
NONE = Estimate(value=math.nan, lo=math.nan, hi=math.nan, n=0)
LEVEL = 0.95
"""Of an interval for its row alone."""


def seeds_of(transfers: pd.DataFrame) -> list[int]:
    return sorted(transfers["seed"].unique().tolist())


def accuracy(transfers: pd.DataFrame, mode: str, source: str, metric: Metric = ACCURACY) -> Estimate:
    """Mean over chains, all on the same test images."""
    rows = at(transfers, mode=mode, source=source)
    return mean_over_seeds([metric.of(correct) for correct in rows["correct"]], limits=(0, 1))


def gain(
    transfers: pd.DataFrame,
    mode: str,
    sources: dict[int, str],
    than: str = STANDARD,
    metric: Metric = ACCURACY,
    level: float = LEVEL,
) -> Estimate:
    """Accuracy of the source of each chain (seed -> source) minus that of `than`, paired by chain and image."""
    return mean_over_seeds(
        [
            metric.difference(
                one(transfers, mode=mode, source=source, seed=seed).correct,
                one(transfers, mode=mode, source=than, seed=seed).correct,
                level,
            )
            for seed, source in sources.items()
        ],
        level=level,
    )


def fixed_gain(
    transfers: pd.DataFrame,
    mode: str,
    source: str,
    than: str = STANDARD,
    metric: Metric = ACCURACY,
    level: float = LEVEL,
) -> Estimate:
    """Gain of one source, the same in every chain."""
    return gain(transfers, mode, dict.fromkeys(seeds_of(transfers), source), than, metric, level)


def gains_by_seed(
    transfers: pd.DataFrame, mode: str, source: str, than: str = STANDARD, metric: Metric = ACCURACY
) -> list[float]:
    """Gain of one source in every chain by itself."""
    seeds = seeds_of(transfers)
    return [fixed_gain(at(transfers, seed=seed), mode, source, than, metric).value for seed in seeds]


def choose(transfers: pd.DataFrame, mode: str, candidates: Sequence[str]) -> dict[int, str]:
    """Chain -> the candidate of highest mean validation accuracy in all other chains; of equal ones the first.

    No chain is judged by a choice that it had a part in, and no test image has one. Empty for a single chain.
    """
    seeds = seeds_of(transfers)
    rows = at(transfers, mode=mode)
    found = {}
    for seed in seeds if len(seeds) > 1 else []:
        others = rows[rows["seed"] != seed].groupby("source")["validation"].mean()
        found[seed] = max(candidates, key=lambda name: (round(others[name], 12), -candidates.index(name)))
    return found


def chosen_gain(transfers: pd.DataFrame, mode: str, candidates: Sequence[str], metric: Metric = ACCURACY) -> Estimate:
    """Gain of the candidate that the other chains choose; n = 0 for a single chain, which has no others."""
    chosen = choose(transfers, mode, candidates)
    return gain(transfers, mode, chosen, metric=metric) if chosen else UNKNOWN


def transfer_table(
    transfers: pd.DataFrame, sources: Sequence[str], metric: Metric = ACCURACY, together: Sequence[str] = ()
) -> pd.DataFrame:
    """A row per mode and source: accuracy on the target, and the gain over the first source (NaN for itself).

    sim_lo, sim_hi: for the gains of the sources `together`, ends that hold for all of them in a mode at once, by
    Bonferroni's inequality: each at the level 1 - 0.05 / their number. NaN for the others.
    """
    rows = []
    for mode in dict.fromkeys(transfers["mode"]):
        for source in sources:
            found = accuracy(transfers, mode, source, metric)
            row = {"mode": mode, "source": source, **columns("accuracy", found)}
            more = NONE if source == sources[0] else fixed_gain(transfers, mode, source, sources[0], metric)
            row |= columns("gain", more, "gain_lo", "gain_hi")
            row |= {"n": found.n, "seeds": len(seeds_of(transfers))}
            wide = NONE
            if source in together:
                level = 1 - (1 - LEVEL) / len(together)
                wide = fixed_gain(transfers, mode, source, sources[0], metric, level)
            rows.append(row | {"sim_lo": wide.lo, "sim_hi": wide.hi})
    return pd.DataFrame(rows)


def choice_table(transfers: pd.DataFrame, kinds: dict[str, Sequence[str]], metric: Metric = ACCURACY) -> pd.DataFrame:
    """A row per mode and kind of candidates (robust, standard): what each chain was given, and the gain of that."""
    rows = []
    for mode in dict.fromkeys(transfers["mode"]):
        for kind, candidates in kinds.items():
            found = chosen_gain(transfers, mode, candidates, metric)
            chosen = "; ".join(choose(transfers, mode, candidates).values())
            rows.append({"mode": mode, "candidates": kind, **columns("gain", found), "n": found.n, "chosen": chosen})
    return pd.DataFrame(rows)


def source_table(probes: pd.DataFrame, sources: Sequence[str]) -> pd.DataFrame:
    """A row per source: accuracy on its own test images, clean and attacked.

    probes: per source and chain `clean` and `robust`, (n,) booleans on the same images.
    """
    rows = []
    for source in sources:
        mine = at(probes, source=source)
        clean, robust = (
            mean_over_seeds([proportion(flags) for flags in mine[name]], limits=(0, 1)) for name in ("clean", "robust")
        )
        row = {"source": source, **columns("clean", clean, "clean_lo", "clean_hi")}
        rows.append(row | columns("robust", robust, "robust_lo", "robust_hi") | {"n": clean.n, "seeds": len(mine)})
    return pd.DataFrame(rows)


def run_table(transfers: pd.DataFrame, metric: Metric = ACCURACY) -> pd.DataFrame:
    """A row per mode, source and chain: what was chosen, by which accuracy, and the accuracy on the test images."""
    test = [metric.of(correct).value for correct in transfers["correct"]]
    sizes = [len(correct) for correct in transfers["correct"]]
    return transfers.drop(columns="correct").assign(test=test, n=sizes)
