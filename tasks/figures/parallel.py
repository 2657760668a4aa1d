"""Parallel coordinates: one axis per factor and one for the outcome, one line per combination."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustray.tasks.figures.style import (
    INK,
    NARROW,
    SMALL,
    TEXT,
    Margins,
    Palette,
    drawn_twice,
    legend_below,
    new_axes,
    padded,
    said,
    text_width,
    wrapped,
)
from robustray.tasks.report.numbers import format_value
from robustray.tasks.study import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WIDTH, HEIGHT, NARROW_HEIGHT = 880.0, 420.0, 340.0
QUARTER = 0.25
GROUPS = ("the best quarter", "the worst quarter", "the others")
MOVED = 0.16
"""Largest distance, in levels, by which lines through the same level are moved apart."""
ALT_LINES = 8
"""Combinations that are named to somebody who can't see the figure."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One line: the place of its level on each axis, and where it ends."""

    levels: Mapping[str, str]
    """Factor -> words of its level, one of those in `axes_of`."""
    value: float


def parallel(
    *,
    name: str,
    title: str,
    caption: str,
    alt: str = "",
    axes_of: Mapping[str, Sequence[str]],
    combinations: Sequence[Combination],
    value_label: str,
    percent: bool = False,
    lower_is_better: bool = False,
) -> Figure:
    """Levels of each factor on an axis of their own, evenly spaced in their order, and the value on the last axis.

    axes_of: factor -> words of its levels, from bottom to top. Lines of the best and of the worst quarter have colours
    of their own: what their levels have in common is what the figure is read for. Lines through the same level are
    moved apart a little, in the order of their values. alt: by default, the best combinations, up to `ALT_LINES`.
    """
    assert combinations and axes_of, "parallel coordinates need a combination and a factor"
    ordered = sorted(combinations, key=lambda each: each.value, reverse=not lower_is_better)
    quarter = max(1, math.floor(QUARTER * len(ordered)))
    groups = [0 if i < quarter else 1 if i >= len(ordered) - quarter else 2 for i in range(len(ordered))]
    alt = alt or "; ".join(_words(each, value_label, percent) for each in ordered[:ALT_LINES])
    palette = Palette(GROUPS[:2])
    factors = list(axes_of)

    def draw(narrow: bool) -> Canvas | None:
        size = SMALL if narrow else TEXT
        widest = max(text_width(level, size) for levels in axes_of.values() for level in levels)
        ends = [format_value(each.value, "percent" if percent else "") for each in (ordered[0], ordered[-1])]
        right = max(text_width(words, size) for words in ends) + 14
        first = factors[0].replace("_", " ")
        left = 0.5 * max(widest, text_width(first, SMALL)) + 12  # both are centred on the first axis
        width = NARROW if narrow else max(WIDTH, (widest + 70) * len(factors) + right + left)
        room = (width - left - right) / len(factors)
        heads = [wrapped(factor.replace("_", " "), room - 8, SMALL) for factor in factors]
        # The last one ends at its axis, and so shares the room with half of the one before.
        heads.append(wrapped(value_label, room - 16 - text_width(heads[-1], SMALL) / 2, SMALL))
        if narrow and (widest + 12 > room or max(text_width(words, SMALL) for words in heads) > room + 8):
            return None
        margins = Margins(
            left=left,
            right=right,
            top=14 + 17 * (1 + max(words.count("\n") for words in heads)),
            bottom=84 if narrow else 48,
        )
        canvas, axes = new_axes(width, NARROW_HEIGHT if narrow else HEIGHT, margins)
        low, high = padded([each.value for each in ordered])
        places = list(range(len(factors) + 1))
        shown: set[int] = set()
        for rank, (each, group) in enumerate(zip(ordered, groups, strict=True)):
            aside = MOVED * (1 - 2 * rank / max(1, len(ordered) - 1)) * (-1 if lower_is_better else 1)
            heights = [
                (axes_of[factor].index(each.levels[factor]) + 0.5 + aside) / len(axes_of[factor]) for factor in factors
            ]
            heights.append((each.value - low) / (high - low))
            color, alpha = (INK, 0.3) if group == 2 else (palette.color(GROUPS[group]), 0.85)
            label = None if group in shown else GROUPS[group]
            shown.add(group)
            axes.plot(places, heights, color=color, alpha=alpha, linewidth=1.2 if group == 2 else 2.2, label=label,
                      zorder=2 if group == 2 else 3)  # fmt: skip
        for place in places:
            axes.axvline(place, color=INK, alpha=0.4, linewidth=1.0, zorder=1)
        for place, factor in enumerate(factors):
            for i, level in enumerate(axes_of[factor]):
                height = (i + 0.5 + MOVED) / len(axes_of[factor])  # above the lines of its level
                axes.annotate(level, (place, height), (0, 5), textcoords="offset points", ha="center", va="bottom",
                              fontsize=size)  # fmt: skip
        for words, each in zip(ends, (ordered[0], ordered[-1]), strict=True):
            axes.annotate(words, (places[-1], (each.value - low) / (high - low)), (8, 0), textcoords="offset points",
                          va="center", fontsize=size)  # fmt: skip
        for place, words in zip(places, heads, strict=True):
            axes.annotate(words, (place, 1), (0, 8), xycoords=("data", "axes fraction"), textcoords="offset points",
                          ha="center" if place < places[-1] else "right", fontsize=SMALL)  # fmt: skip
        axes.set_xlim(0, places[-1])
        axes.set_ylim(0, 1)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        for artist in axes.lines:
            artist.set_clip_on(False)
        legend_below(axes, 1 if narrow else len(shown), drop=10)
        return canvas

    return drawn_twice(draw, name=name, title=title, caption=caption, alt=alt)


def _words(each: Combination, value_label: str, percent: bool) -> str:
    levels = ", ".join(f"{factor} {level}" for factor, level in each.levels.items())
    return f"{levels}: {value_label} {said(each.value, percent)}"
