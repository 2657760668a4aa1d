"""Two quantities against each other: one labelled point per case, with an interval in each direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustray.tasks.figures.curves import LINE_HEIGHT, spread
from robustray.tasks.figures.style import (
    FAINT,
    INK,
    TEXT,
    Margins,
    Palette,
    drawing,
    finish,
    new_axes,
    padded,
    percent_ticks,
    quiet_grid,
    said,
    text_width,
    y_words,
)
from robustray.tasks.study import Figure

WIDTH, HEIGHT = 880.0, 450.0
LEADER = 22.0
"""Distance from the edge of the axes to a label."""


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
    margins = Margins(left=64, right=max(text_width(point.label) for point in points) + LEADER + 20, top=42, bottom=60)
    with drawing(name):
        canvas, axes = new_axes(WIDTH, HEIGHT, margins)
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
            if percent:
                percent_ticks(axis)
        for artist in axes.lines:  # a value on the edge (0 % or 100 %) keeps its whole marker
            artist.set_clip_on(False)
        quiet_grid(axes, "both")
        axes.set_xlabel(x_label, labelpad=8)
        y_words(axes, y_label, margins)

        ends = {i: axes.transData.transform((point.x, point.y)) for i, point in enumerate(points)}
        order = sorted(ends, key=lambda i: float(ends[i][1]))
        heights = spread([float(ends[i][1]) for i in order], LINE_HEIGHT, axes.bbox.y0 + 4, axes.bbox.y1)
        for i, height in zip(order, heights, strict=True):
            (x0, y0), x1 = ends[i], axes.bbox.x1 + LEADER
            xs, ys = axes.transData.inverted().transform([(x0 + 7, y0), (x1, height)]).T
            color = palette.color(points[i].color_by or points[i].label)
            axes.plot(xs, ys, color=color, linewidth=0.9, alpha=0.5, clip_on=False, zorder=1.8)
            axes.annotate(points[i].label, (x1 + 6, height), xycoords="figure pixels", va="center", fontsize=TEXT)
        return finish(canvas, name=name, title=title, caption=caption, alt=alt)


def _numbers(point: Point, direction: str) -> list[float]:
    value, interval = (point.x, point.x_interval) if direction == "x" else (point.y, point.y_interval)
    runs = [run[0 if direction == "x" else 1] for run in point.runs]
    return [value, *(interval or ()), *runs]
