"""The curve with its interval: a quantity against a setting, one line per model or method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robustray.tasks.figures.style import (
    FAINT,
    INK,
    LEGEND_ROW,
    LINE,
    NARROW,
    POINTS,
    SMALL,
    TEXT,
    Margins,
    Palette,
    drawn_twice,
    legend_below,
    legend_shape,
    more_lines,
    new_axes,
    percent_ticks,
    points_ticks,
    quiet_grid,
    said,
    text_width,
    wrapped,
    y_words,
)
from robustray.tasks.report.numbers import format_value
from robustray.tasks.study import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

WIDTH, HEIGHT = 880.0, 450.0
NARROW_HEIGHT = 360.0
MARKED = 40
"""Points up to which each has a marker, and its tick on a logarithmic axis; of more, the line alone is read."""
LINE_HEIGHT = 19.0
"""Least distance of two labels at line ends, in CSS pixels."""
LEADER, KEY = 22.0, 18.0
"""Lengths of what leads from a line's end to its label."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line. `x` ascends; `y`, `lo`, `hi` and each of `runs` have its length. Shares are in [0, 1]."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    lo: Sequence[float] | None = None
    hi: Sequence[float] | None = None
    """The 95 % interval, drawn as a band."""
    runs: Sequence[Sequence[float]] = ()
    """Single runs (seeds), drawn as thin lines behind the mean."""
    color_by: str | None = None
    """Name whose colour in the palette the line takes (a model); its own label by default."""
    dash_by: str | None = None
    """Lines that differ here (an attack) differ in their dash, in order of appearance."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A dashed line across the axes with words on it: chance, or the paper's value."""

    value: float
    words: str


def eps_ticks(values: Iterable[float]) -> dict[float, str]:
    """`{0.0: "0", 8/255: "8/255", 0.5: "0.5"}`: what a perturbation axis is labelled with."""
    return {float(value): format_value(float(value), "eps") for value in sorted(set(values))}


def curve(
    *,
    name: str,
    title: str,
    caption: str,
    alt: str = "",
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    palette: Palette | None = None,
    percent: bool = False,
    points: bool = False,
    levels: Sequence[Level] = (),
    x_ticks: Mapping[float, str] | None = None,
    x_log: bool = False,
    step: bool = False,
) -> Figure:
    """Lines with bands. Labels are at the line ends where there is room, else in a legend below.

    `alt`: by default, where every line starts and ends. `percent`: values are shares in [0, 1], shown as 0 % to 100 %;
    `points`: differences of shares, shown in percentage points.
    `x_log`: logarithmic from the smallest positive x on, linear below it, so that 0 has its place. `step`: every value
    holds from its x to the next one (shares that survive, cumulative distributions).
    """
    assert series, "a curve needs at least one series"
    for line in series:
        lengths = {len(column) for column in (line.x, line.y, line.lo, line.hi, *line.runs) if column is not None}
        assert len(lengths) == 1 and len(line.x) > 0, f"columns of {line.label!r} differ in length or are empty"
    ends = [(line.label, *(said(value, percent, points) for value in np.asarray(line.y)[[0, -1]])) for line in series]
    alt = alt or "; ".join(f"{label}: from {first} to {last}" for label, first, last in ends)
    palette = palette or Palette(line.color_by or line.label for line in series)
    dashes = list(dict.fromkeys(line.dash_by for line in series))

    fmt = "percent" if percent else "points" if points else ""
    widest = max(text_width(line.label) for line in series)

    def draw(narrow: bool) -> Canvas:
        width, height = (NARROW, NARROW_HEIGHT) if narrow else (WIDTH, HEIGHT)
        direct = not narrow and widest < 0.36 * WIDTH and len(series) * LINE_HEIGHT < HEIGHT - 100
        names = [wrapped(line.label, NARROW - 130) if narrow else line.label for line in series]
        columns, _ = (0, 0) if direct else (1, 0) if narrow else legend_shape(names, width)
        legend = 0.0 if direct else legend_height(names, columns)
        x_words = wrapped(x_label, NARROW - 60) if narrow else x_label
        y_name = wrapped(y_label + POINTS * points, NARROW - 20) if narrow else y_label + POINTS * points
        margins = Margins(
            left=52 if narrow else 64,
            right=widest + LEADER + KEY + 20 if direct else 28,
            top=42 + more_lines(y_name) + (LINE if narrow else 0),
            bottom=60 + more_lines(x_words) + legend,
        )
        canvas, axes = new_axes(width, height + legend + more_lines(x_words) + more_lines(y_name), margins)
        for line, label in zip(series, names, strict=True):
            color = palette.color(line.color_by or line.label)
            dash = palette.dash(line.color_by or line.label, step=dashes.index(line.dash_by))
            how: Any = {"drawstyle": "steps-post"} if step else {}
            for run in line.runs:
                axes.plot(line.x, run, color=color, linewidth=0.8, alpha=0.45, zorder=2, **how)
            if line.lo is not None and line.hi is not None:
                edges: Any = "post" if step else None
                axes.fill_between(line.x, line.lo, line.hi, color=color, alpha=0.2, linewidth=0, zorder=2.5, step=edges)
            axes.plot(line.x, line.y, color=color, linestyle=dash, zorder=3, label=label, **how)
            if not step and len(line.x) <= MARKED:
                axes.plot(line.x, line.y, color=color, linestyle="none", marker="o", markersize=4.5, zorder=3.5)
        start = _set_y(axes, series, levels, percent)
        if points:
            points_ticks(axes.yaxis)
        _set_x(axes, series, x_ticks, x_log)
        quiet_grid(axes, "y")
        axes.set_xlabel(x_words, labelpad=8)
        note = "" if start is None else f"(axis starts at {format_value(start, fmt)})"
        y_words(axes, y_name + (("\n" if narrow else " ") + note if note else ""), margins, lift=12 if narrow else 16)
        for level in levels:
            _draw_level(axes, level, series)
        if direct:
            _label_ends(axes, series, palette, dashes)
        else:
            legend_below(axes, columns, drop=60 + more_lines(x_words))
        return canvas

    return drawn_twice(draw, name=name, title=title, caption=caption, alt=alt)


def legend_height(names: Sequence[str], columns: int) -> float:
    """Height of a legend in this many columns, whose names may have several lines."""
    rows = [names[i :: math.ceil(len(names) / columns)] for i in range(math.ceil(len(names) / columns))]
    return sum(LEGEND_ROW + max(map(more_lines, row)) for row in rows)


def _set_y(axes: Axes, series: Sequence[Series], levels: Sequence[Level], percent: bool) -> float | None:
    """Fix the y axis; returns where it starts if that is not 0 although all values are positive."""
    columns = [c for s in series for c in (s.y, s.lo, s.hi, *s.runs) if c is not None]
    values = np.concatenate([np.asarray(column, dtype=float) for column in columns])
    values = np.append(values[np.isfinite(values)], [level.value for level in levels])
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    room = (high - low or abs(high) or 1.0) * 0.06
    zoomed = high > low > 0.6 * high  # starting at 0 would flatten what the figure is about
    bottom = low - room if low < 0 or zoomed else 0.0
    top = 1.0 if percent and 0.85 < high <= 1.0 else high + room
    axes.set_ylim(bottom, top)
    if percent:
        percent_ticks(axes.yaxis)
    # A value on the edge (0 % or 100 %) keeps its whole marker.
    for artist in axes.lines:
        artist.set_clip_on(False)
    return bottom if zoomed else None


def _set_x(axes: Axes, series: Sequence[Series], ticks: Mapping[float, str] | None, log: bool) -> None:
    xs = sorted({float(x) for line in series for x in line.x})
    positive = [x for x in xs if x > 0]
    if log and positive:
        axes.set_xscale("symlog", linthresh=positive[0], linscale=0.6)
    span = (xs[-1] - xs[0]) or 1.0
    axes.set_xlim(xs[0] if log else xs[0] - 0.01 * span, xs[-1] if xs[-1] > xs[0] else xs[0] + 0.01 * span)
    if ticks is None and not log and len(xs) > 1:
        return
    ticks = ticks or {x: f"{x:g}" for x in (_round_numbers(xs) if log and positive and len(xs) > MARKED else xs)}
    places = sorted(ticks)
    axes.set_xticks(places, minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xticklabels(_thinned(axes, places, [ticks[place] for place in places]))


def _round_numbers(xs: Sequence[float]) -> list[float]:
    """1, 2 and 5 times the powers of ten within xs (ascending), and 0 where xs begins with it."""
    smallest = next(x for x in xs if x > 0)
    powers = range(math.floor(math.log10(smallest)), math.ceil(math.log10(xs[-1])) + 1)
    numbers = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    return [x for x in xs[:1] if x == 0] + [x for x in numbers if smallest <= x <= xs[-1]]


def _thinned(axes: Axes, places: Sequence[float], labels: Sequence[str]) -> list[str]:
    """Blank labels that would touch one that is shown. The two ends are shown first, then labels from the left."""
    pixels = axes.transData.transform([(place, 0) for place in places])[:, 0]
    half = [text_width(label, SMALL) / 2 + 4 for label in labels]
    order = [0, len(labels) - 1, *range(1, len(labels) - 1)] if len(labels) > 1 else range(len(labels))
    kept: list[int] = []
    for i in order:
        if all(abs(pixels[i] - pixels[j]) >= half[i] + half[j] for j in kept):
            kept.append(i)
    return [label if i in kept else "" for i, label in enumerate(labels)]


def _draw_level(axes: Axes, level: Level, series: Sequence[Series]) -> None:
    """The dashed line, with its words just above it where the curves are farthest away."""
    axes.axhline(level.value, color=INK, alpha=FAINT, linewidth=1.0, linestyle=(0, (5, 4)), zorder=1.5)
    ends = {"left": 0.01, "center": 0.5, "right": 0.99}
    reach = text_width(level.words, SMALL) / axes.bbox.width

    def clearance(align: str) -> float:
        start = ends[align] - {"left": 0.0, "center": reach / 2, "right": reach}[align]
        nearest = math.inf
        for at in np.linspace(start, start + reach, 5):
            pixel = axes.bbox.x0 + at * axes.bbox.width
            for line in series:
                points = axes.transData.transform(np.column_stack([line.x, line.y]))
                if points[0, 0] <= pixel <= points[-1, 0]:
                    y = np.interp(pixel, points[:, 0], points[:, 1])
                    words_at = axes.transData.transform((0, level.value))[1] + 8
                    nearest = min(nearest, abs(y - words_at))
        return nearest

    align = max(("right", "left", "center"), key=clearance)
    axes.annotate(
        level.words,
        (ends[align], level.value),
        (0, 4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha=align,
        fontsize=SMALL,
        alpha=0.85,
    )


def vertical_level(axes: Axes, level: Level, *, lift: float, zorder: float) -> None:
    """A dashed line at a value of x whose limits are set, with its words `lift` points above the axes."""
    axes.axvline(level.value, color=INK, alpha=FAINT, linewidth=1.0, linestyle=(0, (5, 4)), zorder=zorder)
    share = axes.transAxes.inverted().transform(axes.transData.transform((level.value, 0)))[0]
    align = "left" if share < 0.3 else "right" if share > 0.7 else "center"
    axes.annotate(
        level.words,
        (level.value, 1),
        (0, lift),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha=align,
        fontsize=SMALL,
        alpha=0.85,
    )


def _label_ends(axes: Axes, series: Sequence[Series], palette: Palette, dashes: Sequence[str | None]) -> None:
    """Each label in the right margin at the height of its line's end, pushed apart where they would touch."""
    # Lines that end together (all at 0 %) are stacked in the order in which they ran above.
    finite = [[(x, y) for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y)] for s in series]
    drawn = [i for i, points in enumerate(finite) if points]
    ends = {i: axes.transData.transform(finite[i][-1]) for i in drawn}
    order = sorted(drawn, key=lambda i: (round(ends[i][1]), sum(y for _, y in finite[i]) / len(finite[i])))
    heights = spread([float(ends[i][1]) for i in order], LINE_HEIGHT, axes.bbox.y0 + 4, axes.bbox.y1)
    for i, height in zip(order, heights, strict=True):
        name = series[i].color_by or series[i].label
        color, dash = palette.color(name), palette.dash(name, step=dashes.index(series[i].dash_by))
        (x0, y0), x1 = ends[i], axes.bbox.x1 + LEADER
        for points, width, alpha, style in (
            ([(x0 + 4, y0), (x1, height)], 0.9, 0.6, "solid"),  # from the line's end ...
            ([(x1, height), (x1 + KEY, height)], 2.4, 1.0, dash),  # ... to a piece of the line before its label
        ):
            xs, ys = axes.transData.inverted().transform(points).T
            axes.plot(xs, ys, color=color, linewidth=width, alpha=alpha, linestyle=style, clip_on=False, zorder=3)
        axes.annotate(series[i].label, (x1 + KEY + 6, height), xycoords="figure pixels", va="center", fontsize=TEXT)


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move ascending heights as little as a simple pass allows so that neighbours are `gap` apart within the bounds."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap if placed else low))
    limit = high
    for i in range(len(placed) - 1, -1, -1):
        placed[i] = min(placed[i], limit)
        limit = placed[i] - gap
    return placed
