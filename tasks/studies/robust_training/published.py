"""The published figures that the study stands beside: other, larger networks (robust_training.md section 1)."""

from __future__ import annotations

from collections.abc import Mapping

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.studies.robust_training.settings import Settings
from robustray.tasks.study import PaperFigure

DATA = "cifar10:test"
SCALE = (
    "ResNet-50 (23.5 million parameters), full CIFAR-10 test set, one training each, its epoch chosen on test images"
)
SOURCE = "robustness 1.2.1, table of released models"

CLEAN: Mapping[tuple[Norm, float], float] = {
    ("l2", 0.0): 95.25,
    ("l2", 0.25): 92.77,
    ("l2", 0.5): 90.83,
    ("l2", 1.0): 81.62,
    ("linf", 0.0): 95.25,
    ("linf", 8 / 255): 87.03,
}
"""Norm, size trained at -> accuracy without an attack, in percent."""

ROBUST: Mapping[tuple[Norm, float, float], tuple[float, float]] = {
    ("l2", 0.0, 0.25): (8.66, 7.34),
    ("l2", 0.0, 0.5): (0.28, 0.14),
    ("l2", 0.0, 1.0): (0.0, 0.0),
    ("l2", 0.0, 2.0): (0.0, 0.0),
    ("l2", 0.25, 0.25): (81.21, 81.19),
    ("l2", 0.25, 0.5): (62.30, 62.13),
    ("l2", 0.25, 1.0): (21.18, 20.66),
    ("l2", 0.25, 2.0): (0.58, 0.46),
    ("l2", 0.5, 0.25): (82.34, 82.31),
    ("l2", 0.5, 0.5): (70.17, 70.11),
    ("l2", 0.5, 1.0): (40.47, 40.22),
    ("l2", 0.5, 2.0): (5.23, 4.97),
    ("l2", 1.0, 0.25): (75.53, 75.53),
    ("l2", 1.0, 0.5): (68.63, 68.61),
    ("l2", 1.0, 1.0): (52.72, 52.61),
    ("l2", 1.0, 2.0): (18.59, 18.05),
    ("linf", 0.0, 8 / 255): (0.0, 0.0),
    ("linf", 0.0, 16 / 255): (0.0, 0.0),
    ("linf", 8 / 255, 8 / 255): (53.49, 53.29),
    ("linf", 8 / 255, 16 / 255): (18.13, 17.62),
}
"""Norm, size trained at, size tested at -> accuracy in percent under PGD-20 and PGD-100 with steps of 2.5 eps / T."""

AUTOATTACK: Mapping[tuple[Norm, float], PaperFigure] = {
    ("linf", 8 / 255): PaperFigure(
        figure="49.25 % (PGD-100: 53.29 %)", scale="ResNet-50 (Engstrom 2019)", source="RobustBench, CIFAR-10 ℓ∞"
    ),
    ("l2", 0.5): PaperFigure(
        figure="69.24 % (PGD-100: 70.11 %)", scale="ResNet-50 (Engstrom 2019)", source="RobustBench, CIFAR-10 ℓ2"
    ),
}
"""Norm, size -> accuracy under AutoAttack of the network trained at it."""


def cell(settings: Settings, norm: Norm, eps_train: float, eps_test: float) -> str | None:
    """A cell of the published table: `"95.25"` without an attack, `"53.49 / 53.29"` under PGD-20 / PGD-100.

    None where nothing is published, and for any other data.
    """
    if settings.test_data != DATA:
        return None
    if eps_test == 0:
        clean = CLEAN.get((norm, eps_train))
        return None if clean is None else f"{clean:.2f}"
    robust = ROBUST.get((norm, eps_train, eps_test))
    return None if robust is None else f"{robust[0]:.2f} / {robust[1]:.2f}"


def figure(settings: Settings, norm: Norm, cells: Mapping[str, tuple[float, float]]) -> PaperFigure | None:
    """Cells of the published table as a claim's figure. cells: word -> (size trained at, size tested at).

    None unless all of them are published.
    """
    found = {word: cell(settings, norm, *sizes) for word, sizes in cells.items()}
    if any(number is None for number in found.values()):
        return None
    attacked = any(eps_test for _, eps_test in cells.values())
    return PaperFigure(
        figure=", ".join(f"{word} {number} %" for word, number in found.items()),
        scale=SCALE + (", PGD-20 / PGD-100" if attacked else ""),
        source=SOURCE,
    )
