"""From rows to the numbers of tables and figures: no model, no lab, no drawing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.attacks.traces import UNBROKEN
from robustray.tasks.kit.frames import columns
from robustray.tasks.kit.outcomes import mean_difference, mean_share, shares
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.robust_training.results import Results, threat

# --- Accuracy by size -------------------------------------------------------------------------------------------------


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


# --- The loss over the steps of PGD -----------------------------------------------------------------------------------


def steps_difference(results: Results, norm: Norm, eps_train: float) -> Estimate:
    """Accuracy after `test_steps` steps of PGD minus that after `trace_steps`, paired by seed and image."""
    few, many = (
        {
            seed: rows.set_index("index").broken_at == UNBROKEN
            for seed, rows in _traces(results, norm, eps_train, num_steps).items()
        }
        for num_steps in (results.settings.test_steps, results.settings.trace_steps)
    )
    return mean_difference(few, many)


def loss_by_step(results: Results, norm: Norm, eps_train: float, num_steps: int) -> NDArray[np.float64]:
    """(seeds, num_steps + 1): cross-entropy at x_0 ... x_T, mean over images."""
    found = _traces(results, norm, eps_train, num_steps).values()
    return np.stack([np.stack(list(rows.loss)).astype(np.float64).mean(axis=0) for rows in found])


def _traces(results: Results, norm: Norm, eps_train: float, num_steps: int) -> Mapping[int, pd.DataFrame]:
    networks = results.networks(norm, eps_train)
    return {seed: results.traces[network, norm, num_steps] for seed, network in networks.items()}


def steps_table(results: Results) -> pd.DataFrame:
    """Accuracy and mean loss after few and after many steps, by norm and training."""
    rows: list[dict[str, Any]] = []
    few, many = results.settings.test_steps, results.settings.trace_steps
    for norm in results.settings.norms:
        for eps_train in results.eps_trained(norm):
            difference = steps_difference(results, norm, eps_train)
            row: dict[str, Any] = {"norm": norm, "trained": threat(norm, eps_train)}
            row["eps_test"] = eps_train or results.settings.reference_eps(norm)
            for num_steps in (few, many):
                traces = _traces(results, norm, eps_train, num_steps).values()
                row[f"accuracy_{num_steps}"] = float(np.mean([(rows.broken_at == UNBROKEN).mean() for rows in traces]))
            row |= columns("difference", difference)
            for num_steps in (few, many):
                row[f"loss_{num_steps}"] = float(loss_by_step(results, norm, eps_train, num_steps)[:, -1].mean())
            rows.append(row | {"seeds": results.settings.num_seeds, "n": difference.n})
    return pd.DataFrame(rows)
