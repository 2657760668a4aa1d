"""Bars beside each other with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from robustray.tasks.figures.curves import NARROW_HEIGHT, Level, legend_height
from robustray.tasks.figures.style import (
    FAINT,
    INK,
    NARROW,
    SMALL,
    Margins,
    Palette,
    drawn_twice,
    each_value,
    legend_below,
    legend_shape,
    more_lines,
    new_axes,
    padded,
    percent_ticks,
    quiet_grid,
    text_width,
    wrapped,
    y_words,
)
from robustray.tasks.study import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WIDTH, HEIGHT = 880.0, 420.0
ROW_HEIGHT = 32.0
THINNEST = 7.0
"""CSS pixels of a bar below which a phone gets no drawing of its own."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar; shares are in [0, 1]. Not finite values leave their place empty."""

    group: str
    """Bars of one group are drawn side by side, with this label below them."""
    label: str
    """What the bar is among its group, by colour; in the legend."""
    value: float
    lo: float | None = None
    hi: float | None = None
    runs: Sequence[float] = ()
    """Single runs (seeds), as dots in front."""


def bars(
    *,
    name: str,
    title: str,
    caption: str,
    alt: str = "",
    bars: Sequence[Bar],
    y_label: str,
    x_label: str = "",
    palette: Palette | None = None,
    percent: bool = False,
    levels: Sequence[Level] = (),
) -> Figure:
    """Groups from left to right, in each the same labels in the same order; every bar starts at 0.

    alt: by default, every bar's value.
    """
    assert bars, "bars needs at least one bar"
    names = [f"{bar.label}, {bar.group}" for bar in bars]
    alt = alt or each_value(names, [bar.value for bar in bars], percent=percent)
    groups, labels = (list(dict.fromkeys(getattr(bar, what) for bar in bars)) for what in ("group", "label"))
    assert len({(bar.group, bar.label) for bar in bars}) == len(bars), "two bars have the same group and label"
    palette = palette or Palette(labels)
    thickness = 0.8 / len(labels)

    def draw(narrow: bool) -> Canvas | None:
        width, height = (NARROW, NARROW_HEIGHT) if narrow else (WIDTH, HEIGHT)
        names = [wrapped(label, NARROW - 110) if narrow else label for label in labels]
        columns = 0 if len(labels) == 1 else 1 if narrow else legend_shape(names, width)[0]
        legend = legend_height(names, columns) if columns else 0.0
        x_words = wrapped(x_label, NARROW - 60) if narrow else x_label
        y_name = wrapped(y_label, NARROW - 20) if narrow else y_label
        margins = Margins(
            left=52 if narrow else 64,
            right=16 if narrow else 28,
            top=42 + more_lines(y_name),
            bottom=60 + 17 * max(g.count("\n") for g in groups) + more_lines(x_words) + legend,
        )
        slot = (width - margins.left - margins.right) / len(groups)
        if narrow and slot * thickness < THINNEST:
            return None
        slanted = max(map(text_width, groups)) > slot - 8
        if slanted:  # by 35 degrees, ending at the place; on a phone upright
            longest = max(text_width(group, SMALL) for group in groups)
            left = max(margins.left, text_width(groups[0], SMALL) * 0.82 - slot / 2 + 16)
            margins = replace(
                margins,
                left=margins.left if narrow else left,
                bottom=margins.bottom + (longest if narrow else 0.58 * longest),
            )
        canvas, axes = new_axes(width, height - 60 + margins.bottom + more_lines(y_name), margins)
        for label, words in zip(labels, names, strict=True):
            color = palette.color(label)
            mine = [bar for bar in bars if bar.label == label and math.isfinite(bar.value)]
            shift = (labels.index(label) - (len(labels) - 1) / 2) * thickness
            places = [groups.index(bar.group) + shift for bar in mine]
            axes.bar(places, [b.value for b in mine], 0.86 * thickness, color=color, alpha=0.75, label=words, zorder=2)
            for place, bar in zip(places, mine, strict=True):
                axes.plot([place] * len(bar.runs), bar.runs, "o", color=INK, alpha=0.5, markersize=3.5, zorder=3)
                if bar.lo is not None and bar.hi is not None:
                    axes.plot([place, place], [bar.lo, bar.hi], color=INK, linewidth=1.6, zorder=4)
        numbers = [n for b in bars for n in (b.value, b.lo, b.hi, *b.runs) if n is not None] + [v.value for v in levels]
        low, high = padded([0.0, *numbers], percent=percent)
        axes.set_ylim(0.0 if min([0.0, *filter(math.isfinite, numbers)]) == 0 else low, high)
        axes.axhline(0, color=INK, linewidth=0.8, zorder=3)
        axes.set_xlim(-0.5, len(groups) - 0.5)
        axes.set_xticks(range(len(groups)), groups)
        axes.tick_params(axis="x", length=0)
        if slanted:
            for tick in axes.get_xticklabels():
                if narrow:
                    tick.set(rotation=90, ha="center", va="top")
                else:
                    tick.set(rotation=35, ha="right", rotation_mode="anchor")
        if percent:
            percent_ticks(axes.yaxis)
        for level in levels:
            words = wrapped(level.words, axes.bbox.width, SMALL) if narrow else level.words
            axes.axhline(level.value, color=INK, alpha=FAINT, linewidth=1.0, linestyle=(0, (5, 4)), zorder=1.5)
            where: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            axes.annotate(words, (0.995, level.value), (0, 4), ha="right", fontsize=SMALL, alpha=0.85, **where)
        quiet_grid(axes, "y")
        axes.set_xlabel(x_words, labelpad=6)
        y_words(axes, y_name, margins)
        if columns:
            legend_below(axes, columns, drop=margins.bottom - legend)
        return canvas

    return drawn_twice(draw, name=name, title=title, caption=caption, alt=alt)
