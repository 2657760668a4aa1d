"""What the report says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit.claims import Repeats
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import at, estimate_of, one, shown
from robustray.tasks.kit.rules import Rule, above
from robustray.tasks.kit.words import plural
from robustray.tasks.published.table import Published
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.implementation_matters import reduce
from robustray.tasks.studies.implementation_matters.reduce import OPTIMISATIONS, STEP
from robustray.tasks.studies.implementation_matters.settings import CORNERS, UNCLIPPED, Cell, Settings
from robustray.tasks.study import Claim, Figure, Findings, Table

LEAST_AGENTS, LEAST_STEPS = 4, 150_000
"""Agents per cell, and environment steps of each, without which nothing is decided: with fewer agents an interval says
little of their spread, and earlier in a training differences are not yet those that the paper is about."""
UNITS = f"agents per cell with {LEAST_STEPS:,} environment steps each"
CLAIMED = {
    "reward_scaling": "Reward scaling raises the return.",
    "orthogonal_init": "Orthogonal initialisation with scaled layers raises the return.",
    "lr_annealing": "Annealing the learning rates raises the return.",
}
"""What the paper says of its figure 1; of value clipping it says nothing of the kind."""
WORDS = {
    "ppo": "PPO",
    "ppo-m": "PPO-M (without optimisations)",
    "trpo+": "TRPO+ (with optimisations)",
    "trpo": "TRPO",
    "ppo-noclip": "PPO-NoClip (other settings, too)",
    "ppo-unclipped": "PPO, only the clipping off",
}

PUBLISHED = Published(
    cells={
        ("Hopper", "ppo"): "2513 [2391, 2632]",
        ("Hopper", "ppo-m"): "2142 [2008, 2279]",
        ("Hopper", "trpo"): "2043 [1948, 2136]",
        ("Hopper", "trpo+"): "2466 [2381, 2549]",
        ("Hopper", "ppo-noclip"): "2371 [2316, 2424]",
        ("Hopper", "AAI"): "99",
        ("Hopper", "ACLI"): "421",
        ("Walker2d", "ppo"): "3292 [3157, 3426]",
        ("Walker2d", "ppo-m"): "2735 [2602, 2866]",
        ("Walker2d", "trpo"): "2791 [2709, 2873]",
        ("Walker2d", "trpo+"): "3050 [2976, 3126]",
        ("Walker2d", "ppo-noclip"): "2867 [2701, 3024]",
        ("Walker2d", "AAI"): "242",
        ("Walker2d", "ACLI"): "557",
        ("Humanoid", "ppo"): "806 [785, 827]",
        ("Humanoid", "ppo-m"): "674 [656, 695]",
        ("Humanoid", "trpo"): "586 [576, 596]",
        ("Humanoid", "trpo+"): "1030 [979, 1083]",
        ("Humanoid", "ppo-noclip"): "831 [798, 869]",
        ("Humanoid", "AAI"): "224",
        ("Humanoid", "ACLI"): "444",
    },
    scale="version 2 of the environments, a million steps, at least 80 agents each",
    source="arXiv:2005.12729, tables 2 and 3",
    unit="",
)


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What the 16 cells gave."""

    cells: Sequence[Cell]
    agents: pd.DataFrame
    """Rows of `reduce.agent_table`, of reported agents only."""
    selection: pd.DataFrame | None
    """What the learning rates were chosen by; None where there was one only."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a run gave."""

    settings: Settings
    agents: pd.DataFrame
    """Rows of `reduce.agent_table`, of the corners and of PPO without clipping."""
    trust: pd.DataFrame
    ablation: Ablation | None

    @cached_property
    def contrasts(self) -> pd.DataFrame:
        return reduce.contrast_table(self.agents)

    @cached_property
    def arms(self) -> pd.DataFrame:
        return reduce.arm_table(self.agents)

    @cached_property
    def effects(self) -> pd.DataFrame | None:
        return reduce.effect_table(self.ablation.cells, self.ablation.agents) if self.ablation else None

    def contrast(self, environment: str, name: str) -> Estimate:
        return estimate_of(one(self.contrasts, environment=environment, contrast=name), "difference")

    def repeats(self, num_agents: int, iterations: int) -> Repeats:
        """What claims rest on: so many agents per cell, none of which counts where they learned from too few steps."""
        count = num_agents if iterations * self.settings.steps >= LEAST_STEPS else 0
        return Repeats(count=count, least=LEAST_AGENTS, units=UNITS, over="agents", unit="number")


def findings(results: Results) -> Findings:
    """Everything that the report shows."""
    return compose(answer(results), warnings(results), claims(results), tables(results), drawings(results))


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
    lost = results.agents[results.agents.final.isna()]
    if len(lost):
        yield f"{plural(len(lost), 'agent')} ended no episode in the last {reduce.LAST} updates and count in no mean"


# --- Claims -----------------------------------------------------------------------------------------------------------


def claims(results: Results) -> Iterator[Claim]:
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
            "Code-level optimisations raise the return, whichever the step.",
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
    if results.effects is not None:
        yield from _effect_claims(results, results.effects)


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


# --- Tables -----------------------------------------------------------------------------------------------------------


def _with_ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}_lo", f"{name}_hi"


def _formats(*names: str) -> dict[str, str]:
    return {key: value for name in names for key, value in shown(name, "", f"{name}_lo", f"{name}_hi").items()}


def tables(results: Results) -> Iterator[Table]:
    settings = results.settings
    arms = results.arms
    places = [environment.partition("-v")[0] for environment in arms.environment]
    frame = arms.assign(
        arm=arms.arm.map(WORDS),
        paper=[PUBLISHED.cell((place, arm)) for place, arm in zip(places, arms.arm, strict=True)],
    )
    yield Table(
        name="arms",
        title="Corners, and PPO without clipping",
        caption=f"Final: mean episode return over the last {reduce.LAST} updates; best: of the best update, biased "
        f"upwards. Means over n agents with Student's t intervals. Paper: {PUBLISHED.scale}; the settings are the "
        "paper's, which were tuned for those.",
        frame=frame[["environment", "arm", *_with_ends("final"), *_with_ends("best"), "n", "paper"]],
        formats=_formats("final", "best"),
    )
    trust = ("kl", "heldout_kl", "ratio_max", "heldout_ratio_max")
    yield Table(
        name="trust-region",
        title="What updates did to the policy",
        caption="KL(old ‖ new): mean over updates, nats. Ratio max: an agent's largest ratio over all updates. Both on "
        "the steps that an update learned from, and on held-out steps of the same policy. Rejected: share of TRPO's "
        f"updates whose line search accepted nothing. Means over n = {settings.num_seeds} agents with Student's t "
        "intervals.",
        frame=frame[["environment", "arm", *(name for each in trust for name in _with_ends(each)), "rejected"]],
        formats=_formats(*trust) | {"rejected": "percent"},
    )
    yield Table(
        name="contrasts",
        title="Signed contrasts of final returns",
        caption="Step and optimisations are averaged over the other one; the interaction is half of what one changes "
        "in the other's effect; the rest are simple differences. Agents of different corners share no random numbers. "
        "95 % Welch intervals, each for its row alone.",
        frame=results.contrasts,
        formats=shown("difference", ""),
    )
    improvements = reduce.improvement_table(results.contrasts)
    yield Table(
        name="improvements",
        title="AAI and ACLI as the paper defines them",
        caption="AAI: the larger of |PPO − TRPO+| and |PPO-M − TRPO|; ACLI: the larger of |PPO − PPO-M| and |TRPO+ − "
        "TRPO|. Both are maxima of absolute differences and therefore biased upwards, the more so the fewer the agents "
        f"(n = {settings.num_seeds} each): no interval, no verdict. Paper: {PUBLISHED.scale}.",
        frame=improvements.assign(
            **{
                f"{name} in the paper": [PUBLISHED.cell((e.partition("-v")[0], name)) for e in improvements.environment]
                for name in ("AAI", "ACLI")
            }
        ),
    )
    if results.ablation is not None and results.effects is not None:
        yield from _ablation_tables(results, results.ablation, results.effects)
    yield Table(
        name="trust",
        title="KL, ratios and returns by update",
        caption="Means over agents; held-out columns are empty for updates that were not measured so.",
        frame=results.trust,
        on_page=False,
    )
    yield Table(
        name="agents",
        title="All agents of the corners and without clipping",
        caption="One row per agent.",
        frame=results.agents,
        on_page=False,
    )


def _ablation_tables(results: Results, ablation: Ablation, effects: pd.DataFrame) -> Iterator[Table]:
    settings = results.settings
    yield Table(
        name="effects",
        title="Effects of four optimisations",
        caption="Main effects: on minus off, averaged over the 8 settings of the other three. Interactions: half of "
        "what one changes in the other's effect. 95 % Welch intervals over agents, each for its row alone.",
        frame=effects,
        formats=shown("difference", ""),
    )
    yield Table(
        name="cells",
        title="The 16 cells",
        caption=f"PPO as in the paper otherwise. Final return over n agents after "
        f"{settings.ablation_iterations * settings.steps:,} steps, at the policy's learning rate that the cell chose.",
        frame=reduce.cell_table(ablation.cells, ablation.agents),
        formats=shown("final", ""),
    )
    if ablation.selection is not None:
        yield Table(
            name="selection",
            title="How learning rates were chosen",
            caption="Mean final return of n agents that were trained for this and are in no other table; of each cell "
            "the best one is chosen.",
            frame=ablation.selection,
            on_page=False,
        )
    yield Table(
        name="ablation-agents",
        title="All reported agents of the cells",
        caption="One row per agent.",
        frame=ablation.agents,
        on_page=False,
    )


# --- Drawings ---------------------------------------------------------------------------------------------------------


def drawings(results: Results) -> Iterator[Figure | None]:
    settings = results.settings
    palette = figures.Palette([*CORNERS, *UNCLIPPED])
    for place in settings.environments:
        tail = f"-{place.partition('-v')[0].lower()}" if len(settings.environments) > 1 else ""
        yield _returns(results, place, tail)
        for column, words, levels in (
            ("kl", "mean KL(old ‖ new), nats", ()),
            ("ratio_max", "largest ratio", (figures.Level(value=1.2, words="1 + ε"),)),
        ):
            yield _trust(results, place, tail, column, words, levels, palette)
        if results.effects is not None:
            yield _effects(results, results.effects, place, tail)


def _returns(results: Results, place: str, tail: str) -> Figure:
    rows = []
    for row in at(results.arms, environment=place).itertuples(index=False):
        runs = reduce.values(results.agents, "final", environment=place, cell=row.arm).tolist()
        known = row.n > 1
        rows.append(
            figures.Row(
                label=WORDS[row.arm],
                value=row.final,
                lo=row.final_lo if known else None,
                hi=row.final_hi if known else None,
                runs=runs,
            )
        )
    return figures.dot_rows(
        name=f"returns{tail}",
        title=f"Final returns on {place}",
        caption="With and without code-level optimisations, with clipped and trust-region step. "
        f"Means with 95 % intervals over n = {results.settings.num_seeds} agents each; faint dots: agents.",
        rows=rows,
        x_label=f"episode return over the last {reduce.LAST} updates",
    )


def _trust(
    results: Results,
    place: str,
    tail: str,
    column: str,
    words: str,
    levels: tuple[figures.Level, ...],
    palette: figures.Palette,
) -> Figure | None:
    series = []
    for arm in CORNERS:
        rows = at(results.trust, environment=place, arm=arm).dropna(subset=[f"heldout_{column}"])
        series.append(
            figures.Series(
                label=arm, x=(rows["update"] + 1).tolist(), y=rows[f"heldout_{column}"].tolist(), color_by=arm
            )
        )
    if any(len(line.x) < 2 for line in series):
        return None
    return figures.curve(
        name=f"{column.replace('_', '-')}{tail}",
        title=f"What an update does to the policy on {place}: {words.partition(',')[0]}",
        caption="Measured on held-out steps of the policy before the update, which the update has not seen. Means over "
        f"n = {results.settings.num_seeds} agents.",
        series=series,
        x_label="update",
        y_label=words,
        palette=palette,
        levels=levels,
        x_ticks={x: f"{x:g}" for x in series[0].x} if len(series[0].x) <= 10 else None,
    )


def _effects(results: Results, effects: pd.DataFrame, place: str, tail: str) -> Figure | None:
    mine = at(effects, environment=place).dropna(subset=["difference"])
    if mine.empty:
        return None
    rows = [
        figures.Row(
            label=row.effect.replace("_", " "),
            value=row.difference,
            lo=row.lo if abs(row.lo) < float("inf") else None,
            hi=row.hi if abs(row.hi) < float("inf") else None,
        )
        for row in mine.itertuples(index=False)
    ]
    return figures.dot_rows(
        name=f"effects{tail}",
        title=f"Effects of four optimisations on {place}",
        caption="Main effects, then interactions of two. 95 % intervals over "
        f"n = {int(mine.n.iloc[0])} agents in 16 cells, each at its chosen learning rate.",
        rows=rows,
        x_label="difference in final return",
        levels=(figures.Level(value=0.0, words="no effect"),),
    )
