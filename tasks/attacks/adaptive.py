"""The attack that is chosen by an audit of the model: settings. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from robustray.tasks.attacks.precision import PRECISIONS, Precision
from robustray.tasks.attacks.settings import MIN_BATCH, BaseAttack, Given, Norm, check_budget, refuse_objective
from robustray.tasks.checks import check_choice, check_count, python_numbers
from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.tasks.attacks.gradient.verdicts import Model
    from robustray.tasks.attacks.search.cascade import CascadeResult


@dataclass(frozen=True, kw_only=True, repr=False)
class Adaptive(BaseAttack["CascadeResult"]):
    """APGD-CE, APGD-T and Square, and between them what an audit of the model says will help.

    Which stages run is decided by the checks of `robustray.audit` on the first images of each call, and is in the
    result: logits rescaled (saturation), gradients of the model with its steps, stops and hooks passed straight through
    (BPDA), of a smoothed copy, examples transferred from that copy, means over draws (random models, whose verdict is
    then the majority of other draws), and twice as many queries of Square where anything was found. Not AutoAttack, and
    not to be called so.

    Raises: InputError (a ValueError) for a value that cannot be used.
    """

    name: ClassVar[str] = "adaptive"

    norm: Norm
    eps: float
    """Largest distance from the clean image, in pixel units: 8/255, not 8."""
    num_steps: int = 100
    """Of each stage that follows gradients."""
    num_queries: int = 5000
    """Of Square; twice as many where the audit found something."""
    eot_samples: int = 8
    """Draws of a random model over which gradients are averaged."""
    num_draws: int = 32
    """Draws whose majority is a random model's answer."""
    batch_size: int = 128
    """Images, or targets of images, in flight. On one kind of CPU it does not change results."""
    precision: Precision = "auto"
    """As in PGD."""

    def __post_init__(self) -> None:
        python_numbers(self)
        check_budget(self.norm, self.eps)
        for name in ("num_steps", "num_queries", "eot_samples", "num_draws"):
            check_count(name, getattr(self, name), at_least=1)
        check_count("batch_size", self.batch_size, at_least=MIN_BATCH)
        check_choice("precision", self.precision, PRECISIONS)

    def run(self, model: Model, images: Tensor, labels: Tensor, seed: int, given: Given) -> CascadeResult:
        """See `BaseAttack`. Raises: InputError, also for a mask."""
        from robustray.tasks.attacks.search.adapting import run_adaptive

        refuse_objective(self.name, given)
        if given["mask"] is not None:
            raise InputError(f"{self.name} changes whole images: leave out the mask, or use apgd-ce")
        return run_adaptive(self, model, images, labels, seed=seed, indices=given["indices"])
