"""AutoAttack: attacks without parameters in a fixed order, each on what the ones before it left. Imports no torch.

Croce and Hein, arXiv:2003.01690, section 5.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypedDict

from robustray.tasks.attacks.family import ApgdCE, ApgdDLR, ApgdMargin, ApgdT, Fab, FabT, Malt, Member, Square
from robustray.tasks.attacks.precision import PRECISIONS, Precision
from robustray.tasks.attacks.settings import (
    MIN_BATCH,
    BaseAttack,
    Given,
    Norm,
    check_budget,
    refuse_objective,
)
from robustray.tasks.checks import check_choice, check_count, python_numbers
from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.tasks.attacks.gradient.verdicts import Model
    from robustray.tasks.attacks.search.cascade import CascadeResult

Version = Literal["standard", "plus"]
VERSIONS: tuple[Version, ...] = ("standard", "plus")


class _Common(TypedDict):
    norm: Norm
    eps: float
    batch_size: int
    precision: Precision


@dataclass(frozen=True, kw_only=True, repr=False)
class Cascade(BaseAttack["CascadeResult"]):
    """Attacks in a row. Raises: InputError (a ValueError) for a value that cannot be used."""

    name: ClassVar[str]

    norm: Norm
    eps: float
    """Largest distance from the clean image, in pixel units: 8/255, not 8."""
    batch_size: int = 128
    """Images, or targets of images, in flight. On one kind of CPU it does not change results."""
    precision: Precision = "auto"
    """As in PGD."""

    def __post_init__(self) -> None:
        python_numbers(self)
        check_budget(self.norm, self.eps)
        check_count("batch_size", self.batch_size, at_least=MIN_BATCH)
        check_choice("precision", self.precision, PRECISIONS)

    @abstractmethod
    def stages(self) -> tuple[Member, ...]:
        """The attacks in their order.

        Each may be run by itself on the survivors of the one before, gathered from all shards: with the same seed and
        the images' indices that gives the same bits as one call of the cascade.
        """

    def run(self, model: Model, images: Tensor, labels: Tensor, seed: int, given: Given) -> CascadeResult:
        """See `BaseAttack`. Raises: InputError, also for a model of too few classes."""
        from robustray.tasks.attacks.search.cascade import run_cascade

        refuse_objective(self.name, given)
        return run_cascade(self, model, images, labels, seed=seed, indices=given["indices"], mask=given["mask"])

    def _common(self) -> _Common:
        return {"norm": self.norm, "eps": self.eps, "batch_size": self.batch_size, "precision": self.precision}


@dataclass(frozen=True, kw_only=True, repr=False)
class AutoAttack(Cascade):
    """The ensemble that robust accuracy is reported with: APGD-CE, APGD-T, FAB-T and Square (arXiv:2003.01690)."""

    name: ClassVar[str] = "autoattack"

    version: Version = "standard"
    """"plus": 5 restarts of APGD-CE, APGD-DLR and FAB, then Square, APGD-T and FAB-T. The third version of the paper's
    code, "rand" for stochastic models, has verdicts of its own kind: `AutoAttackRand`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if str(self.version) == "rand":
            raise InputError("version 'rand' is an attack of its own: AutoAttackRand, or autoattack-rand by name")
        check_choice("version", self.version, VERSIONS)

    def stages(self) -> tuple[Member, ...]:
        common = self._common()
        if self.version == "plus":
            return (
                ApgdCE(**common, num_restarts=5),
                ApgdDLR(**common, num_restarts=5),
                Fab(**common, num_restarts=5),
                Square(**common),
                ApgdT(**common),
                FabT(**common),
            )
        return (ApgdCE(**common), ApgdT(**common), FabT(**common), Square(**common))


@dataclass(frozen=True, kw_only=True, repr=False)
class FastCascade(Cascade):
    """The first two stages of AutoAttack: most of its strength for about a fifth of its cost.

    An upper bound of its accuracy, and no substitute for it in a report."""

    name: ClassVar[str] = "fast-cascade"

    def stages(self) -> tuple[Member, ...]:
        common = self._common()
        return (ApgdCE(**common), ApgdT(**common))


@dataclass(frozen=True, kw_only=True, repr=False)
class MaltCascade(Cascade):
    """A tenth of AutoAttack's gradients for nearly all of its verdicts: APGD on the margin, then `Malt`.

    How nearly: docs/malt-cascade.md. An upper bound of AutoAttack's accuracy, and no substitute for it in a report."""

    name: ClassVar[str] = "malt-cascade"

    def stages(self) -> tuple[Member, ...]:
        common = self._common()
        return (ApgdMargin(**common, num_steps=25), Malt(**common))
