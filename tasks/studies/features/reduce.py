"""The tables, from the results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from robustray.tasks.kit.frames import columns
from robustray.tasks.statistics import mean_over_seeds, proportion
from robustray.tasks.studies.features.results import FAST, NAMED_SOURCES, Results, score

MADE = ("noise", "robust_det", "lonely_det")
"""Controls whose images are made."""
SEEN = ("D_rand", "D_det", *MADE)
"""What the witness is asked about."""


def making_table(results: Results) -> pd.DataFrame:
    """One row for each chain, set and size: measured on what is stored."""
    rows: list[dict[str, Any]] = []
    for number, chain in results.chains.items():
        rows += [_made(number, name, None, chain.sets[name], used=True) for name in ("D_R", "D_NR")]
        for eps, found in chain.tried.items():
            for name, made in found.items():
                rows.append(_made(number, name, eps, made, used=eps == results.eps))
        rows += [_made(number, name, results.eps, chain.sets[name], used=True) for name in MADE if name in chain.sets]
    if results.others:  # not where sets are only built
        rows = [row | {"transfers": _transfers(results, row)} for row in rows]
    return pd.DataFrame(rows)


def _transfers(results: Results, row: Mapping[str, Any]) -> float:
    """Share of the images of a set, as it is used, that D's student sees as their label."""
    seen = results.others.get((row["chain"], row["set"])) if row["used"] else None
    return np.nan if seen is None else float((seen.prediction == seen.label).mean())


def _made(chain: int, name: str, eps: float | None, rows: pd.DataFrame, *, used: bool) -> dict[str, Any]:
    gaps = {key: float(rows[key].median()) if key in rows else np.nan for key in ("first_gap", "last_gap")}
    return {
        "chain": chain,
        "set": name,
        "eps": np.nan if eps is None else eps,
        "used": used,
        **columns("seen_as_label", proportion((rows.prediction == rows.label).to_numpy())),
        "distance": float(rows.distance.mean()),
        "farthest_before": float(rows.moved.max()) if "moved" in rows else np.nan,
        "farthest_stored": float(rows.distance.max()),
        **gaps,
        "n": len(rows),
    }


def outside(results: Results, making: pd.DataFrame) -> pd.DataFrame:
    """Rows of the making of sets that leave their ball: by 1e-5 before rounding, or by more than rounding can."""
    rounding = math.sqrt(math.prod(results.chains[0].d.shape)) / 510
    within = making[making.farthest_before.notna()]
    broken = (within.farthest_before > within.eps + 1e-5) | (within.farthest_stored > within.eps + rounding + 1e-5)
    return within[broken]


def seen_table(results: Results) -> pd.DataFrame:
    """One row for each set whose labels are not its images': what a robust network of another seed answers."""
    rows = []
    names = dict.fromkeys(name for _, name in results.answers if name in SEEN)
    for name in names:
        found = [results.seen(chain, name) for chain in results.chains]
        row: dict[str, object] = {"set": name}
        for answer in found[0]:
            shares = [proportion(each[answer].to_numpy()) for each in found]
            key = answer.replace(" ", "_")
            row |= columns(key, mean_over_seeds(shares, limits=(0.0, 1.0)), f"{key}_lo", f"{key}_hi")
        row |= columns("more", results.seen_more(name), "more_lo", "more_hi")
        rows.append(row | {"not_non_robust": results.not_non_robust(name), "n": min(len(each["y"]) for each in found)})
    return pd.DataFrame(rows)


def leak_table(results: Results) -> pd.DataFrame:
    """One row for each set with a probe: accuracy of a head on a robust linear network's outputs."""
    names = dict.fromkeys(name for _, name in results.leaks)
    return pd.DataFrame(
        {
            "set": name,
            **columns("probe", results.leak(name), "probe_lo", "probe_hi"),
            **columns("students", results.accuracy(name), "students_lo", "students_hi"),
            **columns("more", results.above_leak(name), "more_lo", "more_hi"),
            "linear": float(np.mean([results.leaks[chain, name].clean for chain in results.chains])),
            "n": results.leak(name).n,
        }
        for name in names
    )


def grid_table(results: Results) -> pd.DataFrame:
    """One row for each student: all settings that were tried, not only the chosen ones."""
    return pd.DataFrame(
        {
            "chain": s.chain,
            "set": s.name,
            "lr": s.lr,
            "augmentation": s.augmentation,
            "chosen": s in results.chosen,
            "held_out": score(s),
            "test": float(s.test.correct.mean()),
            "test_next": float((s.test.prediction == (s.test.label + 1) % results.num_classes).mean()),
        }
        for s in results.students
    )


def accuracy_table(results: Results) -> pd.DataFrame:
    """One row for each set or source, label rule, attack and size; means over chains."""
    rows = []
    settings = results.settings
    for name in (*results.names, *NAMED_SOURCES):
        found = {
            ("y", "none", 0.0): results.accuracy(name),
            ("y+1", "none", 0.0): results.accuracy(name, moved=1),
            **{("y", "pgd", eps): results.accuracy(name, eps=eps) for eps in settings.eps_test},
        }
        if settings.num_fast and name in FAST:
            found["y", "fast-cascade", settings.eps_reference] = results.fast_accuracy(name)
        for (labels, attack, eps), estimate in found.items():
            about = {"set": name, "labels": labels, "attack": attack, "eps": eps}
            rows.append(about | columns("accuracy", estimate) | {"n": estimate.n})
    return pd.DataFrame(rows)
