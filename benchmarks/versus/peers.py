"""The same attacks by other libraries, in the fastest form that each offers.

An adapter takes the model, its budget and a batch size and returns `attack(images, labels) -> images`. Everybody gets
the same frozen model: a library that also computes gradients of parameters finds none to compute. What a library needs
from its own module is imported when its adapter is made, so that the others work without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from benchmarks.cuda import cuda_stays_here

Attack = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of an attack."""

    norm: str
    """"linf" or "l2"."""
    eps: float
    """Size of the perturbation in pixel units."""
    num_steps: int
    step_size: float
    """Step size of PGD in pixel units; APGD chooses its own."""
    batch_size: int


def torchattacks(model: nn.Module, budget: Budget) -> Attack:
    library = import_module("torchattacks")
    kind = library.PGD if budget.norm == "linf" else library.PGDL2
    attack = kind(model, eps=budget.eps, alpha=budget.step_size, steps=budget.num_steps, random_start=True)
    return _batched(attack, budget)


def foolbox(model: nn.Module, budget: Budget) -> Attack:
    """`run`, the loop itself: calling the attack would also check and clip its result."""
    library = import_module("foolbox")
    seen = library.PyTorchModel(model, bounds=(0, 1), device="cpu")
    kind = library.attacks.LinfPGD if budget.norm == "linf" else library.attacks.L2PGD
    attack = kind(abs_stepsize=budget.step_size, steps=budget.num_steps, random_start=True)

    def run(images: Tensor, labels: Tensor) -> Tensor:
        return attack.run(seen, images, library.criteria.Misclassification(labels), epsilon=budget.eps)

    return _batched(run, budget)


def art(model: nn.Module, budget: Budget) -> Attack:
    classification = import_module("art.estimators.classification")
    evasion = import_module("art.attacks.evasion")
    classifier = classification.PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        input_shape=(3, 32, 32),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    attack = evasion.ProjectedGradientDescentPyTorch(
        classifier,
        norm="inf" if budget.norm == "linf" else 2,
        eps=budget.eps,
        eps_step=budget.step_size,
        max_iter=budget.num_steps,
        num_random_init=1,
        batch_size=budget.batch_size,
        verbose=False,
    )

    def run(images: Tensor, labels: Tensor) -> Tensor:
        return torch.from_numpy(attack.generate(images.numpy(), labels.numpy()))

    return run


def robustness(model: nn.Module, budget: Budget) -> Attack:
    """With `use_best=False`, the last iterate: one pass less. Our models bring their normalisation, so its own is 0, 1.

    Its attack calls `.cuda()`, which is the identity meanwhile.
    """
    library = import_module("robustness.attacker")
    attacker = library.Attacker(model, SimpleNamespace(mean=torch.zeros(3), std=torch.ones(3)))

    def run(images: Tensor, labels: Tensor) -> Tensor:
        with cuda_stays_here():
            return attacker(
                images,
                labels,
                constraint="inf" if budget.norm == "linf" else "2",
                eps=budget.eps,
                step_size=budget.step_size,
                iterations=budget.num_steps,
                random_start=True,
                use_best=False,
            )

    return _batched(run, budget)


def cleverhans(model: nn.Module, budget: Budget) -> Attack:
    library = import_module("cleverhans.torch.attacks.projected_gradient_descent")

    def run(images: Tensor, labels: Tensor) -> Tensor:
        return library.projected_gradient_descent(
            model,
            images,
            budget.eps,
            budget.step_size,
            budget.num_steps,
            float("inf") if budget.norm == "linf" else 2,
            clip_min=0.0,
            clip_max=1.0,
            y=labels,
            sanity_checks=False,
        ).detach()

    return _batched(run, budget)


def pyautoattack_apgd(model: nn.Module, budget: Budget) -> Attack:
    """APGD on cross-entropy, one start, by itself: without the checks of the whole cascade."""
    library = import_module("pyautoattack.autopgd_base")
    attack = library.APGDAttack(
        model,
        n_restarts=1,
        n_iter=budget.num_steps,
        eps=budget.eps,
        norm=_upper(budget),
        loss="ce",
        seed=0,
        device="cpu",
        logger=_quiet(),
    )
    return _batched(attack.perturb, budget)


def pyautoattack_standard(model: nn.Module, budget: Budget) -> Attack:
    library = import_module("pyautoattack")
    _quiet()
    attack = library.AutoAttack(model, norm=_upper(budget), eps=budget.eps, version="standard", device="cpu", seed=0)

    def run(images: Tensor, labels: Tensor) -> Tensor:
        return attack.run_standard_evaluation(images, labels, batch_size=budget.batch_size)[0]

    return run


Adapter = Callable[[nn.Module, Budget], Attack]

PGD: Mapping[str, Adapter] = {
    "torchattacks": torchattacks,
    "foolbox": foolbox,
    "art": art,
    "robustness": robustness,
    "cleverhans": cleverhans,
}
PACKAGES = ("torchattacks", "foolbox", "adversarial-robustness-toolbox", "robustness", "cleverhans", "pyautoattack")


def _batched(run: Attack, budget: Budget) -> Attack:
    def attack(images: Tensor, labels: Tensor) -> Tensor:
        size = budget.batch_size
        return torch.cat([run(x, y) for x, y in zip(images.split(size), labels.split(size), strict=True)])

    return attack


def _upper(budget: Budget) -> str:
    return {"linf": "Linf", "l2": "L2"}[budget.norm]


def _quiet() -> logging.Logger:
    logger = logging.getLogger("auto-attack")
    logger.setLevel(logging.WARNING)
    return logger
