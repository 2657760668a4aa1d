"""How figures look, in one place: palette, type, ground, and the way from Matplotlib to an SVG that a page can hold.

Figures are seen on light and on dark grounds. Everything that is ink (text, axes, grid) is therefore drawn in a marker
colour that becomes `currentColor` in the SVG, so that it follows the text of the page; the ground is transparent, and
the palette has a contrast of at least 3 : 1 on both grounds for its first five colours.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustray.tasks.study import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import MaxNLocator

INK = "#010203"
"""Stands for the text colour of the page; no other element may use it."""

FONT_STACK = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', sans-serif"
)

# Okabe & Ito (2008), told apart with every common colour vision, ordered by what reads on both grounds. Their yellow is
# left out (1.2 : 1 on white) and their black is the ink of the page.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", INK, "#56B4E9", "#E69F00")
DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)))

TEXT, SMALL = 14.0, 12.5
"""Type sizes in CSS pixels."""
NARROW = 360.0
"""Width of a figure on a phone, in CSS pixels."""
LINE = 18.0
"""Height of a line of text in CSS pixels."""
LEGEND_ROW = 24.0
FAINT, HAIR = 0.55, 0.14
"""Opacity of secondary lines and of the grid."""


class Palette:
    """One colour per model or method for a whole page: build it once from all names, pass it to every form.

    More names than colours start again with another dash.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(names))

    def color(self, name: str) -> str:
        return COLORS[self._place(name) % len(COLORS)]

    def dash(self, name: str, step: int = 0) -> Any:
        return DASHES[(self._place(name) // len(COLORS) + step) % len(DASHES)]

    def _place(self, name: str) -> int:
        assert name in self.names, f"{name!r} is not in the palette {self.names}"
        return self.names.index(name)


@dataclass(frozen=True, kw_only=True)
class Margins:
    """CSS pixels around the axes."""

    left: float
    right: float
    top: float
    bottom: float


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """The settings of Matplotlib under which a figure is made and written; the caller's own are untouched."""
    import matplotlib

    settings: Any = {  # Matplotlib types its keys one by one since 3.11
        "svg.fonttype": "none",
        "svg.hashsalt": name,  # the same data give the same bytes
        "font.family": ["DejaVu Sans"],  # comes with Matplotlib; wider than system fonts, so what fits here fits there
        "font.size": TEXT,
        "text.parse_math": False,  # a name may hold a dollar sign
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.8,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": True,
        "figure.facecolor": "none",
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "xtick.major.size": 4,
        "ytick.major.size": 0,
        "lines.linewidth": 2.0,
        "lines.solid_capstyle": "round",
        "legend.frameon": False,
    }
    with matplotlib.rc_context(settings):
        yield


def new_axes(width: float, height: float, margins: Margins) -> tuple[Canvas, Axes]:
    """A canvas of `width` x `height` CSS pixels with one axes inside `margins`."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    width, height = math.ceil(width), math.ceil(height)
    canvas = Canvas(figsize=(width / 72, height / 72), dpi=72)  # at 72 dpi a point is a pixel of the SVG
    FigureCanvasSVG(canvas)
    m = margins
    box = (m.left / width, m.bottom / height, (width - m.left - m.right) / width, (height - m.top - m.bottom) / height)
    return canvas, canvas.add_axes(box)


def text_width(words: str, size: float = TEXT) -> float:
    """Width of the widest line in CSS pixels, in the metrics of the figure's own (wide) font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size)
    measure = text_to_path.get_text_width_height_descent
    return max((float(measure(line, font, ismath=False)[0]) for line in words.split("\n") if line), default=0.0)


def wrapped(words: str, width: float, size: float = TEXT) -> str:
    """Words in lines that are at most this wide; a single word that is wider stays whole."""
    lines: list[str] = []
    for word in words.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def more_lines(words: str) -> float:
    """Height of all lines but the first."""
    return LINE * words.count("\n")


def quiet_grid(axes: Axes, axis: str) -> None:
    axes.set_axisbelow(True)
    axes.grid(True, axis=axis, color=INK, alpha=HAIR, linewidth=0.8)  # type: ignore[arg-type]


def legend_shape(labels: Sequence[str], width: float) -> tuple[int, int]:
    """Columns and rows of a legend below axes on a canvas of this width."""
    columns = 2 if 2 * (max(map(text_width, labels)) + 80) < width else 1
    return columns, math.ceil(len(labels) / columns)


def legend_below(axes: Axes, columns: int, *, drop: float = 60.0) -> None:
    """What was drawn with a label, `drop` CSS pixels below the axes."""
    place = (-0.01, -drop / axes.bbox.height)
    axes.legend(loc="upper left", bbox_to_anchor=place, ncols=columns, handlelength=3, borderaxespad=0)


def percent_ticks(axis: Axis) -> None:
    """Shares in [0, 1] as 0 % to 100 %."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")


def few_ticks() -> MaxNLocator:
    """For an axis on a phone, where the numbers of more ticks would touch."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4)


def points_ticks(axis: Axis) -> None:
    """Differences of shares in [-1, 1] as percentage points: −0.05 as −5."""
    axis.set_major_formatter(lambda value, _: f"{100 * value + 0.0:+.4g}".replace("-", "−") if value else "0")


POINTS = " (percentage points)"
"""Stands behind the words of such an axis."""


def y_words(axes: Axes, words: str, margins: Margins, *, lift: float = 16.0) -> None:
    """The name of the y axis, above it and upright."""
    how: Any = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "va": "bottom" if "\n" in words else "baseline",
    }
    axes.annotate(words, (0, 1), (-margins.left + 8, lift), **how)


def padded(numbers: Sequence[float], *, percent: bool = False) -> tuple[float, float]:
    """Limits with a little room on both sides; shares stay within 0 and 1. Not finite numbers are passed over."""
    finite = [number for number in numbers if math.isfinite(number)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    room = 0.06 * ((high - low) or abs(high) or 1.0)
    return (max(0.0, low - room), min(1.0, high + room)) if percent else (low - room, high + room)


def each_value(labels: Iterable[str], values: Iterable[float], *, percent: bool = False, points: bool = False) -> str:
    """What a figure says to somebody who can't see it, where nothing better is given: `"mlp: 37.5 %; cnn: 1.2 %"`."""
    return "; ".join(f"{label}: {said(value, percent, points)}" for label, value in zip(labels, values, strict=True))


def said(value: float, percent: bool = False, points: bool = False) -> str:
    """A number in such words: `"37.5 %"`, `"+3.1 points"`, `"0.0123"`; a dash where it is not finite."""
    if not math.isfinite(value):
        return "–"
    if points:
        return f"{100 * value:+.1f} points"
    return f"{100 * value:.1f} %" if percent else f"{value:.3g}"


def finish(canvas: Canvas, *, name: str, title: str, caption: str, alt: str) -> Figure:
    """A figure of a canvas that is drawn in one width."""
    return Figure(name=name, title=title, caption=caption, alt=alt, svg=svg_of(canvas))


def drawn_twice(draw: Callable[[bool], Canvas | None], *, name: str, title: str, caption: str, alt: str) -> Figure:
    """A figure for wide pages, and drawn anew for phones. draw: takes whether it is for a phone, whose width is
    `NARROW`; gives None where nothing can be read in that."""
    with drawing(name):
        wide = draw(False)
        assert wide is not None
        svg = svg_of(wide)
    with drawing(f"{name}-narrow"):
        narrow = draw(True)
        small = "" if narrow is None else svg_of(narrow)
    return Figure(name=name, title=title, caption=caption, alt=alt, svg=svg, narrow=small)


def svg_of(canvas: Canvas) -> str:
    """The canvas as an SVG, for a file or for the middle of a page."""
    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # no date, no version: same data, same bytes
    canvas.savefig(stream, format="svg", transparent=True, metadata=nothing)
    width, height = (round(float(inches) * 72) for inches in canvas.get_size_inches())
    return for_page(stream.getvalue(), width, height)


def for_page(svg: str, width: int, height: int) -> str:
    """Matplotlib's SVG without prologue, metadata and loose ids, in the page's ink and type."""
    svg = svg[svg.index("<svg") :].strip() + "\n"
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "currentColor")
    svg = svg.replace("'DejaVu Sans'", FONT_STACK)
    svg = re.sub(r"<[^<>]+>", lambda match: _shorter(match[0]), re.sub(r"\n\s+<", "\n<", svg))
    # Ids that nothing refers to would be given twice on a page with two figures.
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    head, rest = svg.split(">", 1)
    head = re.sub(r' (?:width|height|version)="[^"]*"', "", head)
    return f'{head} width="{width}" height="{height}" role="img" style="font-family: {FONT_STACK}">{rest}'


def _shorter(tag: str) -> str:
    """A tag without what every text would say again (its font is that of the whole figure, and it is not turned), and
    with its coordinates to a hundredth of a CSS pixel: nobody sees a difference, and a third of the bytes goes."""
    tag = tag.replace(f"font-family: {FONT_STACK}; ", "")
    tag = re.sub(r' transform="rotate\(-?0 [^"]*"', "", tag)
    return re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda match: _coordinates(match[0]), tag)


def _coordinates(attribute: str) -> str:
    shorter = re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), attribute)
    return re.sub(r"\s*\n", " ", shorter).replace(' "', '"')
