"""Many values at once: a cloud of points with a fitted line, and the histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from robustray.tasks.figures.curves import NARROW_HEIGHT, Level, Series, legend_height, vertical_level
from robustray.tasks.figures.style import (
    FAINT,
    INK,
    NARROW,
    Margins,
    Palette,
    drawn_twice,
    each_value,
    few_ticks,
    legend_below,
    legend_shape,
    more_lines,
    new_axes,
    padded,
    percent_ticks,
    quiet_grid,
    wrapped,
    y_words,
)
from robustray.tasks.study import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WIDTH, HEIGHT = 880.0, 450.0
MOST_POINTS = 4_000
"""A point is about 70 bytes of the page."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Points of one kind. `x` and `y` have one length; pairs that are not finite are left out."""

    label: str
    x: npt.ArrayLike
    y: npt.ArrayLike


def cloud(
    *,
    name: str,
    title: str,
    caption: str,
    alt: str = "",
    groups: Sequence[Group],
    x_label: str,
    y_label: str,
    fits: Sequence[Series] = (),
    identity: bool = False,
    equal_scale: bool = False,
    palette: Palette | None = None,
    percent: bool = False,
) -> Figure:
    """One dot per case, by group, with lines through them.

    fits: fitted lines, with `lo` and `hi` as a band; a line whose `color_by` is in the palette has its colour, any
    other is ink. What was fitted, and how, belongs into its label. `identity`: the dashed line y = x. `equal_scale`: a
    unit is as long on both axes, so that circles are round. `percent`: both axes show shares in [0, 1]. More than 4,000
    points are too much for a page: draw a random part, and say so. alt: by default, how many points each group has,
    and which lines go through them.
    """
    assert groups, "a cloud needs at least one group"
    points = [np.column_stack([np.asarray(g.x, dtype=float), np.asarray(g.y, dtype=float)]) for g in groups]
    finite = [each[np.isfinite(each).all(axis=1)] for each in points]
    total = sum(map(len, finite))
    assert total <= MOST_POINTS, f"{total} points in one cloud: draw a random part of them"
    counts = [f"{group.label}: {len(each):,} points" for group, each in zip(groups, finite, strict=True)]
    alt = alt or "; ".join([*counts, *(fit.label for fit in fits)])
    palette = palette or Palette(group.label for group in groups)
    labels = [group.label for group in groups] + [fit.label for fit in fits] + ["equal"] * identity
    whole = np.concatenate([*finite, *(np.column_stack([fit.x, fit.y]) for fit in fits)])

    def draw(narrow: bool) -> Canvas:
        width, height = (NARROW, NARROW_HEIGHT) if narrow else (WIDTH, HEIGHT)
        names = {label: wrapped(label, NARROW - 110) if narrow else label for label in labels}
        columns = 0 if len(labels) == 1 else 1 if narrow else legend_shape(labels, WIDTH)[0]
        legend = legend_height(list(names.values()), columns) if columns else 0.0
        x_words = wrapped(x_label, NARROW - 60) if narrow else x_label
        y_name = wrapped(y_label, NARROW - 20) if narrow else y_label
        margins = Margins(
            left=60 if narrow else 72,
            right=16 if narrow else 28,
            top=42 + more_lines(y_name),
            bottom=60 + more_lines(x_words) + legend,
        )
        canvas, axes = new_axes(width, height + legend + more_lines(x_words) + more_lines(y_name), margins)
        for group, each in zip(groups, finite, strict=True):
            color = palette.color(group.label)
            axes.plot(*each.T, "o", color=color, alpha=0.5, markersize=4.5, label=names[group.label], zorder=2)
        for fit in fits:
            color = palette.color(fit.color_by) if fit.color_by in palette.names and fit.color_by is not None else INK
            if fit.lo is not None and fit.hi is not None:
                axes.fill_between(fit.x, fit.lo, fit.hi, color=color, alpha=0.15, linewidth=0, zorder=2.5)
            axes.plot(fit.x, fit.y, color=color, zorder=3, label=names[fit.label])
        limits = [padded(whole[:, axis].tolist(), percent=percent) for axis in (0, 1)]
        if equal_scale:
            limits = _equal_scale(limits, (axes.bbox.width, axes.bbox.height))
        if identity:
            low, high = max(low for low, _ in limits), min(high for _, high in limits)
            ends = [low, high] if low < high else []
            axes.plot(
                ends, ends, color=INK, alpha=FAINT, linewidth=1.0, linestyle=(0, (5, 4)), label="equal", zorder=1.5
            )
        axes.set_xlim(*limits[0])
        axes.set_ylim(*limits[1])
        if narrow:  # ticks of longer numbers would touch
            axes.xaxis.set_major_locator(few_ticks())
        if percent:
            percent_ticks(axes.xaxis)
            percent_ticks(axes.yaxis)
        quiet_grid(axes, "both")
        axes.set_xlabel(x_words, labelpad=8)
        y_words(axes, y_name, margins)
        if columns:
            legend_below(axes, columns, drop=60 + more_lines(x_words))
        return canvas

    return drawn_twice(draw, name=name, title=title, caption=caption, alt=alt)


def _equal_scale(limits: Sequence[tuple[float, float]], size: tuple[float, float]) -> list[tuple[float, float]]:
    """Wider limits around the same middle, with as many units per CSS pixel on both axes."""
    unit = max((high - low) / pixels for (low, high), pixels in zip(limits, size, strict=True))
    middles = [(low + high) / 2 for low, high in limits]
    return [(m - unit * pixels / 2, m + unit * pixels / 2) for m, pixels in zip(middles, size, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One distribution."""

    label: str
    values: npt.ArrayLike
    """(n,); what is not finite is left out, and the legend says so."""


def histogram(
    *,
    name: str,
    title: str,
    caption: str,
    alt: str = "",
    samples: Sequence[Sample],
    x_label: str,
    bins: int | Sequence[float] = 30,
    palette: Palette | None = None,
    percent: bool = False,
    levels: Sequence[Level] = (),
) -> Figure:
    """The share of each sample in bins that all share, as outlines that may overlap.

    bins: their number over the range of all values, or their edges; values outside given edges count in the first or
    the last bin. levels: values of x to mark. `percent`: values are shares in [0, 1]. alt: by default, the
    median of every sample.
    """
    assert samples, "a histogram needs at least one sample"
    palette = palette or Palette(sample.label for sample in samples)
    arrays = [np.asarray(sample.values, dtype=float).ravel() for sample in samples]
    finite = [array[np.isfinite(array)] for array in arrays]
    everything = np.concatenate(finite)
    if isinstance(bins, int):
        edges = np.histogram_bin_edges(everything if len(everything) else np.array([0.0, 1.0]), bins)
    else:
        edges = np.asarray(bins, dtype=float)
    labels = [
        f"{sample.label} (n = {len(kept):,}{f', {len(array) - len(kept):,} not finite' * (len(array) > len(kept))})"
        for sample, array, kept in zip(samples, arrays, finite, strict=True)
    ]
    medians = [float(np.median(kept)) if len(kept) else math.nan for kept in finite]
    alt = alt or f"medians of {x_label}: {each_value([sample.label for sample in samples], medians, percent=percent)}"
    shares_of = []
    for kept in finite:
        counts, _ = np.histogram(np.clip(kept, edges[0], edges[-1]), edges)
        shares_of.append(counts / max(1, len(kept)))
    tallest = max(float(shares.max()) for shares in shares_of)

    def draw(narrow: bool) -> Canvas:
        width, height = (NARROW, NARROW_HEIGHT) if narrow else (WIDTH, HEIGHT)
        names = [wrapped(label, NARROW - 110) if narrow else label for label in labels]
        columns = 1 if narrow else legend_shape(names, width)[0]
        legend = legend_height(names, columns)
        x_words = wrapped(x_label, NARROW - 60) if narrow else x_label
        margins = Margins(
            left=52 if narrow else 64,
            right=16 if narrow else 28,
            top=58 if levels else 42,
            bottom=60 + more_lines(x_words) + legend,
        )
        canvas, axes = new_axes(width, height + legend + more_lines(x_words), margins)
        for sample, shares, label in zip(samples, shares_of, names, strict=True):
            color = palette.color(sample.label)
            axes.stairs(shares, edges, fill=True, color=color, alpha=0.18, zorder=2)
            axes.stairs(shares, edges, color=color, linewidth=1.8, label=label, zorder=3)
        axes.set_ylim(0, 1.08 * (tallest or 1.0))
        axes.set_xlim(edges[0], edges[-1])
        percent_ticks(axes.yaxis)
        if percent:
            percent_ticks(axes.xaxis)
        for level in levels:
            if edges[0] <= level.value <= edges[-1]:
                vertical_level(axes, level, lift=4, zorder=3.5)
        quiet_grid(axes, "y")
        axes.set_xlabel(x_words, labelpad=8)
        y_words(axes, "share of the sample", margins, lift=32 if levels else 16)
        legend_below(axes, columns, drop=60 + more_lines(x_words))
        return canvas

    return drawn_twice(draw, name=name, title=title, caption=caption, alt=alt)
