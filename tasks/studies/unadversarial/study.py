"""Can an object be designed so that a fixed network recognises it more easily?  (arXiv:2012.12235, sections 2 and 3)

Classifiers (the user's own, or trained as usual here) are frozen. For each class a square patch is moved, by signed
gradient steps at random places on training images, until the class is recognised as well as it can be. On test images,
at places that are drawn anew and are the same for all, it is compared with three that were not designed: no patch, a
patch of noise, and the training image of the class that the classifier is surest of. Then the patched images are
corrupted in ways that the design has not seen. Two more questions are whether the patch is recognised by itself, and
what it does on objects of another class. The patches are left as files to print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from robustray.tasks.attacks.blocks import predict_block
from robustray.tasks.compose.place import Placement
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import NEEDS, predict, settled
from robustray.tasks.lab.optimise import OptimiseSpec
from robustray.tasks.studies.unadversarial import findings
from robustray.tasks.studies.unadversarial.blocks import (
    NO_PATCH,
    Ground,
    Look,
    look_block,
    picture_block,
    plain_block,
)
from robustray.tasks.studies.unadversarial.design import DesignSettings, PatchKind, design
from robustray.tasks.studies.unadversarial.doors import classes, door, open_images
from robustray.tasks.studies.unadversarial.gamut import open_gamut
from robustray.tasks.studies.unadversarial.reduce import CLEAN, NAMES, Cell, Chain, Results
from robustray.tasks.studies.unadversarial.settings import OUTLINE, Settings
from robustray.tasks.study import TRAIN, Study

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.optimise import Optimised
    from robustray.tasks.lab.protocol import Handle, Lab, Reference
    from robustray.tasks.study import Findings

TEST_SEEDS = 1_000_000
"""Seeds of test placements and corruptions are so far from those of designs: no place was seen in design."""
K = TypeVar("K")
GROUNDS: tuple[Ground, ...] = ("grey", "noise")


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab, "precision")
    train, test = open_images(settings, lab)
    images: ImageData = lab.load(test)
    mine = classes(settings, images)
    placement = Placement(rotation=settings.rotation, shift=settings.shift, scale=(settings.smallest, settings.largest))
    kind = PatchKind(classes=mine, side=settings.side, placement=placement)
    chains = [Chain(name, number) for name in settings.names for number in range(settings.num_designs)]

    # 1. Classifiers, frozen from here on.
    models = classifiers(settings, lab)

    # 2. Patches: designed, of noise, and the best training image of each class.
    designing = lab.optimise("design", [design_spec(settings, lab, kind, models, train, chain) for chain in chains])
    patches = plain_patches(settings, lab, kind, models, train, chains)
    designed = dict(zip(chains, designing.result(), strict=True))
    patches |= {(chain, "designed"): found.ref for chain, found in designed.items()}

    # 3. Test images with the patch of their own class, clean and corrupted; each patch alone; each on other objects.
    labels = images.labels[: settings.num_images or None]
    few = settings.num_detailed or len(labels)
    own = [[int(i), mine.index(labels[i])] for i in np.flatnonzero(np.isin(labels, mine))]
    others = [[int(i), slot] for slot, label in enumerate(mine) for i in np.flatnonzero(labels[:few] != label)]
    detailed = [item for item in own if item[0] < few]
    cells = [Cell(name, severity) for name in settings.corruptions for severity in settings.severities]
    bench = Bench(settings=settings, lab=lab, test=test, kind=kind, models=models)
    plain = {name: bench.look(Chain(name, 0), None, [[i, NO_PATCH] for i in range(len(labels))]) for name in models}
    asked = {
        (chain, name, CLEAN): bench.look(chain, patches[chain, name], own) for chain, name in looked(chains, NAMES[1:])
    }
    asked |= {
        (chain, name, cell): bench.look(chain, patches.get((chain, name)), detailed, cell=cell)
        for chain, name in looked(chains, NAMES)
        for cell in cells
    }
    alone = {
        (chain, name, ground): bench.look(chain, patches[chain, name], detailed, ground=ground)
        for chain, name in looked(chains, NAMES[1:])
        for ground in GROUNDS
    }
    swapped = {chain: bench.look(chain, patches[chain, "designed"], others) for chain in chains}
    printed = best_design(designed, models=settings.names[:1])
    shown = chosen(own, settings.num_examples, seed=settings.seed, what="unadversarial-examples")
    pictures = {name: bench.pictures(patches.get((printed, name)), shown) for name in (NAMES if shown else ())}

    # 4. What it says.
    return findings.found(
        Results(
            settings=settings,
            classes=images.classes,
            kind=kind,
            chains=tuple(chains),
            seen={(chain, "none", CLEAN): of_images(plain[chain.model].result(), own) for chain in chains}
            | for_all_designs(asked, chains),
            alone=for_all_designs(alone, chains),
            plain={name: handle.result() for name, handle in plain.items()},
            swapped={key: handle.result() for key, handle in swapped.items()},
            printed=printed,
            patches={name: lab.load(patches[printed, name])["patch"].reshape(-1, *images.shape) for name in NAMES[1:]},
            curves={chain: found.curve for chain, found in designed.items()},
            pictures={name: handle.result() for name, handle in pictures.items()},
        )
    )


# --- 1. Classifiers ---------------------------------------------------------------------------------------------------


def classifiers(settings: Settings, lab: Lab) -> dict[str, Reference]:
    """By name: the user's own, or trained here."""
    if settings.models:
        return lab.models(settings.models)
    specs = [settings.training(number) for number in range(settings.num_classifiers)]
    return dict(zip(settings.names, lab.train(specs).result(), strict=True))


# --- 2. Patches -------------------------------------------------------------------------------------------------------


def design_spec(
    settings: Settings, lab: Lab, kind: PatchKind, models: Mapping[str, Reference], train: Reference, chain: Chain
) -> OptimiseSpec:
    seed = settings.design_seed(*chain)
    refs: dict[str, Reference] = {"model": models[chain.model], "data": train}
    if settings.gamut:
        refs["gamut"] = open_gamut(settings.gamut)
    return OptimiseSpec(
        function=design,
        settings=DesignSettings(
            kind=kind,
            ascent=settings.ascent(seed),
            one_class=settings.booster == "one-class",
            in_gamut=bool(settings.gamut),
        ),
        seed=seed,
        refs=refs,
        needs=NEEDS,
    )


def plain_patches(
    settings: Settings,
    lab: Lab,
    kind: PatchKind,
    models: Mapping[str, Reference],
    train: Reference,
    chains: Sequence[Chain],
) -> dict[tuple[Chain, str], Reference]:
    """(chain, "random" or "training image") -> patches; those of training images are the same for all designs of a
    classifier."""
    losses = {
        name: predict(lab, model, train, len(lab.load(train)), block=settings.block, step="training-images")
        for name, model in models.items()
    }

    def ask(item: list[int], chain: Chain) -> Handle[pd.DataFrame]:
        seed = settings.design_seed(*chain)
        return lab.map(
            "plain", plain_block, [item], block=1, seed=seed, settings=kind, refs={"data": train}, needs=NEEDS
        )

    noise = {chain: ask([], chain) for chain in chains}
    best = {name: ask(surest(rows.result(), kind.classes), Chain(name, 0)) for name, rows in losses.items()}
    found = {(chain, "random"): lab.rows(f"noise {chain}", made, ["patch"]) for chain, made in noise.items()}
    of_model = {name: lab.rows(f"training images {name}", made, ["patch"]) for name, made in best.items()}
    return found | {(chain, "training image"): of_model[chain.model] for chain in chains}


def surest(rows: pd.DataFrame, mine: tuple[int, ...]) -> list[int]:
    """Per class its training image of smallest loss."""
    return [int(rows["index"][rows[rows.label == label].loss.idxmin()]) for label in mine]


def best_design(designed: Mapping[Chain, Optimised], models: Sequence[str]) -> Chain:
    """Of the designs for these classifiers the one that was best on training images, over its last tenth of steps."""

    def ended(chain: Chain) -> float:
        objective = designed[chain].curve.objective.to_numpy()
        return float(objective[-max(1, len(objective) // 10) :].mean())

    return max((chain for chain in designed if chain.model in models), key=ended)


# --- 3. Looks ---------------------------------------------------------------------------------------------------------


OF_A_DESIGN = ("random", "designed")
"""Patches that are other ones for each design of a classifier; no patch and its best training image are the same."""


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


def of_images(rows: pd.DataFrame, items: list[list[int]]) -> pd.DataFrame:
    """The rows of these items' images, in their order."""
    return rows.set_index("index").loc[[index for index, _ in items]].reset_index()


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """Shows test images with patches to classifiers. Places and corruptions depend on classifier and image only: all
    patches of a classifier land at the same ones."""

    settings: Settings
    lab: Lab
    test: Reference
    kind: PatchKind
    models: Mapping[str, Reference]

    def seed(self, model: str) -> int:
        return self.settings.seed + TEST_SEEDS + list(self.models).index(model)

    def look(
        self,
        chain: Chain,
        patch: Reference | None,
        items: list[list[int]],
        *,
        cell: Cell = CLEAN,
        ground: Ground = "image",
    ) -> Handle[pd.DataFrame]:
        """Rows of `look_block`; without a patch, the same images as they are."""
        shown, refs = _carrying(patch, items, {"model": self.models[chain.model], "data": self.test})
        return self.lab.map(
            "look",
            look_block,
            shown,
            block=self.settings.block,
            seed=self.seed(chain.model),
            settings=Look(
                kind=self.kind,
                ground=ground,
                corruption=cell.corruption,
                severity=cell.severity,
                table=self.settings.table,
            ),
            refs=refs,
            needs=NEEDS,
        )

    def pictures(self, patch: Reference | None, items: list[list[int]]) -> Handle[pd.DataFrame]:
        """Images as the first classifier saw them."""
        shown, refs = _carrying(patch, items, {"data": self.test})
        return self.lab.map(
            "pictures",
            picture_block,
            shown,
            block=self.settings.block,
            seed=self.seed(next(iter(self.models))),
            settings=Look(kind=self.kind),
            refs=refs,
        )


def _carrying(
    patch: Reference | None, items: list[list[int]], refs: dict[str, Reference]
) -> tuple[list[list[int]], dict[str, Reference]]:
    if patch is None:
        return [[index, NO_PATCH] for index, _ in items], refs
    return items, refs | {"patch": patch}


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "train": TRAIN,
        "design": design,
        "training-images": predict_block,
        "plain": plain_block,
        "look": look_block,
        "pictures": picture_block,
    },
    compare=findings.COMPARE,
)
