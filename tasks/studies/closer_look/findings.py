"""What the report says."""

from __future__ import annotations

import math
from collections.abc import Iterator

from robustray.tasks.kit.claims import describe
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import at, estimate_of, one
from robustray.tasks.kit.rules import above
from robustray.tasks.kit.words import plural
from robustray.tasks.policy_gradients.curves import LAST
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.closer_look import concentration, drawings, reduce, tables
from robustray.tasks.studies.closer_look.reduce import over_agents
from robustray.tasks.studies.closer_look.results import LEAST_AGENTS, MAIN, NAMES, Results
from robustray.tasks.studies.closer_look.settings import ARMS, SOURCES
from robustray.tasks.study import Claim, Description, Findings


def findings(results: Results) -> Findings:
    """Everything that the report shows."""
    return compose(
        answer(results), warnings(results), claims(results), tables.tables(results), drawings.drawings(results)
    )


def answer(results: Results) -> str:
    """Of the first algorithm: over its agents, or over the estimates within its only one."""
    settings = results.settings
    algorithm, size = settings.algorithms[0], settings.sample_sizes[-1]
    alone = settings.num_agents == 1
    parts = []
    for update in dict.fromkeys((settings.updates[0], settings.updates[-1])):
        rows = at(results.concentration, algorithm=algorithm, update=update, steps=size)
        found = estimate_of(next(rows.itertuples()), "pairwise") if alone else over_agents(rows.pairwise.tolist())
        parts.append(f"{format_estimate(found.value, found.interval)} before update {update + 1}")
    over = f"{settings.num_repeats} estimates, one agent" if alone else f"{settings.num_agents} agents"
    return (
        f"On {settings.environment}, two independent estimates of {NAMES[algorithm]}'s gradient from {size:,} steps "
        f"have the mean cosine {' and '.join(parts)} of {settings.iterations} (n = {over})."
    )


def warnings(results: Results) -> Iterator[str]:
    settings = results.settings
    if results.repeats.too_few:
        yield (
            f"{plural(settings.num_agents, 'agent')} of each algorithm: what holds within an agent may not hold for "
            f"others, and claims about trainings need {LEAST_AGENTS}"
        )
    weak = results.concentration[results.concentration.truth_halves < 0.9]
    if len(weak):
        row = weak.loc[weak.truth_halves.idxmin()]
        yield (
            f"the gradient that is taken for the true one is noisy itself: its two halves have the cosine "
            f"{row.truth_halves:.2f} ({NAMES[row.algorithm]} before update {row['update'] + 1}); take more "
            "--truth-blocks"
        )
    worse = results.values[~results.values.better.astype(bool)]
    if len(worse):
        yield (
            f"in {plural(len(worse), 'look')} the value function that is taken for the true one predicts no better "
            "than the agent's on steps that it was not fitted on, so it is not the true one; take more --fit-blocks"
        )
    short = results.pools[results.pools.episodes == 0]
    if len(short):
        yield f"no episode ended in {plural(len(short), 'pool')}: their returns are unknown; take more blocks"


# --- Claims -----------------------------------------------------------------------------------------------------------


def claims(results: Results) -> Iterator[Claim | Description]:
    """The paper's claims, and descriptions of what the step did to the reward, for which the paper predicts no
    direction."""
    settings = results.settings
    several = settings.num_agents > 1
    sizes, first, last = settings.sample_sizes, settings.updates[0], settings.updates[-1]
    repeats = results.repeats
    for algorithm in settings.algorithms:
        name = NAMES[algorithm]
        agents = range(settings.num_agents)
        for update in dict.fromkeys((first, last)):
            rises = [concentration.rise(results.gradients[algorithm, agent, update][MAIN]) for agent in agents]
            yield repeats.claim(
                f"{name}, before update {update + 1}: estimates of the gradient agree better from more steps.",
                over_agents([each.value for each in rises]) if several else rises[0],
                above(0),
                measured=f"mean pairwise cosine from {sizes[-1]:,} steps minus that from {sizes[0]:,}",
                over="" if several else "estimates (jackknife), within one agent",
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
            f"{name}: the value function fits its own targets better than the returns that they estimate.",
            over_agents((late.returns_mre_median - late.gae_mre_median).tolist()),
            above(0),
            measured="on held-out steps, median relative error to returns minus that to V_old + A, by agent",
        )
        yield from _baseline_claims(results, algorithm)
        if settings.arms:
            yield _arm_claim(results, algorithm)
        yield repeats.claim(
            f"{name}: the value function that is taken for the true one predicts held-out returns better than "
            "the agent's.",
            over_agents((1 - late.true_returns_error / late.returns_error).tolist()),
            above(0),
            measured="1 minus the ratio of squared errors to returns, before the last look, by agent",
            kind="check",
        )
        yield describe(
            f"{name}: change of the true reward by the step that the algorithm takes before update {last + 1}",
            _gain(results, algorithm),
            measured="mean return after the step minus that before it" + ("" if several else " (Welch)"),
            over="agents" if several else "episodes, within one agent",
            unit="number",
        )


def _baseline_claims(results: Results, algorithm: str) -> Iterator[Claim]:
    """At λ = 1, where a baseline changes the variance of an estimate and not what is estimated."""
    settings, name = results.settings, NAMES[algorithm]
    size = max(
        (each for each in settings.sample_sizes if each <= settings.update_steps), default=settings.sample_sizes[0]
    )
    late = at(results.baselines, algorithm=algorithm, update=settings.updates[-1], steps=size)

    def agreement(kind: str) -> list[float]:
        return at(late, kind=kind).sort_values("agent").pairwise.tolist()

    for words, better, worse in (
        ("the value function makes estimates of the gradient agree better than no baseline", "agent, λ = 1", "none"),
        ("the true value function would make them agree better than the agent's does", "true, λ = 1", "agent, λ = 1"),
    ):
        pairs = zip(agreement(better), agreement(worse), strict=True)
        yield results.repeats.claim(
            f"{name}: {words}.",
            over_agents([a - b for a, b in pairs]),
            above(0),
            measured=f"mean pairwise cosine from {size:,} steps before update {settings.updates[-1] + 1}, at λ = 1: "
            "the first minus the other, by agent",
        )


def _arm_claim(results: Results, algorithm: str) -> Claim:
    first, without = list(ARMS)[:2]
    mine, theirs = (reduce.final_returns(results.curves, arm, algorithm) for arm in (first, without))
    return results.repeats.claim(
        f"{NAMES[algorithm]}: without a baseline agents learn less.",
        reduce.difference(mine, theirs),
        above(0),
        measured=f"mean return over the last {LAST} updates, as in the paper minus without a baseline (Welch)",
    )


def _growth(results: Results, algorithm: str, agent: int) -> float:
    early, late = (
        one(results.half_sizes, algorithm=algorithm, agent=agent, update=update).half_size
        for update in (results.settings.updates[0], results.settings.updates[-1])
    )
    return math.log2(late / early) if 0 < early < math.inf and 0 < late < math.inf else math.nan


def _gain(results: Results, algorithm: str) -> Estimate:
    update = results.settings.updates[-1]
    rows = at(results.landscape_steps, algorithm=algorithm, update=update, **{"step from": SOURCES[0]})
    if len(rows) > 1:
        return over_agents(rows.gain.tolist())
    return estimate_of(next(rows.itertuples(index=False)), "gain")
