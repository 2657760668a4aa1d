"""Figures of the report."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit.frames import at
from robustray.tasks.studies.closer_look.results import MAIN, NAMES, Results
from robustray.tasks.studies.closer_look.settings import ARMS, KINDS, SOURCES, Settings
from robustray.tasks.study import Figure


def drawings(results: Results) -> Iterator[Figure | None]:
    settings = results.settings
    palette = figures.Palette([NAMES[algorithm] for algorithm in settings.algorithms])
    for update in dict.fromkeys((settings.updates[0], settings.updates[-1])):
        yield _concentration(results, update, "pairwise", "mean pairwise cosine", palette)
    yield _concentration(results, settings.updates[-1], "to_truth", "cosine with the truth", palette)
    for algorithm in settings.algorithms:
        yield _baselines(results, algorithm)
        yield _value_errors(results, algorithm)
    for (algorithm, agent, update), found in results.landscapes.items():
        if agent == 0 and update == settings.updates[-1]:
            for source, scale in ((0, 0), (0, 1), (1, 0), (1, 1)):
                grid = at(found, source=SOURCES[source])
                grid = grid[(grid.aside == 0) | (grid["scale"] == scale)]
                for column, words in (("surrogate", "surrogate"), ("mean_return", "mean return")):
                    yield _landscape(settings, grid, algorithm, update, source, scale, column, words)


def _baselines(results: Results, algorithm: str) -> Figure:
    """Agent 0's estimates before the last look, by kind."""
    settings, update = results.settings, results.settings.updates[-1]
    series = []
    for kind in KINDS:
        rows = at(results.baselines, algorithm=algorithm, agent=0, update=update, kind=kind)
        x, y, lo, hi = (rows[name].tolist() for name in ("steps", "pairwise", "lo", "hi"))
        series.append(figures.Series(label=kind, x=x, y=y, lo=lo, hi=hi))
    return figures.curve(
        name=f"baselines-{algorithm}",
        title=f"{NAMES[algorithm]} before update {update + 1}: how estimates agree, by value function",
        caption=f"The kind “{MAIN}” is what the algorithm uses. Only at λ = 1 does a value function change nothing but "
        f"the variance. Bands: 95 % intervals over n = {settings.num_repeats} estimates within one agent.",
        series=series,
        x_label="steps behind an estimate",
        y_label="mean pairwise cosine",
        x_log=True,
        x_ticks={float(size): f"{size:,}" for size in settings.sample_sizes},
    )


def _value_errors(results: Results, algorithm: str) -> Figure | None:
    """Relative errors on held-out steps over the training; None with fewer than two updates that were measured."""
    mine = at(results.curves, arm=next(iter(ARMS)), algorithm=algorithm)
    by_update = mine.groupby("update")[["heldout_gae_mre_median", "heldout_returns_mre_median"]].mean().dropna()
    if len(by_update) < 2:
        return None
    return figures.curve(
        name=f"value-errors-{algorithm}",
        title=f"{NAMES[algorithm]}: errors of the value function on held-out steps",
        caption="Median relative error |V − target| / |target| right after each update's fit, to its own targets "
        f"V_old + A and to returns of complete episodes. Means over n = {results.settings.num_agents:,} agents.",
        series=[
            figures.Series(label=words, x=(by_update.index + 1).tolist(), y=by_update[name].tolist())
            for words, name in (("own targets", "heldout_gae_mre_median"), ("returns", "heldout_returns_mre_median"))
        ],
        x_label="update",
        y_label="median relative error",
    )


def _concentration(results: Results, update: int, column: str, words: str, palette: figures.Palette) -> Figure:
    settings, series = results.settings, []
    several = settings.num_agents > 1
    for algorithm in settings.algorithms:
        for agent in range(settings.num_agents):
            rows = at(results.concentration, algorithm=algorithm, agent=agent, update=update)
            lo, hi = ("lo", "hi") if column == "pairwise" else (f"{column}_lo", f"{column}_hi")
            series.append(
                figures.Series(
                    label=f"{NAMES[algorithm]} {agent + 1}" if several else NAMES[algorithm],
                    x=rows.steps.tolist(),
                    y=rows[column].tolist(),
                    lo=rows[lo].tolist(),
                    hi=rows[hi].tolist(),
                    color_by=NAMES[algorithm],
                )
            )
    what = "with each other" if column == "pairwise" else "with the gradient of many more steps"
    return figures.curve(
        name=f"{column.replace('_', '-')}-{update}",
        title=f"How estimates of the gradient agree {what}, before update {update + 1}",
        caption=f"More steps, more agreement; 1 is the same direction. Bands: 95 % intervals over n = "
        f"{settings.num_repeats} estimates within an agent.",
        series=series,
        x_label="steps behind an estimate",
        y_label=words,
        palette=palette,
        x_log=True,
        x_ticks={float(size): f"{size:,}" for size in settings.sample_sizes},
    )


def _landscape(
    settings: Settings,
    found: pd.DataFrame,
    algorithm: str,
    update: int,
    source: int,
    scale: int,
    column: str,
    words: str,
) -> Figure | None:
    side = len(settings.landscape)
    if len(found) < side**2:
        return None
    cells = found.sort_values(["along", "aside"])[column].to_numpy(np.float64).reshape(side, side).T[::-1]
    values = np.round(cells, 3) + 0.0  # no "−0.000"
    known = values[np.isfinite(values)]
    places = [f"{place:g}" for place in settings.landscape]
    step = at(found, along=1.0, aside=0.0).iloc[0][column]
    start = at(found, along=0.0, aside=0.0).iloc[0][column]
    tail = ("" if not source else "-many") + ("" if not scale else "-norm-2")
    return figures.heat_map(
        name=f"{algorithm}-{column.replace('_', '-')}{tail}",
        title=f"{NAMES[algorithm]} before update {update + 1}: {words} around the policy",
        caption=f"The step is made from {SOURCES[source]}. Bottom left: the policy as it is; to its right at 1: the "
        "step that is taken; the random direction is "
        + ("as long as the step. " if not scale else "of the paper's norm 2, typically ten times as long. ")
        + (
            "The surrogate is that of the steps that made the step."
            if column == "surrogate"
            else f"Mean return of the complete episodes among {settings.landscape_steps:,} steps a point "
            f"(n = {int(found.episodes.sum()):,} episodes in all); colours from the smallest to the largest."
        ),
        alt=f"{words} {start:.3g} at the policy, {step:.3g} after the step",
        values=values,
        rows=places[::-1],
        columns=places,
        row_label="random direction",
        column_label="along the step",
        fmt=".3f" if column == "surrogate" else ".1f",
        signed=column == "surrogate",
        limits=(known.min(), known.max()) if column == "mean_return" and len(known) else None,
    )
