"""How a number looks, everywhere."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.report.numbers import (
    FIGURE_SPACE,
    POINT_SPACE,
    exact,
    format_column,
    format_estimate,
    format_interval,
    format_seconds,
    format_value,
    pad_decimals,
)

NAN = float("nan")


@pytest.mark.parametrize(
    "value, fmt, shown",
    [
        (0.375, "percent", "37.5 %"),
        (0, "percent", "0.0 %"),
        (1, "percent", "100.0 %"),
        (0.0004, "percent", "0.04 %"),
        (0.0006, "percent", "0.06 %"),
        (0.00001, "percent", "0.001 %"),
        (1e-17, "percent", "0.0 %"),
        (-1e-17, "percent", "0.0 %"),
        (0.9996, "percent", "99.96 %"),
        (0.99999, "percent", "99.999 %"),
        (1 - 1e-12, "percent", "100.0 %"),
        (0.5349, "percent", "53.5 %"),
        (-0.021, "percent", "−2.1 %"),
        (0.031, "points", "+3.1 points"),
        (-0.031, "points", "−3.1 points"),
        (0.0, "points", "0.0 points"),
        (-0.0004, "points", "0.0 points"),
        (0.0, "eps", "0"),
        (8 / 255, "eps", "8/255"),
        (np.float32(8 / 255), "eps", "8/255"),
        (0.0314, "eps", "0.0314"),
        (0.5 / 255, "eps", "0.5/255"),
        (0.5, "eps", "0.5"),
        (1.0, "eps", "1"),
        (0.2, "eps", "0.2"),
        (0.0123, "eps", "0.0123"),
        (75.2, "seconds", "1 min 15 s"),
        (10000, "", "10,000"),
        (np.int64(-3), "", "−3"),
        (0.12345, "", "0.123"),
        (999.7, "", "1,000"),
        (1234.5, "", "1,234"),
        (3e12, "number", "3.00e+12"),
        (0.12345, ".3f", "0.123"),
        (-0.12345, ".3f", "−0.123"),
        (7.0, "d", "7"),
        ("pgd", "percent", "pgd"),
        ("", "", ""),
        (True, "", "yes"),
        (np.bool_(False), "", "no"),
        (None, "percent", "–"),
        (NAN, "percent", "–"),
        (NAN, ".3f", "–"),
        (pd.NA, "", "–"),
        (pd.NaT, "", "–"),
        (math.inf, "percent", "∞"),
        (-math.inf, "", "−∞"),
    ],
)
def test_format_value(value: object, fmt: str, shown: str) -> None:
    assert format_value(value, fmt) == shown


@pytest.mark.parametrize(
    "seconds, shown",
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (12.3, "12 s"),
        (59.7, "1 min 00 s"),
        (75, "1 min 15 s"),
        (7380, "2 h 03 min"),
        (3599.6, "1 h 00 min"),
    ],
)
def test_format_seconds(seconds: float, shown: str) -> None:
    assert format_seconds(seconds) == shown


def test_intervals_and_estimates() -> None:
    assert format_interval(0.346, 0.404, "percent") == "[34.6, 40.4]"
    assert format_estimate(0.375, (0.346, 0.404), "percent") == "37.5 % [34.6, 40.4]"
    assert format_estimate(0.0, (0.0, 0.0004), "percent") == "0.0 % [0.0, 0.04]"
    assert format_estimate(None, None, "percent") == "–"
    assert format_interval(NAN, 1, "percent") == "[–, 100.0]"


def test_decimals_stand_below_each_other() -> None:
    padded = pad_decimals(["1.5", "22", "–", "0.044", "1,234.25", "−3.0"])
    assert [cell.rstrip(FIGURE_SPACE + POINT_SPACE) for cell in padded] == [
        "1.5",
        "22",
        "–",
        "0.044",
        "1,234.25",
        "−3.0",
    ]
    points = {
        len(cell) - (cell.index(".") if "." in cell else cell.index(POINT_SPACE)) for cell in padded if cell != "–"
    }
    assert points == {4}
    assert pad_decimals(["0", "0.5/255", "8/255"]) == ["0", "0.5/255", "8/255"]
    assert pad_decimals([]) == []


def test_plain_floats_of_a_column_share_their_decimals() -> None:
    assert format_column([41.2, 96.04, 1893.5]) == ["41.2", "96.0", "1,893.5"]
    assert format_column([70000.0, 3.0, NAN]) == ["70,000", "3", "–"]
    assert format_column([0.5, 0.0]) == ["0.500", "0.000"]
    assert format_column([1e-7, 5.0]) == ["1e−07", "5"]
    assert format_column([1, 2.5, "x"]) == ["1", "2.50", "x"]


@pytest.mark.parametrize(
    "value, shown",
    [(8 / 255, "8/255"), (0.1, "0.1"), (1.0, "1.0"), (1 / 3, "85/255"), (0.1 + 0.2, repr(0.1 + 0.2)), (20, "20")],
)
def test_a_setting_is_shown_without_rounding(value: object, shown: str) -> None:
    assert exact(value) == shown
    assert exact("pgd") == "pgd" and exact(None) == "None"
