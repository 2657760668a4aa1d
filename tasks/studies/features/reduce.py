"""From rows to estimates: how the sets came out, and what students of each set know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
"""Both with D_det's labels."""
WORDS: Mapping[str, str] = {
    "D": "D, as it is",
    "D_R": "D_R, robust features",
    "D_NR": "D_NR, non-robust features",
    "D_rand": "D_rand, perturbed to a random label",
    "D_det": "D_det, perturbed to the next label",
    "unperturbed": "control: unperturbed, next label",
    "noise": "control: random perturbation, next label",
}


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
    students: Sequence[Student] = ()
    chosen: Sequence[Student] = ()
    """One for each chain and set."""
    tested: Mapping[tuple[int, str], pd.DataFrame] | None = None
    """(chain, set or source) -> predictions on test images; rows of `predict_block`."""
    attacked: Mapping[tuple[int, str], Mapping[float, pd.DataFrame]] | None = None
    """(chain, set or source) -> size -> rows of `attack_block`."""
    held_out: Mapping[int, int] | None = None
    """Chain -> number of images that choices were made on."""

    def judged(self, **found: object) -> Results:
        """With students."""
        return replace(self, **found)  # type: ignore[arg-type]

    @cached_property
    def num_classes(self) -> int:
        return self.chains[0].d.num_classes

    def right(self, chain: int, name: str, *, moved: int = 0) -> pd.Series:
        """Is a test image classified as y + moved? By index."""
        assert self.tested is not None
        rows = self.tested[chain, name].set_index("index")
        return rows.prediction == (rows.label + moved) % self.num_classes

    def stands(self, chain: int, name: str, eps: float) -> pd.Series:
        """Is a test image classified as y, also under attacks up to this size? A smaller ball lies in a larger one."""
        assert self.attacked is not None
        standing = self.right(chain, name).copy()
        for size, rows in self.attacked[chain, name].items():
            if size <= eps:
                standing[rows["index"][rows.success.to_numpy(dtype=bool)]] = False
        return standing

    def accuracy(self, name: str, *, moved: int = 0, eps: float = 0.0) -> Estimate:
        """Share of test images, mean over chains."""
        outcomes = [self.stands(c, name, eps) if eps else self.right(c, name, moved=moved) for c in self.chains]
        return mean_over_seeds([proportion(each.to_numpy(dtype=bool)) for each in outcomes], limits=(0.0, 1.0))

    def control(self, chain: int) -> str:
        """The better of the controls, by accuracy on held-out images."""
        scores = {s.name: score(s) for s in self.chosen if s.chain == chain and s.name in CONTROLS}
        return max(CONTROLS, key=lambda name: scores[name])

    def above_control(self) -> Estimate:
        """Accuracy of D_det's students minus that of the better control's, paired by chain and image."""
        return mean_over_seeds(
            [
                paired_difference(self.right(c, "D_det").to_numpy(), self.right(c, self.control(c)).to_numpy())
                for c in self.chains
            ]
        )

    def more_robust(self, a: str, b: str, eps: float) -> Estimate:
        """Robust accuracy of `a`'s students minus that of `b`'s, paired by chain and image."""
        return mean_over_seeds(
            [
                paired_difference(self.stands(c, a, eps).to_numpy(), self.stands(c, b, eps).to_numpy())
                for c in self.chains
            ]
        )


def score(student: Student) -> float:
    """What settings are chosen by: accuracy on held-out images, by their true labels."""
    return float(student.held_out.correct.mean())


def best(students: Iterable[Student]) -> list[Student]:
    """One student for each chain and set: of highest held-out accuracy, the first of equals."""
    found: dict[tuple[int, str], Student] = {}
    for student in students:
        known = found.get((student.chain, student.name))
        if known is None or score(student) > score(known):
            found[student.chain, student.name] = student
    return list(found.values())


def reached(chains: Iterable[Mapping[str, pd.DataFrame]]) -> float:
    """Share of images that the source sees as their new label: the least of D_rand's and D_det's in all chains."""
    return min(float((rows.prediction == rows.label).mean()) for found in chains for rows in found.values())


def making_table(results: Results) -> pd.DataFrame:
    """One row for each chain, set and size: measured on what is stored."""
    rows = []
    for number, chain in results.chains.items():
        for name in ("D_R", "D_NR"):
            rows.append(_made(number, name, None, chain.sets[name], used=True))
        for eps, found in chain.tried.items():
            for name, made in found.items():
                rows.append(_made(number, name, eps, made, used=eps == results.eps))
        rows.append(_made(number, "noise", results.eps, chain.sets["noise"], used=True))
    return pd.DataFrame(rows)


def _made(chain: int, name: str, eps: float | None, rows: pd.DataFrame, *, used: bool) -> dict[str, object]:
    seen = proportion((rows.prediction == rows.label).to_numpy())
    gaps = {key: float(rows[key].median()) if key in rows else np.nan for key in ("first_gap", "last_gap")}
    return {
        "chain": chain,
        "set": name,
        "eps": np.nan if eps is None else eps,
        "used": used,
        "seen_as_label": seen.value,
        "lo": seen.lo,
        "hi": seen.hi,
        "distance": float(rows.distance.mean()),
        **gaps,
        "n": len(rows),
    }


def grid_table(results: Results) -> pd.DataFrame:
    """One row for each student: all settings that were tried, not only the chosen ones."""
    return pd.DataFrame(
        {
            "chain": s.chain,
            "set": s.name,
            "lr": s.lr,
            "augmentation": s.augmentation,
            "chosen": s in results.chosen,
            "held_out": score(s),
            "test": float(s.test.correct.mean()),
            "test_next": float((s.test.prediction == (s.test.label + 1) % results.num_classes).mean()),
        }
        for s in results.students
    )


def accuracy_table(results: Results) -> pd.DataFrame:
    """One row for each set or source, label rule and size of attack; means over chains."""
    rows = []
    measures = [("y", 0, 0.0), ("y+1", 1, 0.0), *(("y", 0, eps) for eps in results.settings.eps_test)]
    for name in (*SETS, *CONTROLS, "standard source", "robust source"):
        for labels, moved, eps in measures:
            found = results.accuracy(name, moved=moved, eps=eps)
            rows.append(
                {"set": name, "labels": labels, "eps": eps, "accuracy": found.value, "lo": found.lo, "hi": found.hi}
                | {"n": found.n}
            )
    return pd.DataFrame(rows)
