"""From predictions to estimates: accuracy by version, BG-gap, what decides an image.

Records have one row per network and test image: `images` (`FIXED`, `OWN_RHO`, or the name of a data set), `rho` (that
of the training; NaN for the user's models), `network` (how it was trained, or a model's name), `seed`, `index`,
`label`, one column of predictions per version (-1: an answer that is none of the classes), and `background_rand`, the
class of the background in Mixed-Rand (-1: not known).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from robustray.tasks.kit.frames import columns
from robustray.tasks.statistics import Estimate, mean_interval, mean_over_seeds, paired_difference, proportion
from robustray.tasks.studies.backgrounds.settings import ORIGINAL

KEYS = ["images", "network"]
FIXED, OWN_RHO = "fixed", "own rho"
"""Test scenes that all networks share, and those of a network's own correlation."""
Flags = NDArray[np.bool_]
CATEGORIES = {
    "bg_required": (True, False, True),
    "bg_fools": (False, True, False),
    "bg_and_fg_required": (True, False, False),
    "bg_and_fg_fool": (False, True, True),
}
"""Correct on Original, Mixed-Rand, Only-BG-T (paper, section 4). All other images: the background is irrelevant."""


def groups(records: pd.DataFrame) -> Iterator[tuple[dict[str, Any], list[pd.DataFrame]]]:
    """Per kind of network: what it is, and its records, one frame per seed in the same order of images."""
    for _, rows in records.groupby(KEYS, sort=False):
        first = rows.iloc[0]
        head = {"images": first["images"], "rho": first["rho"], "network": first["network"]}
        yield head, [seed.sort_values("index") for _, seed in rows.groupby("seed", sort=True)]


def correct(records: pd.DataFrame, version: str) -> Flags:
    """(images,): whether the prediction on the version is the label."""
    return (records[version] == records["label"]).to_numpy()


def accuracy(seeds: Sequence[pd.DataFrame], version: str) -> Estimate:
    """Mean over seeds, all on the same images."""
    return mean_over_seeds([proportion(correct(seed, version)) for seed in seeds], limits=(0, 1))


def gap(seeds: Sequence[pd.DataFrame], other: str = "mixed_rand", level: float = 0.95) -> Estimate:
    """Accuracy on Mixed-Same minus that on `other`, paired by seed and foreground: the BG-gap."""
    found = [paired_difference(correct(seed, "mixed_same"), correct(seed, other), level) for seed in seeds]
    return mean_over_seeds(found, level=level)


def gap_difference(first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame]) -> Estimate:
    """BG-gap of the first kind of network minus that of the second, paired by seed and foreground."""

    def gaps(seed: pd.DataFrame) -> NDArray[np.int64]:
        return correct(seed, "mixed_same").astype(np.int64) - correct(seed, "mixed_rand")

    pairs = zip(first, second, strict=True)
    return mean_over_seeds([mean_interval(gaps(a) - gaps(b)) for a, b in pairs], limits=(-2, 2))


GAP = "gap"
"""Among `trends`: the BG-gap, beside the accuracies on versions."""


def trends(
    kinds: Sequence[Sequence[pd.DataFrame]], versions: Sequence[str], *, over: Literal["seeds", "models"]
) -> dict[str, Estimate]:
    """By `GAP` or version: how much it changes per change of accuracy on Original, across kinds of networks, each with
    its seeds. over: what the interval is about, other seeds of the same kinds or other models."""

    def measure(what: str) -> Callable[[pd.DataFrame], float]:
        return gap_of if what == GAP else lambda seed: float(correct(seed, what).mean())

    if over == "seeds":
        return {what: slope_over_seeds(kinds, measure(what)) for what in (GAP, *versions)}
    clean = [float(correct(seeds[0], ORIGINAL).mean()) for seeds in kinds]
    return {what: slope_over_models(clean, [measure(what)(seeds[0]) for seeds in kinds]) for what in (GAP, *versions)}


def slope_over_seeds(kinds: Sequence[Sequence[pd.DataFrame]], what: Callable[[pd.DataFrame], float]) -> Estimate:
    """How much `what` changes per change of clean accuracy, across kinds of networks: a straight line by least squares
    for each seed, and their mean with Student's t over seeds; NaN where all have one accuracy."""
    slopes = []
    for chain in zip(*kinds, strict=True):
        clean = [correct(seed, ORIGINAL).mean() for seed in chain]
        if np.ptp(clean) == 0:  # no line
            return Estimate(value=float("nan"), lo=-np.inf, hi=np.inf, n=len(kinds[0]))
        slopes.append(np.polyfit(clean, [what(seed) for seed in chain], 1)[0])
    return mean_interval(slopes)


def slope_over_models(accuracies: Sequence[float], values: Sequence[float], level: float = 0.95) -> Estimate:
    """The same across a user's models: a straight line by least squares, with Student's t interval over other models.
    NaN, with an infinite interval, for fewer than three models and where all have one accuracy."""
    n = len(accuracies)
    if n < 3 or np.ptp(accuracies) == 0:
        return Estimate(value=float("nan"), lo=-np.inf, hi=np.inf, n=n)
    line = stats.linregress(accuracies, values)
    half = float(special.stdtrit(n - 2, (1 + level) / 2) * line.stderr)
    return Estimate(value=float(line.slope), lo=float(line.slope) - half, hi=float(line.slope) + half, n=n)


def gap_of(seed: pd.DataFrame) -> float:
    """BG-gap of one network."""
    return float(correct(seed, "mixed_same").mean() - correct(seed, "mixed_rand").mean())


def towards_background(seeds: Sequence[pd.DataFrame]) -> Estimate:
    """Of Mixed-Rand images with a background of another class, the share answered with that class."""
    found = []
    for seed in seeds:
        wrong = seed[(seed["background_rand"] != seed["label"]) & (seed["background_rand"] >= 0)]
        found.append(proportion((wrong["mixed_rand"] == wrong["background_rand"]).to_numpy()))
    return mean_over_seeds(found, limits=(0, 1))


def accuracy_table(records: pd.DataFrame, versions: Sequence[str]) -> pd.DataFrame:
    """A row per kind of network and version."""
    return pd.DataFrame(
        {**head, "version": version, **columns("accuracy", estimate), "n": estimate.n, "seeds": len(seeds)}
        for head, seeds in groups(records)
        for version in (ORIGINAL, *versions)
        for estimate in [accuracy(seeds, version)]
    )


def gap_table(records: pd.DataFrame, versions: Sequence[str]) -> pd.DataFrame:
    """A row per kind of network: BG-gap, the gap to Mixed-Next, and answers towards the background."""
    rows = []
    for head, seeds in groups(records):
        found = gap(seeds)
        row = {**head, **columns("gap", found)}
        if "mixed_next" in versions:
            row |= columns("next_gap", gap(seeds, "mixed_next"), "next_lo", "next_hi")
        row |= columns("towards_background", towards_background(seeds), "towards_lo", "towards_hi")
        rows.append(row | {"n": found.n, "seeds": len(seeds)})
    return pd.DataFrame(rows)


def category_table(records: pd.DataFrame) -> pd.DataFrame:
    """A row per kind of network: the share of each of `CATEGORIES`, and of the images that need the background."""

    def pattern(seed: pd.DataFrame, wanted: tuple[bool, bool, bool]) -> Flags:
        facts = [correct(seed, version) for version in (ORIGINAL, "mixed_rand", "only_bg_t")]
        met: Flags = np.logical_and.reduce([fact == each for fact, each in zip(facts, wanted, strict=True)])
        return met

    def share(seeds: Sequence[pd.DataFrame], flags: Callable[[pd.DataFrame], Flags]) -> Estimate:
        return mean_over_seeds([proportion(flags(seed)) for seed in seeds], limits=(0, 1))

    rows = []
    for head, seeds in groups(records):
        shares = {name: share(seeds, partial(pattern, wanted=wanted)).value for name, wanted in CATEGORIES.items()}
        needed = share(
            seeds,
            lambda seed: pattern(seed, CATEGORIES["bg_required"]) | pattern(seed, CATEGORIES["bg_and_fg_required"]),
        )
        row = {**head, **shares, "bg_irrelevant": 1 - sum(shares.values()), **columns("required", needed)}
        rows.append(row | {"n": needed.n, "seeds": len(seeds)})
    return pd.DataFrame(rows)
