"""What the report says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd

from robustray.tasks.kit.claims import Repeats, describe
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import estimate_of, one
from robustray.tasks.kit.rules import Rule, above
from robustray.tasks.kit.words import plural
from robustray.tasks.policy_gradients.curves import LAST
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.implementation_matters import drawings, improvements, reduce, tables
from robustray.tasks.studies.implementation_matters.published import CAVEAT, PUBLISHED
from robustray.tasks.studies.implementation_matters.reduce import OPTIMISATIONS, STEP
from robustray.tasks.studies.implementation_matters.results import LEAST_AGENTS, UNITS, Results
from robustray.tasks.studies.implementation_matters.settings import CORNERS, SCHEDULED
from robustray.tasks.study import Claim, Description, Findings

CLAIMED = {
    "reward_scaling": "Reward scaling raises the return.",
    "orthogonal_init": "Orthogonal initialisation with scaled layers raises the return.",
    "lr_annealing": "Annealing the learning rates raises the return.",
}
"""What the paper says about its figure 1. It says nothing similar about value clipping."""


def findings(results: Results) -> Findings:
    """Everything that the report shows."""
    return compose(
        answer(results),
        warnings(results),
        claims(results),
        tables.tables(results),
        drawings.drawings(results),
    )


def answer(results: Results) -> str:
    settings = results.settings
    place = settings.environments[0]
    step, optimisations = (results.contrast(place, name) for name in (STEP, OPTIMISATIONS))
    return (
        f"On {place}, after {settings.iterations * settings.steps:,} steps, code-level optimisations change the "
        f"final return by {format_estimate(optimisations.value, optimisations.interval)} and the clipped step instead "
        f"of the trust region by {format_estimate(step.value, step.interval)} (n = {optimisations.n:,} agents in four "
        "corners)."
    )


def warnings(results: Results) -> Iterator[str]:
    settings = results.settings
    parts = [results.repeats(settings.num_seeds, settings.iterations)]
    parts += [results.repeats(settings.num_ablation_seeds, settings.ablation_iterations)] * settings.ablation
    if any(part.too_few for part in parts):
        yield (
            f"too few or too short trainings for a verdict ({LEAST_AGENTS} {UNITS} are needed): this run shows that "
            "everything works, not who wins"
        )
    yield CAVEAT
    lost = results.agents[results.agents.final.isna()]
    if len(lost):
        yield f"{plural(len(lost), 'agent')} ended no episode in the last {LAST} updates and count in no mean"


# --- Claims -----------------------------------------------------------------------------------------------------------


def claims(results: Results) -> Iterator[Claim | Description]:
    settings = results.settings
    repeats = results.repeats(settings.num_seeds, settings.iterations)
    for place in settings.environments:
        name = place.partition("-v")[0]
        where = f" ({place})" if len(settings.environments) > 1 else ""

        def told(
            words: str,
            estimate: Estimate,
            measured: str,
            paper: dict[str, object],
            rule: Rule = above(0),
            weights: Mapping[str, float] | None = None,
        ) -> Claim:
            published = {word: (name, key) for word, key in paper.items()}  # noqa: B023 - called before the next round
            value = PUBLISHED.contrast({(name, key): w for key, w in weights.items()}) if weights else None  # noqa: B023
            return repeats.claim(
                words + where,  # noqa: B023
                estimate,
                rule,
                measured=measured,
                paper=PUBLISHED.figure(published, value=value),
            )

        yield told(
            "Code-level optimisations raise the return, as a mean over both steps.",
            results.contrast(place, OPTIMISATIONS),
            "mean final return of PPO and TRPO+ minus that of PPO-M and TRPO (Welch)",
            {"PPO": "ppo", "PPO-M": "ppo-m", "TRPO+": "trpo+", "TRPO": "trpo"},
            weights=dict(zip(CORNERS, reduce.CONTRASTS[OPTIMISATIONS], strict=True)),
        )
        yield told(
            "The optimisations matter more than the step.",
            reduce.smaller_of(results.contrast(place, "ppo − trpo"), results.contrast(place, "trpo+ − ppo-m")),
            "the optimisations' contrast minus the size of the step's, which is the smaller of PPO − TRPO and TRPO+ − "
            "PPO-M (Welch, both at once)",
            {"ACLI": "ACLI", "AAI": "AAI"},
        )
        yield _excess_claim(
            results, place, repeats, words="ACLI is larger than AAI, as the paper defines them." + where
        )
        yield told(
            "Without clipping PPO is better than PPO-M: clipping is not necessary.",
            reduce.contrast_of(
                [reduce.values(results.agents, "final", environment=place, cell=x) for x in ("ppo-noclip", "ppo-m")],
                (1, -1),
            ),
            "mean final return of PPO-NoClip minus that of PPO-M (Welch)",
            {"PPO-NoClip": "ppo-noclip", "PPO-M": "ppo-m"},
            weights={"ppo-noclip": 1, "ppo-m": -1},
        )
        yield told(
            "No algorithm keeps ratios below 1 + ε = 1.2.",
            _least_ratio(results, place),
            "on held-out steps, an agent's largest ratio over all updates, as a mean over agents of PPO, PPO-M and "
            "TRPO, the smallest of the three",
            {},
            above(1.2),
        )
        yield describe(
            "TRPO+ with its bound on the KL moving as its configuration asks, against the bound of the paper's runs, "
            "which stayed" + where,
            reduce.contrast_of(
                [reduce.values(results.agents, "final", environment=place, cell=x) for x in (SCHEDULED, "trpo+")],
                (1, -1),
            ),
            measured="mean final return with the schedule minus that without (Welch)",
            over="agents",
            unit="number",
        )
    if results.effects is not None:
        yield from _effect_claims(results, results.effects)


def _excess_claim(results: Results, place: str, repeats: Repeats, words: str) -> Claim:
    """A claim with two rules: the interval must lie above 0, and it must rarely do so where nothing differs."""
    alarms = results.false_alarms.get(place)
    limit = f"and only where that rule finds ACLI > AAI in at most {improvements.LARGEST_RATE:.0%} of simulated data "
    limit += "without it, at these numbers of agents and spreads"
    if alarms is not None:
        limit += f": here in {format_estimate(alarms.rate, (alarms.lo, alarms.hi), 'percent')}"
    name = place.partition("-v")[0]
    trusted = alarms is not None and alarms.acceptable
    return replace(repeats, count=repeats.count if trusted else 0).claim(
        words,
        results.excesses[place],
        replace(above(0), note=limit),
        measured="ACLI − AAI, which is |optimisations| − |step| (BCa bootstrap within corners)",
        paper=PUBLISHED.figure(
            {"ACLI": (name, "ACLI"), "AAI": (name, "AAI")},
            value=PUBLISHED.contrast({(name, "ACLI"): 1, (name, "AAI"): -1}),
        ),
    )


def _least_ratio(results: Results, place: str) -> Estimate:
    """Above a bound exactly where all three are."""
    first, *others = (
        reduce.mean_of(reduce.values(results.agents, "heldout_ratio_max", environment=place, cell=name))
        for name in ("ppo", "ppo-m", "trpo")
    )
    for other in others:
        first = reduce.smaller_of(first, other)
    return first


def _effect_claims(results: Results, effects: pd.DataFrame) -> Iterator[Claim]:
    settings = results.settings
    repeats = results.repeats(settings.num_ablation_seeds, settings.ablation_iterations)
    for place in settings.environments:
        for effect, words in CLAIMED.items():
            yield repeats.claim(
                words + (f" ({place})" if len(settings.environments) > 1 else ""),
                estimate_of(one(effects, environment=place, effect=effect), "difference"),
                above(0),
                measured="main effect in the 16 cells, each at its chosen learning rate: on minus off (Welch)",
            )
