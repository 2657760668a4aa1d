"""What is claimed, and by which rules. They were fixed before the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from robustray.tasks.kit.claims import Repeats, claim
from robustray.tasks.kit.rules import above
from robustray.tasks.published.table import Published
from robustray.tasks.report.numbers import format_value
from robustray.tasks.statistics import Estimate, mean_over_seeds, newcombe_difference
from robustray.tasks.studies.features.results import Results
from robustray.tasks.studies.features.settings import FEWEST_ARCHITECTURES
from robustray.tasks.studies.features.transferring import mean_table, rank_correlation
from robustray.tasks.study import Claim

LEAST_RATIO = 3.0
"""Smallest ratio of D_det's accuracy to the better control's."""
LEAST_USEFUL = 0.1
"""rho from which a unit counts as useful."""

PUBLISHED = Published(
    cells={
        ("D_det", 0.0): "43.7",
        ("D_rand", 0.0): "63.3",
        ("D_R", 0.0): "84.10",
        ("D_R", 0.25): "48.27",
        ("D_NR", 0.0): "87.68",
        ("D_NR", 0.25): "0.82",
    },
    scale="ResNet-50 on CIFAR-10, ℓ2; the sets are made at ε = 0.5",
    source="arXiv:1905.02175, section 3, as quoted with the released data sets",
)


def claims(results: Results, units: pd.DataFrame, transfers: pd.DataFrame) -> Iterator[Claim]:
    """The claims; each needs at least two chains, that about architectures `FEWEST_ARCHITECTURES` of these. There is
    none about a set in which a robust network sees the new labels."""
    repeats = repeats_of(results)
    if not results.not_non_robust("D_det"):
        yield generalise(results, repeats)
        yield repeats.claim(
            "It is the standard source's perturbations that teach: students of D_det are right more often than those "
            "of the D_det that the robust source makes.",
            results.more_accurate("D_det", "robust_det"),
            above(0),
            measured="accuracy, paired by chain and image; same images, labels, size and steps",
        )
    if not results.not_non_robust("D_rand") and (0, "D_rand") in results.leaks:
        yield repeats.claim(
            "D_rand teaches more than what a robust linear network reads out of it.",
            results.above_leak("D_rand"),
            above(0),
            measured="accuracy of D_rand's students minus that of a linear head on a robust linear network's outputs, "
            "fitted on the same set, paired by chain and image",
        )
    yield from robust_claims(results, repeats)
    yield repeats.claim(
        "Non-robust features suffice for good accuracy: students of D_NR are right on most original test images.",
        results.accuracy("D_NR"),
        above(0.5),
        measured="accuracy on original test images",
        unit="percent",
        paper=PUBLISHED.figure({"D_NR": ("D_NR", 0.0)}, value=PUBLISHED.number(("D_NR", 0.0))),
    )
    if len(units):
        yield repeats.claim(
            "A robust network's useful units stay useful under attack more often than a standard one's.",
            robustly_useful(units),
            above(0),
            measured=f"share of units with γ > 0 among those with ρ of at least {LEAST_USEFUL:g}, robust minus "
            f"standard source, at ℓ2 {results.settings.eps_units:g}; γ is the lower of both searches",
            over="chains and units",
        )
    if len(transfers):
        yield correlation(results, transfers)


def repeats_of(results: Results) -> Repeats:
    """Chains."""
    return Repeats(count=len(results.chains), units="chains", over="chains and images")


def generalise(results: Results, repeats: Repeats) -> Claim:
    """The main claim has two conditions: a difference whose interval is above 0, and a ratio of at least 3."""
    made = repeats.claim(
        "Perturbations alone carry features that generalise: students of D_det are right on original test images more "
        "often than those of its controls.",
        results.above_control(),
        above(0),
        measured="accuracy of D_det's students minus that of the better control's (unperturbed images, or random "
        "perturbations of the same length, both labelled y+1; the better one on held-out images), paired by chain "
        "and image",
        paper=PUBLISHED.figure({"D_det": ("D_det", 0.0)}),
    )
    ratio = results.ratio()
    enough = ratio >= LEAST_RATIO
    words = "none of the control's are right" if ratio == float("inf") else f"{ratio:.1f} here"
    return replace(
        made,
        test=f"{made.test}; and undecided where D_det's accuracy is less than {LEAST_RATIO:g} times the control's "
        f"({words})",
        verdict=made.verdict if enough or made.verdict != "supported" else "undecided",
    )


def robust_claims(results: Results, repeats: Repeats) -> Iterator[Claim]:
    """D_R against D_NR, and against D."""
    eps = results.settings.eps_reference
    words = f"accuracy under PGD-{results.settings.test_steps} at ℓ2 {eps:g}"
    yield repeats.claim(
        "Vulnerability is a property of the data: standard training on D_R gives more robust students than on D_NR.",
        results.more_robust("D_R", "D_NR", eps),
        above(0),
        measured=f"{words}, D_R minus D_NR, paired by chain and image",
        paper=PUBLISHED.figure(
            {"D_R": ("D_R", eps), "D_NR": ("D_NR", eps)},
            value=PUBLISHED.contrast({("D_R", eps): 1, ("D_NR", eps): -1}),
        ),
    )
    yield repeats.claim(
        "Standard training on D_R gives more robust students than on D itself.",
        results.more_robust("D_R", "D", eps),
        above(0),
        measured=f"{words}, D_R minus D, paired by chain and image",
    )


def robustly_useful(units: pd.DataFrame) -> Estimate:
    """Share of useful units with gamma above 0, robust minus standard, over chains and units."""
    differences = []
    for _, of_chain in units.groupby("chain", sort=True):
        counts = []
        for source in ("robust", "standard"):
            useful = of_chain[(of_chain.source == source) & (of_chain.rho >= LEAST_USEFUL)]
            counts += [int((useful.gamma > 0).sum()), len(useful)]
        differences.append(newcombe_difference(*counts))
    return mean_over_seeds(differences)


def correlation(results: Results, transfers: pd.DataFrame) -> Claim:
    """Over architectures, not over chains."""
    means = mean_table(transfers)
    found = rank_correlation(means.of_det.tolist(), means.targeted.tolist(), seed=results.settings.seed)
    return claim(
        "Architectures that learn more from D_det fall for more of the source's adversarial examples.",
        found,
        above(0).given(FEWEST_ARCHITECTURES, "architectures"),
        measured="Spearman's correlation of the accuracy of D_det's students with the targeted rate of transfer to D's "
        f"students, means over {format_value(len(results.chains), '.0f')} chains, percentile bootstrap",
        over="architectures",
        unit="number",
    )
