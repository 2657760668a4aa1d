"""The reference twins on CIFAR-10: one small network, trained three ways that differ in nothing but the threat."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from robustray.tasks.training.settings import TrainSpec

SEEDS = (0, 1, 2)


def reference_specs(seed: int) -> Mapping[str, TrainSpec]:
    """ "standard", "l2_05" (l2, eps 0.5) and "linf8" (linf, eps 8/255): network "S" on CIFAR-10.

    Costs and what to expect: docs/studies/robust-training.md. The learning rate ends at zero, so the last epoch's
    weights are taken: nothing is chosen, and the twins have seen the same number of steps. 1,000 training images are
    held out for the curve. Precisions are fixed, so that the keys are the same on every machine.
    """
    standard = TrainSpec(
        model="small:s",
        data="cifar10:train",
        epochs=14,
        batch_size=256,
        lr=0.2,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="triangular",
        augmentation="crop-flip",
        precision="fp32",
        attack_precision="bf16",
        validation=1_000,
        select="last",
        seed=seed,
    )
    robust = dataclasses.replace(standard, loss="adversarial", num_steps=3, random_start=False)
    return {
        "standard": standard,
        "l2_05": dataclasses.replace(robust, norm="l2", eps=0.5, step_size=0.25),
        "linf8": dataclasses.replace(robust, norm="linf", eps=8 / 255, step_size=4 / 255),
    }


def twin_of(spec: TrainSpec) -> str | None:
    """The name of the reference twin that this training gives: `twin:linf8:0`; None for any other."""
    if spec.seed not in SEEDS:
        return None
    return next((f"twin:{kind}:{spec.seed}" for kind, each in reference_specs(spec.seed).items() if each == spec), None)
