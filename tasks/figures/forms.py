"""Dot-and-interval rows, and the heat map with its values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from robustray.tasks.figures.curves import Level, vertical_level
from robustray.tasks.figures.style import (
    COLORS,
    HAIR,
    INK,
    LINE,
    NARROW,
    POINTS,
    SMALL,
    TEXT,
    Margins,
    Palette,
    drawn_twice,
    each_value,
    more_lines,
    new_axes,
    percent_ticks,
    points_ticks,
    quiet_grid,
    text_width,
    wrapped,
)
from robustray.tasks.report.numbers import format_interval, format_value
from robustray.tasks.study import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WIDTH = 880.0
ROW_HEIGHT = 32.0
NARROW_CELL = 11.0
"""Type size of a matrix on a phone."""


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

    def draw(narrow: bool) -> Canvas:
        left, right = (max(map(text_width, column)) + 30 for column in ([row.label for row in rows], values))
        heads = [head(row.label, words) for row, words in zip(rows, values, strict=True)] if narrow else []
        below = wrapped(x_label + POINTS * points, NARROW - 32) if narrow else x_label + POINTS * points
        top, bottom = 34 if levels else 12, 60 + more_lines(below)
        margins = Margins(left=16, right=16, top=top, bottom=bottom)
        margins = margins if narrow else Margins(left=left, right=right, top=top, bottom=bottom)
        # A row is a line; on a phone, below the lines of its words.
        heights = [LINE * (head.count("\n") + 1) + 22 for head in heads] or [ROW_HEIGHT] * len(rows)
        edges = np.concatenate([[0.0], np.cumsum(heights)])
        places = edges[1:] - (12 if narrow else ROW_HEIGHT / 2)
        width = NARROW if narrow else max(WIDTH, left + right + 260)
        canvas, axes = new_axes(width, edges[-1] + margins.top + margins.bottom, margins)
        for i, (place, row) in enumerate(zip(places, rows, strict=True)):
            color = palette.color(row.color_by or "")
            axes.axhline(place, color=INK, alpha=HAIR, linewidth=0.8, zorder=1)
            axes.plot(row.runs, [place] * len(row.runs), "o", color=color, alpha=0.4, markersize=4, zorder=2)
            if row.lo is not None and row.hi is not None:
                axes.plot([row.lo, row.hi], [place, place], color=color, linewidth=2.4, zorder=3)
            axes.plot([row.value], [place], "o", color=color, markersize=8, zorder=4)
            words, at, offset = (heads[i], 0, (0, 10)) if narrow else (values[i], 1, (14, 0))
            how: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "fontsize": TEXT}
            axes.annotate(words, (at, place), offset, va="bottom" if narrow else "center", **how)
        axes.set_yticks(places, [""] * len(rows) if narrow else [row.label for row in rows], fontsize=TEXT)
        axes.tick_params(axis="y", pad=12)
        axes.set_ylim(edges[-1], 0)
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
            vertical_level(axes, level, lift=6, zorder=1.5)
        quiet_grid(axes, "x")
        axes.set_xlabel(below, labelpad=8)
        return canvas

    return drawn_twice(draw, name=name, title=title, caption=caption, alt=alt)


def head(label: str, words: str) -> str:
    """The words above the line of a row on a phone: its label and its value, in one line where they fit."""
    both = f"{label}: {words}"
    return both if text_width(both) <= NARROW - 32 else f"{wrapped(label, NARROW - 32)}\n{words}"


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
    said = (("rows", row_label), ("columns", column_label), ("values", "%" if fmt == "percent" else ""))

    def draw(narrow: bool) -> Canvas | None:
        texts = [[_rounded(v, fmt) if narrow else _cell(v, fmt) for v in line] for line in cells]
        size = NARROW_CELL if narrow else TEXT
        corner = " · ".join(f"{side}: {words}" for side, words in said if words) + ", rounded" * narrow
        left = max(text_width(r, SMALL if narrow else TEXT) for r in rows) + 20
        long = max(text_width(c, SMALL if narrow else TEXT) for c in columns)
        widest = max((text_width(t, size) for line in texts for t in line), default=0.0)
        cell_width = min(56.0, (NARROW - left - 8) / (len(columns) + 0.5)) if narrow else max(56.0, 16 + widest)
        if narrow and cell_width < widest + 4:
            return None
        slanted = long > cell_width - 8
        if not slanted and not narrow:
            cell_width = max(cell_width, min(96.0, 480 / len(columns)))
        corner = wrapped(corner, NARROW - 16, SMALL) if narrow else corner
        margins = Margins(
            left=left,
            right=16 + (long * 0.72 if slanted else 0),
            top=(long * 0.72 + 24 if slanted else 30) + (22 + more_lines(corner) if corner else 0),
            bottom=12,
        )
        width = max(margins.left + margins.right + cell_width * len(columns), text_width(corner, SMALL) + 16)
        width = NARROW if narrow else width
        margins = replace(margins, right=width - margins.left - cell_width * len(columns))
        canvas, axes = new_axes(width, margins.top + margins.bottom + ROW_HEIGHT * len(rows), margins)
        for i, j in np.ndindex(cells.shape):
            if math.isfinite(cells[i, j]):
                value = abs(cells[i, j]) if signed else cells[i, j]
                strength = 0.0 if high <= low else float(np.clip((value - low) / (high - low), 0, 1))
                hue, alpha = COLORS[int(signed and cells[i, j] < 0)], 0.04 + 0.56 * strength
                axes.fill_between([j - 0.48, j + 0.48], i - 0.46, i + 0.46, color=hue, alpha=alpha, linewidth=0)
            axes.annotate(texts[i][j], (j, i), ha="center", va="center", fontsize=size)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), rows, fontsize=SMALL if narrow else TEXT)
        axes.set_xticks(range(len(columns)), columns, fontsize=SMALL if narrow else TEXT)
        axes.xaxis.tick_top()
        axes.tick_params(length=0, pad=6)
        if slanted:
            for label in axes.get_xticklabels():
                label.set(rotation=45, ha="left", rotation_mode="anchor")
        for spine in axes.spines.values():
            spine.set_visible(False)
        place = (8, canvas.bbox.height - 16 - more_lines(corner))
        axes.annotate(corner, place, xycoords="figure pixels", fontsize=SMALL, alpha=0.85)
        return canvas

    return drawn_twice(draw, name=name, title=title, caption=caption, alt=alt)


def _rounded(value: float, fmt: str) -> str:
    """A cell's value in as few digits as a phone has room for."""
    if not math.isfinite(value):
        return _cell(value, fmt)
    if fmt in ("percent", "points"):
        return f"{100 * value + 0.0:{'+' if fmt == 'points' else ''}.0f}".replace("-", "−")
    return f"{value:.2g}".replace("-", "−")


def _extremes(cells: npt.NDArray[np.float64], rows: Sequence[str], columns: Sequence[str], fmt: str) -> str:
    """`"values from 0.0 % (row a, column b) to ..."`: what a matrix says to somebody who can't see it."""
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
