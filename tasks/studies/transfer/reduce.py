"""From predictions to estimates: accuracy on the targets, gains over the standard source, and the choice of a source.

`transfers` has one row per mode, target, source, chain and draw: `mode`, `target`, `side` (pixels to which its images
were shrunk, or 0), `source`, `seed` (of the chain), `draw`, `choice` (C or the learning rate that was taken),
`validation` (accuracy on held-out training images of the target), `correct`, (n,) booleans on its test images,
`robust`, (m,) booleans on those that were attacked or None, `metric`, what test images are worth, `judged by`, its
name, and `shared`, whether all chains are tested on the same images. "accuracy" stands for the metric in the names of
functions and columns.

What is called `part` is the rows of one mode and target. Draws are nested in chains: a chain's number is the mean over
its draws. An interval is Student's t over the chains. Where these share their test images, other images are not other
chains, and the images' own interval is added (`mean_over_seeds`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from robustray.tasks.kit.frames import at, columns
from robustray.tasks.statistics import Estimate, mean_interval, mean_over_seeds, proportion
from robustray.tasks.studies.transfer.kinds import STANDARD

UNKNOWN = Estimate(value=math.nan, lo=-1.0, hi=1.0, n=0)
"""A gain of which nothing is known."""
NONE = Estimate(value=math.nan, lo=math.nan, hi=math.nan, n=0)
"""A number that there is not: the gain of a source over itself, robust accuracy without an attack."""
LEVEL = 0.95
"""Of an interval for its row alone."""


def at_once(number: int) -> float:
    """Level of each of several intervals that hold together at 95 %, by Bonferroni's inequality."""
    return 1 - (1 - LEVEL) / max(1, number)


def seeds_of(part: pd.DataFrame) -> list[int]:
    return sorted(part["seed"].unique().tolist())


def part_of(transfers: pd.DataFrame, mode: str, target: str) -> pd.DataFrame:
    return at(transfers, mode=mode, target=target)


def parts_of(transfers: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(mode, target, part), in the order of the rows."""
    for mode, target in dict.fromkeys(zip(transfers["mode"], transfers["target"], strict=True)):
        yield mode, target, part_of(transfers, mode, target)


# --- Over draws and chains --------------------------------------------------------------------------------------------


def mean_over_draws(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of a chain's draws, or of its targets. They share images or chains, so that ends are averaged and do not
    shrink."""
    value, lo, hi = (float(np.mean([getattr(each, name) for each in estimates])) for name in ("value", "lo", "hi"))
    return Estimate(value=value, lo=lo, hi=hi, n=min(each.n for each in estimates))


def mean_over_chains(
    estimates: Sequence[Estimate], shared: bool, *, limits: tuple[float, float] = (-1.0, 1.0), level: float = LEVEL
) -> Estimate:
    """The mean of one estimate per chain, each with its interval over images at the same `level`; cut at `limits`.

    shared: whether they are of the same images. A single chain has its own interval, over images. `n` is the smallest
    number of images.
    """
    if shared or len(estimates) == 1:
        return mean_over_seeds(estimates, limits=limits, level=level)
    found = mean_interval([each.value for each in estimates], level)
    n = min(each.n for each in estimates)
    return Estimate(value=found.value, lo=max(limits[0], found.lo), hi=min(limits[1], found.hi), n=n)


def accuracy(part: pd.DataFrame, source: str) -> Estimate:
    """Of one source."""
    rows = at(part, source=source)
    chains = [
        mean_over_draws([row.metric.of(row.correct) for row in at(rows, seed=seed).itertuples()])
        for seed in seeds_of(rows)
    ]
    return mean_over_chains(chains, bool(rows["shared"].iloc[0]), limits=(0, 1))


def robust_accuracy(part: pd.DataFrame, source: str) -> Estimate:
    """Share of the attacked images on which it is right before and after the attack, in the first draw; NaN where none
    was attacked."""
    rows = [row for row in at(part, source=source).itertuples() if row.robust is not None]
    if not rows:
        return NONE
    return mean_over_chains([proportion(row.robust) for row in rows], bool(rows[0].shared), limits=(0, 1))


def gain(part: pd.DataFrame, sources: Mapping[int, str], than: str = STANDARD, level: float = LEVEL) -> Estimate:
    """Accuracy of the source of each chain (seed -> source) minus that of `than`, paired by chain, draw and image."""
    chains = [chain_gain(part, seed, source, than, level) for seed, source in sources.items()]
    return mean_over_chains(chains, bool(part["shared"].iloc[0]), level=level)


def chain_gain(part: pd.DataFrame, seed: int, source: str, than: str = STANDARD, level: float = LEVEL) -> Estimate:
    """In one chain, with its interval over images."""
    mine, its = (at(part, source=name, seed=seed).set_index("draw") for name in (source, than))
    return mean_over_draws(
        [row.metric.difference(row.correct, its.at[draw, "correct"], level) for draw, row in mine.iterrows()]
    )


def fixed_gain(part: pd.DataFrame, source: str, than: str = STANDARD, level: float = LEVEL) -> Estimate:
    """Gain of one source, the same in every chain."""
    return gain(part, dict.fromkeys(seeds_of(part), source), than, level)


def gains_by_seed(part: pd.DataFrame, source: str, than: str = STANDARD) -> list[float]:
    """Gain of one source in every chain by itself."""
    return [chain_gain(part, seed, source, than).value for seed in seeds_of(part)]


# --- A source that others choose --------------------------------------------------------------------------------------


def choose(part: pd.DataFrame, candidates: Sequence[str]) -> dict[int, str]:
    """Chain -> the candidate of highest mean validation accuracy in all other chains; of equal ones the first.

    No chain is judged by a choice that it had a part in, and no test image has one. Empty for a single chain.
    """
    seeds = seeds_of(part)
    found = {}
    for seed in seeds if len(seeds) > 1 else []:
        others = part[part["seed"] != seed].groupby("source")["validation"].mean()
        found[seed] = max(candidates, key=lambda name: (round(others[name], 12), -candidates.index(name)))
    return found


def chosen_gain(part: pd.DataFrame, candidates: Sequence[str], level: float = LEVEL) -> Estimate:
    """Gain of the candidate that the other chains choose; n = 0 for a single chain, which has no others."""
    chosen = choose(part, candidates)
    return gain(part, chosen, level=level) if chosen else UNKNOWN


def over_targets(
    parts: Sequence[pd.DataFrame], chosen: Callable[[pd.DataFrame], Mapping[int, str]], than: str = STANDARD
) -> Estimate:
    """Mean over several targets of the gain of a source (of a part: seed -> source); n = 0 where no chain has one."""
    of = [chosen(part) for part in parts]
    if not of[0]:
        return UNKNOWN
    chains = [
        mean_over_draws([chain_gain(part, seed, each[seed], than) for part, each in zip(parts, of, strict=True)])
        for seed in of[0]
    ]
    return mean_over_chains(chains, any(part["shared"].iloc[0] for part in parts))


# --- Tables -----------------------------------------------------------------------------------------------------------


def transfer_table(transfers: pd.DataFrame, sources: Sequence[str], together: Sequence[str] = ()) -> pd.DataFrame:
    """A row per mode, target and source: accuracy on the target, the gain over the first source (NaN for itself), and
    robust accuracy.

    sim_lo, sim_hi: for the gains of the sources `together`, ends that hold for all of them in a mode on a target at
    once, by Bonferroni's inequality: each at the level 1 - 0.05 / their number. NaN for the others.
    """
    rows = []
    for mode, target, part in parts_of(transfers):
        there = set(part["source"])
        named = [source for source in together if source in there]
        for source in (source for source in sources if source in there):
            found, robust = accuracy(part, source), robust_accuracy(part, source)
            more = NONE if source == sources[0] else fixed_gain(part, source, sources[0])
            level = at_once(len(named))
            wide = fixed_gain(part, source, sources[0], level) if source in named else NONE
            row: dict[str, Any] = {"mode": mode, "target": target, "source": source}
            row |= columns("accuracy", found) | columns("gain", more, "gain_lo", "gain_hi")
            row |= columns("robust", robust, "robust_lo", "robust_hi") | {"sim_lo": wide.lo, "sim_hi": wide.hi}
            row |= {"n": found.n, "attacked": robust.n, "seeds": len(seeds_of(part)), "draws": part["draw"].nunique()}
            rows.append(row | {"metric": part["judged by"].iloc[0]})
    return pd.DataFrame(rows)


def choice_table(transfers: pd.DataFrame, kinds: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """A row per mode, target and kind of candidates (robust, standard): what each chain was given, and what it gains.

    sim_lo, sim_hi: ends that hold at once for all targets of a mode and kind (Bonferroni); those whose images were
    shrunk are counted by themselves.
    """
    rows = []
    for mode, target, part in parts_of(transfers):
        number = at(transfers, mode=mode, side=part["side"].iloc[0])["target"].nunique()
        for kind, names in kinds.items():
            candidates = [name for name in names if name in set(part["source"])]
            found, wide = chosen_gain(part, candidates), chosen_gain(part, candidates, at_once(number))
            row = {"mode": mode, "target": target, "candidates": kind, **columns("gain", found), "n": found.n}
            row |= {"sim_lo": wide.lo, "sim_hi": wide.hi, "chosen": "; ".join(choose(part, candidates).values())}
            rows.append(row)
    return pd.DataFrame(rows)


def source_table(probes: pd.DataFrame, sources: Sequence[str], *, shared: bool) -> pd.DataFrame:
    """A row per source: accuracy on its own n test images, clean, and under attack on `attacked` of them.

    probes: per source and chain `clean` (n,) and `robust` (m,) booleans. shared: whether on the same images in all
    chains.
    """
    rows = []
    for source in sources:
        mine = at(probes, source=source)
        clean, robust = (
            mean_over_chains([proportion(flags) for flags in mine[name]], shared, limits=(0, 1))
            for name in ("clean", "robust")
        )
        row = {"source": source, **columns("clean", clean, "clean_lo", "clean_hi")}
        row |= columns("robust", robust, "robust_lo", "robust_hi")
        rows.append(row | {"n": clean.n, "attacked": robust.n, "seeds": len(mine)})
    return pd.DataFrame(rows)


def run_table(transfers: pd.DataFrame) -> pd.DataFrame:
    """A row per mode, target, source, chain and draw: what was chosen, by which accuracy, and the accuracy on the test
    images."""
    test = [row.metric.of(row.correct).value for row in transfers.itertuples()]
    robust = [math.nan if row.robust is None else float(np.mean(row.robust)) for row in transfers.itertuples()]
    sizes = [len(correct) for correct in transfers["correct"]]
    kept = transfers.drop(columns=["correct", "robust", "metric", "judged by", "shared", "side"])
    return kept.assign(test=test, robust=robust, n=sizes)


def chain_accuracy(runs: pd.DataFrame, mode: str, target: str, source: str) -> list[float]:
    """Of every chain, the mean over its draws. runs: of `run_table`."""
    mine = at(runs, mode=mode, target=target, source=source)
    return [float(at(mine, seed=seed)["test"].mean()) for seed in seeds_of(mine)]
