"""Settings of the attacks that AutoAttack is made of, each an attack of its own. Imports no torch.

They are called like `PGD` and leave an image at its first success. They bring their own objectives, so `objective` and
`targets` are refused. APGD and its losses: arXiv:2003.01690; FAB: arXiv:1907.02044; Square: arXiv:1912.00049.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from robustray.tasks.attacks.precision import PRECISIONS, Precision
from robustray.tasks.attacks.settings import (
    FGSM,
    MIN_BATCH,
    BaseAttack,
    Given,
    GradientAttack,
    Norm,
    Plan,
    check_budget,
    refuse_objective,
)
from robustray.tasks.checks import check_choice, check_count, python_numbers

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.tasks.attacks.gradient.verdicts import Model
    from robustray.tasks.attacks.result import AttackResult
    from robustray.tasks.attacks.search.rows import Search


@dataclass(frozen=True, kw_only=True, repr=False)
class Member(BaseAttack["AttackResult"]):
    """What the attacks below share. Raises: InputError (a ValueError) for a value that cannot be used."""

    name: ClassVar[str]
    min_classes: ClassVar[int] = 2

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
        for name, value in self.counts().items():
            check_count(name, value, at_least=1)

    @abstractmethod
    def counts(self) -> Mapping[str, int]:
        """Its whole numbers by name."""

    @abstractmethod
    def plan(self) -> Plan:
        """Its steps, with all defaults resolved."""

    @abstractmethod
    def kind(self) -> tuple[type[Search], Mapping[str, Any]]:
        """The search that runs, and its options."""

    def filled_in(self, *, num_steps: int, num_restarts: int = 1, eot_samples: int = 1) -> Plan:
        return Plan(
            stream=self.name,
            norm=self.norm,
            eps=self.eps,
            step_size=2 * self.eps,
            num_steps=num_steps,
            random_start=True,
            num_restarts=num_restarts,
            targeted=False,
            exit_rule="first_success",
            attack_misclassified=False,
            batch_size=self.batch_size,
            precision=self.precision,
            eot_samples=eot_samples,
        )

    def run(self, model: Model, images: Tensor, labels: Tensor, seed: int, given: Given) -> AttackResult:
        """See `BaseAttack`. Raises: InputError, also for a model of too few classes."""
        from robustray.tasks.attacks.objective import Margin
        from robustray.tasks.attacks.search.rows import run_search

        refuse_objective(self.name, given)
        kind, options = self.kind()
        given = {**given, "objective": Margin()}
        return run_search(kind, self.plan(), model, images, labels, seed=seed, **given, **options)


@dataclass(frozen=True, kw_only=True, repr=False)
class _Apgd(Member):
    num_steps: int = 100
    num_restarts: int = 1
    """Random starts; an image begins again only without success."""
    num_gradients: int = 1
    """Passes over which gradients are averaged: 20 for stochastic models (AutoAttack "rand")."""

    def counts(self) -> Mapping[str, int]:
        return {
            "num_steps": self.num_steps,
            "num_restarts": self.num_restarts,
            "num_gradients": self.num_gradients,
        }

    def plan(self) -> Plan:
        return self.filled_in(num_steps=self.num_steps, num_restarts=self.num_restarts)


@dataclass(frozen=True, kw_only=True, repr=False)
class ApgdCE(_Apgd):
    """Auto-PGD on cross-entropy: momentum, and a step size that each image halves by itself (arXiv:2003.01690)."""

    name: ClassVar[str] = "apgd-ce"

    def kind(self) -> tuple[type[Search], Mapping[str, Any]]:
        from robustray.tasks.attacks.search.apgd import ApgdSearch

        return ApgdSearch, {"num_gradients": self.num_gradients}


@dataclass(frozen=True, kw_only=True, repr=False)
class ApgdDLR(_Apgd):
    """Auto-PGD on the difference of logits ratio, which over-confident models cannot hide from; 3 classes or more."""

    name: ClassVar[str] = "apgd-dlr"
    min_classes: ClassVar[int] = 3

    def kind(self) -> tuple[type[Search], Mapping[str, Any]]:
        from robustray.tasks.attacks.search.apgd import ApgdDLRSearch

        return ApgdDLRSearch, {"num_gradients": self.num_gradients}


@dataclass(frozen=True, kw_only=True, repr=False)
class ApgdMargin(_Apgd):
    """Auto-PGD on the largest other logit minus the label's, which is not flat on images that a model is sure of."""

    name: ClassVar[str] = "apgd-margin"

    def kind(self) -> tuple[type[Search], Mapping[str, Any]]:
        from robustray.tasks.attacks.search.apgd import ApgdMarginSearch

        return ApgdMarginSearch, {"num_gradients": self.num_gradients}


@dataclass(frozen=True, kw_only=True, repr=False)
class ApgdT(Member):
    """Auto-PGD on the targeted difference of logits ratio, all targets of an image at once; 4 classes or more."""

    name: ClassVar[str] = "apgd-t"
    min_classes: ClassVar[int] = 4

    num_steps: int = 100
    """For each target."""
    num_targets: int = 9
    """The classes that follow the label in the clean logits; at most all of them are taken."""
    num_restarts: int = 1
    eot_samples: int = 1
    """As in PGD."""

    def counts(self) -> Mapping[str, int]:
        return {
            "num_steps": self.num_steps,
            "num_targets": self.num_targets,
            "num_restarts": self.num_restarts,
            "eot_samples": self.eot_samples,
        }

    def plan(self) -> Plan:
        return self.filled_in(num_steps=self.num_steps, num_restarts=self.num_restarts, eot_samples=self.eot_samples)

    def kind(self) -> tuple[type[Search], Mapping[str, Any]]:
        from robustray.tasks.attacks.search.apgd import ApgdTSearch

        return ApgdTSearch, {"num_targets": self.num_targets}


@dataclass(frozen=True, kw_only=True, repr=False)
class Malt(ApgdT):
    """Auto-PGD on the few targets nearest by a local linear estimate (MALT, arXiv:2407.02240); 4 classes or more.

    Nearest is the class of largest (z_t - z_y) / ||grad (z_t - z_y)|| at the clean image, which takes one gradient for
    each class. The paper has nine targets."""

    name: ClassVar[str] = "malt"

    num_steps: int = 50
    num_targets: int = 3

    def kind(self) -> tuple[type[Search], Mapping[str, Any]]:
        from robustray.tasks.attacks.search.malt import MaltSearch

        return MaltSearch, {"num_targets": self.num_targets}


@dataclass(frozen=True, kw_only=True, repr=False)
class FabT(Member):
    """FAB: slides along the boundary with each target class to the point nearest to the image (arXiv:1907.02044).

    Its result is a `fab.NearestResult` with the distance of the nearest wrong point found, also beyond eps.
    """

    name: ClassVar[str] = "fab-t"

    num_steps: int = 100
    """For each target."""
    num_targets: int = 9
    """As in ApgdT."""
    num_restarts: int = 1
    """The first from the clean image, the others from random points within eps / 2."""
    smallest: bool = False
    """Go on after a success within eps, to the smallest perturbation that can be found. A first success within eps
    still saves the restarts."""
    eot_samples: int = 1
    """As in PGD."""

    def counts(self) -> Mapping[str, int]:
        return {
            "num_steps": self.num_steps,
            "num_targets": self.num_targets,
            "num_restarts": self.num_restarts,
            "eot_samples": self.eot_samples,
        }

    def plan(self) -> Plan:
        return self.filled_in(num_steps=self.num_steps, num_restarts=self.num_restarts, eot_samples=self.eot_samples)

    def kind(self) -> tuple[type[Search], Mapping[str, Any]]:
        from robustray.tasks.attacks.search.fab import FabTSearch

        return FabTSearch, {"num_targets": self.num_targets, "smallest": self.smallest}


@dataclass(frozen=True, kw_only=True, repr=False)
class Fab(Member):
    """FAB towards the nearest boundary of all classes, whose gradients each step takes (arXiv:1907.02044)."""

    name: ClassVar[str] = "fab"

    num_steps: int = 100
    num_restarts: int = 1
    """As in FabT."""
    smallest: bool = False
    """As in FabT."""
    eot_samples: int = 1
    """As in PGD."""

    def counts(self) -> Mapping[str, int]:
        return {"num_steps": self.num_steps, "num_restarts": self.num_restarts, "eot_samples": self.eot_samples}

    def plan(self) -> Plan:
        return self.filled_in(num_steps=self.num_steps, num_restarts=self.num_restarts, eot_samples=self.eot_samples)

    def kind(self) -> tuple[type[Search], Mapping[str, Any]]:
        from robustray.tasks.attacks.search.fab import FabSearch

        return FabSearch, {"num_targets": None, "smallest": self.smallest}


@dataclass(frozen=True, kw_only=True, repr=False)
class Square(Member):
    """Random squares, kept where the margin rises: no gradient that could be hidden from it (arXiv:1912.00049)."""

    name: ClassVar[str] = "square"
    uses_gradients: ClassVar[bool] = False

    num_queries: int = 5000
    """Forward passes of an image, the start included."""
    num_restarts: int = 1

    def counts(self) -> Mapping[str, int]:
        return {"num_queries": self.num_queries, "num_restarts": self.num_restarts}

    def plan(self) -> Plan:
        return self.filled_in(num_steps=self.num_queries, num_restarts=self.num_restarts)

    def kind(self) -> tuple[type[Search], Mapping[str, Any]]:
        from robustray.tasks.attacks.search.square import SquareSearch

        return SquareSearch, {}


@dataclass(frozen=True, kw_only=True, repr=False)
class RSFGSM(GradientAttack):
    """One step of 1.25 eps from a random start: the adversary of fast adversarial training (arXiv:2001.03994)."""

    name: ClassVar[str] = "rs-fgsm"

    norm: Norm
    eps: float
    """Largest distance from the clean image, in pixel units: 8/255, not 8."""
    attack_misclassified: bool = False
    """As in PGD."""
    batch_size: int = 128
    """Images in flight."""
    precision: Precision = "auto"
    """As in PGD."""

    def __post_init__(self) -> None:
        python_numbers(self)
        check_budget(self.norm, self.eps)
        check_count("batch_size", self.batch_size, at_least=MIN_BATCH)
        check_choice("precision", self.precision, PRECISIONS)

    def plan(self) -> Plan:
        one_step = FGSM(
            norm=self.norm,
            eps=self.eps,
            step_size=1.25 * self.eps,
            random_start=True,
            attack_misclassified=self.attack_misclassified,
            batch_size=self.batch_size,
            precision=self.precision,
        )
        return replace(one_step.plan(), stream=self.name)
