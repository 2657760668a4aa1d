"""The scatter: every point with its label, faint runs behind, shares as percent, nothing outside the drawing."""

from __future__ import annotations

import re

import numpy as np
import pytest

from robustray.tasks.figures import Palette, Point, scatter
from robustray.tasks.figures.curves import LINE_HEIGHT
from robustray.tasks.study import Figure

POINTS = [
    Point(label="standard", x=0.95, y=0.0, x_interval=(0.94, 0.96), y_interval=(0.0, 0.01), runs=[(0.94, 0.0)]),
    Point(label="ℓ∞ 8/255", x=0.87, y=0.53, runs=[(0.86, 0.52), (0.88, 0.54)]),
    Point(label="a $name$ with <marks>", x=0.87, y=0.53),
]


def drawn(points: list[Point] = POINTS, *, percent: bool = True) -> Figure:
    words = {"name": "trade-off", "title": "t", "caption": "c", "alt": "a", "x_label": "clean", "y_label": "robust"}
    return scatter(**words, points=points, palette=Palette(p.label for p in POINTS), percent=percent)


def test_every_point_is_labelled_in_the_order_given() -> None:
    svg = drawn().svg
    for words in ("standard", "ℓ∞ 8/255", "a $name$ with &lt;marks&gt;", "clean", "robust", "86 %"):
        assert words in svg, words
    assert drawn().svg == drawn().svg, "the same data give the same bytes"


def test_it_says_where_every_point_is() -> None:
    point = Point(label="standard", x=0.95, y=0.005)
    found = scatter(name="n", title="", caption="", points=[point], x_label="clean", y_label="robust", percent=True)
    assert found.alt == "standard: clean 95.0 %, robust 0.5 %"


def test_labels_of_equal_points_do_not_touch() -> None:
    svg = drawn().svg
    heights = [
        float(found[1])
        for label in ("standard", "ℓ∞", "a ")
        if (found := re.search(rf' y="([\d.]+)"[^>]*>{label}', svg))
    ]
    assert len(heights) == 3 and min(np.diff(sorted(heights))) >= LINE_HEIGHT - 0.02
    assert heights[0] == max(heights), "the lowest point has the lowest label"


@pytest.mark.parametrize("percent", [True, False])
def test_one_point_alone_has_room(percent: bool) -> None:
    assert "standard" in drawn(POINTS[:1], percent=percent).svg


def test_no_points_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match="at least one point"):
        drawn([])
