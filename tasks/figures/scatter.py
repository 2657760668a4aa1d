"""Two quantities against each other: one labelled point per case, with an interval in each direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustray.tasks.figures.curves import LINE_HEIGHT, NARROW_HEIGHT, spread
from robustray.tasks.figures.style import (
    FAINT,
    INK,
    NARROW,
    TEXT,
    Margins,
    Palette,
    drawn_twice,
    few_ticks,
    more_lines,
    new_axes,
    padded,
    percent_ticks,
    quiet_grid,
    said,
    text_width,
    wrapped,
    y_words,
)
from robustray.tasks.study import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WIDTH, HEIGHT = 880.0, 450.0
LEADER = 22.0
"""Distance from the edge of the axes to a label."""
NARROW_LABEL = 110.0
"""Width to which a label is wrapped on a phone."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One case; shares are in [0, 1]."""

    label: str
    x: float
    y: float
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None
    runs: Sequence[tuple[float, float]] = ()
    """Single runs (seeds), as faint dots behind."""
    color_by: str | None = None
    """Name whose colour in the palette the point takes; its own label by default."""


def scatter(
    *,
    name: str,
    title: str,
    caption: str,
    alt: str = "",
    points: Sequence[Point],
    x_label: str,
    y_label: str,
    palette: Palette | None = None,
    percent: bool = False,
) -> Figure:
    """Points in their order along a faint line, labelled in the right margin at their own height.

    `percent`: values are shares in [0, 1], shown as 0 % to 100 %. Axes start where the points need it.
    alt: by default, where every point is.
    """
    assert points, "a scatter needs at least one point"
    alt = alt or "; ".join(
        f"{point.label}: {x_label} {said(point.x, percent)}, {y_label} {said(point.y, percent)}" for point in points
    )
    palette = palette or Palette(point.color_by or point.label for point in points)

    def draw(narrow: bool) -> Canvas | None:
        names = [wrapped(point.label, NARROW_LABEL) if narrow else point.label for point in points]
        widest, tallest = max(map(text_width, names)), max(map(more_lines, names))
        if narrow and (widest > 1.2 * NARROW_LABEL or len(points) * (LINE_HEIGHT + tallest) > NARROW_HEIGHT - 100):
            return None
        x_words = wrapped(x_label, NARROW - 40) if narrow else x_label
        y_name = wrapped(y_label, NARROW - 20) if narrow else y_label
        margins = Margins(
            left=52 if narrow else 64,
            right=widest + LEADER + (8 if narrow else 20),
            top=42 + more_lines(y_name),
            bottom=60 + more_lines(x_words),
        )
        width, height = (NARROW, NARROW_HEIGHT) if narrow else (WIDTH, HEIGHT)
        canvas, axes = new_axes(width, height + more_lines(y_name) + more_lines(x_words), margins)
        axes.plot([p.x for p in points], [p.y for p in points], color=INK, alpha=0.35, linewidth=1.0, zorder=1.5)
        for point in points:
            color = palette.color(point.color_by or point.label)
            for x, y in point.runs:
                axes.plot([x], [y], "o", color=color, alpha=0.4, markersize=4, zorder=2)
            if point.x_interval is not None:
                axes.plot(point.x_interval, [point.y, point.y], color=color, linewidth=2.0, alpha=FAINT, zorder=3)
            if point.y_interval is not None:
                axes.plot([point.x, point.x], point.y_interval, color=color, linewidth=2.0, alpha=FAINT, zorder=3)
            axes.plot([point.x], [point.y], "o", color=color, markersize=8, zorder=4)
        for axis, direction in ((axes.xaxis, "x"), (axes.yaxis, "y")):
            limits = padded([number for point in points for number in _numbers(point, direction)], percent=percent)
            (axes.set_xlim if direction == "x" else axes.set_ylim)(*limits)
            if narrow and direction == "x":
                axis.set_major_locator(few_ticks())
            if percent:
                percent_ticks(axis)
        for artist in axes.lines:  # a value on the edge (0 % or 100 %) keeps its whole marker
            artist.set_clip_on(False)
        quiet_grid(axes, "both")
        place: dict[str, Any] = {"x": 1.0, "ha": "right"} if narrow and text_width(x_words) > axes.bbox.width else {}
        axes.set_xlabel(x_words, labelpad=8, **place)
        y_words(axes, y_name, margins)

        ends = {i: axes.transData.transform((point.x, point.y)) for i, point in enumerate(points)}
        order = sorted(ends, key=lambda i: float(ends[i][1]))
        gap = LINE_HEIGHT + tallest
        heights = spread([float(ends[i][1]) for i in order], gap, axes.bbox.y0 + 4, axes.bbox.y1)
        for i, at in zip(order, heights, strict=True):
            (x0, y0), x1 = ends[i], axes.bbox.x1 + LEADER
            xs, ys = axes.transData.inverted().transform([(x0 + 7, y0), (x1, at)]).T
            color = palette.color(points[i].color_by or points[i].label)
            axes.plot(xs, ys, color=color, linewidth=0.9, alpha=0.5, clip_on=False, zorder=1.8)
            axes.annotate(names[i], (x1 + 6, at), xycoords="figure pixels", va="center", fontsize=TEXT)
        return canvas

    return drawn_twice(draw, name=name, title=title, caption=caption, alt=alt)


def _numbers(point: Point, direction: str) -> list[float]:
    value, interval = (point.x, point.x_interval) if direction == "x" else (point.y, point.y_interval)
    runs = [run[0 if direction == "x" else 1] for run in point.runs]
    return [value, *(interval or ()), *runs]
