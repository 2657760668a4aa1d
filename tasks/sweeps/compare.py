"""Two runs that attacked images side by side, from their records (`sweeps.records`): the same images, paired.

A cell is a data set, a model, a norm and a size, for the worst case over a run's own attacks or for one attack. Cells
meet by name. Where the runs share no model (or no attack) but each has just one, these two meet: they are what is
compared. Images meet by their place in data of the same content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from robustray.tasks.errors import InputError
from robustray.tasks.report.numbers import NORM_WORDS, format_value
from robustray.tasks.statistics import holm, mcnemar_exact, paired_difference
from robustray.tasks.study import Findings, RunTables
from robustray.tasks.sweeps.compare_view import CLEAN, compose
from robustray.tasks.sweeps.records import WORST, broken_by_any

CELL = ["data", "model", "norm", "eps", "attack"]
COLUMNS = ["data", "model", "norm", "attack", "seed", "eps", "index", "label", "clean_prediction", "success"]


def compare(a: RunTables, b: RunTables) -> Findings:
    """Differences of two sweeps, B minus A, over the images that both have.

    Raises: InputError where no cell can be paired.
    """
    rows_a, rows_b = (_plain(run.read("images", COLUMNS)) for run in (a, b))
    partners = {
        "data": _same_images(a.hashes, b.hashes, rows_a.data, rows_b.data),
        "model": _partners(rows_a.model, rows_b.model),
        "attack": _partners(rows_a.attack, rows_b.attack),
    }
    for name, what in (("data", "images (data of the same content)"), ("model", "model")):
        if not partners[name]:
            raise InputError(f"the runs share no {what}: {_listed(rows_a[name])} in A, {_listed(rows_b[name])} in B")
    notes = list(_alone(rows_a, rows_b, partners))
    rows_a, rows_b = _equal_seeds(rows_a, rows_b, notes)

    outcomes_b = _standing(rows_b)
    for name, names in partners.items():
        kept = outcomes_b[outcomes_b[name].isin([*names, WORST, CLEAN])]
        outcomes_b = kept.assign(**{name: kept[name].replace(names)})
    outcomes = _standing(rows_a).merge(outcomes_b, on=[*CELL, "index"], suffixes=("_a", "_b"))
    if not (outcomes.attack == WORST).any():
        raise InputError("the runs share no cell: no image was attacked in both with the same norm and size")
    if rows_a.attack.nunique() == rows_b.attack.nunique() == 1:  # the worst case over one attack is that attack
        outcomes = outcomes[outcomes.attack.isin([CLEAN, WORST])]
    for name in ("model", "attack"):
        words = {in_a: f"{in_a} (A), {in_b} (B)" for in_b, in_a in partners[name].items() if in_a != in_b}
        outcomes = outcomes.assign(**{name: outcomes[name].replace(words)})

    for in_b, in_a in partners["data"].items():
        in_all = zip((rows_a, rows_b, outcomes), (in_a, in_b, in_a), strict=True)
        own, its, both = (rows["index"][rows.data == data].nunique() for rows, data in in_all)
        if own != its:
            of = f" of {in_a}" if len(partners["data"]) > 1 else ""
            notes.append(f"A has {own:,} images{of}, B {its:,}: compared over the {both:,} of both.")
    attacks = {"A": _listed(rows_a.attack), "B": _listed(rows_b.attack)}
    return compose(_differences(outcomes), outcomes, attacks, notes)


# -- which cells meet --------------------------------------------------------------------------------------------------


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Names as text instead of categories, sizes without their last bits: 8/255 is 8/255 however it was computed."""
    return rows.assign(**{name: rows[name].astype(str) for name in CELL if name != "eps"}, eps=rows.eps.round(9))


def _partners(a: pd.Series, b: pd.Series) -> dict[str, str]:
    """B's name -> A's name."""
    names_a, names_b = list(a.unique()), list(b.unique())
    shared = [name for name in names_a if name in names_b]
    if not shared and len(names_a) == len(names_b) == 1:
        return {names_b[0]: names_a[0]}
    return {name: name for name in shared}


def _same_images(
    hashes_a: Mapping[str, str], hashes_b: Mapping[str, str], a: pd.Series, b: pd.Series
) -> dict[str, str]:
    """B's data -> A's, by content: under another name it is the same, and under the same name it may not be."""
    of_a = {hashes_a.get(f"data {name}"): name for name in a.unique()}
    return {name: of_a[content] for name in b.unique() if (content := hashes_b.get(f"data {name}")) in of_a}


def _equal_seeds(a: pd.DataFrame, b: pd.DataFrame, notes: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of equally many seeds: more repetitions alone would make an attack stronger."""
    seeds_a, seeds_b = sorted(a.seed.unique()), sorted(b.seed.unique())
    shared = [seed for seed in seeds_a if seed in seeds_b]
    use_a = shared or seeds_a[: len(seeds_b)]
    use_b = shared or seeds_b[: len(seeds_a)]
    if seeds_a != seeds_b:
        used = f"seed {_listed(use_a)}" if use_a == use_b else f"seed {_listed(use_a)} of A and {_listed(use_b)} of B"
        notes.append(f"A has seed {_listed(seeds_a)}, B {_listed(seeds_b)}: compared with {used}.")
    return a[a.seed.isin(use_a)], b[b.seed.isin(use_b)]


def _alone(a: pd.DataFrame, b: pd.DataFrame, partners: Mapping[str, Mapping[str, str]]) -> Iterable[str]:
    """What has no counterpart in the other run, a line for each run."""
    for label, own, other in (("A", a, b), ("B", b, a)):
        found = []
        for column, names in partners.items():
            met = set(names.values()) if label == "A" else set(names)
            missing = [name for name in own[column].unique() if name not in met]
            aside = " (counts in its worst case)" if column == "attack" else ""
            found += [f"{column} {_listed(missing)}{aside}"] if missing else []
        for norm in own.norm.unique():
            sizes = sorted(set(own.eps[own.norm == norm]) - set(other.eps[other.norm == norm]))
            found += [f"{NORM_WORDS[norm]} {_listed(format_value(eps, 'eps') for eps in sizes)}"] if sizes else []
        if found:
            yield f"Only in {label}, with no row here: {'; '.join(found)}."


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(name) for name in names))


# -- what they differ by -----------------------------------------------------------------------------------------------


def _standing(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and image: is it still classified correctly, under every seed?"""
    images = ["data", "model", "norm", "eps", "index"]
    alone = broken_by_any(rows, [*images, "attack"])
    worst = broken_by_any(rows, images).assign(attack=WORST)
    first = rows.drop_duplicates(["data", "model", "index"])
    clean = first.assign(success=first.clean_prediction != first.label, attack=CLEAN, norm="", eps=0.0)
    whole = pd.concat([clean[[*CELL, "index", "success"]], worst, alone], ignore_index=True)
    return whole.assign(stands=~whole.success.astype(bool)).drop(columns="success")


def _differences(outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row per cell. Holm's adjustment is over all of them: a reader may pick any."""
    found = []
    for cell, rows in outcomes.groupby(CELL, sort=False):
        a, b = rows.stands_a.to_numpy(dtype=bool), rows.stands_b.to_numpy(dtype=bool)
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        difference = paired_difference(b, a)
        found.append(
            dict(zip(CELL, cell, strict=True))
            | {"accuracy_A": a.mean(), "accuracy_B": b.mean()}
            | {"difference": difference.value, "lo": difference.lo, "hi": difference.hi}
            | {"p_holm": np.nan, "n": len(a), "only_A": only_a, "only_B": only_b, "p": mcnemar_exact(only_a, only_b)}
        )
    cells = pd.DataFrame(found)
    cells["p_holm"] = holm(cells.p)
    # All rows of a model together; within one, the order is that of the runs: clean, worst case, single attacks.
    by_first = {"by": ["data", "model"], "key": lambda names: pd.factorize(names)[0], "kind": "stable"}
    return cells.sort_values(**by_first, ignore_index=True)
