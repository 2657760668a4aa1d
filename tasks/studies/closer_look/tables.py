"""Tables of the report."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from robustray.tasks.kit.frames import shown
from robustray.tasks.policy_gradients.curves import LAST
from robustray.tasks.studies.closer_look import reduce
from robustray.tasks.studies.closer_look.results import Results
from robustray.tasks.study import Table


def tables(results: Results) -> Iterator[Table]:
    settings = results.settings
    yield Table(
        name="concentration",
        title="How far estimates of the gradient agree",
        caption="Pairwise: mean cosine between independent estimates from this many steps; to truth: with one from "
        f"{settings.truth_blocks * settings.update_steps:,} other steps, whose two halves have the cosine of the "
        "column truth halves. 95 % intervals over n estimates (jackknife; Student's t) within an agent.",
        frame=results.concentration,
        formats=_concentration_formats(),
    )
    if results.step_concentration is not None:
        yield Table(
            name="step-concentration",
            title="How far the algorithm's own steps agree",
            caption="The same of the steps that the algorithm takes from this many environment steps (PPO: all its "
            "minibatches; TRPO: after the line search), not fewer than an update has. To truth: with the step from "
            f"{settings.truth_blocks * settings.update_steps:,} other steps.",
            frame=results.step_concentration,
            formats=_concentration_formats(),
        )
    yield Table(
        name="baselines",
        title="What a value function does to estimates",
        caption="Kinds: the agent's value function, the one that is taken for the true one, none (discounted returns, "
        "whose mean standardising takes); with the agent's λ of GAE and with λ = 1, where a value function changes "
        "only the variance of an estimate. To truth: with the gradient from many more steps by the same kind; "
        "truths: the cosine of that one with the first kind's, 1 where both estimate the same. N½ as below. 95 % "
        "intervals over n estimates within an agent.",
        frame=results.baselines[
            [
                *("algorithm", "agent", "update", "kind", "steps", "pairwise", "lo", "hi"),
                *("to_truth", "to_truth_lo", "to_truth_hi", "truth_halves", "truths", "half_size", "n"),
            ]
        ],
        formats=_concentration_formats() | {"truths": ".3f"},
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
        "relative error |V − target| / |target| of the agent's value function, fitted as in the training, to V_old "
        "+ A; returns: to discounted returns of complete episodes; mean (MRE) and median. True: a network of the "
        f"same size, fitted to the returns of {settings.fit_blocks * settings.update_steps:,} other steps; its own "
        "error is what a value function can't tell of single returns. To true: of the agent's to that one. Error: "
        "mean squared error to returns, in units of the filtered reward, which differs between algorithms. Better: "
        "whether the fit passed its own check, on a part that it left out, within so many rounds.",
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
                "to_true_mre_median",
                "returns_error",
                "true_returns_error",
                "better",
                "rounds",
            ]
        ],
    )
    yield Table(
        name="steps",
        title="What the step promises and what it gives",
        caption="At every look, for the step from as many steps as an update has and from "
        f"{settings.truth_blocks * settings.update_steps:,}. Gain: mean return of episodes after the step minus "
        "before it (Welch, n episodes); slope: of the mean return along the step, per step (least squares, Welch). "
        "Surrogate: the change that the step promises on the steps that made it (clipped where the algorithm clips, "
        "and unclipped), and on held-out ones. Agreement: Spearman's correlation of surrogate and mean return over "
        "the grid, where there is one, with the random direction as long as the step (own) and of the paper's norm "
        "2.",
        frame=results.landscape_steps,
        formats={**shown("gain", ""), **shown("slope", "", "slope_lo", "slope_hi")},
    )
    yield Table(
        name="signs",
        title="How often the reward fell where the surrogate rose",
        caption="Lowered: share of looks whose step raised its surrogate and lowered the mean return; slope: mean over "
        "looks. 95 % intervals over n agents, whose looks are not independent (cluster-robust).",
        frame=reduce.sign_table(results.landscape_steps),
        formats={**shown("lowered", "percent"), **shown("slope", "", "slope_lo", "slope_hi")},
    )
    yield Table(
        name="arms",
        title="Trainings without a baseline, and with a bootstrap at time limits",
        caption=f"Mean episode return over the last {LAST} of {settings.iterations} updates, over n agents "
        "(Student's t), and the difference to training as in the paper (Welch).",
        frame=results.arms,
        formats={**shown("final", "", "final_lo", "final_hi"), **shown("difference", "")},
    )
    yield Table(
        name="trust-region",
        title="What updates did to the policy",
        caption="KL(old ‖ new) in nats: mean over states and updates, and the largest of a state; ratios: the "
        "largest, and the share outside 1 ± 0.2. On the steps that an update learned from, and on held-out ones. "
        "Means over n agents with Student's t intervals.",
        frame=reduce.trust_table(results.curves),
        formats={
            key: value for name in reduce.TRUST for key, value in shown(name, "", f"{name}_lo", f"{name}_hi").items()
        },
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
        caption="Along the step, and along a random direction: scale 0, as long as the step; 1, of the paper's norm 2.",
        frame=pd.concat(
            [
                found.drop(columns=["episode_returns"]).assign(algorithm=algorithm, agent=agent, update=update)
                for (algorithm, agent, update), found in results.landscapes.items()
            ],
            ignore_index=True,
        ),
        on_page=False,
    )


def _concentration_formats() -> dict[str, str]:
    return {
        **shown("pairwise", ".3f"),
        **shown("to_truth", ".3f", "to_truth_lo", "to_truth_hi"),
        "truth_halves": ".3f",
    }
