"""Figures: deterministic, text as text, ink that follows the page, nothing cut off."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustray.tasks import figures
from robustray.tasks.figures.curves import spread
from robustray.tasks.figures.style import COLORS, INK, SMALL, text_width, wrapped
from robustray.tasks.study import Figure

WORDS: dict[str, Any] = {"title": "Title", "caption": "What to see. What was measured.", "alt": "Words for it"}
HOSTILE = "<script>alert('$x_1$ & \"y\"')</script>"


def a_curve(name: str = "curve", label: str = "model", **changes: object) -> Figure:
    x = [0.0, 1 / 255, 2 / 255, 8 / 255]
    lines = [
        figures.Series(
            label=label, x=x, y=[0.9, 0.5, 0.1, 0.0], lo=[0.88, 0.47, 0.08, 0.0], hi=[0.92, 0.53, 0.12, 0.004]
        ),
        figures.Series(label="other", x=x, y=[0.7, 0.6, 0.5, 0.0], runs=[[0.71, 0.61, 0.52, 0.0]]),
    ]
    given: dict[str, object] = dict(
        series=lines, x_label="perturbation", y_label="robust accuracy", percent=True, x_ticks=figures.eps_ticks(x)
    )
    return figures.curve(name=name, **WORDS, **(given | changes))  # type: ignore[arg-type]


def rows(label: str = "row") -> Figure:
    lines = [
        figures.Row(label=label, value=0.375, lo=0.346, hi=0.404, runs=[0.36, 0.39]),
        figures.Row(label="zero", value=0.0),
    ]
    levels = [figures.Level(value=0.1, words="chance")]
    return figures.dot_rows(name="rows", **WORDS, rows=lines, x_label="share", percent=True, levels=levels)


def heat(label: str = "row") -> Figure:
    values = [[0.25, np.nan], [0.0, 1.0]]
    return figures.heat_map(
        name="heat", **WORDS, values=values, rows=[label, "b"], columns=["c", "d"], row_label="true"
    )


def bar_chart(label: str = "a") -> Figure:
    given = {"none": (0.2, np.nan), "blur": (0.4, 0.5)}
    each = [
        figures.Bar(group=group, label=kind, value=value, lo=value - 0.05, hi=value + 0.05, runs=[value])
        for group, values in given.items()
        for kind, value in zip((label, "b"), values, strict=True)
    ]
    return figures.bars(
        name="bars",
        **WORDS,
        bars=each,
        y_label="accuracy",
        percent=True,
        levels=[figures.Level(value=0.1, words="chance")],
    )


def pairs(label: str = "cat") -> Figure:
    each = [
        figures.Pair(label=label, first=0.2, second=0.4, first_interval=(0.1, 0.3), second_interval=(0.3, 0.5)),
        figures.Pair(label="dog", first=0.0, second=1.0),
    ]
    ends = ("before", "after")
    return figures.paired_dots(name="pairs", **WORDS, pairs=each, ends=ends, x_label="accuracy", percent=True)


def a_cloud(label: str = "A") -> Figure:
    groups = [figures.Group(label=label, x=[0.0, 1.0, np.nan], y=[0.1, 0.9, 0.5]), figures.Group(label="B", x=[], y=[])]
    fits = [
        figures.Series(label="least squares", x=[0, 1], y=[0.1, 0.9], lo=[0, 0.8], hi=[0.2, 1], color_by=label),
        figures.Series(label="all", x=[0, 1], y=[0.2, 0.8]),
    ]
    return figures.cloud(name="cloud", **WORDS, groups=groups, fits=fits, x_label="x", y_label="y", identity=True)


def a_histogram(label: str = "clean") -> Figure:
    samples = [
        figures.Sample(label=label, values=[0.0, 0.1, 0.1, 0.9]),
        figures.Sample(label="B", values=[np.nan, 0.5]),
    ]
    levels = [figures.Level(value=0.3, words="threshold"), figures.Level(value=5.0, words="outside")]
    return figures.histogram(
        name="histogram", **WORDS, samples=samples, x_label="margin", bins=[0, 0.5, 1], levels=levels
    )


def a_parallel(label: str = "none") -> Figure:
    """Four combinations of two factors."""
    levels = {"augmentation": [label, "crop-flip"], "lr": ["0.01", "0.1"]}
    ends = {(label, "0.01"): 0.1, (label, "0.1"): 0.3, ("crop-flip", "0.01"): 0.2, ("crop-flip", "0.1"): 0.9}
    combinations = [figures.Combination(levels={"augmentation": a, "lr": b}, value=v) for (a, b), v in ends.items()]
    return figures.parallel(
        name="parallel", **WORDS, axes_of=levels, combinations=combinations, value_label="accuracy", percent=True
    )


FORMS: dict[str, Callable[..., Figure]] = {
    "curve": lambda label="model": a_curve(label=label),
    "rows": rows,
    "heat": heat,
    "bars": bar_chart,
    "pairs": pairs,
    "cloud": a_cloud,
    "histogram": a_histogram,
    "parallel": a_parallel,
    "steps": lambda label="model": a_curve(label=label, step=True),
}


def texts(figure: Figure) -> list[str]:
    """What a reader sees as text, in document order."""
    return [
        "".join(node.itertext()).strip()
        for node in ElementTree.fromstring(figure.svg).iter()
        if node.tag.endswith("}text")
    ]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_data_give_the_same_bytes(form: str) -> None:
    assert FORMS[form]().svg == FORMS[form]().svg


@pytest.mark.parametrize("form", FORMS)
def test_svg_is_well_formed_small_and_bare(form: str) -> None:
    svg = FORMS[form]().svg
    root = ElementTree.fromstring(svg)
    assert svg.startswith("<svg ") and svg.endswith("</svg>\n")
    assert int(root.attrib["width"]) > 0 and int(root.attrib["height"]) > 0
    assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
    assert "metadata" not in svg and "DejaVu" not in svg and "<image" not in svg
    assert len(svg) < 60_000


@pytest.mark.parametrize("form", FORMS)
def test_ink_follows_the_page_and_the_ground_is_open(form: str) -> None:
    svg = FORMS[form]().svg
    assert INK not in svg and "currentColor" in svg
    used = set(re.findall(r"#[0-9a-f]{6}\b", svg.lower()))
    assert used <= {color.lower() for color in COLORS}, "a colour that is neither ink nor of the palette"


@pytest.mark.parametrize("form", FORMS)
def test_no_id_is_given_without_need(form: str) -> None:
    svg = FORMS[form]().svg
    ids = re.findall(r' id="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert all(f"#{name}" in svg for name in ids)


@pytest.mark.parametrize("form", FORMS)
def test_hostile_names_are_text(form: str) -> None:
    figure = FORMS[form](label=HOSTILE)
    assert any(words.startswith(HOSTILE) for words in texts(figure))
    assert "<script" not in figure.svg


def test_the_caller_s_matplotlib_settings_stay_as_they_were() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    a_curve()
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_loaded_and_importing_draws_nothing() -> None:
    script = (
        "import sys; from robustray.tasks import figures; assert 'matplotlib' not in sys.modules; "
        "assert 'torch' not in sys.modules; figures.heat_map(name='n', title='', caption='', alt='', values=[[1.0]], "
        "rows=['a'], columns=['b']); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


def test_a_curve_says_its_words() -> None:
    figure = a_curve(levels=[figures.Level(value=0.1, words="chance, 10 %")], x_log=True)
    seen = texts(figure)
    for words in ("model", "other", "perturbation", "robust accuracy", "chance, 10 %", "0", "1/255", "8/255", "100 %"):
        assert words in seen


def test_an_axis_that_does_not_start_at_zero_says_so() -> None:
    line = figures.Series(label="high", x=[0, 1], y=[0.91, 0.93])
    assert any("axis starts at 90" in words for words in texts(a_curve(series=[line], x_ticks=None)))
    assert not any("axis starts" in words for words in texts(a_curve()))


def test_parallel_coordinates_name_every_level_the_ends_and_the_groups() -> None:
    drawn = a_parallel()
    named = ["augmentation", "lr", "none", "crop-flip", "0.01", "0.1", "accuracy", "90.0 %", "10.0 %"]
    groups = ["the best quarter", "the worst quarter", "the others"]
    assert set(named + groups) <= set(texts(drawn)) and drawn.narrow
    spoken = figures.parallel(
        name="parallel",
        title="",
        caption="",
        axes_of={"lr": ["1"]},
        combinations=[figures.Combination(levels={"lr": "1"}, value=0.25)],
        value_label="error",
        lower_is_better=True,
    )
    assert spoken.alt == "lr 1: error 0.25"


def test_names_of_axes_are_inside_the_drawing_and_apart() -> None:
    """A name may be wider than all levels of its axis; the last one ends at its axis, the others are centred."""
    names = ("steps of training", "augmentation of images", "accuracy on held-out images, which nobody trained on")
    drawn = figures.parallel(
        name="parallel",
        **WORDS,
        axes_of={names[0]: ["1", "2"], "lr": ["3"], names[1]: ["4"]},
        combinations=[
            figures.Combination(levels={names[0]: level, "lr": "3", names[1]: "4"}, value=0.5) for level in ("1", "2")
        ],
        value_label=names[2],
    )
    nodes = {
        node.text or "": node.attrib for node in ElementTree.fromstring(drawn.svg).iter() if node.tag.endswith("}text")
    }
    first, before_last = (float(nodes[name]["x"]) for name in names[:2])  # of one line: centred
    assert first >= text_width(names[0], SMALL) / 2
    starts = {
        line: re.match(r"translate\(([\d.]+)", nodes[line]["transform"]) for line in nodes if line and line in names[2]
    }
    assert " ".join(starts) == names[2]
    for start in starts.values():
        assert start and float(start[1]) > before_last + text_width(names[1], SMALL) / 2


def test_differences_of_shares_are_shown_in_points() -> None:
    rows = [figures.Row(label="a", value=-0.031, lo=-0.05, hi=0.011), figures.Row(label="b", value=0.2)]
    silent: dict[str, Any] = {**WORDS, "alt": ""}
    drawn = figures.dot_rows(name="rows", **silent, rows=rows, x_label="gain", points=True)
    words = texts(drawn)
    assert "−3.1 points [−5.0, +1.1]" in words and "gain (percentage points)" in words and "+20" in words
    assert "%" not in "".join(words) and drawn.alt == "a: -3.1 points; b: +20.0 points"
    lines = [figures.Series(label="a", x=[0, 1], y=[-0.1, 0.1])]
    curve = texts(figures.curve(name="c", **WORDS, series=lines, x_label="x", y_label="gap", points=True))
    assert "gap (percentage points)" in curve and {"−10", "0", "+10"} <= set(curve)


def test_a_logarithmic_axis_of_many_points_has_round_ticks() -> None:
    xs = [0.0, *np.geomspace(0.05, 20, 60).tolist()]
    figure = a_curve(series=[figures.Series(label="many", x=xs, y=xs)], x_ticks=None, x_log=True, percent=False)
    words = re.findall(r">([0-9.]+)<", figure.svg)
    assert {"0", "0.05", "0.1", "10", "20"} <= set(words)
    assert not [word for word in words if len(word) > 4]


@pytest.mark.parametrize(
    "xs, ys",
    [
        ([0.0], [0.5]),
        ([0, 1, 2], [0.5, np.nan, 0.2]),
        ([0, 1], [np.nan, np.nan]),
        ([1, 10, 100], [-1, 0, 3]),
        ([0, 1], [0, 0]),
    ],
)
@pytest.mark.parametrize("log", [False, True])
def test_odd_curves_are_drawn(xs: list[float], ys: list[float], log: bool) -> None:
    figure = a_curve(series=[figures.Series(label="odd", x=xs, y=ys)], x_ticks=None, x_log=log, percent=False)
    assert "nan" not in figure.svg.replace("NaN", "nan")


@pytest.mark.parametrize("form", ["curve", "rows", "heat", "steps", "bars", "pairs", "histogram", "cloud"])
def test_a_phone_has_a_drawing_of_its_own_with_the_same_names(form: str) -> None:
    wide = FORMS[form]()
    narrow = replace(wide, svg=wide.narrow)
    assert ElementTree.fromstring(narrow.svg).attrib["width"] == "360" and INK not in narrow.svg
    assert FORMS[form]().narrow == wide.narrow, "the same data give the same bytes"
    names = {name for name in texts(wide) if not re.search(r"\d", name)}
    told = " ".join(texts(narrow))
    assert all(word in told for name in names for word in name.split())


def test_a_matrix_that_no_phone_can_show_has_no_drawing_for_it() -> None:
    names = [f"class {i}" for i in range(30)]
    wide = figures.heat_map(name="h", **WORDS, values=np.full((30, 30), 0.123), rows=names, columns=names)
    assert wide.svg and not wide.narrow


def test_coordinates_are_short_and_words_that_look_like_some_are_left_alone() -> None:
    label = 'x="1.23456" rotate(-0 1 2)'
    svg = a_curve(series=[figures.Series(label=label, x=[0, 1 / 3, 1], y=[0.1234567, 2 / 3, 1])], x_ticks=None).svg
    assert label in "".join(ElementTree.fromstring(svg).itertext())
    bare = svg.replace(label, "")
    assert not re.search(r' (?:d|x|y|transform)="[^"]*\.\d{3}', bare) and "rotate(-0" not in bare
    assert svg.count("font-family") == 1, "the font is that of the whole figure"


def test_words_are_wrapped_to_a_width() -> None:
    words = "difference of the shares of broken images"
    lines = wrapped(words, 120).split("\n")
    assert " ".join(lines) == words and len(lines) > 1 and all(text_width(line) <= 120 for line in lines)
    assert wrapped("unbreakable-name-of-a-model", 20) == "unbreakable-name-of-a-model" and wrapped("", 20) == ""


def test_a_gallery_keeps_its_images_in_order_and_large_ones_small() -> None:
    assert figures.room_for((3, 32, 32)) == 195 and figures.room_for((1, 8, 8)) == 300
    assert figures.room_for((3, 500, 300)) == figures.room_for((3, 48, 48)) == 86
    images = np.zeros((25, 3, 100, 60))
    images[21] = 1.0
    cell: Any = {("m", "s"): ([[]] * 25, [0] * 25)}
    given: dict[str, Any] = {"classes": ["a"], "indices": range(25), "labels": [0] * 25, "ways": []}
    made = figures.gallery(name="g", title="", caption="", images=images, cells=cell, start=("m", "s"), **given)
    sheet = np.asarray(Image.open(io.BytesIO(made.png)))
    assert made.side == 48 and sheet.shape == (96, 960, 3)
    assert sheet[48:, 48:77].min() == 255 and sheet[:48].max() == 0 and sheet[48:, 96:].max() == 0


def test_many_lines_get_a_legend_and_none_is_lost() -> None:
    labels = [f"method {i} with settings that take some room to write" for i in range(24)]
    lines = [figures.Series(label=label, x=[0, 1], y=[1, i / 24]) for i, label in enumerate(labels)]
    seen = texts(a_curve(series=lines, x_ticks=None))
    assert set(labels) <= set(seen)


@pytest.mark.parametrize("num", [1, 3, 12])
@pytest.mark.parametrize("width", [4, 16])
def test_direct_labels_lie_inside_the_figure_and_apart(num: int, width: int) -> None:
    lines = [figures.Series(label=f"{i:02d}" + "m" * width, x=[0, 1], y=[1, 0]) for i in range(num)]
    figure = a_curve(series=lines, x_ticks=None)
    root = ElementTree.fromstring(figure.svg)
    places = {}
    for node in root.iter():
        words = "".join(node.itertext())
        if node.tag.endswith("}text") and words.endswith("m" * width):
            # Matplotlib places text by attributes or by a transform.
            found = re.search(r"translate\(([\d.]+) ([\d.]+)\)", node.attrib.get("transform", ""))
            places[words] = tuple(map(float, found.groups() if found else (node.attrib["x"], node.attrib["y"])))
    assert len(places) == num
    assert all(x + text_width(words) <= float(root.attrib["width"]) for words, (x, _) in places.items())
    heights = sorted(y for _, y in places.values())
    assert all(b - a >= 18 for a, b in pairwise(heights))


@pytest.mark.parametrize("heights", [[], [5.0], [0.0, 0.0, 0.0], [98, 99, 100], [0, 1, 50, 99, 100], [0, 40, 45, 100]])
def test_spread_keeps_order_distance_and_bounds(heights: list[float]) -> None:
    placed = spread(heights, 10, 0, 100)
    assert all(b - a >= 10 - 1e-9 for a, b in pairwise(placed))
    assert all(-1e-9 <= height <= 100 + 1e-9 for height in placed)


def test_a_name_keeps_its_colour_and_many_names_stay_apart() -> None:
    palette = figures.Palette(["a", "b", "a", *(str(i) for i in range(20))])
    assert palette.names[:3] == ("a", "b", "0")
    assert palette.color("a") == figures.Palette(["a"]).color("a")
    looks = {(palette.color(name), str(palette.dash(name))) for name in palette.names}
    assert len(looks) == len(palette.names)


def test_rows_and_heat_map_write_their_values() -> None:
    assert {"37.5 % [34.6, 40.4]", "0.0 %", "chance", "zero"} <= set(texts(rows()))
    assert {"25.0", "–", "0.0", "100.0", "rows: true · values: %"} <= set(texts(heat()))


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_words_above_a_small_heat_map_are_whole() -> None:
    small = figures.heat_map(
        name="h",
        title="",
        caption="",
        alt="",
        values=[[0.5]],
        rows=["a"],
        columns=["b"],
        row_label="examples of",
        column_label="seen by",
    )
    width = float(re.search(r'<svg[^>]* width="([\d.]+)', small.svg).group(1))  # type: ignore[union-attr]
    assert width > text_width("rows: examples of · columns: seen by · values: %", SMALL)


@pytest.mark.parametrize("color", [color for color in COLORS[:5] if color != INK])
@pytest.mark.parametrize("ground", ["#ffffff", "#121417"])
def test_the_first_colours_show_on_both_grounds(color: str, ground: str) -> None:
    assert contrast(color, ground) >= 3


@pytest.mark.parametrize("ground, ink", [("#ffffff", "#1b1e23"), ("#121417", "#e4e7eb")])
def test_values_read_on_the_strongest_cell_of_a_heat_map(ground: str, ink: str) -> None:
    mixed = [round(0.6 * int(COLORS[0][i : i + 2], 16) + 0.4 * int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    assert contrast("#" + "".join(f"{c:02x}" for c in mixed), ink) >= 4.5


# --- Bars, pairs, clouds, histograms, steps ---------------------------------------------------------------------------


def test_bars_name_their_groups_and_kinds_once_and_start_at_nothing() -> None:
    found = texts(bar_chart())
    assert {"none", "blur", "a", "b", "chance", "accuracy", "0 %"} <= set(found)
    assert found.count("a") == found.count("none") == 1


def test_long_group_names_are_slanted_and_stay_inside() -> None:
    names = [f"a rather long name of group {i}" for i in range(8)]
    figure = figures.bars(
        name="bars", **WORDS, bars=[figures.Bar(group=n, label="x", value=-1.0) for n in names], y_label="change"
    )
    assert set(names) <= set(texts(figure))
    ends = [float(x) for x in re.findall(r"rotate\(-35 ([\d.]+) [\d.]+\)", figure.svg)]
    assert len(ends) == 8 and min(ends) >= text_width(names[0], SMALL) * 0.82


def test_a_bar_can_not_be_drawn_over_another() -> None:
    with pytest.raises(AssertionError, match="same group and label"):
        figures.bars(name="b", **WORDS, bars=[figures.Bar(group="g", label="l", value=1.0)] * 2, y_label="y")


def test_pairs_say_both_values() -> None:
    found = texts(pairs())
    assert {"cat", "dog", "before", "after", "20.0 % → 40.0 %", "0.0 % → 100.0 %"} <= set(found)


def test_a_cloud_draws_what_is_finite_and_refuses_what_no_page_can_hold() -> None:
    assert {"A", "B", "least squares", "all", "equal"} <= set(texts(a_cloud()))
    many = np.zeros(4_001)
    with pytest.raises(AssertionError, match="draw a random part"):
        figures.cloud(name="c", **WORDS, groups=[figures.Group(label="A", x=many, y=many)], x_label="x", y_label="y")


def test_a_histogram_says_how_many_values_it_holds_and_how_many_it_left_out() -> None:
    found = texts(a_histogram())
    assert {"clean (n = 4)", "B (n = 1, 1 not finite)", "threshold", "share of the sample", "100 %"} <= set(found)
    assert "outside" not in found


def test_a_step_holds_until_the_next_value() -> None:
    assert a_curve(step=True).svg != a_curve().svg
    assert "<use" in a_curve().svg and a_curve(step=True).svg.count("<use") < a_curve().svg.count("<use")


def test_of_many_points_the_line_alone_is_drawn() -> None:
    def marks(count: int) -> int:
        line = figures.Series(label="a", x=range(count), y=[0.5] * count)
        return a_curve(series=[line], x_ticks=None).svg.count("<use")

    assert marks(40) - marks(41) > 30


def test_signed_maps_have_a_hue_for_each_sign() -> None:
    words = {"name": "m", **WORDS}
    svg = figures.heat_map(
        **words, values=[[0.5, -0.25]], rows=["a"], columns=["b", "c"], fmt="points", signed=True
    ).svg
    assert COLORS[0].lower() in svg.lower() and COLORS[1].lower() in svg.lower()
    assert COLORS[1].lower() not in figures.heat_map(**words, values=[[0.5]], rows=["a"], columns=["b"]).svg.lower()


# --- For somebody who can't see it ------------------------------------------------------------------------------------

SAID: dict[str, str] = {
    "curve": "model: from 90.0 % to 0.0 %; other: from 70.0 % to 0.0 %",
    "rows": "row: 37.5 %; zero: 0.0 %",
    "heat": "values from 0.0 % (row b, column c) to 100.0 % (row b, column d)",
    "bars": "a, none: 20.0 %; b, none: –; a, blur: 40.0 %; b, blur: 50.0 %",
    "pairs": "cat: 20.0 % → 40.0 %; dog: 0.0 % → 100.0 %",
    "cloud": "A: 2 points; B: 0 points; least squares; all",
    "histogram": "medians of margin: clean: 0.1; B: 0.5",
}


@pytest.mark.parametrize("form", SAID)
def test_a_figure_says_its_values_where_nothing_better_is_given(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FORMS[form]().alt == WORDS["alt"]
    monkeypatch.delitem(WORDS, "alt")
    assert FORMS[form]().alt == SAID[form]


def test_a_grid_says_its_labels_and_an_image_its_title() -> None:
    images = np.zeros((2, 1, 4, 4))
    words: dict[str, Any] = {"name": "n", "title": "Two digits", "caption": ""}
    found = figures.image_rows(**words, rows={"image": images, "noise\n× 10": images}, columns=["cat", ""])
    assert found.alt == "2 images a row; rows: image, noise × 10; columns: cat"
    assert figures.image_rows(**words, rows={"": images}, columns=["", ""]).alt == "2 images a row"
    assert figures.one_image(**words, image=images[0]).alt == "Two digits"
