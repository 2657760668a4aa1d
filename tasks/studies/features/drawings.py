"""The figures and pictures of the report."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.frames import at, one
from robustray.tasks.kit.words import over_words
from robustray.tasks.report.numbers import format_value
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.features.results import WORDS, Results
from robustray.tasks.studies.features.transferring import mean_table, rank_correlation, slope
from robustray.tasks.study import Figure, Picture
from robustray.tasks.sweeps.drawn import size_label


def students(results: Results, accuracy: pd.DataFrame) -> Figure:
    """The main figure."""
    rows = []
    for name in results.names:
        row = one(accuracy, set=name, labels="y", attack="none")
        runs = [float(results.right(chain, name).mean()) for chain in results.chains]
        rows.append(figures.Row(label=WORDS[name], value=row.accuracy, lo=row.lo, hi=row.hi, runs=runs))
    return figures.dot_rows(
        name="students",
        title="Accuracy on original test images, by the set that students were trained on",
        caption="Perturbations towards wrong labels teach the right ones: D_det against its controls. "
        f"{over_words(len(results.chains))}; faint dots: chains.",
        rows=rows,
        x_label="accuracy by true labels",
        percent=True,
        levels=(figures.Level(value=1 / results.num_classes, words="guessing"),),
    )


def robust(results: Results, accuracy: pd.DataFrame) -> Figure:
    """Accuracy under attack."""
    series = []
    for name in ("D", "D_R", "D_NR"):
        rows = at(accuracy, set=name, labels="y")
        rows = rows[rows.attack.isin(["none", "pgd"])].sort_values("eps")
        x, y, lo, hi = (rows[column].tolist() for column in ("eps", "accuracy", "lo", "hi"))
        series.append(figures.Series(label=name, x=x, y=y, lo=lo, hi=hi))
    return figures.curve(
        name="robust",
        title="Students of D, D_R and D_NR under attack",
        caption="How robust a set makes networks that are trained on it without any attack; D_R against D_NR "
        f"is a claim. {over_words(len(results.chains))}.",
        series=series,
        x_label=size_label("l2", what="of the attack"),
        y_label="accuracy",
        percent=True,
    )


def useful(results: Results, units: pd.DataFrame) -> Figure | None:
    """Units of both sources."""
    if not len(units):
        return None
    groups = [
        figures.Group(label=f"{source} source", x=found.rho, y=found.gamma)
        for source, found in units.groupby("source", sort=False)
    ]
    return figures.cloud(
        name="usefulness",
        title="Useful units, and what attacks leave of them",
        caption="Units near the line keep their usefulness under attack; those below 0 work against their class. One "
        f"dot for each random penultimate unit and chain: ρ on test images, γ at ℓ2 {results.settings.eps_units:g}.",
        groups=groups,
        x_label="usefulness ρ",
        y_label="robust usefulness γ",
        identity=True,
    )


def transferred(results: Results, transfers: pd.DataFrame) -> Figure | None:
    """Architectures."""
    if not len(transfers):
        return None
    means = mean_table(transfers)
    points = [
        figures.Point(
            label=f"{row.arch} (source's)" if row.arch == results.settings.model else row.arch,
            x=row.of_det,
            y=row.targeted,
            runs=list(at(transfers, arch=row.arch)[["of_det", "targeted"]].itertuples(index=False, name=None)),
        )
        for row in means.itertuples(index=False)
    ]
    return figures.scatter(
        name="transfer",
        title="Learning from D_det and falling for the source's examples, by architecture",
        caption=f"{correlations(results, means)} Means over chains; faint dots: chains.",
        points=points,
        x_label="accuracy of D_det's students",
        y_label="targeted rate of transfer to D's students",
        percent=True,
    )


def correlations(results: Results, means: pd.DataFrame) -> str:
    """`"Spearman's correlation 0.90 [0.20, 1.00], slope ...; without the source's architecture ..."`; the second part
    only where that architecture is among those compared."""
    parts = []
    groups = [("", means)]
    if results.settings.model in results.settings.transfer_archs:
        groups.append(("; without the source's architecture ", means[means.arch != results.settings.model]))
    for words, rows in groups:
        x, y = rows.of_det.tolist(), rows.targeted.tolist()
        found = (each(x, y, seed=results.settings.seed) for each in (rank_correlation, slope))
        rank, line = (_number(each) for each in found)
        parts.append(f"{words}Spearman's correlation {rank}, slope {line}")
    return f"{''.join(parts)} (bootstrap over architectures)."


def _number(estimate: Estimate) -> str:
    if not np.isfinite(estimate.value):
        return "not known"
    ends = " to ".join(format_value(end, ".2f") if np.isfinite(end) else "unknown" for end in estimate.interval)
    return f"{format_value(estimate.value, '.2f')} [{ends}]"


def pictures(results: Results) -> Iterator[Picture]:
    """Random images of the first chain, beside what they were made from."""
    chain, settings = results.chains[0], results.settings
    picked = chosen(range(len(chain.d)), settings.num_examples, seed=settings.seed, what="features-examples")
    if not picked:
        return
    d, names = chain.d, chain.d.classes
    robust, standard = (chain.sets[name].set_index("index").loc[picked] for name in ("D_R", "D_NR"))
    yield figures.image_rows(
        name="matched",
        title="D_R and D_NR",
        caption="Each column: an image, the unrelated image that both start from, and what they become when their "
        "latents are those of the first image. The label is the first image's. Random images.",
        rows={
            "label from": d.images[picked],
            "start": d.images[robust.start.to_numpy()],
            "D_R": np.stack(list(robust.image)),
            "D_NR": np.stack(list(standard.image)),
        },
        columns=[names[label] for label in d.labels[picked]],
    )
    det = chain.sets["D_det"].set_index("index").loc[picked]
    yield figures.image_rows(
        name="perturbed",
        title="D_det",
        caption=f"Above: images; below: perturbed within ℓ2 {results.eps:g} and labelled as written. The same images.",
        rows={"image": d.images[picked], "D_det": np.stack(list(det.image))},
        columns=[f"{names[a]} → {names[b]}" for a, b in zip(det.original, det.label, strict=True)],
    )
