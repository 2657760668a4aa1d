"""Figures of how networks learnt, for studies that train: one line per kind of network, seeds behind their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from robustray.tasks import figures
from robustray.tasks.kit.words import plural
from robustray.tasks.training.learnt import Curve, by_epoch

if TYPE_CHECKING:
    from robustray.tasks.study import Figure

HELD_OUT = {"accuracy": "training", "clean_accuracy": "held out, clean", "robust_accuracy": "held out, attacked"}
"""Columns of a learning curve that are shares -> in words."""

Kinds = Mapping[str, Sequence[Curve]]
"""What networks were trained against -> their curves, one per seed."""


def training_loss(kinds: Kinds, palette: figures.Palette) -> Figure:
    """Loss on the training batches by epoch."""
    found = {kind: by_epoch(curves, "loss") for kind, curves in kinds.items()}
    return figures.curve(
        name="training-loss",
        title="Training loss by epoch",
        caption="Adversarial images are harder to fit. Cross-entropy on the training batches as they came, attacked "
        f"where the training attacks; {_seeds(kinds)}.",
        series=[mean_line(kind, *line, color_by=kind) for kind, line in found.items() if line[0]],
        x_label="epoch",
        y_label="cross-entropy",
        palette=palette,
    )


def learning(kinds: Kinds, palette: figures.Palette, *, name: str, where: str) -> Figure:
    """Accuracy by epoch: on training batches, then on what was held out, clean and under attack."""
    lines = [
        mean_line(f"{kind}: {words}", *line, color_by=kind, dash_by=column)
        for kind, curves in kinds.items()
        for column, words in HELD_OUT.items()
        if (line := by_epoch(curves, column))[0]
    ]
    return figures.curve(
        name=name,
        title=f"Accuracy by epoch, on training batches and on held-out images ({where})",
        caption="Where the held-out accuracy under attack falls while that on training batches rises, the network "
        "overfits (flagged at the top of the page). Training batches count as they came, attacked where the training "
        "attacks; held-out images are of the training set and under PGD at the size trained at; "
        f"{_seeds(kinds)}.",
        series=lines,
        x_label="epoch",
        y_label="accuracy",
        palette=palette,
        percent=True,
    )


def mean_line(
    label: str, x: Sequence[float], values: npt.ArrayLike, *, color_by: str, dash_by: str | None = None
) -> figures.Series:
    """Mean over seeds of (seeds, points), with the seeds as thin lines."""
    runs = np.asarray(values)
    return figures.Series(
        label=label,
        x=x,
        y=runs.mean(axis=0).tolist(),
        runs=runs.tolist() if len(runs) > 1 else (),
        color_by=color_by,
        dash_by=dash_by,
    )


def _seeds(kinds: Kinds) -> str:
    return f"mean over {plural(max(map(len, kinds.values())), 'seed')} (thin lines)"
