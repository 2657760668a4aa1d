"""Tables of the report."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.policy_gradients.curves import LAST
from robustray.tasks.studies.implementation_matters import improvements, reduce, spread
from robustray.tasks.studies.implementation_matters.published import PUBLISHED, WORDS, published_contrasts
from robustray.tasks.studies.implementation_matters.results import Ablation, Results
from robustray.tasks.study import Table


def tables(results: Results) -> Iterator[Table]:
    yield _contrasts(results)
    yield _improvements(results)
    yield from _arms(results)
    if results.ablation is not None and results.effects is not None:
        yield from _ablation(results, results.ablation, results.effects)
    yield _agents_needed(results)
    yield Table(
        name="contrasts-by-measure",
        title="The same contrasts by every measure of a return",
        caption="Measures: final, best update, and whole episodes after the training with drawn or mean actions.",
        frame=pd.concat(
            [
                reduce.contrast_table(results.agents, measure).assign(measure=words)
                for measure, words in reduce.MEASURES.items()
            ],
            ignore_index=True,
        ),
        formats=shown("difference", ""),
        on_page=False,
    )
    yield Table(
        name="trust",
        title="Returns, KL, ratios and the policy's spread by update",
        caption="Means over agents with Student's t intervals; held-out columns are empty for updates that were not "
        "measured so.",
        frame=results.trust,
        on_page=False,
    )
    yield Table(
        name="agents",
        title="All agents but those of the ablation",
        caption="One row per agent.",
        frame=results.agents,
        on_page=False,
    )


def _with_ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}_lo", f"{name}_hi"


def _formats(*names: str) -> dict[str, str]:
    return {key: value for name in names for key, value in shown(name, "", f"{name}_lo", f"{name}_hi").items()}


def _place(environment: str) -> str:
    return environment.partition("-v")[0]


# --- The 2x2 ----------------------------------------------------------------------------------------------------------


def _contrasts(results: Results) -> Table:
    published = published_contrasts(results.settings.environments)
    keys = zip(results.contrasts.environment, results.contrasts.contrast, strict=True)
    return Table(
        name="contrasts",
        title="Signed contrasts of final returns",
        caption="Step and optimisations are averaged over the other one; the interaction is half of what one changes "
        "in the other's effect; the rest are simple differences. Agents of different corners share no random numbers. "
        "95 % Welch intervals, each for its row alone. From the paper's means: of version 2, without intervals.",
        frame=results.contrasts.assign(**{"from the paper's means": [published[key] for key in keys]}),
        formats=shown("difference", ""),
    )


def _improvements(results: Results) -> Table:
    rows = []
    for environment in results.settings.environments:
        samples = results.corners(environment)
        aai, acli = improvements.improvements([x.mean() if len(x) else float("nan") for x in samples]).tolist()
        too_large = improvements.biases(samples, seed=results.settings.seed)
        alarms = results.false_alarms.get(environment)
        excess = results.excesses[environment]
        rows.append(
            {"environment": environment, "AAI": aai, "AAI too large by": too_large[0]}
            | {"ACLI": acli, "ACLI too large by": too_large[1]}
            | columns("ACLI − AAI", excess)
            | {"false alarms": float("nan") if alarms is None else alarms.rate, "n": excess.n}
            | {f"{name} in the paper": PUBLISHED.cell((_place(environment), name)) for name in ("AAI", "ACLI")}
        )
    return Table(
        name="improvements",
        title="AAI and ACLI as the paper defines them",
        caption="AAI: the larger of |PPO − TRPO+| and |PPO-M − TRPO|; ACLI: the larger of |PPO − PPO-M| and |TRPO+ − "
        "TRPO|. Both are maxima of absolute differences and therefore biased upwards, the more so the fewer the "
        "agents: too large by so much, estimated by the bootstrap, and without an interval. Their difference is "
        "|optimisations| − |step| of the table above, with a 95 % BCa interval (agents resampled within corners). "
        f"False alarms: how often that interval lies above 0 in {improvements.NUM_SIMULATED:,} simulated data sets "
        "with ACLI = AAI, at these numbers of agents and spreads, the worse of two kinds of equality; empty where too "
        f"few agents or steps decide nothing anyway. Paper: {PUBLISHED.scale}.",
        frame=pd.DataFrame(rows),
        formats={**shown("ACLI − AAI", ""), "false alarms": "percent"},
    )


def _arms(results: Results) -> Iterator[Table]:
    settings, arms = results.settings, results.arms
    samples = [
        reduce.values(results.agents, "final", environment=row.environment, cell=row.arm)
        for row in arms.itertuples(index=False)
    ]
    frame = arms.assign(
        arm=arms.arm.map(WORDS),
        paper=[PUBLISHED.cell((_place(e), arm)) for e, arm in zip(arms.environment, arms.arm, strict=True)],
        **pd.DataFrame([spread.iqm_columns(x) for x in samples]).to_dict("list"),
    )
    measures = [column for name in reduce.MEASURES for column in _with_ends(name)]
    iqm = list(_with_ends("iqm")) if any(len(x) >= spread.LEAST_FOR_IQM for x in samples) else []
    yield Table(
        name="arms",
        title="Corners, PPO without clipping, and TRPO+ with its schedule",
        caption=f"Final: mean episode return over the last {LAST} updates; best: of the best update, biased "
        f"upwards; drawn and deterministic: {settings.evaluation_episodes} whole episodes after the training, by drawn "
        "and by mean actions. Means over n agents with Student's t intervals"
        + ("; IQM: interquartile mean of final returns (BCa). " if iqm else ". ")
        + f"Paper: {PUBLISHED.scale}; the settings are the paper's, which were tuned for those.",
        frame=frame[["environment", "arm", *measures, *iqm, "n", "paper"]],
        formats=_formats(*reduce.MEASURES, *(["iqm"] if iqm else [])),
    )
    trust = ("kl", "heldout_kl", "ratio_max", "heldout_ratio_max")
    yield Table(
        name="trust-region",
        title="What updates did to the policy",
        caption="KL(old ‖ new): mean over updates, nats. Ratio max: an agent's largest ratio over all updates. Both on "
        "the steps that an update learned from, and on held-out steps of the same policy. Rejected: share of TRPO's "
        "updates whose line search accepted nothing; step scale: the mean share of the full step in the others. Means "
        f"over n = {settings.num_seeds} agents with Student's t intervals.",
        frame=frame[
            ["environment", "arm", *(name for each in trust for name in _with_ends(each)), "rejected", "step_scale"]
        ],
        formats=_formats(*trust) | {"rejected": "percent"},
    )


def _agents_needed(results: Results) -> Table:
    table = spread.power_table(results.agents, results.contrasts, published_contrasts(results.settings.environments))
    return Table(
        name="agents-needed",
        title="Agents needed to see a difference",
        caption="Agents in each corner that counts, for 80 % power of Welch's two-sided test at 5 %, with the spreads "
        "over agents that were measured here: for the measured difference, which is itself uncertain, and for the one "
        "of the paper's means. Spread: root mean square over the corners of the standard deviation over n agents.",
        frame=table,
        formats={"needed": "", "needed_for_paper": ""},
    )


# --- The 2^4 ----------------------------------------------------------------------------------------------------------


def _ablation(results: Results, ablation: Ablation, effects: pd.DataFrame) -> Iterator[Table]:
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
