"""From rows to estimates: how well each patch is recognised, clean and corrupted, alone and on other objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from robustray.tasks.corruptions.tables import CORRUPTIONS
from robustray.tasks.kit.frames import columns
from robustray.tasks.statistics import Estimate, mean_interval, mean_over_nested_seeds, paired_difference, proportion
from robustray.tasks.studies.unadversarial.blocks import Ground
from robustray.tasks.studies.unadversarial.design import PatchKind
from robustray.tasks.studies.unadversarial.settings import Settings

if TYPE_CHECKING:
    from robustray.tasks.studies.unadversarial.further_tables import Further

NAMES = ("none", "random", "training image", "designed")
BASELINES = NAMES[:3]
WORDS: Mapping[str, str] = {
    "none": "no patch",
    "random": "a patch of noise",
    "training image": "the best training image",
    "designed": "the designed patch",
}
OF_A_DESIGN = ("random", "designed")
"""Patches that are other ones for each design of a classifier; no patch and its best training image are the same."""
SHARES = (0.0, 1.0)


class Cell(NamedTuple):
    """How images are corrupted; no name and severity 0 for clean ones."""

    corruption: str
    severity: int


CLEAN = Cell("", 0)


class Chain(NamedTuple):
    """A classifier, by name, and one of its designs."""

    model: str
    design: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """The rows of all steps."""

    settings: Settings
    classes: tuple[str, ...]
    kind: PatchKind
    chains: tuple[Chain, ...]
    seen: Mapping[tuple[Chain, str, Cell], pd.DataFrame]
    """(chain, patch, cell) -> rows of `look_block` of test images with the patch of their class; of corrupted ones, the
    first images only."""
    alone: Mapping[tuple[Chain, str, Ground], pd.DataFrame]
    """(chain, patch, ground) -> rows of patches without an object."""
    plain: Mapping[str, pd.DataFrame]
    """Rows of all classes' images without a patch, for each classifier."""
    swapped: Mapping[Chain, pd.DataFrame]
    """Rows of the first images with the designed patches of all other classes."""
    further: Further
    printed: Chain
    """Whose patches are shown and printed."""
    patches: Mapping[str, np.ndarray]
    """Patch -> its canvases, (k, channels, height, width)."""
    curves: Mapping[Chain, pd.DataFrame]
    """Curve of each design."""
    pictures: Mapping[str, pd.DataFrame]

    @cached_property
    def groups(self) -> list[list[Chain]]:
        """The chains of each classifier."""
        models = dict.fromkeys(chain.model for chain in self.chains)
        return [[chain for chain in self.chains if chain.model == model] for model in models]

    @property
    def num_seeds(self) -> int:
        """What intervals are over beside images: classifiers, or the designs of the only one."""
        return len(self.groups) if len(self.groups) > 1 else len(self.chains)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The corrupted cells of the benchmarks, over which means are taken."""
        return tuple(dict.fromkeys(cell for _, _, cell in self.seen if cell.corruption in CORRUPTIONS))

    def over_seeds(self, of: Callable[[Chain], Estimate], limits: tuple[float, float]) -> Estimate:
        """Mean over classifiers and their designs, by the one rule."""
        return mean_over_nested_seeds([[of(chain) for chain in group] for group in self.groups], limits=limits)

    def share(self, of: Callable[[Chain], np.ndarray]) -> Estimate:
        """Mean over chains of the share of yes."""
        return self.over_seeds(lambda chain: proportion(of(chain)), SHARES)

    def outcomes(self, chain: Chain, patch: str, cell: Cell) -> np.ndarray:
        """(images,): whether each is recognised."""
        return self.seen[chain, patch, cell].correct.to_numpy(dtype=bool)

    def right(self, chain: Chain, patch: str, cells: Iterable[Cell]) -> np.ndarray:
        """(images,): share of the cells in which an image is recognised."""
        return np.mean([self.outcomes(chain, patch, cell) for cell in cells], axis=0)

    def accuracy(self, patch: str, cell: Cell) -> Estimate:
        """Share of images, mean over chains."""
        return self.share(lambda chain: self.outcomes(chain, patch, cell))

    def corrupted(self, patch: str) -> Estimate:
        """Mean over corruptions and severities, with an interval over images and chains. A single cell is `accuracy`:
        Student's t of yes and no would have no width where all images came out alike."""
        if len(self.cells) == 1:
            return self.accuracy(patch, self.cells[0])
        return self.over_seeds(lambda chain: mean_interval(self.right(chain, patch, self.cells)), SHARES)

    def gain(self, over: str, cells: tuple[Cell, ...]) -> Estimate:
        """Accuracy with the designed patch minus that with another, paired by image, place and chain."""

        def of(chain: Chain) -> Estimate:
            if len(cells) == 1:
                designed, other = (self.outcomes(chain, name, cells[0]) for name in ("designed", over))
                return paired_difference(designed, other)
            return mean_interval(self.right(chain, "designed", cells) - self.right(chain, over, cells))

        return self.over_seeds(of, (-1.0, 1.0))


# --- Tables -----------------------------------------------------------------------------------------------------------


def patch_table(results: Results) -> pd.DataFrame:
    """One row for each patch: clean and corrupted accuracy, and what the designed patch gains over it in both."""
    rows = []
    for name in NAMES:
        clean, corrupted = results.accuracy(name, CLEAN), results.corrupted(name)
        row: dict[str, object] = {"patch": WORDS[name]}
        row |= columns("clean", clean, "clean_lo", "clean_hi")
        row |= columns("corrupted", corrupted, "corrupted_lo", "corrupted_hi")
        for where, cells in (("clean", (CLEAN,)), ("corrupted", results.cells)):
            gain = results.gain(name, cells) if name in BASELINES else None
            column = f"gain_{where}"
            row |= dict.fromkeys((column, f"{column}_lo", f"{column}_hi"), float("nan"))
            if gain is not None:
                row |= columns(column, gain, f"{column}_lo", f"{column}_hi")
        rows.append(row | {"n": clean.n, "n_corrupted": corrupted.n})
    return pd.DataFrame(rows)


def accuracy_table(results: Results) -> pd.DataFrame:
    """One row for each patch, corruption and severity: means over chains. Clean images have the corruption "clean" and
    severity 0."""
    rows = []
    for patch in NAMES:
        for cell in dict.fromkeys(cell for _, _, cell in results.seen):
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
    asked: dict[tuple[str, Ground], None] = dict.fromkeys((patch, ground) for _, patch, ground in results.alone)
    for patch, ground in asked:
        answered = {c: results.alone[c, patch, ground].correct.to_numpy(dtype=bool) for c in results.chains}
        found = results.share(answered.__getitem__)
        rows.append(
            {"patch": patch, "ground": ground, "answered": found.value, "lo": found.lo, "hi": found.hi, "n": found.n}
        )
    return pd.DataFrame(rows)


def swap_table(results: Results) -> pd.DataFrame:
    """One row for each class with a patch: what images of other classes that carry it are answered with."""
    rows = []
    for slot, label in enumerate(results.kind.classes):
        row: dict[str, object] = {"patch_of": results.classes[label]}
        count = 0
        on = {chain: _on_others(results, chain, slot) for chain in results.chains}
        for answer in ("patch", "object"):
            for how in ("without", "with"):
                wanted = {chain: label if answer == "patch" else rows.label for chain, rows in on.items()}
                said = {chain: (rows[how] == wanted[chain]).to_numpy() for chain, rows in on.items()}
                found, column = results.share(said.__getitem__), f"{answer}_{how}"
                row |= columns(column, found, f"{column}_lo", f"{column}_hi")
                count = found.n
        rows.append(row | {"n": count})
    return pd.DataFrame(rows)


def confusion_table(results: Results) -> pd.DataFrame:
    """One row for each class with a patch and class of images: what these are answered with when they carry it.

    Shares: own (the class of the image), patch (that of the patch) and other; where both classes are one, own and patch
    are the same answer.
    """
    rows = []
    for slot, patch in enumerate(results.kind.classes):
        for label, name in enumerate(results.classes):
            answers = {chain: _answers(results, chain, slot, label, own=label == patch) for chain in results.chains}
            if not len(answers[results.chains[0]]):
                continue
            row: dict[str, object] = {"patch_of": results.classes[patch], "images_of": name}
            for column, wanted in (("own", label), ("patch", patch)):
                said = {chain: each == wanted for chain, each in answers.items()}
                row |= columns(column, results.share(said.__getitem__), f"{column}_lo", f"{column}_hi")
            third = {chain: ~np.isin(each, (label, patch)) for chain, each in answers.items()}
            other = results.share(third.__getitem__)
            rows.append(row | columns("other", other, "other_lo", "other_hi") | {"n": other.n})
    return pd.DataFrame(rows)


def _answers(results: Results, chain: Chain, slot: int, label: int, *, own: bool) -> np.ndarray:
    """What images of a class are answered with when they carry the designed patch of a slot."""
    rows = results.seen[chain, "designed", CLEAN] if own else results.swapped[chain]
    return rows.prediction[(rows.slot == slot) & (rows.label == label)].to_numpy()


def _on_others(results: Results, chain: Chain, slot: int) -> pd.DataFrame:
    """label, answers "with" the patch and "without": images of other classes with the designed patch of a slot."""
    rows, plain = results.swapped[chain], results.plain[chain.model].set_index("index").prediction
    rows = rows[rows["slot"] == slot]
    return pd.DataFrame(
        {
            "label": rows["label"].to_numpy(),
            "with": rows.prediction.to_numpy(),
            "without": plain.reindex(rows["index"]).to_numpy(),
        }
    )


def visible_share(results: Results) -> tuple[float, float]:
    """Of a patch, the mean share that lies in its image; and the share of images in which it is not cut off."""
    shares = np.concatenate([results.seen[chain, "designed", CLEAN].visible.to_numpy() for chain in results.chains])
    return float(shares.mean()), float((shares > 0.99).mean())


def curve_table(results: Results) -> pd.DataFrame:
    """One row for each classifier, design and step: mean cross-entropy of the batch."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "classifier": chain.model,
                    "design": chain.design,
                    "step": curve.step,
                    "loss": -curve.objective.astype("float32"),
                }
            )
            for chain, curve in results.curves.items()
        ],
        ignore_index=True,
    )
