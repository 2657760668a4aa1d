"""From rows to estimates: how well each patch is recognised, clean and corrupted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from robustray.tasks.kit.frames import columns
from robustray.tasks.statistics import Estimate, mean_interval, mean_over_seeds, paired_difference, proportion
from robustray.tasks.studies.unadversarial.blocks import PatchKind
from robustray.tasks.studies.unadversarial.settings import Settings

PATCHES = ("none", "random", "training image", "designed")
BASELINES = PATCHES[:3]
WORDS: Mapping[str, str] = {
    "none": "no patch",
    "random": "a patch of noise",
    "training image": "the best training image",
    "designed": "the designed patch",
}


class Cell(NamedTuple):
    """How images are corrupted; no name and severity 0 for clean ones."""

    corruption: str
    severity: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """The rows of all steps."""

    settings: Settings
    classes: tuple[str, ...]
    kind: PatchKind
    seen: Mapping[tuple[int, str, Cell], pd.DataFrame]
    """(chain, patch, cell) -> rows of `look_block` of test images with the patch of their class."""
    alone: Mapping[tuple[int, str, str], pd.DataFrame]
    """(chain, patch, ground) -> rows of patches without an object."""
    swapped: Mapping[tuple[int, str], pd.DataFrame]
    """(chain, "none" or "designed") -> rows of images of other classes."""
    patches: Mapping[str, np.ndarray]
    """Patch -> canvases of the first chain, (k, channels, height, width)."""
    curves: Mapping[int, pd.DataFrame]
    """Chain -> curve of its design."""
    pictures: Mapping[str, pd.DataFrame]

    @cached_property
    def chains(self) -> tuple[int, ...]:
        return tuple(self.curves)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The corrupted cells."""
        return tuple(dict.fromkeys(cell for _, _, cell in self.seen if cell.corruption))

    def right(self, chain: int, patch: str, cells: Iterable[Cell]) -> np.ndarray:
        """(images,): share of the cells in which an image is recognised."""
        return np.mean([self.seen[chain, patch, cell].correct.to_numpy(dtype=float) for cell in cells], axis=0)

    def accuracy(self, patch: str, cell: Cell) -> Estimate:
        """Share of images, mean over chains."""
        return mean_over_seeds(
            [proportion(self.seen[c, patch, cell].correct.to_numpy(dtype=bool)) for c in self.chains], limits=(0.0, 1.0)
        )

    def corrupted(self, patch: str) -> Estimate:
        """Mean over corruptions and severities, with an interval over images and chains."""
        return mean_over_seeds(
            [mean_interval(self.right(chain, patch, self.cells)) for chain in self.chains], limits=(0.0, 1.0)
        )

    def gain(self, over: str, cells: tuple[Cell, ...]) -> Estimate:
        """Accuracy with the designed patch minus that with another, paired by image, place and chain."""
        if len(cells) == 1:
            pairs = (
                (self.seen[c, name, cells[0]].correct.to_numpy(dtype=bool) for name in ("designed", over))
                for c in self.chains
            )
            return mean_over_seeds([paired_difference(*pair) for pair in pairs])
        return mean_over_seeds(
            [mean_interval(self.right(c, "designed", cells) - self.right(c, over, cells)) for c in self.chains]
        )


def accuracy_table(results: Results) -> pd.DataFrame:
    """One row for each patch, corruption and severity: means over chains. Clean images have an empty corruption and
    severity 0."""
    rows = []
    for patch in PATCHES:
        for cell in (Cell("", 0), *results.cells):
            found = results.accuracy(patch, cell)
            rows.append(
                {"patch": patch, "corruption": cell.corruption or "clean", "severity": cell.severity}
                | columns("accuracy", found)
                | {"n": found.n}
            )
    return pd.DataFrame(rows)


def alone_table(results: Results) -> pd.DataFrame:
    """One row for each patch and ground: is the patch itself answered with its class?"""
    rows = []
    for patch, ground in dict.fromkeys((patch, ground) for _, patch, ground in results.alone):
        outcomes = [results.alone[chain, patch, ground] for chain in results.chains]
        found = mean_over_seeds([proportion(each.correct.to_numpy(dtype=bool)) for each in outcomes], limits=(0.0, 1.0))
        rows.append(
            {"patch": patch, "ground": ground, "answered": found.value, "lo": found.lo, "hi": found.hi, "n": found.n}
        )
    return pd.DataFrame(rows)


def swap_table(results: Results) -> pd.DataFrame:
    """One row for each class with a patch: what images of other classes that carry it are answered with."""
    rows = []
    for slot, label in enumerate(results.kind.classes):
        shares = {}
        for name in ("none", "designed"):
            for answer in ("patch", "object"):
                outcomes = [_answers(results, chain, name, slot, label, answer) for chain in results.chains]
                shares[name, answer] = mean_over_seeds([proportion(each) for each in outcomes], limits=(0.0, 1.0))
        row: dict[str, object] = {"patch_of": results.classes[label]}
        for (name, answer), found in shares.items():
            column = f"{answer}_{'with' if name == 'designed' else 'without'}"
            row |= columns(column, found, f"{column}_lo", f"{column}_hi")
        rows.append(row | {"n": shares["designed", "patch"].n})
    return pd.DataFrame(rows)


def _answers(results: Results, chain: int, name: str, slot: int, label: int, answer: str) -> np.ndarray:
    designed = results.swapped[chain, "designed"]
    rows = results.swapped[chain, name][(designed.slot == slot).to_numpy()]
    return (rows.prediction == (label if answer == "patch" else rows.label)).to_numpy()


def visible_share(results: Results) -> float:
    """Mean share of a patch that lies in its image."""
    return float(np.mean([results.seen[chain, "designed", Cell("", 0)].visible.mean() for chain in results.chains]))


def curve_table(results: Results) -> pd.DataFrame:
    """One row for each chain and design step: mean cross-entropy of the batch."""
    return pd.concat(
        [
            pd.DataFrame({"chain": chain, "step": curve.step, "loss": -curve.objective.astype("float32")})
            for chain, curve in results.curves.items()
        ],
        ignore_index=True,
    )
