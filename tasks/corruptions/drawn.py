"""Accuracy by corruption and severity, as a heat map and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pandas as pd

from robustray.tasks import figures
from robustray.tasks.corruptions.accuracy import Corrupted
from robustray.tasks.corruptions.tables import FROST
from robustray.tasks.kit import frames
from robustray.tasks.kit.claims import describe
from robustray.tasks.kit.words import listed
from robustray.tasks.study import Description, Figure, Table

K = TypeVar("K", bound=tuple[str, ...])
MEAN = "mean"
"""Column of the mean over severities."""


def accuracy_map(found: Corrupted, *, name: str, what: str) -> Figure:
    """Corruptions in rows, severities in columns, and their means. what: the model and its data, in the title."""
    rows: dict[str, Sequence[str]] = {name: [name] for name in found.names}
    if len(found.counted) > 1:
        rows[found.mean_words] = found.counted
    columns = [*([severity] for severity in found.severities), found.severities]
    return figures.heat_map(
        name=name,
        title=f"Accuracy by corruption and severity ({what})",
        caption=f"The lighter a cell, the less is left. Accuracy on n = {found.n:,} images under each corruption, "
        f"parameters of {found.table}; intervals are in the table.",
        values=[[found.over(names, severities).value for severities in columns] for names in rows.values()],
        rows=list(rows),
        columns=[*map(str, found.severities), MEAN],
        column_label="severity",
        limits=(0.0, 1.0),
    )


def accuracy_table(found: Mapping[K, Corrupted], keys: tuple[str, ...] = ()) -> Table:
    """A row for each corruption, and one for the mean over those of the 14 that are there; of several models one after
    the other.

    found: values of the columns `keys` -> what was found for them.
    """
    frame = pd.DataFrame([row for key, each in found.items() for row in _rows(dict(zip(keys, key, strict=True)), each)])
    first = next(iter(found.values()))
    estimates = [MEAN, *(f"severity_{severity}" for severity in first.severities)]
    formats = {k: v for each in estimates for k, v in frames.shown(each, "percent", f"{each}_lo", f"{each}_hi").items()}
    apart = f" {FROST} is in no mean." if FROST in first.names else ""
    tables = sorted({each.table for each in found.values()})
    last = (
        f" The last row{' of each' if len(found) > 1 else ''} is the {first.mean_words}, its error 100 % less that; it "
        "is not normalised by another network's, so it is no mCE."
        if first.counted
        else ""
    )
    return Table(
        name="corruptions",
        title="Accuracy under common corruptions",
        caption=f"Each corruption by severity, and the mean over severities; parameters of {' and '.join(tables)}."
        f"{last}{apart} Intervals are 95 % over images: Wilson's, and Student's t for means.",
        frame=frame,
        formats=formats,
    )


def _rows(key: dict[str, str], found: Corrupted) -> list[dict[str, Any]]:
    def line(words: str, names: Sequence[str]) -> dict[str, Any]:
        estimates = {MEAN: found.over(names, found.severities)}
        estimates |= {f"severity_{severity}": found.over(names, [severity]) for severity in found.severities}
        row: dict[str, Any] = {**key, "corruption": words}
        for name, each in estimates.items():
            row |= frames.columns(name, each, f"{name}_lo", f"{name}_hi")
        return {**row, "n": found.n}

    lines = [line(name, [name]) for name in found.names]
    return [*lines, line(found.mean_words, found.counted)] if found.counted else lines


def corruption_errors(found: Corrupted, whose: str) -> Iterator[Description]:
    """The mean error over corruptions; nothing where there is only the frost, which is in no mean."""
    if found.error is None:
        return
    yield describe(
        f"{whose}: error under common corruptions, {found.mean_words} and severities "
        f"{listed(map(str, found.severities))}",
        found.error,
        measured=f"share of corrupted images that are classified wrongly, parameters of {found.table}",
        over="images",
    )
