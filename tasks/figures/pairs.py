"""Pairs of dots: what was before, what is after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robustray.tasks.figures.forms import ROW_HEIGHT, WIDTH, head
from robustray.tasks.figures.style import (
    FAINT,
    HAIR,
    INK,
    LEGEND_ROW,
    LINE,
    NARROW,
    TEXT,
    Margins,
    Palette,
    drawn_twice,
    legend_below,
    legend_shape,
    more_lines,
    new_axes,
    padded,
    percent_ticks,
    quiet_grid,
    text_width,
    wrapped,
)
from robustray.tasks.report.numbers import format_value
from robustray.tasks.study import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One thing measured twice; shares are in [0, 1]."""

    label: str
    first: float
    second: float
    first_interval: tuple[float, float] | None = None
    second_interval: tuple[float, float] | None = None


def paired_dots(
    *,
    name: str,
    title: str,
    caption: str,
    alt: str = "",
    pairs: Sequence[Pair],
    ends: tuple[str, str],
    x_label: str,
    palette: Palette | None = None,
    percent: bool = False,
) -> Figure:
    """One row per pair: two dots with a line between them, and both values in figures.

    ends: what the first and the second dot are ("before", "after"); they are the names of their colours. alt: by
    default, both values of every pair.
    """
    assert pairs, "paired_dots needs at least one pair"
    palette = palette or Palette(ends)
    fmt = "percent" if percent else ""
    values = [f"{format_value(pair.first, fmt)} → {format_value(pair.second, fmt)}" for pair in pairs]
    alt = alt or "; ".join(f"{pair.label}: {both}" for pair, both in zip(pairs, values, strict=True))

    def draw(narrow: bool) -> Canvas:
        left, right = (max(map(text_width, column)) + 30 for column in ([pair.label for pair in pairs], values))
        heads = [head(pair.label, words) for pair, words in zip(pairs, values, strict=True)] if narrow else []
        below = wrapped(x_label, NARROW - 32) if narrow else x_label
        columns, rows = (1, 2) if narrow else legend_shape(ends, WIDTH)
        bottom = 60 + LEGEND_ROW * rows + more_lines(below)
        margins = Margins(left=24 if narrow else left, right=28 if narrow else right, top=12, bottom=bottom)
        # A row is a line; on a phone, below the lines of its words.
        heights = [LINE * (words.count("\n") + 1) + 26 for words in heads] or [ROW_HEIGHT] * len(pairs)
        edges = np.concatenate([[0.0], np.cumsum(heights)])
        places = edges[1:] - (14 if narrow else ROW_HEIGHT / 2)
        width = NARROW if narrow else max(WIDTH, left + right + 260)
        canvas, axes = new_axes(width, edges[-1] + margins.top + margins.bottom, margins)
        for i, (place, pair) in enumerate(zip(places, pairs, strict=True)):
            axes.axhline(place, color=INK, alpha=HAIR, linewidth=0.8, zorder=1)
            axes.plot([pair.first, pair.second], [place, place], color=INK, alpha=FAINT, linewidth=1.4, zorder=2)
            for end, value, interval, shift in (
                (ends[0], pair.first, pair.first_interval, -4.5),
                (ends[1], pair.second, pair.second_interval, 4.5),
            ):
                color = palette.color(end)
                if interval is not None:  # beside the line, so that intervals that overlap stay apart
                    axes.plot(interval, [place + shift] * 2, color=color, alpha=FAINT, linewidth=2.0, zorder=3)
                axes.plot([value], [place], "o", color=color, markersize=8, zorder=4, label="" if i else end)
            words, at, offset = (heads[i], 0, (0, 12)) if narrow else (values[i], 1, (14, 0))
            how: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "fontsize": TEXT}
            axes.annotate(words, (at, place), offset, va="bottom" if narrow else "center", **how)
        axes.set_yticks(places, [""] * len(pairs) if narrow else [pair.label for pair in pairs], fontsize=TEXT)
        axes.tick_params(axis="y", pad=12)
        axes.set_ylim(edges[-1], 0)
        axes.spines["left"].set_visible(False)
        shown = [n for p in pairs for n in (p.first, p.second, *(p.first_interval or ()), *(p.second_interval or ()))]
        axes.set_xlim(*padded(shown, percent=percent))
        if percent:
            percent_ticks(axes.xaxis)
        for artist in axes.lines:
            artist.set_clip_on(False)
        quiet_grid(axes, "x")
        axes.set_xlabel(below, labelpad=8)
        legend_below(axes, columns)
        return canvas

    return drawn_twice(draw, name=name, title=title, caption=caption, alt=alt)
