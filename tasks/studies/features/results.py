"""From rows to estimates: how the sets came out, and what students of each set know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from robustray.tasks.statistics import Estimate, mean_over_seeds, paired_difference, proportion
from robustray.tasks.studies.features.settings import Settings
from robustray.tasks.training.settings import Augmentation

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData

SETS = ("D", "D_R", "D_NR", "D_rand", "D_det")
BUILT = SETS[1:]
"""What `--build` writes."""
CONTROLS = ("unperturbed", "noise")
"""Those that D_det is claimed against, both with its labels."""
BESIDE = ("robust_det", "mislabelled", "lonely_det")
"""What else students are trained on, as far as there is any."""
NAMED_SOURCES = ("standard source", "robust source")
FAST = ("D", "D_R", "D_NR", *NAMED_SOURCES)
"""What meets the stronger attack: that of which robustness is said."""
WORDS: Mapping[str, str] = {
    "D": "D, as it is",
    "D_R": "D_R, robust features",
    "D_NR": "D_NR, non-robust features",
    "D_rand": "D_rand, perturbed to a random label",
    "D_det": "D_det, perturbed to the next label",
    "unperturbed": "control: unperturbed, next label",
    "noise": "control: random perturbation, next label",
    "robust_det": "control: D_det made by the robust source",
    "mislabelled": "control: errors of an early network",
    "lonely_det": "control: D_det that does not transfer",
}
FEWEST_ERRORS = 16
"""Fewest errors of an early network for a student to be trained on them."""
MOST_SEEN = 0.05
"""A robust network may answer a set's new labels this much more often than on the images as they were."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """How the sets of one chain were made."""

    d: ImageData
    sets: Mapping[str, pd.DataFrame]
    """Set -> rows of the block function that made it."""
    tried: Mapping[float, Mapping[str, pd.DataFrame]]
    """Size -> D_rand and D_det at that size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Student:
    """A network trained on a set, and what it says of original images."""

    chain: int
    name: str
    lr: float
    augmentation: Augmentation
    held_out: pd.DataFrame
    test: pd.DataFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Rows of all steps."""

    settings: Settings
    eps: float
    """Size of D_rand and D_det."""
    chains: Mapping[int, Chain]
    answers: Mapping[tuple[int, str], pd.DataFrame] = field(default_factory=dict)
    """(chain, set, or "D") -> predictions of the witness on its images, by their places in D."""
    others: Mapping[tuple[int, str], pd.DataFrame] = field(default_factory=dict)
    """(chain, set) -> predictions of D's student on its images."""
    students: Sequence[Student] = ()
    """All students."""
    chosen: Sequence[Student] = ()
    """One for each chain and set."""
    tested: Mapping[tuple[int, str], pd.DataFrame] = field(default_factory=dict)
    """(chain, set or source) -> predictions on test images; rows of `predict_block`."""
    attacked: Mapping[tuple[int, str], Mapping[float, pd.DataFrame]] = field(default_factory=dict)
    """(chain, set or source) -> size -> rows of `attack_block`."""
    fast: Mapping[tuple[int, str], pd.DataFrame] = field(default_factory=dict)
    """(chain, set or source) -> rows of the stronger attack, on images that remain correct under PGD at the reference
    size."""
    against: Sequence[str] = ()
    """Why accuracies under attack are no evidence, a line each."""
    leaks: Mapping[tuple[int, str], pd.Series] = field(default_factory=dict)
    """(chain, set) -> a row of `leak_block`."""
    num_mislabelled: Mapping[int, int] = field(default_factory=dict)
    """Chain -> images that its early network is wrong on."""
    held_out: Mapping[int, int] = field(default_factory=dict)
    """Chain -> number of images that choices were made on."""

    def judged(self, **found: object) -> Results:
        """The same with what students, witness and probes said; `found` names fields."""
        return replace(self, **found)  # type: ignore[arg-type]

    @cached_property
    def num_classes(self) -> int:
        return self.chains[0].d.num_classes

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Sets that every chain has students of."""
        known = [{s.name for s in self.chosen if s.chain == chain} for chain in self.chains]
        return tuple(name for name in (*SETS, *CONTROLS, *BESIDE) if all(name in each for each in known))

    # --- One chain, image by image ------------------------------------------------------------------------------------

    def right(self, chain: int, name: str, *, moved: int = 0) -> pd.Series:
        """Is a test image classified as y + moved? By index."""
        rows = self.tested[chain, name].set_index("index")
        return rows.prediction == (rows.label + moved) % self.num_classes

    def stands(self, chain: int, name: str, eps: float) -> pd.Series:
        """Is an attacked test image classified as y, also under PGD up to this size? A smaller ball lies in a larger
        one."""
        standing = self.right(chain, name)
        standing = standing[standing.index < (self.settings.num_attacked or len(standing))].copy()
        for size, rows in self.attacked[chain, name].items():
            if size <= eps:
                standing[rows["index"][rows.success.to_numpy(dtype=bool)]] = False
        return standing

    def stands_fast(self, chain: int, name: str) -> pd.Series:
        """The same of the first `num_fast` images at the reference size, under the stronger attack as well."""
        standing = self.stands(chain, name, self.settings.eps_reference)
        standing = standing[standing.index < self.settings.num_fast].copy()
        rows = self.fast[chain, name]
        standing[rows["index"][rows.success.to_numpy(dtype=bool)]] = False
        return standing

    def leaked(self, chain: int, name: str) -> pd.Series:
        """Is a test image classified as y by the probe of a set?"""
        labels = self.tested[chain, "D"].set_index("index").label
        return labels == np.asarray(self.leaks[chain, name].prediction)

    def control(self, chain: int) -> str:
        """The better of the controls, by accuracy on held-out images."""
        scores = {s.name: score(s) for s in self.chosen if s.chain == chain and s.name in CONTROLS}
        return max(CONTROLS, key=lambda name: scores[name])

    # --- Over chains --------------------------------------------------------------------------------------------------

    def accuracy(self, name: str, *, moved: int = 0, eps: float = 0.0) -> Estimate:
        """Share of test images, mean over chains."""
        return _share(self.stands(c, name, eps) if eps else self.right(c, name, moved=moved) for c in self.chains)

    def fast_accuracy(self, name: str) -> Estimate:
        """Share of the first `num_fast` test images that remain correct under the stronger attack."""
        return _share(self.stands_fast(c, name) for c in self.chains)

    def leak(self, name: str) -> Estimate:
        """Accuracy of a set's probe."""
        return _share(self.leaked(c, name) for c in self.chains)

    def above_control(self) -> Estimate:
        """Accuracy of D_det's students minus that of the better control's, paired by chain and image."""
        return _difference((self.right(c, "D_det"), self.right(c, self.control(c))) for c in self.chains)

    def control_accuracy(self) -> Estimate:
        """Accuracy of the better control's students."""
        return _share(self.right(c, self.control(c)) for c in self.chains)

    def ratio(self) -> float:
        """Accuracy of D_det's students over that of the better control's; infinite where the control has none."""
        control = self.control_accuracy().value
        return self.accuracy("D_det").value / control if control else np.inf

    def more_accurate(self, a: str, b: str) -> Estimate:
        """Accuracy of `a`'s students minus that of `b`'s, paired by chain and image."""
        return _difference((self.right(c, a), self.right(c, b)) for c in self.chains)

    def above_leak(self, name: str) -> Estimate:
        """Accuracy of a set's students minus that of its probe, paired by chain and image."""
        return _difference((self.right(c, name), self.leaked(c, name)) for c in self.chains)

    def more_robust(self, a: str, b: str, eps: float) -> Estimate:
        """Robust accuracy of `a`'s students minus that of `b`'s, paired by chain and image."""
        return _difference((self.stands(c, a, eps), self.stands(c, b, eps)) for c in self.chains)

    # --- What a robust network sees in a set --------------------------------------------------------------------------

    def seen(self, chain: int, name: str) -> dict[str, pd.Series]:
        """For the images whose label is not their own: whether the witness answers y, the new label t or another one,
        and whether it answers t on the image as it was."""
        rows, before = self.answers[chain, name], self.answers[chain, "D"]
        made = self.chains[chain].sets[name]
        y, t, said = (np.asarray(values) for values in (made.original, made.label, rows.prediction))
        then = before.prediction.to_numpy()[made["index"].to_numpy()]
        moved = y != t
        return {
            name: pd.Series(flags[moved])
            for name, flags in {
                "y": said == y,
                "t": said == t,
                "other": (said != y) & (said != t),
                "t before": then == t,
            }.items()
        }

    def seen_more(self, name: str) -> Estimate:
        """How much more often the witness answers the new label than on the images as they were."""
        found = [self.seen(chain, name) for chain in self.chains]
        return _difference((each["t"], each["t before"]) for each in found)

    def not_non_robust(self, name: str) -> bool:
        """The set is marked: its perturbations are seen by a robust network of another seed, too."""
        return self.seen_more(name).value > MOST_SEEN


def _share(outcomes: Iterable[pd.Series]) -> Estimate:
    return mean_over_seeds([proportion(each.to_numpy(dtype=bool)) for each in outcomes], limits=(0.0, 1.0))


def _difference(outcomes: Iterable[tuple[pd.Series, pd.Series]]) -> Estimate:
    return mean_over_seeds([paired_difference(a.to_numpy(dtype=bool), b.to_numpy(dtype=bool)) for a, b in outcomes])


# --- Choices ----------------------------------------------------------------------------------------------------------


def score(student: Student) -> float:
    """What settings are chosen by: accuracy on held-out images, by their true labels."""
    return float(student.held_out.correct.mean())


def choice(students: Iterable[Student]) -> dict[str, tuple[float, Augmentation]]:
    """Set -> learning rate and augmentation of highest held-out accuracy, mean over chains; the first of equals."""
    scores: dict[str, dict[tuple[float, Augmentation], list[float]]] = {}
    for student in students:
        cells = scores.setdefault(student.name, {})
        cells.setdefault((student.lr, student.augmentation), []).append(score(student))
    return {name: max(cells, key=lambda cell: float(np.mean(cells[cell]))) for name, cells in scores.items()}


def reached(chains: Iterable[Mapping[str, pd.DataFrame]]) -> float:
    """Share of images that the source sees as their new label: the least of D_rand's and D_det's in all chains."""
    return min(float((rows.prediction == rows.label).mean()) for found in chains for rows in found.values())
