"""How networks learnt: the curves that are stored with trained weights, as tables, lines and warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.lab import arrays
from robustray.tasks.models.reference import ModelRef
from robustray.tasks.report.numbers import format_value

if TYPE_CHECKING:
    from robustray.tasks.lab import Reference

Curve: TypeAlias = Sequence[Mapping[str, Any]]
"""One row per epoch; columns: `training.loop.train_model`."""
FIRST = ("epoch", "loss", "accuracy", "clean_accuracy", "robust_accuracy")
"""Columns that are read first."""


def learnt(model: Reference) -> Curve:
    """The learning curve of a model that `lab.train` returned."""
    assert isinstance(model, ModelRef) and model.read_weights is not None, "a model that lab.train returned"
    curve: Curve = arrays.about(model.read_weights())["curve"]
    return curve


def curve_table(curves: Sequence[tuple[Mapping[str, Any], Curve]]) -> pd.DataFrame:
    """One row per network and epoch; before its own columns those that name the network."""
    table = pd.concat([pd.DataFrame(curve).assign(**names) for names, curve in curves], ignore_index=True)
    first = [name for name in (*curves[0][0], *FIRST) if name in table]
    return table[[*first, *(name for name in table.columns if name not in first)]]


def by_epoch(curves: Sequence[Curve], column: str) -> tuple[list[int], NDArray[np.float64]]:
    """Epochs at which all curves have this column, and its values (curves, epochs). Empty where none has it."""
    columns = [{int(row["epoch"]): float(row[column]) for row in curve if column in row} for curve in curves]
    epochs = sorted(set.intersection(*map(set, columns)))
    return epochs, np.array([[values[epoch] for epoch in epochs] for values in columns])


def flags(curve: Curve) -> tuple[str, ...]:
    """What went wrong while it learnt (catastrophic overfitting, ...), each once."""
    return tuple(dict.fromkeys(row["flag"] for row in curve if row.get("flag")))


def flag_warnings(name: str, curve: Curve, select: str) -> Iterator[str]:
    """One sentence for each of `flags`. select: which weights are tested, "last" or "best"."""
    for kind in flags(curve):
        checked = [row for row in curve if "robust_accuracy" in row]
        epochs = [str(row["epoch"]) for row in checked if row.get("flag") == kind]
        best, last = max(checked, key=lambda row: row["robust_accuracy"]), checked[-1]
        yield (
            f"{name}: {kind} in epoch {', '.join(epochs)} of {curve[-1]['epoch']}"
            + ("" if last.get("flag") else ", not at the end")
            + f": {format_value(last['robust_accuracy'], 'percent')} of the held-out images stand at the end, "
            f"{format_value(best['robust_accuracy'], 'percent')} did after epoch {best['epoch']}; the {select} weights "
            "are tested"
        )
