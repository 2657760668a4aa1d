"""From rows to the numbers of tables and figures: no model, no lab, no drawing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.report.numbers import format_value
from robustray.tasks.statistics import Estimate, mean_interval
from robustray.tasks.studies.robust_training.blocks import UNBROKEN
from robustray.tasks.studies.robust_training.results import Results, label, mean_difference, threat

# --- Accuracy by size -------------------------------------------------------------------------------------------------


def accuracy_table(results: Results) -> pd.DataFrame:
    """One row per norm, size trained at and size tested at (0: clean), mean over seeds with `lo`, `hi`."""
    rows: list[dict[str, Any]] = []
    for norm in results.settings.norms:
        for eps_train in results.eps_trained(norm):
            for eps_test in (0.0, *results.settings.eps_test(norm)):
                found = results.accuracy(norm, eps_train, eps_test)
                seeds = results.standing(norm, eps_train, eps_test).values()
                rows.append(
                    {"norm": norm, "trained": threat(norm, eps_train), "eps_train": eps_train, "eps_test": eps_test}
                    | {"accuracy": found.value, "lo": found.lo, "hi": found.hi}
                    | {"seeds": len(seeds), "n": found.n, "runs": [float(stands.mean()) for stands in seeds]}
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
            accuracy = results.accuracy(norm, eps_train, eps, attack="autoattack")
            difference = mean_difference(strong, weak)
            rows.append(
                {"norm": norm, "trained": threat(norm, eps_train), "eps_test": eps}
                | {"autoattack": accuracy.value, "lo": accuracy.lo, "hi": accuracy.hi}
                | {"pgd": float(np.mean([stands.mean() for stands in weak.values()]))}
                | {"difference": difference.value, "difference_lo": difference.lo, "difference_hi": difference.hi}
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
            row |= {"difference": difference.value, "lo": difference.lo, "hi": difference.hi}
            for num_steps in (few, many):
                row[f"loss_{num_steps}"] = float(loss_by_step(results, norm, eps_train, num_steps)[:, -1].mean())
            rows.append(row | {"seeds": results.settings.num_seeds, "n": difference.n})
    return pd.DataFrame(rows)


# --- How they learnt --------------------------------------------------------------------------------------------------


def curve_table(results: Results) -> pd.DataFrame:
    """One row per network and epoch: what `training.loop.train_model` writes."""
    parts = [
        pd.DataFrame(curve).assign(trained=threat(network.norm, network.eps), seed=network.seed)
        for network, curve in results.curves.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    first = ["trained", "seed", "epoch", "loss", "accuracy", "clean_accuracy", "robust_accuracy"]
    return table[[*first, *(column for column in table.columns if column not in first)]]


def by_epoch(results: Results, norm: Norm, eps_train: float, column: str) -> tuple[list[int], NDArray[np.float64]]:
    """Epochs at which all seeds have this column, and its values (seeds, epochs). Empty where none has it."""
    curves = [results.curves[network] for network in results.networks(norm, eps_train).values()]
    columns = [{int(row["epoch"]): float(row[column]) for row in curve if column in row} for curve in curves]
    epochs = sorted(set.intersection(*map(set, columns)))
    return epochs, np.array([[values[epoch] for epoch in epochs] for values in columns])


def seeds_band(values: NDArray[np.float64]) -> tuple[list[float], list[float] | None, list[float] | None]:
    """Mean over seeds of (seeds, points), and the ends of Student's t interval; None with fewer than 3 seeds, where it
    would cover the whole figure."""
    means = values.mean(axis=0).tolist()
    if len(values) < 3:
        return means, None, None
    found = [mean_interval(column) for column in values.T]
    return means, [each.lo for each in found], [each.hi for each in found]


def flagged(results: Results) -> Iterator[str]:
    """One sentence per network whose learning curve went wrong."""
    for network, curve in results.curves.items():
        for kind in dict.fromkeys(row["flag"] for row in curve if row.get("flag")):
            yield _flag_words(label(network), kind, curve, results.settings.select)


def _flag_words(name: str, kind: str, curve: Sequence[Mapping[str, Any]], select: str) -> str:
    checked = [row for row in curve if "robust_accuracy" in row]
    epochs = [str(row["epoch"]) for row in checked if row.get("flag") == kind]
    best, last = max(checked, key=lambda row: row["robust_accuracy"]), checked[-1]
    return (
        f"{name}: {kind} in epoch {', '.join(epochs)} of {curve[-1]['epoch']}"
        + ("" if last.get("flag") else ", not at the end")
        + f": {format_value(last['robust_accuracy'], 'percent')} of the held-out images stand at the end, "
        f"{format_value(best['robust_accuracy'], 'percent')} did after epoch {best['epoch']}; the {select} weights are "
        "tested"
    )
