"""Shows test images with patches to classifiers, each combination once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from robustray.tasks.kit.images import NEEDS
from robustray.tasks.studies.unadversarial.blocks import NO_PATCH, Ground, Look, look_block, picture_block
from robustray.tasks.studies.unadversarial.design import PatchKind
from robustray.tasks.studies.unadversarial.reduce import CLEAN, OF_A_DESIGN, Cell, Chain
from robustray.tasks.studies.unadversarial.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.lab.protocol import Handle, Lab, Reference

TEST_SEEDS = 1_000_000
"""Seeds of test placements and corruptions are so far from those of designs: no place was seen in design."""

Items = list[list[int]]
"""[index, slot] of each image and the canvas that it carries."""
K = TypeVar("K")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Which test images are shown, with which canvas."""

    own: Items
    """All of the patched classes, with the patch of their class."""
    detailed: Items
    """The first of these, for what takes many looks."""
    others: Items
    """The first images, each with the patch of every class that is not its own."""
    plain: Items
    """All images of all classes, without a patch."""


def shown_images(settings: Settings, labels: np.ndarray, mine: tuple[int, ...]) -> Shown:
    """labels: of all test images. mine: the class of each canvas."""
    labels = labels[: settings.num_images or None]
    few = settings.num_detailed or len(labels)
    own = [[int(i), mine.index(labels[i])] for i in np.flatnonzero(np.isin(labels, mine))]
    return Shown(
        own=own,
        detailed=[item for item in own if item[0] < few],
        others=[[int(i), slot] for slot, label in enumerate(mine) for i in np.flatnonzero(labels[:few] != label)],
        plain=[[i, NO_PATCH] for i in range(len(labels))],
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """Places and corruptions depend on classifier and image only: all patches of a classifier land at the same ones."""

    settings: Settings
    lab: Lab
    test: Reference
    kind: PatchKind
    models: Mapping[str, Reference]

    def of_side(self, side: int) -> Bench:
        """The same with patches of another size."""
        return replace(self, kind=replace(self.kind, side=side))

    def seed(self, model: str) -> int:
        return self.settings.seed + TEST_SEEDS + list(self.models).index(model)

    def look(
        self,
        model: str,
        patch: Reference | None,
        items: Items,
        *,
        cell: Cell = CLEAN,
        ground: Ground = "image",
        weights: Reference | None = None,
    ) -> Handle[pd.DataFrame]:
        """Rows of `look_block`; without a patch, the same images as they are. weights: instead of the model's own."""
        carried, refs = _carrying(patch, items, {"model": self.models[model], "data": self.test})
        if weights is not None:
            refs["weights"] = weights
        return self.lab.map(
            "look",
            look_block,
            carried,
            block=self.settings.block,
            seed=self.seed(model),
            settings=Look(
                kind=self.kind,
                ground=ground,
                corruption=cell.corruption,
                severity=cell.severity,
                table=self.settings.table,
                learnt=weights is not None,
            ),
            refs=refs,
            needs=NEEDS,
        )

    def pictures(self, patch: Reference | None, items: Items) -> Handle[pd.DataFrame]:
        """Images as the first classifier saw them."""
        carried, refs = _carrying(patch, items, {"data": self.test})
        return self.lab.map(
            "pictures",
            picture_block,
            carried,
            block=self.settings.block,
            seed=self.seed(next(iter(self.models))),
            settings=Look(kind=self.kind),
            refs=refs,
        )


def _carrying(patch: Reference | None, items: Items, refs: dict[str, Reference]) -> tuple[Items, dict[str, Reference]]:
    if patch is None:
        return [[index, NO_PATCH] for index, _ in items], refs
    return items, refs | {"patch": patch}


def looked(chains: Sequence[Chain], names: Sequence[str]) -> list[tuple[Chain, str]]:
    """What is looked at: each of these patches once."""
    return [(chain, name) for chain in chains for name in names if name in OF_A_DESIGN or not chain.design]


def for_all_designs(
    asked: Mapping[tuple[Chain, str, K], Handle[pd.DataFrame]], chains: Sequence[Chain]
) -> dict[tuple[Chain, str, K], pd.DataFrame]:
    """Rows of every chain, those of the first design for all where there are no others."""
    found = {key: handle.result() for key, handle in asked.items()}
    for (first, name, where), rows in list(found.items()):
        if name not in OF_A_DESIGN:
            found |= {(chain, name, where): rows for chain in chains if chain.model == first.model}
    return found


def of_images(rows: pd.DataFrame, items: Items) -> pd.DataFrame:
    """The rows of these items' images, in their order."""
    return rows.set_index("index").loc[[index for index, _ in items]].reset_index()
