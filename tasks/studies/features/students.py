"""Students of every set: trained, chosen on held-out images, tested, and attacked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from robustray.tasks.attacks.blocks import attack_block
from robustray.tasks.audit import blocks as audits_of
from robustray.tasks.kit.images import NEEDS, predict
from robustray.tasks.studies.features.recipes import Source
from robustray.tasks.studies.features.results import FAST, NAMED_SOURCES, Student, choice
from robustray.tasks.training.settings import Augmentation

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.attacks.settings import Attack
    from robustray.tasks.lab.protocol import Handle, Lab, Reference
    from robustray.tasks.studies.features.sets import Part, Sets, Sources
    from robustray.tasks.studies.features.settings import Settings

Cell: TypeAlias = tuple[int, str, float, Augmentation]
"""A student: (chain, set, learning rate, augmentation)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Taught:
    """All students, trained."""

    models: Mapping[Cell, Reference]
    students: tuple[Student, ...]
    chosen: tuple[Student, ...]
    """One for each chain and set."""
    choices: Mapping[str, tuple[float, Augmentation]]
    """Set -> learning rate and augmentation, the same in all chains."""

    @property
    def best(self) -> dict[tuple[int, str], Reference]:
        """(chain, set) -> the chosen student."""
        return {(s.chain, s.name): self.models[s.chain, s.name, s.lr, s.augmentation] for s in self.chosen}


def teach(settings: Settings, lab: Lab, parts: Mapping[int, Part], sets: Sets, test: Reference) -> Taught:
    """Every rate and augmentation in the first chains; the others train what was chosen there, on held-out images."""
    grid: list[Cell] = [
        (chain, name, lr, augmentation)
        for chain in settings.in_grid
        for name in sets[chain]
        for lr in settings.student_lrs
        for augmentation in settings.student_augmentations
    ]
    models = _trained(settings, lab, sets, grid)
    students = _tested(settings, lab, parts, test, models)
    choices = choice(students)
    first = (settings.student_lrs[0], settings.student_augmentations[0])
    others: list[Cell] = [
        (chain, name, *choices.get(name, first))
        for chain in sets
        if chain not in settings.in_grid
        for name in sets[chain]
    ]
    further = _trained(settings, lab, sets, others)
    students += _tested(settings, lab, parts, test, further)
    chosen = tuple(s for s in students if (s.lr, s.augmentation) == choices.get(s.name, first))
    return Taught(models=models | further, students=tuple(students), chosen=chosen, choices=choices)


def _trained(settings: Settings, lab: Lab, sets: Sets, cells: list[Cell]) -> dict[Cell, Reference]:
    specs = [
        settings.pupil(sets[chain][name], lr, augmentation, chain, most=len(lab.load(sets[chain][name])))
        for chain, name, lr, augmentation in cells
    ]
    return dict(zip(cells, lab.train(specs).result(), strict=True)) if cells else {}


def _tested(
    settings: Settings, lab: Lab, parts: Mapping[int, Part], test: Reference, models: Mapping[Cell, Reference]
) -> list[Student]:
    num_test = len(lab.load(test))
    asked = {
        cell: (
            predict(
                lab, model, parts[cell[0]].held_out, parts[cell[0]].num_held_out, block=settings.block, step="held-out"
            ),
            predict(lab, model, test, num_test, block=settings.block, step="test"),
        )
        for cell, model in models.items()
    }
    return [
        Student(chain=chain, name=name, lr=lr, augmentation=augmentation, held_out=held.result(), test=tested.result())
        for (chain, name, lr, augmentation), (held, tested) in asked.items()
    ]


# --- Under attack -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Attacked:
    """The chosen students and the two sources on original test images, by (chain, set or source)."""

    tested: Mapping[tuple[int, str], pd.DataFrame]
    pgd: Mapping[tuple[int, str], Mapping[float, pd.DataFrame]]
    """Rows of PGD by size."""
    fast: Mapping[tuple[int, str], pd.DataFrame]
    """Rows of the stronger attack on those in `FAST`, where it was asked for."""
    against: tuple[str, ...]
    """Why their accuracies under attack are no evidence (`audit.blocks.told`)."""


def attack(settings: Settings, lab: Lab, taught: Taught, sources: Sources, test: Reference) -> Attacked:
    """Attack with PGD at every size the images that are classified correctly; then, with the stronger attack, those
    that remain correct at the reference size."""
    num_test = len(lab.load(test))
    models = dict(taught.best)
    tested = {(s.chain, s.name): s.test for s in taught.chosen}
    kinds: tuple[Source, ...] = ("standard", "robust")
    for name, kind in zip(NAMED_SOURCES, kinds, strict=True):
        for chain in settings.chains:
            models[chain, name] = sources[chain, kind]
            clean = predict(lab, models[chain, name], test, num_test, block=settings.block, step="test")
            tested[chain, name] = clean.result()
    most = settings.num_attacked or num_test
    asked: dict[tuple[int, str], dict[float, Handle[pd.DataFrame]]] = {}
    for key, model in models.items():
        rows = tested[key]
        right = rows[rows.correct & (rows["index"] < most)]["index"].tolist()
        asked[key] = {
            eps: _attacked(settings, lab, key[0], model, test, right, settings.attack(eps)) for eps in settings.eps_test
        }
    audits = {
        key: audits_of.ask(lab, model, test, settings.attack(settings.eps_reference), seed=settings.seed)
        for key, model in models.items()
    }
    pgd = {key: {eps: one.result() for eps, one in found.items()} for key, found in asked.items()}
    strong = {
        key: _attacked(
            settings,
            lab,
            key[0],
            model,
            test,
            standing(tested[key], pgd[key], settings.eps_reference, settings.num_fast),
            settings.fast(),
        )
        for key, model in models.items()
        if settings.num_fast and key[1] in FAST
    }
    return Attacked(
        tested=tested,
        pgd=pgd,
        fast={key: one.result() for key, one in strong.items()},
        against=audits_of.told((f"{name}, chain {chain}", one.result()) for (chain, name), one in audits.items()),
    )


def standing(clean: pd.DataFrame, pgd: Mapping[float, pd.DataFrame], eps: float, most: int) -> list[int]:
    """Those of the first `most` images that are classified correctly, also under PGD up to this size."""
    fallen: set[int] = set()
    for size, rows in pgd.items():
        if size <= eps:
            fallen |= set(rows["index"][rows.success.to_numpy(dtype=bool)].tolist())
    right: Iterable[int] = clean[clean.correct & (clean["index"] < most)]["index"].tolist()
    return [index for index in right if index not in fallen]


def _attacked(
    settings: Settings, lab: Lab, chain: int, model: Reference, test: Reference, indices: list[int], attack: Attack
) -> Handle[pd.DataFrame]:
    return lab.map(
        "attack",
        attack_block,
        indices,
        block=settings.block,
        seed=settings.seed + chain,
        settings=attack,
        refs={"model": model, "data": test},
        needs=NEEDS,
    )
