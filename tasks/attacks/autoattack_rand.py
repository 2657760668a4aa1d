"""AutoAttack for models that draw random numbers: settings. Imports no torch.

Croce and Hein, arXiv:2003.01690, section 5 ("rand" in their code): APGD-CE and APGD-DLR, untargeted, each gradient a
mean over 20 passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from robustray.tasks.attacks.family import ApgdCE, ApgdDLR
from robustray.tasks.attacks.precision import Precision
from robustray.tasks.attacks.settings import MIN_BATCH, BaseAttack, Given, Norm, check_budget, refuse_objective
from robustray.tasks.checks import check_choice, check_count, python_numbers
from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.tasks.attacks.gradient.verdicts import Model
    from robustray.tasks.attacks.search.voting import VotedResult

NUM_DRAWS = 100
"""Draws of a verdict: an image that is right in 61 of them, or in 39, is decided at 95 %."""


@dataclass(frozen=True, kw_only=True)
class Votes:
    """How a model that draws random numbers is asked what it says of images."""

    num_draws: int = NUM_DRAWS


@dataclass(frozen=True, kw_only=True, repr=False)
class AutoAttackRand(BaseAttack["VotedResult"]):
    """AutoAttack for models that draw random numbers: mean gradients, and verdicts by the majority of new draws.

    APGD-CE and APGD-DLR along mean gradients; an image is broken if the model is right in at most half of `num_draws`
    draws at the point that was found. The draws of the verdict are none of those that the search saw. All draws are
    functions of (seed, purpose, number), the same for every image, so that results depend on neither blocks nor
    workers. For models that draw no numbers use `AutoAttack`, which says more. Needs 3 classes or more.

    Raises: InputError (a ValueError) for a value that cannot be used.
    """

    name: ClassVar[str] = "autoattack-rand"
    min_classes: ClassVar[int] = 3

    norm: Norm
    eps: float
    """Largest distance from the clean image, in pixel units: 8/255, not 8."""
    num_steps: int = 100
    """Of each of the two attacks."""
    eot_samples: int = 20
    """Passes over which each gradient is averaged: new draws at every step."""
    num_checks: int = 32
    """Draws by which the search tells good points from bad ones. An image leaves it when three quarters of them are
    wrong; otherwise the point at which most are is taken."""
    num_draws: int = NUM_DRAWS
    """Draws of the verdict."""
    batch_size: int = 128
    """Images in flight. On one kind of CPU it does not change results."""
    precision: Precision = "auto"
    """"auto" means fp32 here, and bf16 is refused: draws are counted by passes, which bf16 repeats now and then."""

    def __post_init__(self) -> None:
        python_numbers(self)
        check_budget(self.norm, self.eps)
        for name in ("num_steps", "eot_samples", "num_checks", "num_draws"):
            check_count(name, getattr(self, name), at_least=1)
        check_count("batch_size", self.batch_size, at_least=MIN_BATCH)
        check_choice("precision", self.precision, ("auto", "fp32"))

    def stages(self) -> tuple[ApgdCE, ApgdDLR]:
        """The attacks in their order."""
        common = {"norm": self.norm, "eps": self.eps, "batch_size": self.batch_size, "precision": "fp32"}
        steps = {"num_steps": self.num_steps, "num_gradients": self.eot_samples}
        return ApgdCE(**common, **steps), ApgdDLR(**common, **steps)  # type: ignore[arg-type]

    def run(self, model: Model, images: Tensor, labels: Tensor, seed: int, given: Given) -> VotedResult:
        """See `BaseAttack`. Raises: InputError, also for a mask, and for draws that cannot be repeated."""
        from robustray.tasks.attacks.search.voting import run_rand

        refuse_objective(self.name, given)
        if given["mask"] is not None:
            raise InputError(f"{self.name} changes whole images: leave out the mask, or use apgd-ce")
        return run_rand(self, model, images, labels, seed=seed, indices=given["indices"])
