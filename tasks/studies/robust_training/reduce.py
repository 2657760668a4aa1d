"""From rows to the numbers of tables and figures: no model, no lab, no drawing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from robustray.tasks.kit.frames import columns
from robustray.tasks.kit.outcomes import mean_difference, mean_share, shares
from robustray.tasks.studies.robust_training.results import Results, threat


def accuracy_table(results: Results) -> pd.DataFrame:
    """One row per norm, size trained at and size tested at (0: clean), mean over seeds with `lo`, `hi`."""
    rows: list[dict[str, Any]] = []
    for norm in results.settings.norms:
        for eps_train in results.eps_trained(norm):
            for eps_test in (0.0, *results.settings.eps_test(norm)):
                outcomes = results.standing(norm, eps_train, eps_test)
                found = mean_share(outcomes)
                rows.append(
                    {"norm": norm, "trained": threat(norm, eps_train), "eps_train": eps_train, "eps_test": eps_test}
                    | columns("accuracy", found)
                    | {"seeds": len(outcomes), "n": found.n, "runs": shares(outcomes)}
                )
    return pd.DataFrame(rows)


def autoattack_table(results: Results) -> pd.DataFrame:
    """PGD and AutoAttack on the same images, by norm and training; `difference` is paired.

    Networks at the size they were trained at, standard ones at the reference size; those that were attacked.
    """
    rows: list[dict[str, Any]] = []
    for norm in results.settings.norms:
        for eps_train in results.eps_trained(norm):
            eps = results.settings.autoattack_eps(norm, eps_train)
            if eps is None:
                continue
            strong = results.standing(norm, eps_train, eps, attack="autoattack")
            weak = {
                seed: stands.reindex(strong[seed].index).dropna().astype(bool)
                for seed, stands in results.standing(norm, eps_train, eps).items()
            }
            accuracy = mean_share(strong)
            rows.append(
                {"norm": norm, "trained": threat(norm, eps_train), "eps_test": eps}
                | columns("autoattack", accuracy)
                | {"pgd": float(np.mean(shares(weak)))}
                | columns("difference", mean_difference(strong, weak), "difference_lo", "difference_hi")
                | {"seeds": len(strong), "n": accuracy.n}
            )
    return pd.DataFrame(rows)
