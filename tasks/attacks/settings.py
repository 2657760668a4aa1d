"""How strong an attack is: one frozen dataclass per attack, all of them run by one engine (`search.rows`).

`PGD(norm="linf", eps=8/255)(model, images, labels)` attacks; the call imports torch, the settings do not.
All sizes are in pixel units, images in [0, 1]. PGD: Madry et al.,
arXiv:1706.06083, section 2.1, with the details of MadryLab/robustness 1.2.1.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, Protocol, TypedDict, TypeVar

from robustray.tasks.attacks.precision import PRECISIONS, Precision
from robustray.tasks.checks import (
    check_choice,
    check_count,
    check_radius,
    check_size,
    fraction,
    python_numbers,
)
from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.tasks.attacks.gradient.verdicts import Model
    from robustray.tasks.attacks.objective import Objective
    from robustray.tasks.attacks.result import AttackResult

ResultT = TypeVar("ResultT", bound="AttackResult")

Norm = Literal["linf", "l2"]
ExitRule = Literal["first_success", "last", "best_loss"]

NORMS: tuple[Norm, ...] = ("linf", "l2")
EXIT_RULES: tuple[ExitRule, ...] = ("first_success", "last", "best_loss")

MIN_BATCH = 16
"""Rows in the smallest batch that is ever evaluated: smaller ones take other kernels and differ in the last bits."""


class Attack(Protocol):
    """What every attack is, the user's own included: a callable with a norm and a budget."""

    @property
    def norm(self) -> Norm: ...

    @property
    def eps(self) -> float:
        """Largest distance from the clean image, in `norm`, in pixel units."""
        ...

    def __call__(
        self,
        model: Model,
        images: Tensor,
        labels: Tensor,
        *,
        seed: int = 0,
        indices: Sequence[int] | Tensor | None = None,
        objective: Objective | None = None,
        mask: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> AttackResult:
        """Attack every image; see `BaseAttack.__call__`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the engine runs: steps from one or several starts. The attacks below are ways of filling it in."""

    stream: str
    """Name of the attack in the noise: two attacks of one seed draw different starts."""
    norm: Norm
    eps: float
    step_size: float
    num_steps: int
    random_start: bool
    num_restarts: int
    targeted: bool
    exit_rule: ExitRule
    attack_misclassified: bool
    batch_size: int
    precision: Precision = "auto"
    eot_samples: int = 1
    """Passes of a random model over which each loss and gradient is averaged."""


class Given(TypedDict):
    """What else a call was given, as it was given."""

    indices: Sequence[int] | Tensor | None
    objective: Objective | None
    mask: Tensor | None
    targets: Tensor | None


class BaseAttack(ABC, Generic[ResultT]):
    """The call that all attacks share."""

    uses_gradients: ClassVar[bool] = True
    """False: a model cannot hide from it by hiding its gradients."""

    @abstractmethod
    def run(self, model: Model, images: Tensor, labels: Tensor, seed: int, given: Given) -> ResultT:
        """What `__call__` does."""

    def __call__(
        self,
        model: Model,
        images: Tensor,
        labels: Tensor,
        *,
        seed: int = 0,
        indices: Sequence[int] | Tensor | None = None,
        objective: Objective | None = None,
        mask: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> ResultT:
        """Attack every image within `eps`; the model is left as it was, parameters, statistics, modes and gradients.

        model: maps images (b, ...) in [0, 1] to logits (b, classes), with its normalisation inside.
        images: (b, ...) float32 in [0, 1]. labels: (b,) int64.
        seed, indices: the noise of an image depends on (seed, attack, restart, its index) and on nothing else.
            `indices` are the images' positions in their split, (b,) integers; without them 0, 1, 2, ...
        objective: what is maximised; cross-entropy with the label if None.
        mask: (b, 1 or channels, height, width), broadcastable to images, of 0 and 1: pixels at 0 stay as they are.
        targets: (b, ...) what the objective compares with, one entry per image: class indices (b,) int64 for
            `targeted=True`, whatever one's own objective wants otherwise (representations, say); labels if None.

        An image's result is the same to the bit in any batch and order on one kind of CPU under MKL's strict mode
        (environment variable MKL_CBWR=AUTO,STRICT); without it, on CPUs with AVX-512 and for `batch_size` up to 128.

        Attacks of `family` and `autoattack` bring their own objectives; `loss` of their results is the margin (largest
        other logit minus the label's).

        Raises: InputError for arguments that do not fit, a model without finite logits, an objective without them, or
            an objective and targets where the attack brings its own.
        """
        given: Given = {"indices": indices, "objective": objective, "mask": mask, "targets": targets}
        return self.run(model, images, labels, seed, given)

    def __repr__(self) -> str:
        """What was set, and nothing that is at its default: `PGD(norm='linf', eps=8/255, num_steps=50)`."""
        shown = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, field.name)
            if field.default is dataclasses.MISSING or value != field.default:
                shown.append(f"{field.name}={fraction(value) if isinstance(value, float) else repr(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"


class GradientAttack(BaseAttack["AttackResult"]):
    """Attacks that are a plan of steps of one size."""

    @abstractmethod
    def plan(self) -> Plan:
        """The steps this attack takes, with all defaults resolved."""

    def run(self, model: Model, images: Tensor, labels: Tensor, seed: int, given: Given) -> AttackResult:
        """See `BaseAttack`."""
        from robustray.tasks.attacks.search.pgd import PgdSearch
        from robustray.tasks.attacks.search.rows import run_search

        return run_search(PgdSearch, self.plan(), model, images, labels, seed=seed, **given)


def refuse_objective(name: str, given: Given) -> None:
    """Refuse an objective for attacks that have their own. Raises: InputError."""
    if given["objective"] is not None or given["targets"] is not None:
        raise InputError(f"{name} brings its own objective: leave out objective and targets, or use pgd")


@dataclass(frozen=True, kw_only=True, repr=False)
class PGD(GradientAttack):
    """Projected gradient descent: steps along the gradient, each projected onto the ball and onto [0, 1].

    Raises: InputError (a ValueError) for a value that cannot be used.
    """

    name: ClassVar[str] = "pgd"

    norm: Norm
    """"linf": steps along the sign of the gradient. "l2": steps along the gradient scaled to length 1."""
    eps: float
    """Largest distance from the clean image, in pixel units: 8/255, not 8."""
    step_size: float | None = None
    """Pixel units; None for 2.5 * eps / num_steps."""
    num_steps: int = 20
    random_start: bool = True
    """linf: uniform in the ball; l2: on the sphere, in a uniformly random direction."""
    num_restarts: int = 1
    """Starts per image. With "first_success" and "last" an image starts again only until one start succeeds, and
    without success keeps the start of highest loss; "best_loss" runs all of them and keeps the highest loss."""
    targeted: bool = False
    """Towards `targets` instead of away from the labels."""
    exit_rule: ExitRule = "first_success"
    """Which iterate of x_0 ... x_T is returned: the first one that succeeds (else the last one), the last one, or the
    one of highest loss, by loss alone."""
    attack_misclassified: bool = False
    """False: images on which the clean prediction already succeeds are returned unchanged after one forward pass.
    True: they are attacked like all others (what adversarial training wants)."""
    batch_size: int = 128
    """Images in flight. On one kind of CPU it does not change results (see `__call__`)."""
    precision: Precision = "auto"
    """Precision of gradients and of the search; every verdict is the unmodified model's in fp32. "auto": bf16 where the
    hardware multiplies it, which a study decides once for all machines (`precision.resolve_precision`)."""
    eot_samples: int = 1
    """Expectation over transformation (arXiv:1707.07397): passes over which each loss and gradient is averaged, for
    models that draw random numbers; 1 for all others."""

    def __post_init__(self) -> None:
        python_numbers(self)
        check_budget(self.norm, self.eps)
        if self.step_size is not None:
            check_size("step_size", self.step_size)
        check_count("num_steps", self.num_steps, at_least=1)
        check_count("num_restarts", self.num_restarts, at_least=1)
        check_count("eot_samples", self.eot_samples, at_least=1)
        check_choice("exit_rule", self.exit_rule, EXIT_RULES)
        check_count("batch_size", self.batch_size, at_least=MIN_BATCH)
        check_choice("precision", self.precision, PRECISIONS)
        if self.num_restarts > 1 and not self.random_start:
            raise InputError(f"num_restarts={self.num_restarts} without random_start: all starts would be the same")
        if self.attack_misclassified and self.exit_rule == "first_success":
            raise InputError("attack_misclassified=True needs exit_rule='last' or 'best_loss', got 'first_success'")

    def plan(self) -> Plan:
        return Plan(
            stream=self.name,
            norm=self.norm,
            eps=self.eps,
            step_size=2.5 * self.eps / self.num_steps if self.step_size is None else self.step_size,
            num_steps=self.num_steps,
            random_start=self.random_start,
            num_restarts=self.num_restarts,
            targeted=self.targeted,
            exit_rule=self.exit_rule,
            attack_misclassified=self.attack_misclassified,
            batch_size=self.batch_size,
            precision=self.precision,
            eot_samples=self.eot_samples,
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class FGSM(GradientAttack):
    """One gradient step of the full budget, from the clean image or from a random start.

    `random_start=True, step_size=1.25 * eps` is the one-step attack of fast adversarial training (arXiv:2001.03994).

    Raises: InputError (a ValueError) for a value that cannot be used.
    """

    name: ClassVar[str] = "fgsm"

    norm: Norm
    eps: float
    """Largest distance from the clean image, in pixel units: 8/255, not 8."""
    step_size: float | None = None
    """Pixel units; None for eps."""
    random_start: bool = False
    targeted: bool = False
    """Towards `targets` instead of away from the labels."""
    attack_misclassified: bool = False
    """As in PGD."""
    batch_size: int = 128
    """Images in flight."""
    precision: Precision = "auto"
    """As in PGD."""
    eot_samples: int = 1
    """As in PGD."""

    def __post_init__(self) -> None:
        python_numbers(self)
        check_budget(self.norm, self.eps)
        if self.step_size is not None:
            check_size("step_size", self.step_size)
        check_count("batch_size", self.batch_size, at_least=MIN_BATCH)
        check_count("eot_samples", self.eot_samples, at_least=1)
        check_choice("precision", self.precision, PRECISIONS)

    def plan(self) -> Plan:
        return Plan(
            stream=self.name,
            norm=self.norm,
            eps=self.eps,
            step_size=self.eps if self.step_size is None else self.step_size,
            num_steps=1,
            random_start=self.random_start,
            num_restarts=1,
            targeted=self.targeted,
            exit_rule="last",
            attack_misclassified=self.attack_misclassified,
            batch_size=self.batch_size,
            precision=self.precision,
            eot_samples=self.eot_samples,
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class RandomNoise(GradientAttack):
    """Random perturbations and no gradient: the baseline that an attack has to beat.

    linf: uniform in the ball; l2: on the sphere, in a uniformly random direction. The first draw that succeeds is
    returned, without success the one of highest loss.

    Raises: InputError (a ValueError) for a value that cannot be used.
    """

    name: ClassVar[str] = "noise"
    uses_gradients: ClassVar[bool] = False

    norm: Norm
    eps: float
    """Largest distance from the clean image, in pixel units: 8/255, not 8."""
    num_draws: int = 10
    """Perturbations tried per image."""
    targeted: bool = False
    """Towards `targets` instead of away from the labels."""
    batch_size: int = 128
    """Images in flight."""
    precision: Precision = "auto"
    """As in PGD."""

    def __post_init__(self) -> None:
        python_numbers(self)
        check_budget(self.norm, self.eps)
        check_count("num_draws", self.num_draws, at_least=1)
        check_count("batch_size", self.batch_size, at_least=MIN_BATCH)
        check_choice("precision", self.precision, PRECISIONS)

    def plan(self) -> Plan:
        return Plan(
            stream=self.name,
            norm=self.norm,
            eps=self.eps,
            step_size=0.0,
            num_steps=0,
            random_start=True,
            num_restarts=self.num_draws,
            targeted=self.targeted,
            exit_rule="last",
            attack_misclassified=False,
            batch_size=self.batch_size,
            precision=self.precision,
        )


def check_budget(norm: str, eps: float) -> None:
    """Raises: InputError for an unknown norm and for sizes that are not in pixel units."""
    check_choice("norm", norm, NORMS)
    check_radius("eps", eps)
    if norm == "linf" and eps > 1:
        raise InputError(f"eps must be at most 1 for linf, got {eps}: pixel units, 8/255 and not 8")
