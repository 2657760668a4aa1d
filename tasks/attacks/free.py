"""Optimising inputs without a ball around them: settings (Santurkar et al., arXiv:1906.09453). No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from robustray.tasks.attacks.precision import PRECISIONS, Precision
from robustray.tasks.attacks.settings import MIN_BATCH, BaseAttack, Given, Plan
from robustray.tasks.checks import check_choice, check_count, check_size, python_numbers

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.tasks.attacks.gradient.verdicts import Model
    from robustray.tasks.attacks.result import AttackResult

Space = Literal["pixels", "fourier", "noise"]
SPACES: tuple[Space, ...] = ("pixels", "fourier", "noise")


@dataclass(frozen=True, kw_only=True, repr=False)
class FreePGD(BaseAttack["AttackResult"]):
    """Gradient steps without a ball: towards whatever the objective rewards, within [0, 1] only.

    Not an attack with a budget, so no name on the command line: studies call it with objectives of their own. Steps are
    step_size times the gradient of an image's own loss, whatever its length; they do not shrink with the batch.

    Raises: InputError (a ValueError) for a value that cannot be used.
    """

    name: ClassVar[str] = "free-pgd"

    space: Space
    """Where steps are taken. "pixels" ("unconstrained" in the robustness library): on pixels, clipped to [0, 1] after
    each. "fourier": on the coefficients of a real two-dimensional Fourier transform whose inverse, through a sigmoid,
    is the image; nothing is clipped. "noise" ("random smooth"): Gaussian steps and no gradient, the baseline."""
    step_size: float
    """Length of a step for a gradient of length 1; "noise": standard deviation of a step, in pixel units."""
    num_steps: int
    start_noise: float = 0.0
    """Standard deviation of Gaussian noise added to the start, in pixel units."""
    targeted: bool = False
    """Towards `targets` instead of away from the labels."""
    exit_rule: Literal["best_loss", "last"] = "best_loss"
    """Which iterate of x_0 ... x_T is returned: that of highest loss, or the last one."""
    batch_size: int = 128
    """Images in flight. On one kind of CPU it does not change results."""
    precision: Precision = "auto"
    """As in PGD."""

    def __post_init__(self) -> None:
        python_numbers(self)
        check_choice("space", self.space, SPACES)
        check_size("step_size", self.step_size)
        check_size("start_noise", self.start_noise)
        check_count("num_steps", self.num_steps, at_least=1)
        check_choice("exit_rule", self.exit_rule, ("best_loss", "last"))
        check_count("batch_size", self.batch_size, at_least=MIN_BATCH)
        check_choice("precision", self.precision, PRECISIONS)

    def plan(self) -> Plan:
        return Plan(
            stream=self.name,
            norm="l2",  # in which the distance is reported
            eps=float("inf"),
            step_size=self.step_size,
            num_steps=self.num_steps,
            random_start=self.start_noise > 0,
            num_restarts=1,
            targeted=self.targeted,
            exit_rule=self.exit_rule,
            attack_misclassified=True,
            batch_size=self.batch_size,
            precision=self.precision,
        )

    def run(self, model: Model, images: Tensor, labels: Tensor, seed: int, given: Given) -> AttackResult:
        """Attack from `images` on; every image takes all steps. `distance` is in l2.

        Raises: InputError, also for a mask in Fourier space, where every coefficient moves every pixel.
        """
        from robustray.tasks.attacks.search.free_run import run_free

        return run_free(self, model, images, labels, seed=seed, **given)
