"""From answers to estimates: how often each solid is recognised with each texture, by both renderers and in weather."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.kit.frames import columns
from robustray.tasks.statistics import Estimate, mean_over_seeds, proportion
from robustray.tasks.studies.unadversarial.reduce import Chain
from robustray.tasks.studies.unadversarial.settings import Settings
from robustray.tasks.studies.unadversarial.shares import difference, share
from robustray.tasks.studies.unadversarial.textures import CLEAR, Condition

TEXTURES = ("grey", "random", "training image", "designed")
BASELINES = TEXTURES[:3]
SWAPPED = "for another class"
WORDS: Mapping[str, str] = {
    "grey": "a grey texture",
    "random": "a texture of noise",
    "training image": "the best training image as texture",
    "designed": "the designed texture",
}
Key = tuple[Chain, str, str]
"""(chain, solid, texture)"""


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectResults:
    """The answers of all looks."""

    settings: Settings
    classes: tuple[str, ...]
    mine: Mapping[str, int]
    """Solid -> the class that it is to be recognised as."""
    chains: tuple[Chain, ...]
    conditions: tuple[Condition, ...]
    ours: Mapping[Key, NDArray[np.int16]]
    """(views, 1): by the renderer of the design."""
    judged: Mapping[Key, NDArray[np.int16]]
    """(views, conditions): by MuJoCo; empty without a judge."""
    covers: Mapping[str, float]
    """Solid -> mean share of the image that it covers."""
    curves: Mapping[tuple[Chain, str, int], pd.DataFrame]
    textures: Mapping[tuple[str, str], NDArray[np.float32]]
    """(solid, texture) -> those of the first chain."""
    pictures: Mapping[tuple[str, str], pd.DataFrame]

    def right(self, chain: Chain, solid: str, texture: str, where: Sequence[Condition] | None) -> NDArray[np.float64]:
        """(views,): share of the conditions in which a view is recognised."""
        return self._answered(chain, solid, texture, where).mean(axis=1)

    def accuracy(self, solid: str, texture: str, where: Sequence[Condition] | None) -> Estimate:
        """Mean over chains."""
        return mean_over_seeds(
            [share(self._answered(chain, solid, texture, where)) for chain in self.chains], limits=(0.0, 1.0)
        )

    def overall(self, texture: str, where: Sequence[Condition] | None) -> Estimate:
        """Mean over solids, each with the same views."""
        return mean_over_seeds(
            [share(self._all_answered(chain, texture, where)) for chain in self.chains], limits=(0.0, 1.0)
        )

    def gain(self, over: str, where: Sequence[Condition] | None) -> Estimate:
        """Designed minus another texture, mean over solids and conditions, paired by chain, solid, view and condition;
        views are the clusters."""
        return mean_over_seeds(
            [
                difference(*(self._all_answered(chain, texture, where) for texture in ("designed", over)))
                for chain in self.chains
            ]
        )

    def _all_answered(self, chain: Chain, texture: str, where: Sequence[Condition] | None) -> NDArray[np.bool_]:
        """(views, solids x conditions)"""
        return np.concatenate([self._answered(chain, solid, texture, where) for solid in self.mine], axis=1)

    def _answered(self, chain: Chain, solid: str, texture: str, where: Sequence[Condition] | None) -> NDArray[np.bool_]:
        """(views, conditions): which are answered with the solid's class, as MuJoCo draws them; None: in clear air, as
        our renderer does."""
        key = (chain, solid, texture)
        if where is None:
            return self.ours[key] == self.mine[solid]
        places = [self.conditions.index(condition) for condition in where]
        return self.judged[key][:, places] == self.mine[solid]

    @property
    def weathers(self) -> tuple[Condition, ...]:
        """All conditions but clear air."""
        return tuple(condition for condition in self.conditions if condition != CLEAR)


def texture_table(results: ObjectResults) -> pd.DataFrame:
    """One row for each solid and texture: accuracy on held-out views, by renderer."""
    rows = []
    for solid, label in results.mine.items():
        for texture in TEXTURES:
            ours = results.accuracy(solid, texture, None)
            row: dict[str, object] = {"solid": solid, "as": results.classes[label], "texture": texture}
            row |= columns("rasteriser", ours, "rasteriser_lo", "rasteriser_hi") | {"n": ours.n}
            if results.judged:
                clear, weather = (results.accuracy(solid, texture, where) for where in ((CLEAR,), results.weathers))
                row |= columns("mujoco", clear, "mujoco_lo", "mujoco_hi")
                row |= columns("weather", weather, "weather_lo", "weather_hi") | {"n_mujoco": clear.n}
            rows.append(row)
    return pd.DataFrame(rows)


def swap_table(results: ObjectResults) -> pd.DataFrame:
    """One row for each solid: a texture that is designed for the next solid's class, answered as that class or as the
    solid's own."""
    rows, labels = [], list(results.mine.values())
    for place, solid in enumerate(results.mine):
        other = labels[(place + 1) % len(labels)]
        row: dict[str, object] = {"solid": solid, "designed_for": results.classes[other]}
        for name, label in (("other", other), ("own", labels[place])):
            found = [proportion(results.ours[chain, solid, SWAPPED][:, 0] == label) for chain in results.chains]
            estimate = mean_over_seeds(found, limits=(0.0, 1.0))
            row |= columns(name, estimate, f"{name}_lo", f"{name}_hi") | {"n": estimate.n}
        rows.append(row)
    return pd.DataFrame(rows)


def weather_table(results: ObjectResults) -> pd.DataFrame:
    """One row for each texture, weather and severity: accuracy as a mean over solids."""
    rows = []
    for texture in TEXTURES:
        for condition in results.conditions:
            found = results.overall(texture, (condition,))
            rows.append(
                {"texture": texture, "weather": condition.weather, "severity": condition.severity}
                | columns("accuracy", found)
                | {"n": found.n}
            )
    return pd.DataFrame(rows)


def curve_table(results: ObjectResults) -> pd.DataFrame:
    """One row for each design and step: mean cross-entropy of the batch."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "classifier": chain.model,
                    "solid": solid,
                    "designed_for": results.classes[label],
                    "step": curve.step,
                    "loss": -curve.objective.astype("float32"),
                }
            )
            for (chain, solid, label), curve in results.curves.items()
        ],
        ignore_index=True,
    )
