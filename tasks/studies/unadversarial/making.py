"""Classifiers, and the patches that are made for them: designed, of noise, and of training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from robustray.tasks.kit.images import NEEDS, predict
from robustray.tasks.lab.optimise import OptimiseSpec
from robustray.tasks.studies.unadversarial.blocks import plain_block
from robustray.tasks.studies.unadversarial.design import DesignSettings, PatchKind, design, joint_design
from robustray.tasks.studies.unadversarial.gamut import open_gamut
from robustray.tasks.studies.unadversarial.reduce import Chain
from robustray.tasks.studies.unadversarial.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.lab.optimise import Optimised
    from robustray.tasks.lab.protocol import Handle, Lab, Reference


def classifiers(settings: Settings, lab: Lab) -> tuple[dict[str, Reference], dict[str, Reference]]:
    """By name: those that patches are for, the user's own or trained here; and the others."""
    if settings.models:
        every = lab.models((*settings.models, *settings.other_models))
        return {name: every[name] for name in settings.models}, {name: every[name] for name in settings.other_models}
    specs = [settings.training(number) for number in range(settings.num_classifiers)]
    trained = dict(zip(settings.names, lab.train(specs).result(), strict=True))
    return trained, lab.models(settings.other_models) if settings.other_models else {}


def training_losses(
    settings: Settings, lab: Lab, train: Reference, models: Mapping[str, Reference]
) -> dict[str, pd.DataFrame]:
    """What each classifier, by name, says of the training images as they are: rows of `predict_block`."""
    count = len(lab.load(train))
    asked = {
        name: predict(lab, model, train, count, block=settings.block, step="training-images")
        for name, model in models.items()
    }
    return {name: handle.result() for name, handle in asked.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Maker:
    """Makes patches for classifiers, on training images only."""

    settings: Settings
    lab: Lab
    train: Reference
    kind: PatchKind
    models: Mapping[str, Reference]
    """Every classifier by name, others too."""

    def of_side(self, side: int) -> Maker:
        """The same with patches of another size."""
        return replace(self, kind=replace(self.kind, side=side))

    def spec(self, chain: Chain, *, joint: bool = False) -> OptimiseSpec:
        """A design. joint: the classifier's weights learn along with it."""
        settings, seed = self.settings, self.settings.design_seed(*chain)
        refs = {"model": self.models[chain.model], "data": self.train}
        if settings.gamut:
            refs["gamut"] = open_gamut(settings.gamut)
        wanted = DesignSettings(
            kind=self.kind,
            ascent=settings.ascent(seed),
            one_class=settings.booster == "one-class",
            in_gamut=bool(settings.gamut),
            weights=settings.weight_steps() if joint else None,
        )
        function = joint_design if joint else design
        return OptimiseSpec(function=function, settings=wanted, seed=seed, refs=refs, needs=NEEDS)

    def plain(self, chains: Sequence[Chain], losses: Mapping[str, pd.DataFrame]) -> dict[tuple[Chain, str], Reference]:
        """(chain, "random" or "training image") -> patches; those of training images are the same for all designs of a
        classifier."""
        noise = {chain: self._ask([], chain) for chain in chains}
        best = {
            name: self._ask(surest(losses[name], self.kind.classes), Chain(name, 0))
            for name in dict.fromkeys(chain.model for chain in chains)
        }
        found = {(chain, "random"): self._rows(f"noise {chain}", made) for chain, made in noise.items()}
        of_model = {name: self._rows(f"training images {name}", made) for name, made in best.items()}
        return found | {(chain, "training image"): of_model[chain.model] for chain in chains}

    def _ask(self, item: list[int], chain: Chain) -> Handle[pd.DataFrame]:
        return self.lab.map(
            "plain",
            plain_block,
            [item],
            block=1,
            seed=self.settings.design_seed(*chain),
            settings=self.kind,
            refs={"data": self.train},
            needs=NEEDS,
        )

    def _rows(self, name: str, made: Handle[pd.DataFrame]) -> Reference:
        return self.lab.rows(name, made, ["patch"])


def surest(rows: pd.DataFrame, mine: Sequence[int]) -> list[int]:
    """Per class its training image of smallest loss. rows: of `training_losses`, for one classifier."""
    return [int(rows["index"][rows[rows.label == label].loss.idxmin()]) for label in mine]


def best_design(designed: Mapping[Chain, Optimised], model: str) -> Chain:
    """Of the designs for a classifier the one that was best on training images, over its last tenth of steps."""

    def ended(chain: Chain) -> float:
        objective = designed[chain].curve.objective.to_numpy()
        return float(objective[-max(1, len(objective) // 10) :].mean())

    return max((chain for chain in designed if chain.model == model), key=ended)
