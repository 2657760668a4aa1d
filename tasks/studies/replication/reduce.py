"""From simulated studies to frames of estimates: how far each estimator is off, and how often its interval holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.crowds.replicas.estimators import HELD_OUT, JACKKNIFE, JACKKNIFE_HALF, NAIVE, RAW
from robustray.tasks.crowds.replicas.exact import Expectations
from robustray.tasks.crowds.replicas.scenarios import SCENARIOS
from robustray.tasks.crowds.replicas.simulate import FACTS
from robustray.tasks.kit.frames import columns
from robustray.tasks.statistics import Estimate, mean_interval, median_interval, proportion

ESTIMATE = ["value", "lo", "hi"]


def study_frame(
    rows: Mapping[str, pd.DataFrame], num_answers: Sequence[int], estimators: Sequence[str], num_matching: int
) -> pd.DataFrame:
    """One row per scenario, study, number of answers and estimator: gap with interval, and the truth.

    rows: scenario -> rows of `simulated_block`. Estimators that need more answers have no row.
    """
    parts = []
    for scenario, found in rows.items():
        shape = (len(found), len(num_answers), len(estimators))
        index = pd.MultiIndex.from_product([found.study, num_answers, estimators], names=["study", "n", "estimator"])
        gaps = np.stack(list(found.gaps)).reshape(np.prod(shape), 3)
        part = pd.DataFrame(gaps, index=index, columns=ESTIMATE).reset_index()
        held_out = pd.DataFrame(np.stack(list(found.held_out)), columns=ESTIMATE)
        halved = held_out.assign(study=found.study.to_numpy(), n=num_matching - num_matching // 2, estimator=HELD_OUT)
        part = pd.concat([part[part.value.notna()], halved], ignore_index=True)
        parts.append(part.assign(scenario=scenario, true_gap=SCENARIOS[scenario].true_gap()))
    whole = pd.concat(parts, ignore_index=True)
    return whole[["scenario", "study", "n", "estimator", *ESTIMATE, "true_gap"]]


def performance(studies: pd.DataFrame, num_matching: int) -> pd.DataFrame:
    """One row per scenario, number of answers and estimator: mean gap, error, spread, coverage, width.

    `expected`: the mean gap of infinitely many images, by integration, where there is a closed form. What a finite
    number of studies leaves open: intervals of gap, bias, coverage and width, standard errors of sd and rmse (`_se`).
    """
    found = []
    for (scenario, n, estimator), rows in studies.groupby(["scenario", "n", "estimator"], sort=False):
        truth = rows.true_gap.iloc[0]
        error = (rows.value - truth).to_numpy()
        bias, width = mean_interval(error), median_interval(rows.hi - rows.lo)
        row = {"scenario": scenario, "n_answers": n, "estimator": estimator, "true_gap": truth}
        row |= columns("gap", mean_interval(rows.value), "gap_lo", "gap_hi")
        row |= {"expected": expected_gap(scenario, estimator, int(n), num_matching)}
        row |= columns("bias", bias, "bias_lo", "bias_hi")
        row |= columns("coverage", _holds(rows), "coverage_lo", "coverage_hi")
        row |= columns("width", width, "width_lo", "width_hi")
        sd = float(error.std(ddof=1)) if len(error) > 1 else float("nan")
        row |= {"sd": sd, "sd_se": _root_se((error - bias.value) ** 2)}
        row |= {"rmse": float(np.sqrt(np.mean(error**2))), "rmse_se": _root_se(error**2)}
        found.append(row | {"n": len(rows)})
    return pd.DataFrame(found)


def _root_se(squares: NDArray[np.float64]) -> float:
    """Standard error of the root of a mean of independent squares (delta method); NaN of a single one."""
    if len(squares) < 2:
        return float("nan")
    mean = float(squares.mean())
    return float(squares.std(ddof=1) / np.sqrt(len(squares)) / (2 * np.sqrt(mean))) if mean > 0 else 0.0


def expected_gap(scenario: str, estimator: str, n: int, num_matching: int) -> float:
    """The mean gap of infinitely many images; NaN for factorial moments, whose polynomial has no such closed form
    here."""
    exact = Expectations(scenario=SCENARIOS[scenario], num_matching=num_matching)
    if estimator == RAW:
        return exact.raw_gap()
    if estimator == NAIVE:
        return exact.naive_gap(n)
    if estimator in (JACKKNIFE, JACKKNIFE_HALF):
        return exact.jackknife_gap(n, 1 if estimator == JACKKNIFE else max(1, n // 2))
    if estimator == HELD_OUT:
        return Expectations(scenario=SCENARIOS[scenario], num_matching=num_matching - n).naive_gap(n)
    return float("nan")


def readings(rows: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per scenario and fact of `FACTS`: the mean over studies with its interval."""
    found = []
    for scenario, blocks in rows.items():
        facts = np.stack(list(blocks.facts))
        for name, values in zip(FACTS, facts.T, strict=True):
            found.append(
                {"scenario": scenario, "fact": name, **columns("value", mean_interval(values)), "n": len(values)}
            )
    return pd.DataFrame(found)


def held_out_drop(rows: Mapping[str, pd.DataFrame], scenario: str) -> Estimate:
    """How much lower the chosen images read by the half of the answers that did not choose: replica minus original."""
    facts = np.stack(list(rows[scenario].facts))
    replica, original = (FACTS.index(f"held_out_reading_{name}") for name in ("replica", "original"))
    return mean_interval(facts[:, replica] - facts[:, original])


def errors(studies: pd.DataFrame, estimator: str, n: int) -> Estimate:
    """Mean of estimate minus truth over the studies of all scenarios."""
    rows = studies[(studies.estimator == estimator) & (studies.n == n)]
    return mean_interval((rows.value - rows.true_gap).to_numpy())


def coverage(studies: pd.DataFrame, estimator: str, n: int, scenario: str | None = None) -> Estimate:
    """Share of studies whose interval holds the true gap, of all scenarios or of one; Wilson's interval."""
    rows = studies[(studies.estimator == estimator) & (studies.n == n)]
    return _holds(rows if scenario is None else rows[rows.scenario == scenario])


def _holds(rows: pd.DataFrame) -> Estimate:
    return proportion(((rows.lo <= rows.true_gap) & (rows.true_gap <= rows.hi)).to_numpy())
