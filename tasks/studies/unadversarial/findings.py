"""What the report says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit.claims import claim
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import shown
from robustray.tasks.kit.rules import above
from robustray.tasks.kit.words import listed, over_words, plural
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.unadversarial import reduce
from robustray.tasks.studies.unadversarial.reduce import BASELINES, PATCHES, WORDS, Cell, Results
from robustray.tasks.study import Claim, Figure, Findings, Picture, Table

CLEAN = (Cell("", 0),)
LEAST_CHAINS = 2
COMPARE = comparison(Compared(table="accuracy", keys=("patch", "corruption", "severity"), value="accuracy"))


def found(results: Results) -> Findings:
    """Everything that the report shows."""
    return compose(
        answer(results),
        claims(results),
        drawings(results),
        tables(results),
        pictures(results),
        warnings(results),
    )


def answer(results: Results) -> str:
    """Accuracy with the designed patch against accuracy without a patch, and what is left of the gain under
    corruptions."""
    with_patch, without = (results.accuracy(name, CLEAN[0]) for name in ("designed", "none"))
    corrupted, plain = (results.corrupted(name) for name in ("designed", "none"))
    names = listed(results.classes[label] for label in results.kind.classes)
    classes = names if len(results.kind.classes) <= 3 else f"all {len(results.kind.classes)} classes"
    return (
        f"With a designed patch of {results.kind.side} × {results.kind.side} pixels, {_words(with_patch)} of test "
        f"images of {classes} are recognised instead of {_words(without)}, and {_words(corrupted)} instead of "
        f"{_words(plain)} as a mean over corruptions that the design has not seen (n = {with_patch.n:,} images of "
        f"{results.settings.test_data}, {plural(len(results.chains), 'chain')})."
    )


def _words(estimate: Estimate) -> str:
    return format_estimate(estimate.value, estimate.interval, "percent")


# --- Claims -----------------------------------------------------------------------------------------------------------


def claims(results: Results) -> Iterator[Claim]:
    """Against each of the three that were not designed, clean and corrupted."""
    for cells, where in ((CLEAN, "clean"), (results.cells, "corrupted")):
        for other in BASELINES:
            yield claim(
                f"Objects with a designed patch are recognised more often than with {WORDS[other]} ({where} images).",
                results.gain(other, cells),
                above(0).given(LEAST_CHAINS, "chains"),
                measured="difference of accuracies"
                + (f", mean over {plural(len(cells), 'corruption and severity')}" if len(cells) > 1 else "")
                + ", paired by chain, image and place",
                over="chains and images",
                unit="points",
                count=len(results.chains),
            )


def warnings(results: Results) -> Iterator[str]:
    if len(results.chains) < LEAST_CHAINS:
        yield "one chain: nothing is known of other classifiers and designs, and the claims stay undecided"
    swapped = reduce.swap_table(results)
    for row in swapped.itertuples():
        if row.patch_with > 0.5:
            yield (
                f"the patch of {row.patch_of} turns {row.patch_with:.0%} of other objects into {row.patch_of}: it is "
                "recognised instead of the object, not with it"
            )


# --- Tables -----------------------------------------------------------------------------------------------------------


def tables(results: Results) -> Iterator[Table]:
    over = over_words(len(results.chains))
    rows = []
    for name in PATCHES:
        clean, corrupted = results.accuracy(name, CLEAN[0]), results.corrupted(name)
        rows.append(
            {"patch": WORDS[name], "clean": clean.value, "clean_lo": clean.lo, "clean_hi": clean.hi}
            | {"corrupted": corrupted.value, "corrupted_lo": corrupted.lo, "corrupted_hi": corrupted.hi}
            | {"n": clean.n}
        )
    yield Table(
        name="patches",
        title="How often objects are recognised",
        caption=f"Corrupted: mean over {listed(results.settings.corruptions)} at severities "
        f"{listed(map(str, results.settings.severities))} ({results.settings.table} parameters). All patches "
        f"land at the same places; on average {reduce.visible_share(results):.0%} of a patch is visible. {over}.",
        frame=pd.DataFrame(rows),
        formats=shown("clean", "percent", "clean_lo", "clean_hi")
        | shown("corrupted", "percent", "corrupted_lo", "corrupted_hi"),
    )
    yield Table(
        name="alone",
        title="Patches by themselves",
        caption=f"Share of patches without any object that are answered with their class, at the same places. {over}.",
        frame=reduce.alone_table(results),
        formats=shown("answered", "percent"),
    )
    names = [f"{answer}_{how}" for answer in ("patch", "object") for how in ("without", "with")]
    yield Table(
        name="swap",
        title="The patch of one class on objects of the others",
        caption="Share of test images of other classes that are answered with the patch's class, and with their own, "
        f"without and with the patch. {over}.",
        frame=reduce.swap_table(results),
        formats={k: v for name in names for k, v in shown(name, "percent", f"{name}_lo", f"{name}_hi").items()},
    )
    yield Table(
        name="accuracy",
        title="Accuracy by patch, corruption and severity",
        caption=f"One row each; clean is severity 0. {over}.",
        frame=reduce.accuracy_table(results),
        formats=shown("accuracy", "percent"),
        on_page=len(results.cells) <= 15,
    )
    yield Table(
        name="design",
        title="Designs, step by step",
        caption="Mean cross-entropy of the batch before each step.",
        frame=reduce.curve_table(results),
        on_page=False,
    )


# --- Drawings ---------------------------------------------------------------------------------------------------------


def drawings(results: Results) -> Iterator[Figure]:
    rows = []
    for where, cells in (("clean", CLEAN), ("corrupted", results.cells)):
        for name in PATCHES:
            estimate = results.accuracy(name, CLEAN[0]) if where == "clean" else results.corrupted(name)
            runs = [float(results.right(chain, name, cells).mean()) for chain in results.chains]
            rows.append(
                figures.Row(
                    label=f"{where}, {WORDS[name]}",
                    value=estimate.value,
                    lo=estimate.lo,
                    hi=estimate.hi,
                    runs=runs,
                    color_by=name,
                )
            )
    yield figures.dot_rows(
        name="patches",
        title="Objects with a designed patch, and with three others",
        caption=f"Patches at the same places on the same images, clean and as a mean over corruptions. "
        f"{over_words(len(results.chains))}; faint dots: chains.",
        alt="; ".join(f"{row.label}: {row.value:.1%}" for row in rows),
        rows=rows,
        x_label="accuracy",
        percent=True,
        levels=(figures.Level(value=1 / len(results.classes), words="guessing"),),
    )
    settings = results.settings
    gains = np.array(
        [
            [results.gain("none", (Cell(name, severity),)).value for severity in settings.severities]
            for name in settings.corruptions
        ]
    )
    yield figures.heat_map(
        name="gains",
        title="What the designed patch gains over no patch",
        caption="In points of accuracy, by corruption and severity; mean over chains, paired by image.",
        alt=f"gains from {gains.min():+.1%} to {gains.max():+.1%}",
        values=gains,
        rows=list(settings.corruptions),
        columns=[str(severity) for severity in settings.severities],
        row_label="corruption",
        column_label="severity",
        fmt="points",
        signed=True,
    )
    curves = reduce.curve_table(results)
    yield figures.curve(
        name="design",
        title="The designs",
        caption="Cross-entropy of each step's batch, one line for each chain, before the step.",
        alt=f"cross-entropy ends at {curves[curves.step == curves.step.max()].loss.mean():.2f}",
        series=[
            figures.Series(label=f"chain {chain}", x=rows.step.tolist(), y=rows.loss.tolist())
            for chain, rows in curves.groupby("chain")
        ],
        x_label="step",
        y_label="cross-entropy",
    )


def pictures(results: Results) -> Iterator[Picture]:
    """The patches of the first chain, and a few test images with each."""
    kind = results.kind
    squares = np.concatenate([_square(canvases, kind.side) for canvases in results.patches.values()])
    yield figures.image_grid(
        name="squares",
        title="The patches",
        caption="The patches of the first chain, before they are turned, moved and scaled.",
        alt=f"patches of {plural(len(kind.classes), 'class')}",
        images=squares,
        rows=[WORDS[name] for name in results.patches],
        columns=[results.classes[label] for label in kind.classes],
        scale=max(1, 80 // kind.side),
    )
    if results.pictures:
        images = np.concatenate([np.stack(list(results.pictures[name].image)) for name in PATCHES])
        count = len(images) // len(PATCHES)
        yield figures.image_grid(
            name="examples",
            title="On test images",
            caption="Random test images of the first chain with each patch at the same place.",
            alt=f"{count} test images with {len(PATCHES)} patches",
            images=images,
            rows=[WORDS[name] for name in PATCHES],
            columns=[""] * count,
            scale=max(1, 96 // images.shape[2]),
        )


def _square(canvases: np.ndarray, side: int) -> np.ndarray:
    """The central squares of canvases (k, channels, height, width)."""
    height, width = canvases.shape[2:]
    top, left = (height - side) // 2, (width - side) // 2
    return canvases[:, :, top : top + side, left : left + side]
