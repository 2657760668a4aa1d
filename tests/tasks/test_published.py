"""Published figures: cells as printed, shares derived from them, and nothing where nothing is published."""

from __future__ import annotations

import pytest

from robustray.tasks.published import engstrom
from robustray.tasks.published.table import Published
from robustray.tasks.study import PaperFigure

LINF = 8 / 255


def test_published_figures_carry_their_scale_and_source() -> None:
    published = Published(cells={"a": "95.25", "b": "0.00"}, scale="ResNet-50", source="a table")
    assert published.figure({"standard": "a", "": "b"}, scale=", PGD-20") == PaperFigure(
        figure="standard 95.25 %, 0.00 %", scale="ResNet-50, PGD-20", source="a table"
    )
    assert published.figure({"standard": "a", "robust": "c"}) is None and published.figure({}) is None
    assert published.cell("b") == "0.00" and published.cell("c") is None


def test_cells_are_those_of_the_table() -> None:
    assert engstrom.cell(engstrom.DATA, "linf", LINF, LINF) == "53.49 / 53.29"
    assert engstrom.cell(engstrom.DATA, "l2", 0.0, 0.0) == "95.25"
    assert engstrom.cell(engstrom.DATA, "l2", 0.5, 0.1) is None
    assert engstrom.cell("digits:test", "l2", 0.5, 0.5) is None
    figure = engstrom.figure(engstrom.DATA, "linf", {"standard": (0.0, LINF), "robust": (LINF, LINF)})
    assert figure is not None and "ResNet-50" in figure.scale and figure.scale.endswith(", PGD-20 / PGD-100")
    assert figure.figure == "standard 0.00 / 0.00 %, robust 53.49 / 53.29 %"
    clean = engstrom.figure(engstrom.DATA, "l2", {"standard": (0.0, 0.0)})
    assert clean is not None and "PGD" not in clean.scale


@pytest.mark.parametrize(
    ("norm", "eps", "by_autoattack", "words", "scale"),
    [
        ("linf", LINF, False, "100 % (standard), 38.5 % (robust)", "95.25 → 0.00 % and 87.03 → 53.49 %"),
        ("l2", 0.5, False, "99.7 % (standard), 22.7 % (robust)", "95.25 → 0.28 % and 90.83 → 70.17 %"),
        ("linf", LINF, True, "100 % (standard), 43.4 % (robust)", "94.78 → 0.00 % and 87.03 → 49.25 %"),
        ("l2", 0.5, True, "23.8 % (robust)", "90.83 → 69.24 %"),
    ],
)
def test_shares_of_broken_images_follow_from_accuracies(
    norm: str, eps: float, by_autoattack: bool, words: str, scale: str
) -> None:
    figure = engstrom.broken(engstrom.DATA, norm, eps, by_autoattack=by_autoattack)  # type: ignore[arg-type]
    assert figure is not None and figure.figure == words and figure.scale.endswith(scale)
    assert ("WRN-28-10" in figure.scale) == (by_autoattack and norm == "linf")


def test_a_figure_holds_the_number_that_a_claim_is_about() -> None:
    def value(cells: dict[str, tuple[float, float]]) -> float | None:
        found = engstrom.figure(engstrom.DATA, "linf", cells)
        return None if found is None else found.value

    assert value({"standard": (0.0, 0.0), "robust": (LINF, 0.0)}) == pytest.approx(0.8703 - 0.9525)
    assert value({"robust": (LINF, LINF)}) == pytest.approx(0.5349)
    assert value({"a": (0.0, 0.0), "b": (LINF, 0.0), "c": (LINF, LINF)}) is None
    steps = engstrom.steps(engstrom.DATA, "linf", LINF)
    assert steps is not None and steps.value == pytest.approx(0.002) and steps.figure == "at ℓ∞ 8/255 53.49 / 53.29 %"
    assert engstrom.steps(engstrom.DATA, "linf", 4 / 255) is None and engstrom.steps("digits:test", "l2", 0.5) is None


def test_numbers_are_read_from_what_was_printed() -> None:
    returns = Published(cells={"a": "2513 [2391, 2632]", "b": "−13"}, scale="", source="", unit="")
    assert returns.number("a") == 2513 and returns.contrast({"a": 0.5, "b": -1}) == 1269.5
    assert returns.number("c") is None and returns.contrast({"a": 1, "c": -1}) is None


def test_nothing_is_said_where_nothing_is_published() -> None:
    assert engstrom.broken("digits:test", "linf", LINF, by_autoattack=False) is None
    assert engstrom.broken(engstrom.DATA, "l2", 0.25, by_autoattack=True) is None
    assert engstrom.autoattack(engstrom.DATA, "linf", 4 / 255) is None
    found = engstrom.autoattack(engstrom.DATA, "l2", 0.5)
    assert found is not None and found.figure == "69.24 % (PGD-100: 70.11 %)"
