"""A published table: cells by key, with what they were obtained with and where they stand."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from robustray.tasks.study import PaperFigure


@dataclass(frozen=True, kw_only=True)
class Published:
    """A table, or a row of figures, as printed."""

    cells: Mapping[Any, str]
    """Key -> the figure as printed, without its unit: ("l2", 0.5) -> "70.17"."""
    scale: str
    """What it was obtained with: "ResNet-50, full CIFAR-10 test set, PGD-20"."""
    source: str
    """Where it stands: "robustness 1.2.1, table of released models"."""
    unit: str = "%"
    """Put behind every figure; "" for none."""

    def cell(self, key: Hashable) -> str | None:
        """A figure as printed; None where nothing is published."""
        return self.cells.get(key)

    def number(self, key: Hashable) -> float | None:
        """A figure as a number: the first where the cell has several ("53.49 / 53.29", "2513 [2391, 2632]"), as a
        share where the unit is %; None where nothing is published."""
        words = self.cells.get(key)
        if words is None:
            return None
        return float(words.split()[0].replace("−", "-")) / (100 if self.unit == "%" else 1)

    def contrast(self, weights: Mapping[Any, float]) -> float | None:
        """The weighted sum of several numbers, {"a": 1, "b": -1} for a difference; None unless all are published."""
        found = {key: self.number(key) for key in weights}
        known = {key: number for key, number in found.items() if number is not None}
        return sum(weights[key] * number for key, number in known.items()) if len(known) == len(found) else None

    def figure(
        self, cells: Mapping[str, Hashable], *, scale: str = "", value: float | None = None
    ) -> PaperFigure | None:
        """Cells as a claim's figure: `{"standard": ("l2", 0.0), "at ℓ2 0.5": ("l2", 0.5)}` -> "standard 95.25 %, at
        ℓ2 0.5 90.83 %". A word may be empty. scale: put behind the table's own. value: what they give for the claim's
        own quantity (−0.0442 for the difference of these).

        None unless all of them are published.
        """
        found = {word: self.cells.get(key) for word, key in cells.items()}
        if not found or any(figure is None for figure in found.values()):
            return None
        parts = (" ".join(filter(None, (word, figure, self.unit))) for word, figure in found.items())
        return PaperFigure(figure=", ".join(parts), scale=self.scale + scale, source=self.source, value=value)
