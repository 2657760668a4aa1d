"""What the report says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit.claims import Repeats
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.frames import at, one, shown
from robustray.tasks.kit.rules import above
from robustray.tasks.kit.words import over_words, plural
from robustray.tasks.published.table import Published
from robustray.tasks.report.numbers import format_estimate, format_value
from robustray.tasks.studies.features import reduce
from robustray.tasks.studies.features.reduce import CONTROLS, SETS, WORDS, Results
from robustray.tasks.study import Claim, Figure, Findings, Picture, Table
from robustray.tasks.sweeps.drawn import size_label

LONGEST_GAP = 0.3
"""Relative distance of latents above which a matched set keeps too little of what it is to keep."""
COMPARE = comparison(Compared(table="accuracy", keys=("set", "labels", "eps"), value="accuracy"))

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


def built(results: Results, folder: Path) -> Findings:
    """After `--build`: how the sets came out, and where they are."""
    table = reduce.making_table(results)
    det = one(table, chain=0, set="D_det", used=True)
    answer = (
        f"Written to {folder}: D_R, D_NR, D_rand and D_det of {det.n:,} images (`--data {folder / 'D_det'}` is one). "
        f"The source sees {format_estimate(det.seen_as_label, (det.lo, det.hi), 'percent')} of D_det as their new "
        f"label, at ℓ2 {results.eps:g}. Each set is under the licence of the data that it was made from."
    )
    return compose(answer, _making(results, table), pictures(results), _warnings(results, table))


def found(results: Results) -> Findings:
    """Everything that the report shows."""
    making, accuracy = reduce.making_table(results), reduce.accuracy_table(results)
    return compose(
        answer(results, accuracy),
        claims(results),
        _students(results, accuracy),
        _robust(results, accuracy),
        tables(results, making, accuracy),
        pictures(results),
        _warnings(results, making),
    )


def answer(results: Results, accuracy: pd.DataFrame) -> str:
    """What D_det teaches, and what D_R and D_NR keep."""
    eps = results.settings.eps_reference

    def words(name: str, size: float = 0.0) -> str:
        row = one(accuracy, set=name, labels="y", eps=size)
        return format_estimate(row.accuracy, (row.lo, row.hi), "percent")

    control = results.control(0)
    n = one(accuracy, set="D", labels="y", eps=0.0).n
    return (
        f"Students of D_det, whose labels are wrong to a human eye, classify {words('D_det')} of the original test "
        f"images correctly (control: {words(control)}); under PGD at ℓ2 {eps:g} students of D_R are right on "
        f"{words('D_R', eps)}, those of D_NR on {words('D_NR', eps)} (n = {n:,} images of "
        f"{results.settings.test_data}, {plural(len(results.chains), 'chain')})."
    )


# --- Claims -----------------------------------------------------------------------------------------------------------


def claims(results: Results) -> Iterator[Claim]:
    """Each needs at least two chains."""
    eps, repeats = results.settings.eps_reference, _repeats(results)
    yield repeats.claim(
        "Perturbations alone carry features that generalise: students of D_det are right on original test images more "
        "often than those of its controls.",
        results.above_control(),
        above(0),
        measured="accuracy of D_det's students minus that of the better control's (unperturbed images, or random "
        "perturbations of the same length, both labelled y+1; the better one on held-out images), paired by chain "
        "and image",
        paper=PUBLISHED.figure({"D_det": ("D_det", 0.0)}),
    )
    yield repeats.claim(
        "Vulnerability is a property of the data: standard training on D_R gives more robust students than on D_NR.",
        results.more_robust("D_R", "D_NR", eps),
        above(0),
        measured=f"accuracy under PGD-{results.settings.test_steps} at ℓ2 {eps:g}, D_R minus D_NR, paired by chain and "
        "image",
        paper=PUBLISHED.figure(
            {"D_R": ("D_R", eps), "D_NR": ("D_NR", eps)},
            value=PUBLISHED.contrast({("D_R", eps): 1, ("D_NR", eps): -1}),
        ),
    )
    yield repeats.claim(
        "Non-robust features suffice for good accuracy: students of D_NR are right on most original test images.",
        results.accuracy("D_NR"),
        above(0.5),
        measured="accuracy on original test images",
        unit="percent",
        paper=PUBLISHED.figure({"D_NR": ("D_NR", 0.0)}, value=PUBLISHED.number(("D_NR", 0.0))),
    )


def _repeats(results: Results) -> Repeats:
    return Repeats(count=len(results.chains), units="chains", over="chains and images")


def _warnings(results: Results, making: pd.DataFrame) -> Iterator[str]:
    settings = results.settings
    if _repeats(results).too_few:
        yield "one chain: nothing is known of other sources and students, and the claims stay undecided"
    weak = at(making, used=True)
    weak = weak[weak.set.isin(["D_rand", "D_det"])]
    if (weak.seen_as_label < settings.least_success).any():
        yield (
            f"at ℓ2 {results.eps:g}, the largest size tried, the source sees only "
            f"{format_value(weak.seen_as_label.min(), 'percent')} of a set as their new label, below "
            f"{settings.least_success:.0%}: D_rand and D_det are weaker than they should be; add a larger "
            "--eps-construct"
        )
    far = at(making, used=True).query("last_gap > @LONGEST_GAP")
    for row in far.itertuples():
        yield (
            f"{row.set} of chain {row.chain}: latents end {row.last_gap:.2f} of a target's length from it, above "
            f"{LONGEST_GAP:g}: take more --match-steps, or a source with better latents"
        )


# --- Tables -----------------------------------------------------------------------------------------------------------


def tables(results: Results, making: pd.DataFrame, accuracy: pd.DataFrame) -> Iterator[Table]:
    settings = results.settings
    wide = [
        {"set": WORDS.get(name, name)}
        | _cell("on_y", at(accuracy, set=name, labels="y", eps=0.0))
        | _cell("on_next", at(accuracy, set=name, labels="y+1", eps=0.0))
        | {
            key: value
            for eps in settings.eps_test
            for key, value in _cell(f"pgd_{eps:g}", at(accuracy, set=name, labels="y", eps=eps)).items()
        }
        for name in dict.fromkeys(accuracy.set)
    ]
    names = ("on_y", "on_next", *(f"pgd_{eps:g}" for eps in settings.eps_test))
    yield Table(
        name="students",
        title="What students of each set know of the original test images",
        caption="on y: by their true labels; on next: by the label after it, which D_det and its controls were "
        f"taught; pgd: on y under PGD-{settings.test_steps} at that ℓ2 size. {over_words(len(results.chains))}; "
        f"n = {int(accuracy.n.min()):,} images.",
        frame=pd.DataFrame(wide),
        formats={k: v for name in names for k, v in shown(name, "percent", f"{name}_lo", f"{name}_hi").items()},
    )
    yield _making(results, making)
    yield Table(
        name="grid",
        title="All students, chosen or not",
        caption="One row for each training. Chosen: the setting with the highest accuracy on held-out images "
        f"of {settings.train_data} that no set was made from (n = {min((results.held_out or {0: 0}).values()):,}). "
        f"Test: on {settings.test_data}, which chose nothing.",
        frame=reduce.grid_table(results),
        formats=dict.fromkeys(("held_out", "test", "test_next"), "percent"),
        on_page=len(results.students) <= 80,
    )
    yield Table(
        name="accuracy",
        title="Accuracies in long form",
        caption="One row for each set or source, label rule and size of attack; size 0 is no attack.",
        frame=accuracy,
        on_page=False,
    )


def _cell(name: str, rows: pd.DataFrame) -> dict[str, float]:
    row = rows.iloc[0]
    return {name: row.accuracy, f"{name}_lo": row.lo, f"{name}_hi": row.hi}


def _making(results: Results, table: pd.DataFrame) -> Table:
    return Table(
        name="making",
        title="How the sets came out",
        caption="Measured on the stored 8-bit images. Seen as label: by the source that made them, with the interval "
        "over images. Gap: distance of the latent from its target, relative to the target's length, as a median. "
        "Distance: mean ℓ2 from the image it started from, in pixel units. Used: the smallest size at which at least "
        f"{results.settings.least_success:.0%} of D_rand and D_det are seen as their new label in every chain, fixed "
        "before any student was trained (or the largest one tried).",
        frame=table,
        formats={
            **shown("seen_as_label", "percent"),
            **dict.fromkeys(("distance", "first_gap", "last_gap"), ".3f"),
            "eps": "eps",
        },
    )


# --- Drawings ---------------------------------------------------------------------------------------------------------


def _students(results: Results, accuracy: pd.DataFrame) -> Figure:
    rows = []
    for name in (*SETS, *CONTROLS):
        row = one(accuracy, set=name, labels="y", eps=0.0)
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


def _robust(results: Results, accuracy: pd.DataFrame) -> Figure:
    series = []
    for name in ("D", "D_R", "D_NR"):
        rows = at(accuracy, set=name, labels="y").sort_values("eps")
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
