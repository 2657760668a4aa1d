"""Further questions: patches of other sizes, one network's patches on another, and networks that learn with patches.

Each is asked with one design for each classifier, the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from robustray.tasks.studies.unadversarial.bench import Bench, Shown, of_images
from robustray.tasks.studies.unadversarial.further_tables import Further
from robustray.tasks.studies.unadversarial.making import Maker
from robustray.tasks.studies.unadversarial.reduce import CLEAN, NAMES, Cell, Chain
from robustray.tasks.studies.unadversarial.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.lab.optimise import Optimised, OptimiseSpec
    from robustray.tasks.lab.protocol import Handle

Key: TypeAlias = tuple[Literal["side", "other", "joint"], str, int]
"""Which question, which classifier, which side."""


def specs(settings: Settings, maker: Maker) -> dict[Key, OptimiseSpec]:
    """The designs that only these questions need."""
    found: dict[Key, OptimiseSpec] = {
        ("side", name, side): maker.of_side(side).spec(Chain(name, 0))
        for side in settings.other_sides
        for name in settings.names
    }
    found |= {("other", name, settings.side): maker.spec(Chain(name, 0)) for name in settings.other_models}
    if settings.joint:
        found |= {("joint", name, settings.side): maker.spec(Chain(name, 0), joint=True) for name in settings.names}
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """Looks that were asked for."""

    sides: Mapping[tuple[int, str, str], Handle[pd.DataFrame]]
    cross: Mapping[tuple[str, str, str], Handle[pd.DataFrame]]
    joint: Mapping[tuple[str, str, Cell], Handle[pd.DataFrame]]
    shown: Shown

    def result(self, plain: Mapping[str, pd.DataFrame]) -> Further:
        """plain: answers of every classifier without a patch."""
        return Further(
            sides={key: handle.result() for key, handle in self.sides.items()},
            cross={key: handle.result() for key, handle in self.cross.items()},
            joint={key: handle.result() for key, handle in self.joint.items()},
            without={name: of_images(rows, self.shown.detailed) for name, rows in plain.items()},
        )


def ask(
    settings: Settings,
    maker: Maker,
    bench: Bench,
    shown: Shown,
    losses: Mapping[str, pd.DataFrame],
    designed: Mapping[Chain, Optimised],
    extra: Mapping[Key, Optimised],
    cells: Sequence[Cell],
) -> Asked:
    """losses: of the training images, by classifier, others too. designed, extra: finished designs, of the main
    question and of `specs`."""
    firsts = [Chain(name, 0) for name in settings.names]
    sides: dict[tuple[int, str, str], Handle[pd.DataFrame]] = {}
    for side in settings.other_sides:
        patches = maker.of_side(side).plain(firsts, losses)
        patches |= {(chain, "designed"): extra["side", chain.model, side].ref for chain in firsts}
        for (chain, name), patch in patches.items():
            sides[side, chain.model, name] = bench.of_side(side).look(chain.model, patch, shown.own)
    every = [*firsts, *(Chain(name, 0) for name in settings.other_models)]
    of = {(chain.model, name): patch for (chain, name), patch in maker.plain(every, losses).items()}
    of |= {(chain.model, "designed"): designed[chain].ref for chain in firsts}
    of |= {(name, "designed"): extra["other", name, settings.side].ref for name in settings.other_models}
    cross = {
        (source, judge, name): bench.look(judge, patch, shown.detailed)
        for (source, name), patch in of.items()
        for judge in maker.models
        if source != judge or source in settings.other_models  # on its own network: the main question
    }
    joint: dict[tuple[str, str, Cell], Handle[pd.DataFrame]] = {}
    for model in settings.names if settings.joint else ():
        learnt = extra["joint", model, settings.side].ref
        for name in NAMES:
            carried = learnt if name == "designed" else of.get((model, name))
            for cell in (CLEAN, *cells):
                joint[model, name, cell] = bench.look(model, carried, shown.detailed, cell=cell, weights=learnt)
    return Asked(sides=sides, cross=cross, joint=joint, shown=shown)
