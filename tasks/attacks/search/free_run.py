"""Runs `FreePGD`: the images of a batch take all their steps together, and nothing mixes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustray.tasks.attacks.doors import Problem, check_arguments, check_class_range
from robustray.tasks.attacks.free import FreePGD
from robustray.tasks.attacks.gradient.chain import pulled_back
from robustray.tasks.attacks.gradient.refusals import Model, refuse_probabilities
from robustray.tasks.attacks.gradient.verdicts import padded
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import Objective
from robustray.tasks.attacks.result import AttackResult
from robustray.tasks.attacks.search import noise
from robustray.tasks.attacks.search.record import Record, noted
from robustray.tasks.attacks.search.rows import open_view
from robustray.tasks.errors import InputError

NEAREST = 1 / 512
"""Where pixels of 0 (and 1) start in Fourier space, as the sigmoid reaches neither: half a grey level away."""


def run_free(
    attack: FreePGD,
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    indices: Sequence[int] | Tensor | None,
    objective: Objective | None,
    mask: Tensor | None,
    targets: Tensor | None,
) -> AttackResult:
    """The call of `FreePGD`; arguments, result and errors are described there."""
    plan = attack.plan()
    problem = check_arguments(
        plan, model, images, labels, indices=indices, objective=objective, mask=mask, targets=targets
    )
    if attack.space == "fourier" and (mask is not None or images.ndim != 4):
        raise InputError(
            "space='fourier' needs images (batch, channels, height, width) and no mask: "
            "every coefficient moves every pixel"
        )
    view = open_view(plan, model, problem)
    record = Record(problem, view)
    with view:
        every = torch.arange(len(images), device=problem.images.device)
        for items in every.split(plan.batch_size) if len(images) else ():
            clean = view.evaluate(problem.images[items]).logits
            check_class_range("labels", problem.labels, clean.shape[1], model)
            refuse_probabilities(clean, model)
            record.clean_predictions[items] = clean.argmax(1)
            # Padded as in the view: one Fourier transform, and the last entries of a sigmoid, have other last bits.
            best, first = _optimise(attack, problem, view, padded(items), seed)
            record.first_gradient[items] = first[: len(items)]
            record.keep(items, record.judge(items, best[: len(items)]), by_loss=True)
        record.num_evaluations += plan.num_steps + 2  # the clean images, and x_0 ... x_T
        return AttackResult(**record.fields(plan.norm))


def _optimise(attack: FreePGD, problem: Problem, view: GradientView, items: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The images (items, ...) that the exit rule names, and the largest entries of the first gradients."""
    start, state = problem.images[items], problem.state[items]
    mask = 1 if problem.mask is None else problem.mask[items]

    def gaussian(number: int) -> Tensor:
        """Noise number 0 is that of the start, number t that of step t."""
        indices = problem.indices[items]
        return noise.normal(seed, attack.name, number, indices, start.shape[1:], start.device) * mask

    if attack.start_noise:
        start = (start + attack.start_noise * gaussian(0)).clamp(0, 1)
    fourier = attack.space == "fourier"
    x = to_fourier(start) if fourier else start
    first = start.new_full((len(start),), torch.nan)
    best, best_loss = start, start.new_full((len(start),), -torch.inf)
    for step in range(attack.num_steps + 1):
        image = from_fourier(x, start.shape[-1]) if fourier else x.clamp(0, 1)
        if attack.space == "noise":
            loss, gradient = view.estimate(image, state, problem.objective)[0], gaussian(step + 1)
        else:
            loss, gradient, largest, _ = view.follow(image, state, problem.objective)
            first = noted(first, largest)
        better = loss > best_loss if attack.exit_rule == "best_loss" else torch.ones_like(loss, dtype=torch.bool)
        best = torch.where(better.view(-1, *[1] * (image.ndim - 1)), image, best)
        best_loss = torch.where(better, loss, best_loss)
        if attack.space == "pixels":
            x = (x + attack.step_size * gradient * mask).clamp(0, 1)
        elif attack.space == "fourier":
            x = x + attack.step_size * _through_fourier(x, gradient)
        else:
            x = x + attack.step_size * gradient  # the walk is not clipped, what the model sees of it is
    return best, first


def to_fourier(images: Tensor) -> Tensor:
    """(batch, channels, height, width) -> (batch, channels, height, width // 2 + 1, 2), real and imaginary parts."""
    return torch.view_as_real(torch.fft.rfft2(images.clamp(NEAREST, 1 - NEAREST).logit(), norm="ortho"))


def from_fourier(coefficients: Tensor, width: int) -> Tensor:
    """The images of coefficients, through a sigmoid and so strictly within (0, 1)."""
    size = (coefficients.shape[-3], width)
    return torch.fft.irfft2(torch.view_as_complex(coefficients), s=size, norm="ortho").sigmoid()


def _through_fourier(coefficients: Tensor, gradient: Tensor) -> Tensor:
    """The gradient with respect to the coefficients, given that with respect to the image."""
    coefficients = coefficients.detach().requires_grad_(True)
    with torch.enable_grad():
        image = from_fourier(coefficients, gradient.shape[-1])
    found = pulled_back(image, coefficients, gradient)
    assert found is not None
    return found
