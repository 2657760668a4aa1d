"""What every study with attacks of growing sizes shows: accuracy against the size, drawn and as a small table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit.frames import side_by_side
from robustray.tasks.kit.outcomes import Outcomes, mean_share, shares
from robustray.tasks.report.numbers import NORM_UNITS, NORM_WORDS, size_words
from robustray.tasks.study import Figure, Picture, Table

if TYPE_CHECKING:
    from robustray.tasks.attacks.settings import Norm


MAGNIFY = 10
"""How many times larger a perturbation is shown than it is."""


def size_label(norm: Norm, *, what: str = "") -> str:
    """Words of an axis with sizes of perturbations, with what they measure: `"ℓ∞ ε of the test (...)"`."""
    return f"{NORM_WORDS[norm]} ε{what and f' {what}'} ({NORM_UNITS[norm]}, pixels in [0, 1])"


def accuracy_by_size(
    *,
    name: str,
    title: str,
    caption: str,
    lines: Mapping[str, pd.DataFrame],
    norm: Norm,
    num_classes: int,
    x: str = "eps",
    y: str = "accuracy",
    what: str = "",
    palette: figures.Palette | None = None,
) -> Figure:
    """Accuracy with its interval against the size of the attack, 0 for none, and where chance is.

    lines: label -> rows in ascending order of `x`, with `y`, `lo`, `hi` and, if single seeds are to be drawn, `runs`,
    the values of all seeds. what: of what the sizes are, on the axis ("of the test").
    """
    first: Sequence[float] = next(iter(lines.values()))[x].tolist()
    return figures.curve(
        name=name,
        title=title,
        caption=caption,
        series=[_line(label, rows, x, y) for label, rows in lines.items()],
        x_label=size_label(norm, what=what),
        y_label="accuracy",
        palette=palette,
        levels=[figures.Level(value=1 / num_classes, words="chance")],
        percent=True,
        x_ticks=figures.eps_ticks([0.0, *first]),
        x_log=True,
    )


def trade_off(
    outcomes: Mapping[str, tuple[Outcomes, Outcomes]],
    palette: figures.Palette,
    *,
    name: str,
    title: str,
    caption: str,
    attack: str,
) -> Figure:
    """Accuracy under an attack against clean accuracy, a point for each kind of network, with its seeds behind it.

    outcomes: kind -> which images are right without and under the attack. attack: in words.
    """
    points = []
    for kind, both in outcomes.items():
        clean, robust = map(mean_share, both)
        points.append(
            figures.Point(
                label=kind,
                x=clean.value,
                y=robust.value,
                x_interval=clean.interval,
                y_interval=robust.interval,
                runs=list(zip(*map(shares, both), strict=True)),
            )
        )
    return figures.scatter(
        name=name,
        title=title,
        caption=caption,
        points=points,
        x_label="accuracy on clean images",
        y_label=f"accuracy under {attack}",
        palette=palette,
        percent=True,
    )


def example_picture(rows: pd.DataFrame, classes: tuple[str, ...], *, name: str, title: str) -> Picture:
    """Images, their perturbations and their sums. rows: of `example_block`. classes: names by label."""
    clean = np.stack(list(rows.clean_image)).astype(np.float64)
    adversarial = np.stack(list(rows.adversarial_image)).astype(np.float64)
    delta = figures.magnified(adversarial - clean, MAGNIFY)
    return figures.image_rows(
        name=name,
        title=title,
        caption=f"Images, perturbations magnified {MAGNIFY} times around grey, and their sum with the model's "
        f"prediction. {len(rows)} images drawn at random from those classified correctly, not chosen.",
        rows={"image": clean, f"perturbation × {MAGNIFY}": delta, "adversarial": adversarial},
        columns=[
            f"{classes[label]}\n→ {classes[prediction]}"
            for label, prediction in zip(rows.label, rows.prediction, strict=True)
        ],
    )


def overview(accuracy: pd.DataFrame, norm: Norm) -> Table:
    """Models x sizes of one norm, for a reader who looks for one number.

    accuracy: of that norm and one data set: `model`, `eps` (0: clean), `robust_accuracy`, `lo`, `hi`, `n`.
    """
    sizes = {size_words(norm, eps) if eps else "clean": rows for eps, rows in accuracy.groupby("eps")}
    frame, formats = side_by_side(sizes, "robust_accuracy", by="model")
    n = accuracy.groupby("model", sort=False, observed=True).n.min()
    return Table(
        name="overview",
        title=f"Accuracy by model and size ({NORM_WORDS[norm]})",
        caption="What the worst of all attacks leaves of each model; 95 % Wilson intervals over images.",
        frame=frame.assign(n=n.tolist()),
        formats=formats,
        lead=True,
    )


def _line(label: str, rows: pd.DataFrame, x: str, y: str) -> figures.Series:
    runs = np.array(rows.runs.tolist()).T.tolist() if "runs" in rows else ()
    return figures.Series(
        label=label, x=rows[x].tolist(), y=rows[y].tolist(), lo=rows.lo.tolist(), hi=rows.hi.tolist(), runs=runs
    )
