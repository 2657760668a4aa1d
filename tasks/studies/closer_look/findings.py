"""What the report says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit.claims import Repeats, claim, describe
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import at, estimate_of, one, shown
from robustray.tasks.kit.rules import above
from robustray.tasks.kit.words import plural
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.closer_look import reduce
from robustray.tasks.studies.closer_look.reduce import Gradients, over_agents
from robustray.tasks.studies.closer_look.settings import Settings
from robustray.tasks.study import Claim, Description, Figure, Findings, Table

LEAST_AGENTS = 3
"""Of an algorithm, for what is said of trainings: estimates within one agent say nothing of other agents."""
Key = tuple[str, int, int]
NAMES = {"ppo": "PPO", "trpo": "TRPO"}


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a run gave; keys are (algorithm, agent, update)."""

    settings: Settings
    pools: pd.DataFrame
    gradients: Mapping[Key, Gradients]
    values: pd.DataFrame
    landscapes: Mapping[Key, pd.DataFrame]

    @cached_property
    def concentration(self) -> pd.DataFrame:
        return reduce.concentration_table(self.gradients)

    @cached_property
    def half_sizes(self) -> pd.DataFrame:
        return reduce.half_size_table(self.gradients)

    @cached_property
    def steps(self) -> pd.DataFrame:
        return reduce.landscape_table(self.landscapes)


def findings(results: Results) -> Findings:
    """Everything that the report shows."""
    return compose(answer(results), warnings(results), claims(results), tables(results), drawings(results))


def answer(results: Results) -> str:
    settings = results.settings
    algorithm, size = settings.algorithms[0], settings.sample_sizes[-1]
    parts = []
    for update in settings.updates if len(settings.updates) == 1 else (settings.updates[0], settings.updates[-1]):
        found = estimate_of(
            one(results.concentration, algorithm=algorithm, agent=0, update=update, steps=size), "pairwise"
        )
        parts.append(f"{format_estimate(found.value, found.interval)} before update {update + 1}")
    return (
        f"On {settings.environment}, two independent estimates of {NAMES[algorithm]}'s gradient from {size:,} steps "
        f"have the mean cosine {' and '.join(parts)} of {settings.iterations} (n = {settings.num_repeats} estimates, "
        "one agent)."
    )


def warnings(results: Results) -> Iterator[str]:
    settings = results.settings
    if _repeats(settings).too_few:
        yield (
            f"{plural(settings.num_agents, 'agent')} of each algorithm: what holds within an agent may not hold for "
            f"others, and claims about trainings need {LEAST_AGENTS}"
        )
    weak = results.concentration[results.concentration.truth_halves < 0.9]
    if len(weak):
        row = weak.loc[weak.truth_halves.idxmin()]
        yield (
            f"the gradient that stands for the true one is noisy itself: its two halves have the cosine "
            f"{row.truth_halves:.2f} ({NAMES[row.algorithm]} before update {row['update'] + 1}); take more "
            "--truth-blocks"
        )
    short = results.pools[results.pools.episodes == 0]
    if len(short):
        yield f"no episode ended in {plural(len(short), 'pool')}: their returns are unknown; take more blocks"


# --- Claims -----------------------------------------------------------------------------------------------------------


def claims(results: Results) -> Iterator[Claim | Description]:
    """Of the paper; and what the step did to the reward, for which the paper has no direction."""
    settings = results.settings
    several = settings.num_agents > 1
    sizes, first, last = settings.sample_sizes, settings.updates[0], settings.updates[-1]
    repeats = _repeats(settings)
    for algorithm in settings.algorithms:
        name = NAMES[algorithm]
        agents = range(settings.num_agents)
        for update in dict.fromkeys((first, last)):
            rises = [reduce.rise(results.gradients[algorithm, agent, update]) for agent in agents]
            yield claim(
                f"{name}, before update {update + 1}: estimates of the gradient agree better from more steps.",
                over_agents([each.value for each in rises]) if several else rises[0],
                above(0),
                measured=f"mean pairwise cosine from {sizes[-1]:,} steps minus that from {sizes[0]:,}",
                over="agents" if several else "estimates (jackknife), within one agent",
                unit="number",
            )
        if last > first:
            yield repeats.claim(
                f"{name}: late in a training an estimate takes more steps than early.",
                over_agents([_growth(results, algorithm, agent) for agent in agents]),
                above(0),
                measured=f"log2 of N½ before update {last + 1} over N½ before update {first + 1}, by agent",
            )
        late = at(results.values, algorithm=algorithm, update=last)
        yield repeats.claim(
            f"{name}: the value function fits its own targets better than the returns that they stand for.",
            over_agents((late.returns_mre_median - late.gae_mre_median).tolist()),
            above(0),
            measured="on held-out steps, median relative error to returns minus that to V_old + A, by agent",
        )
        yield describe(
            f"{name}: change of the true reward by the step that the algorithm takes before update {last + 1}",
            _gain(results, algorithm),
            measured="mean return after the step minus that before it" + ("" if several else " (Welch)"),
            over="agents" if several else "episodes, within one agent",
            unit="number",
        )


def _repeats(settings: Settings) -> Repeats:
    return Repeats(
        count=settings.num_agents, least=LEAST_AGENTS, units="agents of the algorithm", over="agents", unit="number"
    )


def _growth(results: Results, algorithm: str, agent: int) -> float:
    early, late = (
        one(results.half_sizes, algorithm=algorithm, agent=agent, update=update).half_size
        for update in (results.settings.updates[0], results.settings.updates[-1])
    )
    return math.log2(late / early) if 0 < early < math.inf and 0 < late < math.inf else math.nan


def _gain(results: Results, algorithm: str) -> Estimate:
    rows = at(results.steps, algorithm=algorithm)
    if len(rows) > 1:
        return over_agents(rows.gain.tolist())
    return estimate_of(next(rows.itertuples(index=False)), "gain")


# --- Tables -----------------------------------------------------------------------------------------------------------


def tables(results: Results) -> Iterator[Table]:
    settings = results.settings
    yield Table(
        name="concentration",
        title="How far estimates of the gradient agree",
        caption="Pairwise: mean cosine between independent estimates from this many steps; to truth: with one from "
        f"{settings.truth_blocks * settings.update_steps:,} other steps, whose two halves have the cosine of the "
        "column truth halves. 95 % intervals over n estimates (jackknife; Student's t) within an agent.",
        frame=results.concentration,
        formats={
            **shown("pairwise", ".3f"),
            **shown("to_truth", ".3f", "to_truth_lo", "to_truth_hi"),
            "truth_halves": ".3f",
        },
    )
    yield Table(
        name="half-sizes",
        title="Steps at which two estimates have the cosine 0.5",
        caption="N½ of c(N) = N / (N + N½), fitted to the pairwise cosines; 95 % intervals over n estimates (jackknife "
        "of the logarithm).",
        frame=results.half_sizes,
        formats=shown("half_size", ""),
    )
    yield Table(
        name="values",
        title="What value functions predict",
        caption=f"On {settings.heldout_blocks * settings.update_steps:,} held-out steps of each milestone. GAE: "
        "relative error |V − target| / |target| of the agent's value function, fitted as in the training, to V_old + "
        "A; returns: to discounted returns of complete episodes; mean (MRE) and median. True: a network of the same "
        f"size, fitted to the returns of {settings.truth_blocks * settings.update_steps:,} other steps; its own error "
        "is what a value function can't tell of single returns. To true: of the agent's to that one.",
        frame=results.values[
            [
                "algorithm",
                "agent",
                "update",
                "gae_mre",
                "gae_mre_median",
                "returns_mre",
                "returns_mre_median",
                "explained_variance",
                "true_returns_mre",
                "true_returns_mre_median",
                "true_explained_variance",
                "to_true_mre",
            ]
        ],
    )
    yield Table(
        name="steps",
        title="What the step promises and what it gives",
        caption="Gain: mean return of episodes after the step of the last milestone minus before it (Welch, n "
        "episodes). Surrogate: the change that the step promises on the steps that made it, and on held-out ones. "
        f"Agreement: Spearman's correlation of surrogate and mean return over {len(settings.landscape) ** 2} points.",
        frame=results.steps,
        formats=shown("gain", ""),
    )
    yield Table(
        name="pools",
        title="Agents at their milestones",
        caption=f"Pools of blocks of {settings.update_steps:,} steps with frozen filters; return: undiscounted, of "
        "complete episodes.",
        frame=results.pools,
    )
    yield Table(
        name="landscape",
        title="All points of the landscapes",
        caption="Along the step and along a random direction of the same length, in steps.",
        frame=pd.concat(
            [
                found.drop(columns=["episode_returns"]).assign(algorithm=algorithm, agent=agent, update=update)
                for (algorithm, agent, update), found in results.landscapes.items()
            ],
            ignore_index=True,
        ),
        on_page=False,
    )


# --- Drawings ---------------------------------------------------------------------------------------------------------


def drawings(results: Results) -> Iterator[Figure | None]:
    settings = results.settings
    palette = figures.Palette([NAMES[algorithm] for algorithm in settings.algorithms])
    for update in dict.fromkeys((settings.updates[0], settings.updates[-1])):
        yield _concentration(results, update, "pairwise", "mean pairwise cosine", palette)
    yield _concentration(results, settings.updates[-1], "to_truth", "cosine with the truth", palette)
    for (algorithm, agent, update), found in results.landscapes.items():
        if agent == 0:
            for column, words in (("surrogate", "surrogate"), ("mean_return", "mean return")):
                yield _landscape(settings, found, algorithm, update, column, words)


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


def _landscape(settings: Settings, found: pd.DataFrame, algorithm: str, update: int, column: str, words: str) -> Figure:
    side = len(settings.landscape)
    cells = found[column].to_numpy(np.float64).reshape(side, side).T[::-1]
    values = np.round(cells, 3) + 0.0  # no "−0.000"
    known = values[np.isfinite(values)]
    places = [f"{place:g}" for place in settings.landscape]
    step = found[(found.along == 1.0) & (found.aside == 0.0)].iloc[0][column]
    start = found[(found.along == 0.0) & (found.aside == 0.0)].iloc[0][column]
    return figures.heat_map(
        name=f"{algorithm}-{column.replace('_', '-')}",
        title=f"{NAMES[algorithm]} before update {update + 1}: {words} around the policy",
        caption="Bottom left: the policy as it is; to its right at 1: the step that is taken. "
        + (
            f"The surrogate is that of the {settings.update_steps:,} steps that made the step."
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
