"""What a run found, before it is put into words: outcomes image by image, and the estimates that several parts need."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.kit.claims import Repeats
from robustray.tasks.kit.frames import at, columns
from robustray.tasks.kit.outcomes import Outcomes, mean_difference, mean_share, of_same_images, shares
from robustray.tasks.report.numbers import size_words
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.robust_training.settings import Network, Settings
from robustray.tasks.sweeps.traced import Followed
from robustray.tasks.training.learnt import Curve

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData

STANDARD = "standard"


@dataclass(frozen=True, kw_only=True)
class Results:
    """The rows that the steps of a run gave, and what is derived from them, each computed once."""

    settings: Settings
    images: ImageData
    """Test images."""
    models: Mapping[Network, str]
    """Network -> the name under which any study takes its weights, "run:KEY"."""
    curves: Mapping[Network, Curve]
    clean: Mapping[Network, pd.DataFrame]
    """Network -> its predictions on the clean images, rows of `predict_block`."""
    records: pd.DataFrame
    """What the attacks did (`sweeps.records.records`): "pgd" and, unless it was off, "autoattack"; the column model
    holds `label(network)`."""
    traces: Mapping[tuple[Network, Norm], Mapping[int, pd.DataFrame]]
    """Network, norm -> number of steps -> rows of `trace_block`."""
    gradients: Mapping[Network, pd.DataFrame]
    """Networks of the first seed -> rows of `gradient_block`."""
    against: Sequence[str] = ()
    """Why accuracies of a network under attack are no evidence, a line each (`audit.blocks.told`)."""

    @property
    def repeats(self) -> Repeats:
        """What claims about training rest on."""
        return Repeats(count=self.settings.num_seeds)

    def eps_trained(self, norm: Norm) -> tuple[float, ...]:
        """Columns of the table: 0 (standard), then the sizes trained at."""
        return (0.0, *self.settings.eps_train(norm))

    @property
    def kinds(self) -> list[tuple[Norm, float]]:
        """Norm and size trained at of all kinds of networks, in the order of the page; standard ones in each norm."""
        return [(norm, eps) for norm in self.settings.norms for eps in self.eps_trained(norm)]

    def by_kind(self, norm: Norm) -> dict[str, pd.DataFrame]:
        """What networks were trained against -> their rows of `accuracies`."""
        return {threat(norm, eps): at(self.accuracies, norm=norm, eps_train=eps) for eps in self.eps_trained(norm)}

    def networks(self, norm: Norm, eps_train: float) -> dict[int, Network]:
        """Seed -> network; eps_train 0: the standard ones."""
        kind = norm if eps_train else "none"
        return {n.seed: n for n in self.models if n.norm == kind and n.eps == eps_train}

    def learnt(self, norm: Norm) -> dict[str, list[Curve]]:
        """What networks were trained against -> learning curves, one per seed."""
        return {
            threat(norm, eps): [self.curves[network] for network in self.networks(norm, eps).values()]
            for eps in self.eps_trained(norm)
        }

    def standing(self, norm: Norm, eps_train: float, eps_test: float, *, attack: str = "pgd") -> Outcomes:
        """Which images are classified correctly under an attack of size `eps_test` (0: without one), by seed."""
        found = {}
        for seed, network in self.networks(norm, eps_train).items():
            if eps_test == 0:
                rows = self.clean[network]
                found[seed] = rows.set_index("index").correct.astype(bool)
            else:
                found[seed] = ~self._broken[attack, label(network), norm, eps_test]
        return found

    def accuracy(self, norm: Norm, eps_train: float, eps_test: float, *, attack: str = "pgd") -> Estimate:
        """Share of the test images that are classified correctly, as a mean over seeds; interval over both."""
        return mean_share(self.standing(norm, eps_train, eps_test, attack=attack))

    @cached_property
    def accuracies(self) -> pd.DataFrame:
        """One row per norm, size trained at and size tested at (0: clean), mean over seeds with `lo`, `hi`."""
        rows: list[dict[str, Any]] = []
        for norm, eps_train in self.kinds:
            for eps_test in (0.0, *self.settings.eps_test(norm)):
                outcomes = self.standing(norm, eps_train, eps_test)
                found = mean_share(outcomes)
                rows.append(
                    {"norm": norm, "trained": threat(norm, eps_train), "eps_train": eps_train, "eps_test": eps_test}
                    | columns("accuracy", found)
                    | {"seeds": len(outcomes), "n": found.n, "runs": shares(outcomes)}
                )
        return pd.DataFrame(rows)

    @cached_property
    def under_autoattack(self) -> pd.DataFrame:
        """PGD and AutoAttack on the same images, by norm and training; `difference` is paired.

        Networks at the size they were trained at, standard ones at the reference size; those that were attacked.
        """
        rows: list[dict[str, Any]] = []
        for norm, eps_train in self.kinds:
            eps = self.settings.autoattack_eps(norm, eps_train)
            if eps is None:
                continue
            strong = self.standing(norm, eps_train, eps, attack="autoattack")
            weak = of_same_images(self.standing(norm, eps_train, eps), strong)
            accuracy = mean_share(strong)
            rows.append(
                {"norm": norm, "trained": threat(norm, eps_train), "eps_test": eps}
                | columns("autoattack", accuracy)
                | {"pgd": float(np.mean(shares(weak)))}
                | columns("difference", mean_difference(strong, weak), "difference_lo", "difference_hi")
                | {"seeds": len(strong), "n": accuracy.n}
            )
        return pd.DataFrame(rows)

    @cached_property
    def followed(self) -> list[Followed]:
        """The kinds of networks whose loss was traced, each at its size; none where nothing was."""
        return [
            Followed(
                trained=threat(norm, eps),
                norm=norm,
                eps=self.settings.size_of(norm, eps),
                traces={seed: self.traces[network, norm] for seed, network in self.networks(norm, eps).items()},
            )
            for norm, eps in self.kinds * bool(self.traces)
        ]

    @cached_property
    def autoattack(self) -> pd.DataFrame | None:
        """The records of AutoAttack; None if it was off."""
        rows = at(self.records, attack="autoattack")
        return rows if len(rows) else None

    @cached_property
    def _broken(self) -> dict[Hashable, pd.Series]:
        """(attack, model, norm, size) -> whether an image is broken, by its index."""
        cells = self.records.groupby(["attack", "model", "norm", "eps"], observed=True, sort=False)
        return {key: rows.set_index("index").success.astype(bool) for key, rows in cells}

    @cached_property
    def num_images(self) -> int:
        """Test images under PGD; the least of all networks if some were given up."""
        return min(len(rows) for rows in self.clean.values())


# --- Words ------------------------------------------------------------------------------------------------------------


def threat(norm: str, eps: float) -> str:
    """What a network was trained against: `"standard"`, `"ℓ∞ 8/255"`."""
    return size_words(norm, eps) if eps else STANDARD


def label(network: Network) -> str:
    """`"ℓ∞ 8/255, seed 1"`."""
    return f"{threat(network.norm, network.eps)}, seed {network.seed}"
