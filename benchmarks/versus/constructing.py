"""Images whose latent becomes that of another image, in 100 steps: ours, a plain loop, and MadryLab's `robustness`.

It is how D_R and D_NR are made (arXiv:1905.02175, section 3.1), and a representation inverted. All take steps of one l2
length along the gradient of the relative distance of latents, within [0, 1] and no ball, and keep the last iterate.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from benchmarks.cuda import cuda_stays_here
from robustray.tasks.attacks.objective import LatentMatching
from robustray.tasks.attacks.precision import Arithmetic
from robustray.tasks.inputs.items import ascend
from robustray.tasks.inputs.settings import Ascent
from robustray.tasks.latents.cache import look

STEPS = 100
STEP_SIZE = 0.2
"""l2 length of a step, in pixel units."""
NEAR = 0.3
"""Relative distance of latents below which an image counts as constructed; where it is farther, the effects of a set
weaken first."""
NO_BALL = 1_000.0
PLAIN, AUTOCAST, ROBUSTNESS = "plain loop", "plain loop, autocast", "robustness"

Construction = Callable[[Tensor, Tensor], Tensor]
"""(starts, latents to reach) -> images."""


def ours(model: nn.Module, steps: int, precision: Arithmetic) -> Construction:
    ascent = Ascent(step_size=STEP_SIZE, num_steps=steps, precision=precision)
    return lambda starts, goal: ascend(ascent, model, starts, goal, objective=LatentMatching()).images


def plain(model: nn.Module, steps: int, batch_size: int, *, autocast: bool) -> Construction:
    """What one would write by hand."""

    def run(starts: Tensor, goal: Tensor) -> Tensor:
        x = starts
        for _ in range(steps):
            x = x.detach().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
                far = distance(model, x, goal).sum()
            (gradient,) = torch.autograd.grad(far, x)
            length = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
            x = (x.detach() - STEP_SIZE * gradient / length).clamp(0, 1)
        return x

    return _batched(run, batch_size)


def robustness(model: nn.Module, steps: int, batch_size: int) -> Construction:
    """As its notebooks do it, with a loss of one's own; without `use_best`, which would cost a copy a step.

    With such a loss its attacker runs the model twice a step, and follows the gradient of the second run only.
    """
    library = import_module("robustness.attacker")
    attacker = library.Attacker(model, SimpleNamespace(mean=torch.zeros(3), std=torch.ones(3)))

    def run(starts: Tensor, goal: Tensor) -> Tensor:
        with cuda_stays_here():
            found: Tensor = attacker(
                starts,
                goal,
                constraint="2",
                eps=NO_BALL,
                step_size=STEP_SIZE,
                iterations=steps,
                targeted=True,
                use_best=False,
                custom_loss=lambda net, images, wanted: (distance(net, images, wanted), None),
            )
        return found

    return _batched(run, batch_size)


def distance(model: nn.Module, images: Tensor, goal: Tensor) -> Tensor:
    """Relative distance of latents (n,), in fp32."""
    _, latent = model.forward_with_latent(images, fake_relu=False)  # type: ignore[operator]
    far: Tensor = (latent.float() - goal).norm(dim=1) / goal.norm(dim=1).clamp_min(1e-12)
    return far


def pairs(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """(starts, latents to reach): every image begins as the one before it."""
    return images.roll(1, 0), look(model, images)[1]


def farther(model: nn.Module, images: Tensor, goal: Tensor) -> list[bool]:
    """Which images are not constructed: their latent is farther than `NEAR`, in fp32."""
    _, latent = look(model, images)
    return (((latent - goal).norm(dim=1) / goal.norm(dim=1).clamp_min(1e-12)) > NEAR).tolist()


def _batched(run: Construction, size: int) -> Construction:
    return lambda starts, goal: torch.cat(
        [run(x, wanted) for x, wanted in zip(starts.split(size), goal.split(size), strict=True)]
    )
