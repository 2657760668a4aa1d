"""From predictions to estimates: accuracy by version, BG-gap, what decides an image.

Records have one row per network and test image: `images` (which images: "rho 0.9", a data set), `rho` (NaN for the
user's own images), `network` (what it was trained on, or a model's name), `seed`, `index`, `label`, one column of
predictions per version (-1: an answer that is none of the classes), and `background_rand`, the class of the background
in Mixed-Rand (-1: not known).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.kit.frames import columns
from robustray.tasks.statistics import Estimate, mean_over_seeds, paired_difference, proportion
from robustray.tasks.studies.backgrounds.settings import ORIGINAL

KEYS = ["images", "network"]
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


def gap(seeds: Sequence[pd.DataFrame], other: str = "mixed_rand") -> Estimate:
    """Accuracy on Mixed-Same minus that on `other`, paired by seed and foreground: the BG-gap."""
    return mean_over_seeds([paired_difference(correct(seed, "mixed_same"), correct(seed, other)) for seed in seeds])


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
