"""The settings of the study and its sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from robustray.tasks.cost import NumpySecond, Part, Work
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.study import Outline


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Two Gaussians, N(mean, S) and N(-mean, S), and an adversary that moves every point in l2."""

    variances: tuple[float, ...] = (1.0, 25.0)
    """Variances of S along its own axes. They must differ: with equal ones there is nothing to align."""
    mean: tuple[float, ...] = (2.0, 5.0)
    """Mean of the class +1 along the same axes."""
    angle: float = 30.0
    """Degrees by which the first two axes are turned before anything is trained or drawn."""
    eps_train: tuple[float, ...] = (1.0, 2.0, 4.0, 10.0)
    """Sizes of the adversary that parameters are fitted against, ascending; 0 is always among them."""
    eps_test: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Sizes at which accuracies are given."""
    penalty: float = 2.0
    """Theorem 1's penalty, in units of 1 / the smallest variance: above 1."""
    num_samples: int = 20_000
    """Samples behind each sampled number."""
    num_seeds: int = 5
    """Trainings and samples of each size, with seeds from `seed` up; at least 2."""
    seed: int = 0
    """Seed of the first repetition; the others follow it."""
    num_steps: int = 3_000
    """Steps of adversarial training."""
    batch_size: int = 256
    """Fresh points per step."""
    lr: float = 0.03
    """Learning rate of Adam; a tenth of it for the last third of the steps."""
    ascent_steps: int = 15
    """Ascent steps of the adversary in every step of training."""

    def __post_init__(self) -> None:
        checks.counts(at_least=2, num_seeds=self.num_seeds, batch_size=self.batch_size)
        checks.counts(at_least=1, num_steps=self.num_steps, ascent_steps=self.ascent_steps)
        checks.counts(at_least=1_000, num_samples=self.num_samples)
        checks.counts(seed=self.seed)
        checks.positive(lr=self.lr, **{f"variances[{i}]": s for i, s in enumerate(self.variances)})
        checks.ascending(eps_train=self.eps_train, eps_test=self.eps_test)
        for i, number in enumerate((*self.mean, self.angle)):
            checks.sizes(**{"angle" if i == len(self.mean) else f"mean[{i}]": abs(number)})
        if len(self.variances) < 2 or len(self.mean) != len(self.variances):
            raise InputError(
                f"variances and mean need one number for each of at least 2 axes, got {len(self.variances)} and "
                f"{len(self.mean)}"
            )
        if len(set(self.variances)) == 1:
            raise InputError("variances: all are equal, so every gradient is aligned without an adversary")
        if not any(self.mean):
            raise InputError("mean: all zero, so the two classes are the same")
        if not self.penalty > 1:
            raise InputError(f"penalty must be above 1, got {self.penalty:g}: the adversary would have no optimum")


STEP, DRAW, RISE = 0.9e-3 / 16, 70e-6, 1.5e-6
"""Seconds of each of a training step's passes (steps of ascent, and one of descent), of a sampled point within a ball,
and of the samples of a rise that stand for one of `num_samples`."""


def estimate(settings: Settings) -> Work:
    """What `robustray show` says."""
    trainings = settings.num_seeds * (1 + len(settings.eps_train))
    return Work(
        counts={"training steps": trainings * settings.num_steps, "trainings": trainings},
        note="Trainings of a mean and a matrix dominate: about a second of one core per 1,000 steps.",
        parts=(
            Part(step="train", items=trainings, cost=settings.num_steps * (1 + settings.ascent_steps) * STEP),
            Part(step="ball", items=trainings - settings.num_seeds, cost=settings.num_samples * DRAW),
            Part(step="rise", items=settings.num_seeds, cost=settings.num_samples * RISE),
        ),
        unit=NumpySecond(),
    )


OUTLINE = Outline(
    name="gaussian-features",
    question="Why does robust training align a classifier's gradients with the classes? Two Gaussians, in closed form.",
    paper="arXiv:1905.02175",
    settings=Settings,
    sizes={
        "quick": Settings(num_seeds=5, eps_train=(1.0, 2.0, 10.0)),
        "small": Settings(num_seeds=10, eps_train=(0.5, 1.0, 2.0, 4.0, 10.0)),
        "paper": replace(Settings(), num_seeds=20, num_steps=6_000, num_samples=100_000),
    },
    estimate=estimate,
)
