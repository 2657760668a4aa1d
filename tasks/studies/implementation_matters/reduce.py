"""From agents to estimates: returns, contrasts of the 2x2, effects of the 2^4, trust regions. Nothing here computes
through the lab or draws."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from robustray.tasks.kit.frames import at, columns
from robustray.tasks.policy_gradients.curves import final_return
from robustray.tasks.statistics import Estimate, mean_interval, welch_contrast
from robustray.tasks.studies.implementation_matters.settings import ARMS, CORNERS, SWITCHES, Cell

if TYPE_CHECKING:
    from robustray.tasks.policy_gradients.jobs import Learned

STEP, OPTIMISATIONS, INTERACTION = "clipped step", "optimisations", "interaction"
CONTRASTS: Mapping[str, tuple[float, ...]] = {
    STEP: (0.5, 0.5, -0.5, -0.5),
    OPTIMISATIONS: (0.5, -0.5, 0.5, -0.5),
    INTERACTION: (0.5, -0.5, -0.5, 0.5),
    "ppo − ppo-m": (1.0, -1.0, 0.0, 0.0),
    "trpo+ − trpo": (0.0, 0.0, 1.0, -1.0),
    "ppo − trpo+": (1.0, 0.0, -1.0, 0.0),
    "ppo-m − trpo": (0.0, 1.0, 0.0, -1.0),
    "trpo+ − ppo-m": (0.0, -1.0, 1.0, 0.0),
    "ppo − trpo": (1.0, 0.0, 0.0, -1.0),
}
"""Contrasts of the 2x2: for each, the weights of the `CORNERS`."""
MEASURES: Mapping[str, str] = {
    "final": "final",
    "best": "best update",
    "drawn": "evaluation, actions drawn",
    "deterministic": "evaluation, mean actions",
}
"""What an agent's return may mean; the first one is the headline."""
_OF_UPDATE = ("kl", "ratio_max", "ratio_99", "ratio_outside")
TRUST = (*_OF_UPDATE, *(f"heldout_{name}" for name in _OF_UPDATE))
CURVES = ("episode_return", "entropy", "action_std", *TRUST)
"""Columns of a learning curve that are shown by update."""


# --- Agents -----------------------------------------------------------------------------------------------------------


def best_return(curve: pd.DataFrame) -> float:
    """Return of the best update. It is biased upwards, the more so the noisier an agent is."""
    found = curve.episode_return.to_numpy(np.float64)
    return float(np.nanmax(found)) if np.isfinite(found).any() else math.nan


def agent_table(
    cells: Sequence[Cell], learned: Sequence[Learned], evaluations: Sequence[pd.DataFrame] | None = None
) -> pd.DataFrame:
    """One row per agent. `cells[i]` is that of `learned[i]`. KL: mean over updates; ratio_max: largest over updates;
    rejected: share of TRPO's updates whose line search accepted nothing, step_scale: the mean scale of the others.

    evaluations: rows of `evaluate_block` of each agent; where it is None, the evaluated return is NaN.
    """
    rows = []
    for number, (cell, found) in enumerate(zip(cells, learned, strict=True)):
        curve = found.curve
        scales = curve.step_scale.dropna()
        rows.append(
            {
                "environment": cell.environment,
                "cell": cell.name,
                "seed": found.spec.seed,
                "policy_lr": found.spec.settings.policy_lr if found.spec.settings.step == "ppo" else math.nan,
                "final": final_return(curve),
                "best": best_return(curve),
                **_evaluated(evaluations[number] if evaluations is not None else None),
                "episodes": int(curve.episodes.sum()),
                "env_steps": int(curve.env_steps.iloc[-1]),
                "rejected": float((scales == 0).mean()) if len(scales) else math.nan,
                "step_scale": float(scales[scales > 0].mean()) if (scales > 0).any() else math.nan,
            }
            | {name: float(curve[name].max() if "max" in name else curve[name].mean()) for name in TRUST}
        )
    return pd.DataFrame(rows)


def _evaluated(episodes: pd.DataFrame | None) -> dict[str, float]:
    """Mean raw returns of whole episodes after the training, by how actions were chosen."""
    if episodes is None:
        return {"drawn": math.nan, "deterministic": math.nan}
    means = episodes.deterministic.astype(bool)
    return {
        "drawn": float(episodes.episode_return[~means].mean()),
        "deterministic": float(episodes.episode_return[means].mean()),
    }


def values(agents: pd.DataFrame, column: str, **where: object) -> np.ndarray:
    """A column of some agents, without those that have no such number (no episode of theirs ended)."""
    return at(agents, **where)[column].dropna().to_numpy(np.float64)


def mean_of(found: np.ndarray) -> Estimate:
    """The mean over agents; NaN without any."""
    return mean_interval(found) if len(found) else Estimate(value=math.nan, lo=-math.inf, hi=math.inf, n=0)


def contrast_of(samples: Sequence[np.ndarray], weights: Sequence[float]) -> Estimate:
    """`welch_contrast`; NaN where a sample that counts is empty."""
    if any(w and not len(x) for x, w in zip(samples, weights, strict=True)):
        return Estimate(value=math.nan, lo=-math.inf, hi=math.inf, n=0)
    return welch_contrast(samples, weights)


# --- The 2x2 ----------------------------------------------------------------------------------------------------------


def arm_table(agents: pd.DataFrame) -> pd.DataFrame:
    """Returns by every measure, KL and ratios of each arm, over agents."""
    shown = (*MEASURES, "kl", "heldout_kl", "ratio_max", "heldout_ratio_max", "rejected", "step_scale")
    rows = []
    for environment in dict.fromkeys(agents.environment):
        for name in ARMS:
            row: dict[str, object] = {"environment": environment, "arm": name}
            for column in shown:
                found = mean_of(values(agents, column, environment=environment, cell=name))
                row |= columns(column, found, f"{column}_lo", f"{column}_hi")
                row |= {"n": found.n} if column == "final" else {}
            rows.append(row)
    return pd.DataFrame(rows)


def contrast_table(agents: pd.DataFrame, measure: str = "final") -> pd.DataFrame:
    """Signed contrasts of returns by one measure, by environment."""
    rows = []
    for environment in dict.fromkeys(agents.environment):
        samples = [values(agents, measure, environment=environment, cell=name) for name in CORNERS]
        for name, weights in CONTRASTS.items():
            found = contrast_of(samples, weights)
            rows.append({"environment": environment, "contrast": name, **columns("difference", found), "n": found.n})
    return pd.DataFrame(rows)


def smaller_of(a: Estimate, b: Estimate) -> Estimate:
    """The smaller of two numbers estimated from different agents; above a bound exactly where both are. NaN where one
    of them is not known.

    The interval's lower end is the smaller of both lower ends, which is below the true smaller number at least as often
    as that number's own lower end is (an intersection-union test); likewise the upper end, at 2.5 % for each of both.
    """
    value = float(np.minimum(a.value, b.value))  # min() would keep the known one of (known, NaN)
    return Estimate(value=value, lo=min(a.lo, b.lo), hi=min(a.hi, b.hi), n=a.n + b.n)


def trust_table(cells: Sequence[Cell], learned: Sequence[Learned]) -> pd.DataFrame:
    """Means over agents by update, with Student's t intervals (NaN for one agent): returns, the policy's spread, KL and
    ratios on training and held-out steps. Updates that were not measured on held-out steps have NaN there."""
    rows = [
        found.curve[["update", *CURVES]].assign(environment=cell.environment, arm=cell.name)
        for cell, found in zip(cells, learned, strict=True)
    ]
    by_update = pd.concat(rows, ignore_index=True).groupby(["environment", "arm", "update"], sort=False)[list(CURVES)]
    means, errors, counts = by_update.mean(), by_update.sem(), by_update.count()
    half = errors * special.stdtrit(np.maximum(counts - 1, 1), 0.975)
    low = means - half
    low[[*TRUST, "action_std"]] = low[[*TRUST, "action_std"]].clip(lower=0)  # none of them can be below
    return pd.concat([means, low.add_suffix("_lo"), (means + half).add_suffix("_hi")], axis=1).reset_index()


# --- The 2^4 ----------------------------------------------------------------------------------------------------------


def chosen_lrs(selection: pd.DataFrame) -> dict[tuple[str, str], float]:
    """(environment, cell) -> the learning rate with the best mean final return of its agents; of equals the smaller.

    selection: agents that were trained for the choice, and nothing else. A rate at which no episode of an agent ended
    is not taken unless there is no other.
    """
    found = {}
    for (environment, cell), rows in selection.groupby(["environment", "cell"], sort=False):
        means = rows.groupby("policy_lr").final.apply(lambda x: x.mean(skipna=False)).fillna(-math.inf)
        found[str(environment), str(cell)] = float(means.idxmax())
    return found


def selection_table(selection: pd.DataFrame, chosen: Mapping[tuple[str, str], float]) -> pd.DataFrame:
    """Mean final return of the agents of each choice."""
    keys = ["environment", "cell", "policy_lr"]
    table = selection.groupby(keys, sort=False, as_index=False).agg(final=("final", "mean"), n=("final", "count"))
    return table.assign(
        chosen=[chosen[row.environment, row.cell] == row.policy_lr for row in table.itertuples(index=False)]
    )


def cell_table(cells: Sequence[Cell], agents: pd.DataFrame) -> pd.DataFrame:
    """The 16 cells: their switches, the learning rate, the final return over agents."""
    rows = []
    for cell in cells:
        mine = at(agents, environment=cell.environment, cell=cell.name)
        found = mean_of(mine.final.dropna().to_numpy(np.float64))
        rows.append(
            {"environment": cell.environment}
            | {switch: "on" if switch in cell.on else "off" for switch in SWITCHES}
            | {"policy_lr": float(mine.policy_lr.iloc[0]), **columns("final", found), "n": found.n}
        )
    return pd.DataFrame(rows)


def effects() -> Iterator[tuple[str, ...]]:
    """The four main effects and the six two-way interactions."""
    yield from ((switch,) for switch in SWITCHES)
    yield from itertools.combinations(SWITCHES, 2)


def effect_table(cells: Sequence[Cell], agents: pd.DataFrame) -> pd.DataFrame:
    """Effect of each switch: on minus off, averaged over the other switches; and of each pair, half the difference that
    one switch makes to the other's effect. Every cell has the weight 1/8 or -1/8."""
    rows = []
    for environment in dict.fromkeys(cell.environment for cell in cells):
        mine = [cell for cell in cells if cell.environment == environment]
        samples = [values(agents, "final", environment=environment, cell=cell.name) for cell in mine]
        for effect in effects():
            signs = [math.prod(1 if switch in cell.on else -1 for switch in effect) / 8 for cell in mine]
            found = contrast_of(samples, signs)
            rows.append(
                {"environment": environment, "effect": " × ".join(effect), **columns("difference", found), "n": found.n}
            )
    return pd.DataFrame(rows)
