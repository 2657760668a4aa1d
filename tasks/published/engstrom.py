"""The ResNet-50s of the robustness library, standard and trained against PGD: the table of its released models.

Logan Engstrom, Andrew Ilyas, Hadi Salman, Shibani Santurkar, Dimitris Tsipras: Robustness (Python library), 2019.
"""

from __future__ import annotations

from collections.abc import Mapping

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.published.table import Published
from robustray.tasks.report.numbers import size_words
from robustray.tasks.study import PaperFigure

DATA = "cifar10:test"
MODEL = "ResNet-50"
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

AUTOATTACK: Mapping[tuple[Norm, float], float] = {("linf", 8 / 255): 49.25, ("l2", 0.5): 69.24}
"""Norm, size -> accuracy in percent of the network trained at it under AutoAttack (RobustBench, "Engstrom 2019")."""
AUTOATTACK_SOURCE: Mapping[Norm, str] = {"linf": "RobustBench, CIFAR-10 ℓ∞", "l2": "RobustBench, CIFAR-10 ℓ2"}
STANDARD_AUTOATTACK = ("WRN-28-10", 94.78, 0.0)
"""The standard model of RobustBench: accuracy in percent, and under AutoAttack at 8/255."""

TABLE = Published(
    cells={(norm, trained, 0.0): f"{clean:.2f}" for (norm, trained), clean in CLEAN.items()}
    | {key: f"{few:.2f} / {many:.2f}" for key, (few, many) in ROBUST.items()},
    scale=f"{MODEL} (23.5 million parameters), full CIFAR-10 test set, one training each, its epoch chosen on test "
    "images",
    source=SOURCE,
)
"""Norm, size trained at (0: standard), size tested at (0: clean) -> "95.25", or "53.49 / 53.29" under PGD-20 / 100."""


def cell(data: str, norm: Norm, eps_train: float, eps_test: float) -> str | None:
    """A cell of the table; None where nothing is published, and for any other data."""
    return TABLE.cell((norm, eps_train, eps_test)) if data == DATA else None


def figure(data: str, norm: Norm, cells: Mapping[str, tuple[float, float]]) -> PaperFigure | None:
    """Cells as a claim's figure. cells: word -> (size trained at, size tested at); None unless all are published.

    Its value is under PGD-20: of one cell, or the second of two minus the first.
    """
    attacked = any(eps_test for _, eps_test in cells.values())
    keys = {word: (norm, *sizes) for word, sizes in cells.items()}
    first, *others = keys.values()
    value = None if len(others) > 1 else TABLE.contrast({others[0]: 1, first: -1} if others else {first: 1})
    return TABLE.figure(keys, scale=", PGD-20 / PGD-100" * attacked, value=value) if data == DATA else None


def steps(data: str, norm: Norm, eps: float) -> PaperFigure | None:
    """Accuracy of the network trained at this size, at that size, under PGD-20 and PGD-100; its value is their
    difference."""
    key = (norm, eps, eps)
    if data != DATA or key not in ROBUST:
        return None
    few, many = ROBUST[key]
    words = f"at {size_words(norm, eps)}"
    return TABLE.figure({words: key}, scale=", PGD-20 / PGD-100", value=(few - many) / 100)


def autoattack(data: str, norm: Norm, eps: float) -> PaperFigure | None:
    """Accuracy under AutoAttack of the network trained at this size, beside that under PGD-100."""
    if data != DATA or (norm, eps) not in AUTOATTACK:
        return None
    return PaperFigure(
        figure=f"{AUTOATTACK[norm, eps]:.2f} % (PGD-100: {ROBUST[norm, eps, eps][1]:.2f} %)",
        scale=f"{MODEL} (Engstrom 2019)",
        source=AUTOATTACK_SOURCE[norm],
    )


def broken(data: str, norm: Norm, eps: float, *, by_autoattack: bool) -> PaperFigure | None:
    """Share of broken images among the correct ones, 1 - robust / clean accuracy, of a standard network and of the one
    trained at this size; under PGD-20, or under AutoAttack."""
    if data != DATA or (norm, eps) not in AUTOATTACK:
        return None
    robust = ("robust", MODEL, CLEAN[norm, eps], AUTOATTACK[norm, eps] if by_autoattack else ROBUST[norm, eps, eps][0])
    if not by_autoattack:
        kinds = [("standard", MODEL, CLEAN[norm, 0.0], ROBUST[norm, 0.0, eps][0]), robust]
    else:
        kinds = [("standard", *STANDARD_AUTOATTACK), robust] if norm == "linf" else [robust]
    models = " and ".join(dict.fromkeys(f"{model} ({kind})" for kind, model, _, _ in kinds))
    accuracies = " and ".join(f"{clean:.2f} → {left:.2f} %" for _, _, clean, left in kinds)
    return PaperFigure(
        figure=", ".join(f"{100 * (1 - left / clean):.3g} % ({kind})" for kind, _, clean, left in kinds),
        scale=f"{models}, full CIFAR-10 test set, {'AutoAttack' if by_autoattack else 'PGD-20'}: accuracy {accuracies}",
        source=AUTOATTACK_SOURCE[norm] if by_autoattack else SOURCE,
    )
