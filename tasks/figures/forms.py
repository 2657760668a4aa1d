"""Dot-and-interval rows, and the heat map with its values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from robustray.tasks.figures.curves import Level
from robustray.tasks.figures.style import (
    COLORS,
    FAINT,
    HAIR,
    INK,
    POINTS,
    SMALL,
    TEXT,
    Margins,
    Palette,
    drawing,
    each_value,
    finish,
    new_axes,
    percent_ticks,
    points_ticks,
    quiet_grid,
    text_width,
)
from robustray.tasks.report.numbers import format_interval, format_value
from robustray.tasks.study import Figure

WIDTH = 880.0
ROW_HEIGHT = 32.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One estimate with its interval; shares are in [0, 1]."""

    label: str
    value: float
    lo: float | None = None
    hi: float | None = None
    runs: Sequence[float] = ()
    """Single runs (seeds), as faint dots behind."""
    color_by: str | None = None
    """Name whose colour in the palette the row takes; all rows share one colour by default."""


def dot_rows(
    *,
    name: str,
    title: str,
    caption: str,
    alt: str = "",
    rows: Sequence[Row],
    x_label: str,
    palette: Palette | None = None,
    percent: bool = False,
    points: bool = False,
    levels: Sequence[Level] = (),
) -> Figure:
    """One row per estimate, from top to bottom: label, interval as a bar, estimate as a dot, and both in figures.

    percent: values are shares in [0, 1]. points: they are differences of shares, shown in percentage points. alt: by
    default, every row's estimate.
    """
    assert rows, "dot_rows needs at least one row"
    alt = alt or each_value([row.label for row in rows], [row.value for row in rows], percent=percent, points=points)
    palette = palette or Palette(row.color_by or "" for row in rows)
    fmt = "percent" if percent else "points" if points else ""
    values = [
        format_value(r.value, fmt) + (f" {format_interval(r.lo, r.hi, fmt)}" if r.lo is not None else "") for r in rows
    ]
    left, right = (max(text_width(words) for words in column) + 30 for column in ([r.label for r in rows], values))
    margins = Margins(left=left, right=right, top=34 if levels else 12, bottom=60)
    with drawing(name):
        height = ROW_HEIGHT * len(rows) + margins.top + margins.bottom
        canvas, axes = new_axes(max(WIDTH, left + right + 260), height, margins)
        for place, (row, words) in enumerate(zip(rows, values, strict=True)):
            color = palette.color(row.color_by or "")
            axes.axhline(place, color=INK, alpha=HAIR, linewidth=0.8, zorder=1)
            axes.plot(row.runs, [place] * len(row.runs), "o", color=color, alpha=0.4, markersize=4, zorder=2)
            if row.lo is not None and row.hi is not None:
                axes.plot([row.lo, row.hi], [place, place], color=color, linewidth=2.4, zorder=3)
            axes.plot([row.value], [place], "o", color=color, markersize=8, zorder=4)
            axes.annotate(
                words,
                (1, place),
                (14, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                fontsize=TEXT,
            )
        axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=TEXT)
        axes.tick_params(axis="y", pad=12)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.spines["left"].set_visible(False)
        numbers = [v for r in rows for v in (r.value, r.lo, r.hi, *r.runs) if v is not None and math.isfinite(v)]
        numbers += [level.value for level in levels]
        low, high = min(numbers, default=0.0), max(numbers, default=1.0)
        room = 0.05 * ((high - low) or abs(high) or 1.0)
        # From 0 where that does not flatten the differences; the tick labels say where it starts otherwise.
        axes.set_xlim(
            0.0 if 0 <= low <= 0.6 * high else low - room, 1.0 if percent and 0.9 < high <= 1 else high + room
        )
        for artist in axes.lines:
            artist.set_clip_on(False)
        if percent:
            percent_ticks(axes.xaxis)
        if points:
            points_ticks(axes.xaxis)
        for level in levels:
            axes.axvline(level.value, color=INK, alpha=FAINT, linewidth=1.0, linestyle=(0, (5, 4)), zorder=1.5)
            share = axes.transAxes.inverted().transform(axes.transData.transform((level.value, 0)))[0]
            align = "left" if share < 0.3 else "right" if share > 0.7 else "center"
            axes.annotate(
                level.words,
                (level.value, 1),
                (0, 6),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha=align,
                fontsize=SMALL,
                alpha=0.85,
            )
        quiet_grid(axes, "x")
        axes.set_xlabel(x_label + POINTS * points, labelpad=8)
        return finish(canvas, name=name, title=title, caption=caption, alt=alt)


def heat_map(
    *,
    name: str,
    title: str,
    caption: str,
    alt: str = "",
    values: npt.ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    row_label: str = "",
    column_label: str = "",
    fmt: str = "percent",
    limits: tuple[float, float] | None = None,
    signed: bool = False,
) -> Figure:
    """A matrix `(len(rows), len(columns))` with each value written in its cell; NaN is an empty cell with a dash.

    `fmt` as for `format_value`. `limits` are the values of the lightest and the strongest cell; by default 0 (or the
    smallest, if negative) and the largest value. `signed`: 0 is the lightest, negative values have a hue of their own.
    The opacity of the hue ends at 60 %, so that the page's ink reads on each cell in light and dark. alt: by default,
    the smallest and the largest value, and where they are.
    """
    cells = np.asarray(values, dtype=float)
    assert cells.shape == (len(rows), len(columns)), (
        f"{cells.shape} values for {len(rows)} rows, {len(columns)} columns"
    )
    alt = alt or _extremes(cells, rows, columns, fmt)
    finite = cells[np.isfinite(cells)]
    low, high = limits or ((min(0.0, finite.min()), finite.max()) if finite.size else (0.0, 1.0))
    if signed:
        low, high = 0.0, max(abs(low), abs(high))
    texts = [[_cell(v, fmt) for v in line] for line in cells]
    cell_width = max(56.0, 16 + max((text_width(t) for line in texts for t in line), default=0.0))
    said = (("rows", row_label), ("columns", column_label), ("values", "%" if fmt == "percent" else ""))
    corner = " · ".join(f"{side}: {words}" for side, words in said if words)
    slanted = max(text_width(c) for c in columns) > cell_width - 8
    if not slanted:
        cell_width = max(cell_width, min(96.0, 480 / len(columns)))
    margins = Margins(
        left=max(text_width(r) for r in rows) + 20,
        right=16 + (max(text_width(c) for c in columns) * 0.72 if slanted else 0),
        top=(max(text_width(c) for c in columns) * 0.72 + 24 if slanted else 30) + (22 if corner else 0),
        bottom=12,
    )
    with drawing(name):
        width = max(margins.left + margins.right + cell_width * len(columns), text_width(corner, SMALL) + 16)
        margins = replace(margins, right=width - margins.left - cell_width * len(columns))
        canvas, axes = new_axes(width, margins.top + margins.bottom + ROW_HEIGHT * len(rows), margins)
        for i, j in np.ndindex(cells.shape):
            if math.isfinite(cells[i, j]):
                value = abs(cells[i, j]) if signed else cells[i, j]
                strength = 0.0 if high <= low else float(np.clip((value - low) / (high - low), 0, 1))
                hue, alpha = COLORS[int(signed and cells[i, j] < 0)], 0.04 + 0.56 * strength
                axes.fill_between([j - 0.48, j + 0.48], i - 0.46, i + 0.46, color=hue, alpha=alpha, linewidth=0)
            axes.annotate(texts[i][j], (j, i), ha="center", va="center", fontsize=TEXT)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), rows, fontsize=TEXT)
        axes.set_xticks(range(len(columns)), columns, fontsize=TEXT)
        axes.xaxis.tick_top()
        axes.tick_params(length=0, pad=6)
        if slanted:
            for label in axes.get_xticklabels():
                label.set(rotation=45, ha="left", rotation_mode="anchor")
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.annotate(corner, (8, canvas.bbox.height - 16), xycoords="figure pixels", fontsize=SMALL, alpha=0.85)
        return finish(canvas, name=name, title=title, caption=caption, alt=alt)


def _extremes(cells: npt.NDArray[np.float64], rows: Sequence[str], columns: Sequence[str], fmt: str) -> str:
    """`"from 0.0 % (a, seen by b) to ..."`: what a matrix says to somebody who can't see it."""
    if not np.isfinite(cells).any():
        return "no values"
    ends = []
    for place in (np.nanargmin(cells), np.nanargmax(cells)):
        i, j = divmod(int(place), len(columns))
        ends.append(f"{format_value(float(cells[i, j]), fmt)} (row {rows[i]}, column {columns[j]})")
    return f"values from {ends[0]} to {ends[1]}"


def _cell(value: float, fmt: str) -> str:
    """One decimal for a share: a map is read at a glance, the exact value belongs into a table."""
    return f"{100 * value:.1f}" if fmt == "percent" and math.isfinite(value) else format_value(value, fmt)
